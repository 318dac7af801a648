//! What is refused, and in which words.

use super::*;

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_sources() {
    let mut sources = with_file("[mqtt]\nmax_inflight = 0\n\n[clustr]\nname = 'x'\n");
    sources.environment.push(("BROKERD_NODE__WORKERS".into(), "many".into()));
    sources.set = vec!["mqtt.connect_timeout=10".into(), "nonsense".into()];
    assert_eq!(
        refused(&sources),
        "mqtt.max_inflight = 0 (b.toml:2): allowed is an integer from 1 to 65535\n\
         clustr.name (b.toml:5): unknown key: did you mean cluster.name?\n\
         node.workers = \"many\" (BROKERD_NODE__WORKERS): allowed is an integer from 0 to 1024\n\
         nonsense (--set): wants KEY=VALUE, as in --set listeners.tcp.default.bind=127.0.0.1:1884\n\
         mqtt.connect_timeout = 10 (--set): allowed is a time with its unit (ms, s, m, h, d), from 100ms to 1h"
    );
}

#[test]
fn unknown_keys_get_a_hint_in_the_spelling_of_their_source() {
    let hint = |sources: &Sources, wanted: &str| {
        let told = refused(sources);
        assert!(told.contains(wanted), "{told}\ndoes not say: {wanted}");
    };
    hint(&with_set(&["cluster.sedes=a:1"]), "did you mean cluster.seeds?");
    hint(&with_set(&["seeds=a:1"]), "did you mean cluster.seeds?");
    hint(&with_file("[listeners.tcp.default]\nbnd = 1"), "did you mean listeners.tcp.default.bind?");
    hint(&with_variables(&[("BROKERD_CLUSTR__NAME", "x")]), "did you mean BROKERD_CLUSTER__NAME?");
    hint(&with_variables(&[("BROKERD_CLUSTER_NAME", "x")]), "did you mean BROKERD_CLUSTER__NAME?");
    hint(&with_file("[listeners.quic.default]\nbind = 1"), "this version has the kinds tcp, tls, ws, wss and unix");
    hint(&with_file("[cluster.discovery]\ntype = 'static'"), "as in cluster.discovery = \"dns\"");
    hint(&with_file("[empty]"), "empty (b.toml:1): unknown key");
    assert_eq!(refused(&with_set(&["zzz=1"])), "zzz (--set): unknown key");
}

#[test]
fn wrong_types_and_ranges_name_what_is_allowed() {
    for (assignment, allowed) in [
        ("mqtt.max_topic_len=0", "an integer from 1 to 65535"),
        ("mqtt.max_topic_len=65536", "an integer from 1 to 65535"),
        ("mqtt.max_topic_len=-1", "an integer from 1 to 65535"),
        ("mqtt.max_topic_len=99999999999999999999", "an integer from 1 to 65535"),
        ("mqtt.max_client_id_len=22", "an integer from 23 to 65535"),
        ("mqtt.max_packet_size=1GiB", "from 256 to 268435460"),
        ("mqtt.max_packet_size=1XB", "a number of bytes or a size"),
        ("mqtt.max_packet_size=99999999999TiB", "a number of bytes or a size"),
        ("cluster.gossip_interval=0s", "from 50ms to 10s"),
        ("cluster.gossip_interval=99999999999999999d", "from 50ms to 10s"),
        ("persistence.when_full=drop", "drop_oldest or drop_newest"),
        ("persistence.queue_qos0=yes", "true or false"),
        ("listeners.tcp.default.bind=1883", "an IP address"),
        ("cluster.advertise=0.0.0.0:7946", "that peers can reach"),
        ("cluster.advertise=10.0.0.1:0", "that peers can reach"),
        ("cluster.seeds=a", "a list of HOST:PORT"),
        ("cluster.seeds=a:0", "a list of HOST:PORT"),
        ("cluster.seeds=[1]", "a list of HOST:PORT"),
        ("log.filter=info,=[", "a filter as in info"),
        ("log.filter= A\u{ba8}=", "a filter as in info"),
        ("cluster.name=", "1 to 64 characters"),
    ] {
        let told = refused(&with_set(&[assignment]));
        assert!(told.contains(allowed), "{assignment}: {told}");
    }
    let quoted = refused(&with_file("[mqtt]\nmax_inflight = '5'"));
    assert_eq!(quoted, "mqtt.max_inflight = \"5\" (b.toml:2): allowed is an integer from 1 to 65535");
    let not_a_section = refused(&with_file("cluster = 5"));
    assert_eq!(not_a_section, "cluster = 5 (b.toml:1): is a section, and wants keys, as in [cluster]");
    let no_bind = refused(&with_file("[listeners.tcp.lan]"));
    assert!(no_bind.starts_with("listeners.tcp.lan.bind (default): is missing: an IP address"), "{no_bind}");
}

/// CVE-2026-42209: a 0 where none was thought of became a division by it.
#[test]
fn a_zero_is_refused_where_it_is_not_said_to_be_allowed() {
    let one_of_each = ["tcp", "tls", "ws", "wss", "unix"].map(|kind| format!("listeners.{kind}.default.backlog=1"));
    let (_, reader) = super::super::resolve(&with_set(&one_of_each.each_ref().map(String::as_str)));
    let mut numbers = 0;
    for (key, allowed) in reader.known() {
        let is_number = allowed.contains("an integer") || allowed.contains("a duration") || allowed.contains("bytes");
        let zero = if allowed.contains("a duration") { "0s" } else { "0" };
        if !is_number || allowed.contains("a text") {
            continue;
        }
        numbers += 1;
        let told = load(&with_set(&[&format!("{key}={zero}")]));
        let is_refused = told.as_ref().is_err_and(|problems| problems.iter().any(|problem| problem.key == *key));
        let is_allowed = allowed.contains("from 0");
        assert_eq!(is_refused, !is_allowed, "{key} = {zero}, where allowed is {allowed}: {told:?}");
    }
    assert!(numbers > 30, "{numbers} keys are numbers");
}

#[test]
fn node_names_that_would_leave_the_data_directory_are_refused() {
    for name in ["..", ".", "", "a/b", "é", "a b", &"x".repeat(65)] {
        let sources = Sources { node_name: Some(name.into()), ..machine() };
        assert!(refused(&sources).contains("(--node-name): allowed is 1 to 64 characters"), "{name}");
    }
    let nameless = Sources { machine: Machine { host_name: "(none)".into(), root: true }, ..machine() };
    assert!(refused(&nameless).contains("the host name \"(none)\" does not serve; set node.name"));
    let homeless = Sources { environment: vec![], ..machine() };
    assert!(refused(&homeless).contains("set node.data_dir"));
}

#[test]
fn a_listener_that_strangers_reach_must_allow_it_by_name() {
    let told = refused(&with_set(&["listeners.tcp.lan.bind=0.0.0.0:1883"]));
    assert!(told.contains("listeners.tcp.lan.bind = \"0.0.0.0:1883\" (--set)"), "{told}");
    assert!(told.contains("set listeners.tcp.lan.allow_anonymous = true"), "{told}");
}

#[test]
fn two_listeners_on_one_address_are_told_apart_before_the_kernel_does() {
    let told = refused(&with_set(&["listeners.tcp.a.bind=127.0.0.1:5", "listeners.tcp.b.bind=127.0.0.1:5"]));
    assert!(told.contains("127.0.0.1:5 is also the address of listeners.tcp.a.bind"), "{told}");
    accepted(&with_set(&["listeners.tcp.a.bind=127.0.0.1:0", "listeners.tcp.b.bind=127.0.0.1:0"]));
    let told = refused(&with_set(&["admin.listen=127.0.0.1:1883"]));
    assert!(told.starts_with("admin.listen = "), "the key that was set is named, not the default: {told}");
}

#[test]
fn expiries_that_contradict_each_other_are_refused() {
    let told = refused(&with_set(&["mqtt.max_session_expiry=60", "mqtt.session_expiry=61"]));
    assert!(told.contains("is over mqtt.max_session_expiry = 60"), "{told}");
}

#[test]
fn slips_of_syntax_give_the_line_and_hide_its_text() {
    let told =
        refused(&with_file("[cluster]\nsecret = hunter2hunter2hunter2\n[mqtt]\nmax_inflight = 0\nmax_inflight = 1"));
    assert!(told.contains("b.toml:2"), "{told}");
    assert!(told.contains("max_inflight (b.toml:5): duplicate key"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn values_are_shown_short_and_without_control_characters() {
    let told = refused(&with_set(&[&format!("log.filter=\u{1b}[31m=={}", "x".repeat(500))]));
    assert!(told.contains("\\u{1b}[31m") && told.contains("xxx... (--set)"), "{told}");
    assert!(told.len() < 300, "{told}");
}

/// Found by the fuzzer: the name of a variable was shown as it stood.
#[test]
fn the_name_of_a_variable_is_shown_without_control_characters() {
    let environment = vec![("BROKERD_MQTT__\u{1b}[31mX\n".into(), "1".into())];
    let told = refused(&Sources { environment, ..Sources::default() });
    assert!(!told.contains('\u{1b}') && told.contains("BROKERD_MQTT__\\u{1b}[31mX\\n"), "{told:?}");
}

/// Found by fuzzing: the key that is guessed has a listener's name in it, which somebody gave.
#[test]
fn a_hint_is_shown_without_control_characters() {
    let set = ["listeners.tcp.d\u{8}x.bind=127.0.0.1:0", "listeners.tcp.d\u{8}x.bint=127.0.0.1:0"];
    let told = refused(&Sources { set: set.map(ToString::to_string).to_vec(), ..Sources::default() });
    assert!(!told.contains('\u{8}') && told.contains("did you mean listeners.tcp.d\\u{8}x.bind?"), "{told:?}");
}

#[test]
fn a_missing_or_foreign_file_is_named() {
    let told = FileText::read("/nonexistent/b.toml".as_ref()).unwrap_err().to_string();
    assert!(told.starts_with("--config = /nonexistent/b.toml (--config): cannot be opened"), "{told}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.toml");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(FileText::read(&path).unwrap_err().why.contains("UTF-8"));
    std::fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(FileText::read(&path).unwrap_err().why.contains("over 1 MiB"));
}

#[test]
fn an_address_that_others_reach_needs_a_password_file_or_a_word_for_anonymous_clients() {
    let open = "listeners.tcp.default.bind=0.0.0.0:1883";
    let told = refused(&with_set(&[open]));
    assert!(told.contains("there is no auth.password_file") && told.contains("allow_anonymous = true"), "{told}");
    accepted(&with_set(&[open, "listeners.tcp.default.allow_anonymous=true"]));
    let config = accepted(&with_set(&[open, "auth.password_file=/etc/brokerd/passwords"]));
    assert!(config.listeners.iter().all(|(_, listener)| !listener.allow_anonymous));
    refused(&with_set(&[open, "auth.acl_file=/etc/brokerd/acl.conf"]));
}

#[test]
fn a_wrong_deny_action_is_refused_with_what_is_allowed() {
    assert!(refused(&with_set(&["mqtt.deny_action=shrug"])).contains("allowed is ignore or disconnect"));
}

#[test]
fn a_list_of_tables_says_which_entry_is_wrong_and_why() {
    let rule = "[[rewrite]]\naction = 'all'\nsource = 'a/#'\ndestination = 'b'\n";
    let config = accepted(&with_file(&format!("{rule}{rule}regex = '^a/(.*)$'\n")));
    assert_eq!((config.rewrite.len(), &*config.rewrite[0].regex, &*config.rewrite[1].regex), (2, "^.*$", "^a/(.*)$"));
    for (wrong, why) in [
        ("action = 'no'\nsource = 'a'\ndestination = 'b'", "action = \"no\": allowed is publish, subscribe or all"),
        ("action = 'all'\nsource = 'a#'\ndestination = 'b'", "source = \"a#\" is not a topic filter"),
        ("action = 'all'\nsource = 'a'", "destination is missing"),
        ("action = 'all'\nsource = 'a'\nregex = '('\ndestination = 'b'", "unclosed group"),
        (
            "action = 'all'\nsource = 'a'\ndestination = 'b'\nre = 'x'",
            "re is unknown; there are action, source, regex, destination",
        ),
        ("action = 1\nsource = 'a'\ndestination = 'b'", "action = 1: allowed is a text"),
    ] {
        let lines = refused(&with_file(&format!("{rule}[[rewrite]]\n{wrong}\n")));
        assert!(lines.contains("entry 2: ") && lines.contains(why), "{wrong}:\n{lines}");
    }
    assert!(refused(&with_file("rewrite = ['a']")).contains("allowed is a list of"));
}

#[test]
fn a_queue_priority_wants_a_filter_and_a_number_from_1_to_255() {
    let rule = "[[queue_priority]]\ntopic = 'alarm/#'\npriority = 255\n";
    assert_eq!(accepted(&with_file(rule)).queue_priority[0].priority, 255);
    for (wrong, why) in [
        ("topic = 'a#'\npriority = 1", "topic = \"a#\" is not a topic filter"),
        ("topic = 'a'", "priority is missing"),
        ("topic = 'a'\npriority = 0", "priority = 0: allowed is an integer from 1 to 255"),
        ("topic = 'a'\npriority = 256", "priority = 256: allowed is an integer from 1 to 255"),
        ("topic = 'a'\npriority = 1\nweight = 2", "weight is unknown; there are topic, priority"),
    ] {
        let lines = refused(&with_file(&format!("{rule}[[queue_priority]]\n{wrong}\n")));
        assert!(lines.contains("entry 2: ") && lines.contains(why), "{wrong}:\n{lines}");
    }
    assert!(refused(&with_set(&["persistence.default_priority=middle"])).contains("allowed is lowest or highest"));
}

#[test]
fn each_way_of_discovery_says_what_it_needs() {
    let secret = "cluster.secret=sixteen bytes or more";
    for (sets, why) in [
        (&["cluster.discovery=mdns"][..], "allowed is static, dns, etcd or kubernetes"),
        (&["cluster.discovery=dns"], "cluster.dns.name (default): is missing"),
        (&["cluster.discovery=etcd"], "cluster.etcd.endpoints (default): is missing"),
        (&["cluster.discovery=kubernetes"], "cluster.kubernetes.service (default): is missing"),
        (&["cluster.dns.name=a..b"], "a name of DNS"),
        (&["cluster.dns.record=mx"], "allowed is a, srv or auto"),
        (&["cluster.dns.server=10.0.0.1:0"], "an IP address and a port"),
        (&["cluster.etcd.endpoints=10.0.0.1:2379"], "a list of URLs"),
        (&["cluster.etcd.endpoints=http://a:2379/path"], "a list of URLs"),
        (&["cluster.etcd.prefix=/a/"], "1 to 128 printable"),
        (&["cluster.etcd.ttl=1s"], "from 2s to 1h"),
        (&["cluster.discovery=etcd", "cluster.etcd.endpoints=https://a:2379"], "cluster.etcd.ca_file"),
        (
            &["cluster.discovery=etcd", "cluster.etcd.endpoints=http://127.0.0.1:1", "cluster.etcd.user=u"],
            "cluster.etcd.user = \"u\" (--set): wants cluster.etcd.password_file too",
        ),
        (
            &[
                "cluster.discovery=etcd",
                "cluster.etcd.endpoints=http://10.0.0.1:2379",
                "cluster.etcd.user=u",
                "cluster.etcd.password_file=/p",
            ],
            "would send the password in the clear",
        ),
        (
            &["cluster.discovery=kubernetes", "cluster.kubernetes.service=b", "cluster.kubernetes.api=http://10.0.0.1"],
            "would send the token in the clear",
        ),
    ] {
        let told = refused(&with_set(&[sets, &[secret]].concat()));
        assert!(told.contains(why), "{sets:?}: {told}");
        assert_eq!(told.lines().count(), 1, "{sets:?}: {told}");
    }
    let told = refused(&with_set(&["cluster.discovery=dns", "cluster.dns.name=a"]));
    assert!(told.contains("no clustering without a secret"), "{told}");
    let config = accepted(&with_set(&["cluster.discovery=dns", "cluster.dns.name=_g._udp.a", secret]));
    let Discovery::Dns(dns) = config.cluster.discovery else { panic!("{:?}", config.cluster.discovery) };
    assert_eq!((dns.record, dns.port), (DnsRecord::Srv, 7946));
}
