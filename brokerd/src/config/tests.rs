//! The loader from outside: sources in, configuration or problems out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use super::{Bind, Config, Discovery, DnsRecord, Endpoint, FileText, Kind, Machine, Sources, WhenFull, load};

mod reference;
mod refusals;
mod secrets;

fn machine() -> Sources {
    let environment = vec![("HOME".into(), "/home/ann".into())];
    Sources { environment, machine: Machine { host_name: "pump-7".into(), root: false }, ..Sources::default() }
}

fn with_file(text: &str) -> Sources {
    Sources { file: Some(FileText { path: "b.toml".into(), text: text.into() }), ..machine() }
}

fn with_set(assignments: &[&str]) -> Sources {
    Sources { set: assignments.iter().map(ToString::to_string).collect(), ..machine() }
}

fn with_variables(variables: &[(&str, &str)]) -> Sources {
    let mut sources = machine();
    sources.environment.extend(variables.iter().map(|(name, value)| (name.into(), value.into())));
    sources
}

fn accepted(sources: &Sources) -> Config {
    load(sources).unwrap_or_else(|problems| panic!("refused:\n{}", lines(&problems)))
}

fn refused(sources: &Sources) -> String {
    lines(&load(sources).expect_err("accepted"))
}

fn lines(problems: &[super::Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Each listener's key and address.
fn binds(config: &Config) -> Vec<String> {
    config.listeners.iter().map(|(key, listener)| format!("{key} {}", listener.bind)).collect()
}

#[test]
fn nothing_given_is_a_loopback_broker_named_after_the_host() {
    let config = accepted(&machine());
    assert_eq!(config.node.name, "pump-7");
    assert_eq!(config.node.data_dir, PathBuf::from("/home/ann/.local/state/brokerd/pump-7"));
    assert_eq!(binds(&config), ["listeners.tcp.default 127.0.0.1:1883"]);
    assert_eq!(config.admin.listen, Endpoint::Auto);
    assert_eq!(config.cluster.secret, None);
}

#[test]
fn the_data_directory_follows_root_then_xdg_then_home() {
    let mut sources = with_variables(&[("XDG_STATE_HOME", "/state")]);
    assert_eq!(accepted(&sources).node.data_dir, PathBuf::from("/state/brokerd/pump-7"));
    sources.environment.push(("XDG_STATE_HOME".into(), "relative".into()));
    sources.environment.remove(1);
    assert_eq!(accepted(&sources).node.data_dir, PathBuf::from("/home/ann/.local/state/brokerd/pump-7"));
    sources.machine.root = true;
    assert_eq!(accepted(&sources).node.data_dir, PathBuf::from("/var/lib/brokerd/pump-7"));
    sources.node_name = Some("b2".into());
    assert_eq!(accepted(&sources).node.data_dir, PathBuf::from("/var/lib/brokerd/b2"));
}

#[test]
fn later_layers_win_key_by_key() {
    let mut sources =
        with_file("[mqtt]\nmax_inflight = 1\nreceive_maximum = 1\nmax_topic_levels = 1\n[node]\nname = 'f'");
    sources.environment.push(("BROKERD_MQTT__RECEIVE_MAXIMUM".into(), "2".into()));
    sources.environment.push(("BROKERD_MQTT__MAX_TOPIC_LEVELS".into(), "2".into()));
    sources.set = vec!["mqtt.max_topic_levels=3".into(), "node.name=s".into(), "mqtt.max_topic_levels=4".into()];
    sources.node_name = Some("flag".into());
    let config = accepted(&sources);
    assert_eq!((config.mqtt.max_inflight, config.mqtt.receive_maximum, config.mqtt.max_topic_levels), (1, 2, 4));
    assert_eq!(config.node.name, "flag");
}

#[test]
fn a_listener_is_made_or_moved_by_set_and_by_the_environment() {
    let moved = accepted(&with_set(&["listeners.tcp.default.bind=127.0.0.1:1884"]));
    assert_eq!(binds(&moved), ["listeners.tcp.default 127.0.0.1:1884"]);
    let moved = accepted(&with_variables(&[("BROKERD_LISTENERS__TCP__DEFAULT__BIND", "[::1]:0")]));
    assert_eq!(binds(&moved), ["listeners.tcp.default [::1]:0"]);
    let named = accepted(&with_set(&["listeners.tcp.lan.bind=0.0.0.0:1883", "listeners.tcp.lan.allow_anonymous=true"]));
    assert_eq!(binds(&named), ["listeners.tcp.lan 0.0.0.0:1883"], "a named listener replaces the default one");
    let local = accepted(&with_set(&["listeners.tcp.default.bind=localhost:5"]));
    assert_eq!(binds(&local), ["listeners.tcp.default 127.0.0.1:5"]);
}

#[test]
fn the_other_kinds_have_their_customary_ports_and_keys_of_their_own() {
    let config = accepted(&with_set(&[
        "listeners.tls.default.certificate=/c",
        "listeners.tls.default.key=/k",
        "listeners.tls.default.client_ca=/ca",
        "listeners.ws.default.path=/broker",
        "listeners.wss.default.certificate=/c",
        "listeners.wss.default.key=/k",
        "listeners.unix.local.socket=/run/m.sock",
        "listeners.unix.local.mode=0600",
    ]));
    let expected = [
        "listeners.tls.default 127.0.0.1:8883",
        "listeners.ws.default 127.0.0.1:8083",
        "listeners.wss.default 127.0.0.1:8084",
        "listeners.unix.local unix:/run/m.sock",
    ];
    assert_eq!(binds(&config), expected, "no other listener is made");
    let tls = config.listeners.get(Kind::Tls, "default").and_then(|it| it.tls.clone()).unwrap();
    assert!(tls.require_client_certificate, "who names authorities wants certificates");
    assert_eq!(config.listeners.get(Kind::Ws, "default").and_then(|it| it.path.clone()).unwrap(), "/broker");
    let socket = config.listeners.get(Kind::Unix, "local").unwrap();
    assert_eq!(socket.bind, Bind::Path { path: "/run/m.sock".into(), mode: 0o600 });
}

#[test]
fn what_makes_no_sense_of_a_listener_is_refused() {
    for (sets, told) in [
        (&["listeners.tls.a.bind=127.0.0.1:1"][..], "listeners.tls.a.certificate (default): is missing"),
        (&["listeners.tcp.default.certificate=/c"], "listeners.tcp.default.certificate (--set): unknown key"),
        (&["listeners.tcp.default.socket=/c"], "unknown key"),
        (&["listeners.unix.a.mode=0600"], "listeners.unix.a.socket (default): is missing"),
        (&["listeners.unix.a.socket=relative"], "an absolute path"),
        (&["listeners.unix.a.socket=/x", "listeners.unix.a.mode=0999"], "permission bits in octal"),
        (&["listeners.unix.a.socket=/x", "listeners.unix.b.socket=/x"], "is also the socket of listeners.unix.a"),
        (&["listeners.ws.default.path=mqtt"], "a path of a URL"),
        (&["listeners.tcp.default.max_packet_size=2MiB"], "is over mqtt.max_packet_size = 1048576"),
        (&["listeners.tcp.default.proxy_protocol_from=10.0.0.0/8"], "means nothing without"),
        (&["listeners.tcp.default.proxy_protocol=true"], "set listeners.tcp.default.allow_anonymous = true"),
        (
            &[
                "listeners.tcp.default.bind=0.0.0.0:1",
                "listeners.tcp.default.allow_anonymous=true",
                "listeners.tcp.default.proxy_protocol=true",
            ],
            "name the load balancers in listeners.tcp.default.proxy_protocol_from",
        ),
        (
            &[
                "listeners.tcp.default.proxy_protocol=true",
                "listeners.tcp.default.allow_anonymous=true",
                "listeners.tcp.default.proxy_protocol_from=10.0.0.1/8",
            ],
            "a list of networks",
        ),
        (
            &[
                "listeners.tls.default.certificate=/c",
                "listeners.tls.default.key=/k",
                "listeners.tls.default.require_client_certificate=true",
            ],
            "wants listeners.tls.default.client_ca",
        ),
    ] {
        let refusal = refused(&with_set(sets));
        assert!(refusal.contains(told), "{sets:?}: {refusal}");
    }
}

#[test]
fn seeds_are_a_list_by_commas_by_toml_or_by_flags() {
    let secret = "cluster.secret=sixteen bytes or more";
    let seeds = |sources: &Sources| accepted(sources).cluster.seeds;
    assert_eq!(seeds(&with_set(&["cluster.seeds=a:1, b:2", secret])), ["a:1", "b:2"]);
    assert_eq!(seeds(&with_set(&["cluster.seeds=[\"a:1\"]", secret])), ["a:1"]);
    assert_eq!(seeds(&with_set(&["cluster.seeds='a:1,b:2'", secret])), ["a:1", "b:2"]);
    assert_eq!(seeds(&with_set(&["cluster.seeds=", secret])), [""; 0]);
    assert_eq!(seeds(&with_set(&["cluster.seeds=[::1]:7946", secret])), ["[::1]:7946"]);
    let flags = Sources { seeds: vec!["c:3".into(), "d:4".into()], ..with_set(&["cluster.seeds=a:1", secret]) };
    assert_eq!(seeds(&flags), ["c:3", "d:4"]);
    let file = with_file("[cluster]\nsecret = 'sixteen bytes or more'\nseeds = ['a:1', 'b.example.org:2']");
    assert_eq!(seeds(&file), ["a:1", "b.example.org:2"]);
}

#[test]
fn durations_and_sizes_have_units() {
    let config = accepted(&with_set(&[
        "mqtt.connect_timeout=1m",
        "cluster.subscribe_timeout=250ms",
        "cluster.route_grace=\"2h\"",
        "mqtt.max_packet_size=64KiB",
        "mqtt.write_buffer=1MB",
        "persistence.queue_bytes=65536",
        "persistence.when_full=drop_newest",
        "persistence.queue_qos0=true",
    ]));
    assert_eq!(config.mqtt.connect_timeout, Duration::from_secs(60));
    assert_eq!(config.cluster.subscribe_timeout, Duration::from_millis(250));
    assert_eq!(config.cluster.route_grace, Duration::from_secs(7200));
    assert_eq!((config.mqtt.max_packet_size, config.mqtt.write_buffer), (65_536, 1_000_000));
    assert_eq!((config.persistence.queue_bytes, config.persistence.when_full), (65_536, WhenFull::DropNewest));
    assert!(config.persistence.queue_qos0);
}

#[test]
fn the_admin_endpoint_is_automatic_a_socket_or_loopback() {
    let listen = |text: &str| load(&with_set(&[&format!("admin.listen={text}")])).map(|config| config.admin.listen);
    assert_eq!(listen("unix:/run/b.sock"), Ok(Endpoint::Unix("/run/b.sock".into())));
    assert_eq!(listen("127.0.0.1:0"), Ok(Endpoint::Tcp("127.0.0.1:0".parse().unwrap())));
    assert_eq!(listen("auto"), Ok(Endpoint::Auto));
    for wrong in ["unix:", "0.0.0.0:7000", "127.0.0.1", &format!("unix:/{}", "x".repeat(107))] {
        assert!(listen(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_low_limit_on_session_expiry_lowers_its_default() {
    assert_eq!(accepted(&with_set(&["mqtt.max_session_expiry=60"])).mqtt.session_expiry, 60);
}

#[test]
fn variables_that_kubernetes_makes_for_a_service_named_brokerd_are_left_alone() {
    let kubernetes = [("BROKERD_PORT", "tcp://10.0.0.1:1883"), ("BROKERD_SERVICE_HOST", "10.0.0.1")];
    assert_eq!(accepted(&with_variables(&kubernetes)), accepted(&machine()));
    let unreadable = (OsString::from("OTHER"), OsString::from_vec(vec![0xff]));
    assert_eq!(
        accepted(&Sources { environment: vec![unreadable, ("HOME".into(), "/home/ann".into())], ..machine() }),
        accepted(&machine())
    );
}

proptest::proptest! {
    #[test]
    fn no_text_panics_the_loader(text in proptest::prelude::any::<String>()) {
        let _ = load(&with_file(&text));
        let _ = load(&with_variables(&[(&format!("BROKERD_{text}"), "x"), ("BROKERD_LOG__FILTER", &text)]));
        let _ = load(&with_set(&[&text, &format!("cluster.seeds={text}"), &format!("cluster={text}")]));
    }

    #[test]
    fn nothing_that_looks_like_configuration_panics_the_loader(
        text in r#"(\[{0,2}(node|mqtt|cluster|listeners)(\.tcp)?(\.x)?\]{0,2}\n|(bind|seeds|secret|max_inflight|a) ?= ?("[^"]{0,6}"|[0-9]{1,22}|\[.{0,5}\]|\{.{0,9}\}|[a-z0-9:.]{0,9})?\n){0,12}"#
    ) {
        let _ = load(&with_file(&text));
    }
}

#[test]
fn depth_and_size_are_bounded() {
    let many = 20_000;
    for text in [
        "[".repeat(many),
        "=\n".repeat(many),
        "a = 1\n".repeat(many),
        format!("a = {}", "[".repeat(many)),
        format!("a = {}", "{a=".repeat(many)),
        format!("{}a = 1", "a.".repeat(many)),
        format!("[{}a]", "a.".repeat(many)),
        (0..many).map(|n| format!("k{n} = 1\n")).collect(),
        format!("[listeners.tcp]\n{}", (0..many).map(|n| format!("k{n} = {{}}\n")).collect::<String>()),
    ] {
        let problems = load(&with_file(&text)).expect_err("nonsense is refused");
        assert!(problems.len() < 500, "{} problems", problems.len());
    }
}
