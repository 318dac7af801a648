//! Every key with its default and range. Owns this table; rules between keys are in `rules`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::notation::{address, is_host_and_port, is_name, is_path, loopback, parse_duration};
use super::reader::Reader;
use super::{
    Admin, Auth, AutoSubscribe, Backend, Cluster, Commit, Config, DefaultPriority, DenyAction, Disk, Endpoint, Health,
    Log, Mqtt, Node, Persistence, QueuePriority, Rewrite, RewriteAction, Secret, SharedStrategy, Sources, Sys,
    WhenFull, discovery, listeners,
};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
const TIB: usize = 1 << 40;
/// A count that fits every table, and whose product with the size of a row is far from overflow.
const BILLION: usize = 1_000_000_000;
/// Remaining Length of 268,435,455, its four bytes and the first byte [MQTT-2.1.4].
const LARGEST_PACKET: u32 = 268_435_460;

const ADDRESS: &str = "an IP address (or localhost) and a port, as in 127.0.0.1:1883; port 0 lets the kernel choose";
const REFERENCE: &str = "a text of 1 to 1024 bytes without blanks, as in b1.example.org:1883";
const WAIT: &str = "a time with its unit (ms, s, m, h, d), from 0s to 1h";
const NAME: &str = "1 to 64 characters of A-Z a-z 0-9 . _ @ -";

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// All sections.
pub(super) fn read(reader: &mut Reader, sources: &Sources) -> Config {
    for section in ["node", "listeners", "auth", "mqtt", "persistence", "sys", "cluster", "admin", "health", "log"] {
        reader.section(section);
    }
    Config {
        node: node(reader, sources),
        listeners: listeners::read(reader),
        auth: auth(reader),
        mqtt: mqtt(reader),
        persistence: persistence(reader),
        rewrite: rewrite(reader),
        auto_subscribe: auto_subscribe(reader),
        queue_priority: queue_priority(reader),
        sys: sys(reader),
        cluster: cluster(reader),
        admin: admin(reader),
        health: health(reader),
        log: log(reader),
    }
}

/// What is said of keys that other versions have.
pub(super) fn reserved(key: &str) -> Option<&'static str> {
    let mut levels = key.split('.');
    match (levels.next()?, levels.next()?) {
        ("listeners", "tcp" | "tls" | "ws" | "wss" | "unix") => None,
        ("listeners", "ssl") => Some("this kind is called tls, as in listeners.tls.default.bind"),
        ("listeners", _) => {
            Some("this version has the kinds tcp, tls, ws, wss and unix, as in listeners.tcp.default.bind")
        }
        ("cluster", "discovery") => Some("this version says it in one word, as in cluster.discovery = \"dns\""),
        ("admin", "tls" | "tokens") => Some("this version serves admin.listen on a Unix socket or loopback only"),
        _ => None,
    }
}

fn node(r: &mut Reader, sources: &Sources) -> Node {
    let given = r.text("node.name", NAME, |text| is_name(text).then(|| text.to_owned()));
    let name = given.unwrap_or_else(|| sources.machine.host_name.clone());
    if !r.is_set("node.name") && !is_name(&name) {
        r.refuse("node.name", format!("the host name \"{name}\" does not serve; set node.name to {NAME}"));
    }
    let path = |text: &str| is_path(text).then(|| PathBuf::from(text));
    let data_dir = r.text("node.data_dir", "a path", path).or_else(|| {
        let default = default_data_dir(sources, &name);
        if default.is_none() && !r.is_set("node.data_dir") {
            r.refuse("node.data_dir", "neither HOME nor XDG_STATE_HOME says where it should be: set node.data_dir");
        }
        default
    });
    Node {
        name,
        data_dir: data_dir.unwrap_or_default(),
        workers: r.integer("node.workers", 0, 0..=1024),
        worker_queue: r.size("node.worker_queue", 64 * MIB, 64 * KIB..=4 * GIB),
        server_reference: r
            .text("node.server_reference", REFERENCE, |text| is_reference(text).then(|| text.to_owned())),
        drain_rate: r.integer("node.drain_rate", 500, 1..=1_000_000),
        drain_wait: r.text("node.drain_wait", WAIT, wait).unwrap_or(secs(5)),
    }
}

/// A blank would make two of it [5.0 section 4.11].
fn is_reference(text: &str) -> bool {
    (1..=1024).contains(&text.len()) && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn wait(text: &str) -> Option<Duration> {
    parse_duration(text).filter(|it| *it <= secs(3600))
}

fn default_data_dir(sources: &Sources, name: &str) -> Option<PathBuf> {
    if sources.machine.root {
        return Some(PathBuf::from("/var/lib/brokerd").join(name));
    }
    // The XDG specification ignores a path that is not absolute.
    let state = sources.variable("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || Some(PathBuf::from(sources.variable("HOME")?).join(".local/state"));
    Some(state.or_else(home)?.join("brokerd").join(name))
}

fn auth(r: &mut Reader) -> Auth {
    let path = |text: &str| is_path(text).then(|| PathBuf::from(text));
    Auth {
        password_file: r.text("auth.password_file", "a path", path),
        acl_file: r.text("auth.acl_file", "a path", path),
        hash_threads: r.integer("auth.hash_threads", 0, 0..=64),
        hash_queue: r.integer("auth.hash_queue", 1000, 0..=1_000_000),
        cache_size: r.integer("auth.cache_size", 100_000, 0..=100_000_000),
    }
}

const SHARED_STRATEGIES: &str = "round_robin, random, sticky, local, hash_clientid or hash_topic";

fn mqtt(r: &mut Reader) -> Mqtt {
    let deny_action = |text: &str| match text {
        "ignore" => Some(DenyAction::Ignore),
        "disconnect" => Some(DenyAction::Disconnect),
        _ => None,
    };
    let strategy = |text: &str| match text {
        "round_robin" => Some(SharedStrategy::RoundRobin),
        "random" => Some(SharedStrategy::Random),
        "sticky" => Some(SharedStrategy::Sticky),
        "local" => Some(SharedStrategy::Local),
        "hash_clientid" => Some(SharedStrategy::HashClientId),
        "hash_topic" => Some(SharedStrategy::HashTopic),
        _ => None,
    };
    Mqtt {
        max_packet_size: r.size("mqtt.max_packet_size", 1 << 20, 256..=LARGEST_PACKET),
        max_connect_size: r.size("mqtt.max_connect_size", 256 * 1024, 256..=LARGEST_PACKET),
        max_partial_bytes: r.size("mqtt.max_partial_bytes", 256 * MIB, MIB..=TIB),
        connect_timeout: r.duration("mqtt.connect_timeout", secs(10), ms(100)..=secs(3600)),
        receive_maximum: r.integer("mqtt.receive_maximum", 1000, 1..=u16::MAX),
        max_inflight: r.integer("mqtt.max_inflight", 100, 1..=u16::MAX),
        max_topic_levels: r.integer("mqtt.max_topic_levels", 128, 1..=u16::MAX),
        max_user_properties: r.integer("mqtt.max_user_properties", 1000, 1..=BILLION),
        max_topic_len: r.integer("mqtt.max_topic_len", u16::MAX, 1..=u16::MAX),
        max_subscription_len: r.integer("mqtt.max_subscription_len", u16::MAX, 1..=u16::MAX),
        // A server must take ids of 1 to 23 bytes [MQTT-3.1.3-5].
        max_client_id_len: r.integer("mqtt.max_client_id_len", u16::MAX, 23..=u16::MAX),
        max_subscriptions: r.integer("mqtt.max_subscriptions", 0, 0..=BILLION),
        topic_alias_maximum: r.integer("mqtt.topic_alias_maximum", 32, 0..=u16::MAX),
        topic_alias_out: r.integer("mqtt.topic_alias_out", 16, 0..=u16::MAX),
        max_keep_alive: r.integer("mqtt.max_keep_alive", 0, 0..=u16::MAX),
        session_expiry: r.integer("mqtt.session_expiry", 7200, 0..=u32::MAX),
        max_session_expiry: r.integer("mqtt.max_session_expiry", u32::MAX, 0..=u32::MAX),
        write_buffer: r.size("mqtt.write_buffer", 64 * KIB, KIB..=GIB),
        max_qos: r.integer("mqtt.max_qos", 2, 0..=2),
        retain_available: r.boolean("mqtt.retain_available", true),
        wildcard_subscription: r.boolean("mqtt.wildcard_subscription", true),
        subscription_identifiers: r.boolean("mqtt.subscription_identifiers", true),
        max_delayed: r.integer("mqtt.max_delayed", 100_000, 0..=BILLION),
        max_delayed_bytes: r.size("mqtt.max_delayed_bytes", 64 * MIB, 0..=TIB),
        response_information: r
            .text("mqtt.response_information", "a text of at most 1024 bytes, without NUL", |text| {
                (text.len() <= 1024 && !text.contains('\0')).then(|| text.to_owned())
            })
            .unwrap_or_default(),
        deny_action: r.text("mqtt.deny_action", "ignore or disconnect", deny_action).unwrap_or(DenyAction::Ignore),
        shared_subscription: r.boolean("mqtt.shared_subscription", true),
        shared_strategy: r
            .text("mqtt.shared_strategy", SHARED_STRATEGIES, strategy)
            .unwrap_or(SharedStrategy::RoundRobin),
        exclusive_subscription: r.boolean("mqtt.exclusive_subscription", false),
    }
}

fn persistence(r: &mut Reader) -> Persistence {
    let policy = |text: &str| match text {
        "drop_oldest" => Some(WhenFull::DropOldest),
        "drop_newest" => Some(WhenFull::DropNewest),
        _ => None,
    };
    let rank = |text: &str| match text {
        "lowest" => Some(DefaultPriority::Lowest),
        "highest" => Some(DefaultPriority::Highest),
        _ => None,
    };
    let backend = |text: &str| match text {
        "memory" => Some(Backend::Memory),
        "disk" => Some(Backend::Disk),
        "redis" => Some(Backend::Redis),
        "postgres" => Some(Backend::Postgres),
        "mysql" => Some(Backend::Mysql),
        _ => None,
    };
    let commit = |text: &str| match text {
        "group" => Some(Commit::Group),
        "every" => Some(Commit::Every),
        "none" => Some(Commit::None),
        _ => None,
    };
    Persistence {
        backend: r
            .text("persistence.backend", "memory, disk, redis, postgres or mysql", backend)
            .unwrap_or(Backend::Memory),
        commit: r.text("persistence.commit", "group, every or none", commit).unwrap_or(Commit::Group),
        pending_bytes: r.size("persistence.pending_bytes", 64 * MIB, MIB..=TIB),
        disk: Disk {
            reserve: r.size("persistence.disk.reserve", 256 * MIB, 0..=TIB) as u64,
            cache: r.size("persistence.disk.cache", 16 * MIB, MIB..=TIB) as u64,
            journal: r.size("persistence.disk.journal", 64 * MIB, 64 * MIB..=TIB) as u64,
        },
        redis: super::redis::read(r),
        postgres: super::sql::read(r, "persistence.postgres", 5432),
        mysql: super::sql::read(r, "persistence.mysql", 3306),
        queue_depth: r.integer("persistence.queue_depth", 1000, 1..=BILLION),
        queue_bytes: r.size("persistence.queue_bytes", 8 * MIB, KIB..=TIB),
        when_full: r
            .text("persistence.when_full", "drop_oldest or drop_newest", policy)
            .unwrap_or(WhenFull::DropOldest),
        queue_qos0: r.boolean("persistence.queue_qos0", false),
        default_priority: r
            .text("persistence.default_priority", "lowest or highest", rank)
            .unwrap_or(DefaultPriority::Lowest),
        max_offline_sessions: r.integer("persistence.max_offline_sessions", 1_000_000, 0..=BILLION),
        max_retained: r.integer("persistence.max_retained", 1_000_000, 0..=BILLION),
        max_retained_bytes: r.size("persistence.max_retained_bytes", GIB, 0..=TIB),
    }
}

fn rewrite(r: &mut Reader) -> Vec<Rewrite> {
    let allowed = "a list of at most 256 tables of action (publish, subscribe or all), source, regex and destination";
    r.tables("rewrite", allowed, |row| {
        let action = match row.needed("action")? {
            "publish" => RewriteAction::Publish,
            "subscribe" => RewriteAction::Subscribe,
            "all" => RewriteAction::All,
            other => return Err(format!("action = \"{other}\": allowed is publish, subscribe or all")),
        };
        let source = row.filter("source")?.to_owned();
        let regex = row.text("regex")?.unwrap_or("^.*$").to_owned();
        if let Err(error) = regex::Regex::new(&regex) {
            let why = error.to_string();
            return Err(format!("regex = \"{regex}\": {}", why.lines().last().unwrap_or_default()));
        }
        Ok(Rewrite { action, source, regex, destination: row.needed("destination")?.to_owned() })
    })
}

fn auto_subscribe(r: &mut Reader) -> Vec<AutoSubscribe> {
    let allowed = "a list of at most 256 tables of topic, qos, no_local, retain_as_published and retain_handling";
    r.tables("auto_subscribe", allowed, |row| {
        Ok(AutoSubscribe {
            topic: row.filter("topic")?.to_owned(),
            qos: row.up_to_two("qos")?,
            no_local: row.boolean("no_local")?,
            retain_as_published: row.boolean("retain_as_published")?,
            retain_handling: row.up_to_two("retain_handling")?,
        })
    })
}

fn queue_priority(r: &mut Reader) -> Vec<QueuePriority> {
    r.tables("queue_priority", "a list of at most 256 tables of topic and priority", |row| {
        Ok(QueuePriority { topic: row.filter("topic")?.to_owned(), priority: row.priority("priority")? })
    })
}

fn sys(r: &mut Reader) -> Sys {
    let allowed = "0s, or a time with its unit (ms, s, m, h, d), from 100ms to 1d";
    let fits = |it: &Duration| it.is_zero() || (ms(100)..=secs(86_400)).contains(it);
    Sys { interval: r.text("sys.interval", allowed, |text| parse_duration(text).filter(fits)).unwrap_or(secs(60)) }
}

fn cluster(r: &mut Reader) -> Cluster {
    let longest_wait = secs(60);
    let seed = "a list of HOST:PORT, as in [\"10.0.0.1:7946\", \"10.0.0.2:7946\"]";
    let peer_address = "an IP address that peers can reach and a port, as in 10.0.0.1:7946";
    let reachable = |it: &SocketAddr| it.port() != 0 && !it.ip().is_unspecified();
    Cluster {
        name: r
            .text("cluster.name", NAME, |text| is_name(text).then(|| text.to_owned()))
            .unwrap_or_else(|| "brokerd".into()),
        bind: r.text("cluster.bind", ADDRESS, address).unwrap_or(loopback(7946)),
        advertise: r.text("cluster.advertise", peer_address, |text| address(text).filter(reachable)),
        seeds: r.list("cluster.seeds", seed, |text| is_host_and_port(text).then(|| text.to_owned())),
        discovery: discovery::read(r),
        secret: r.text("cluster.secret", "a text of 16 bytes or more", |text| Some(Secret::new(text.to_owned()))),
        accept_secrets: r.list("cluster.accept_secrets", "a list of at most 3 texts of 16 bytes or more", |text| {
            Some(Secret::new(text.to_owned()))
        }),
        protocol: r.integer("cluster.protocol", 2, 1..=2),
        subscribe_timeout: r.duration("cluster.subscribe_timeout", ms(500), ms(1)..=longest_wait),
        claim_timeout: r.duration("cluster.claim_timeout", ms(500), ms(1)..=longest_wait),
        join_timeout: r.duration("cluster.join_timeout", secs(5), ms(100)..=secs(3600)),
        // A ping goes every 500 ms: below two of them a healthy stream would be called gone.
        peer_timeout: r.duration("cluster.peer_timeout", secs(2), secs(1)..=secs(3600)),
        down_after: r.duration("cluster.down_after", secs(5), secs(1)..=secs(3600)),
        route_grace: r.duration("cluster.route_grace", secs(60), ms(0)..=secs(86_400)),
        tombstone_ttl: r.duration("cluster.tombstone_ttl", secs(7 * 86_400), secs(1)..=secs(365 * 86_400)),
        gossip_interval: r.duration("cluster.gossip_interval", ms(250), ms(50)..=secs(10)),
        max_clock_skew: r.duration("cluster.max_clock_skew", secs(60), secs(1)..=secs(86_400)),
        peer_queue: r.size("cluster.peer_queue", 16 * MIB, 64 * KIB..=4 * GIB),
        max_wills_bytes: r.size("cluster.max_wills_bytes", 64 * MIB, 0..=64 * GIB),
    }
}

fn admin(r: &mut Reader) -> Admin {
    let allowed = "auto, unix:PATH (of at most 107 bytes), or a loopback HOST:PORT";
    let parse = |text: &str| match text.strip_prefix("unix:") {
        // The kernel's sockaddr_un holds 108 bytes, with the final zero.
        Some(path) => (is_path(path) && path.len() <= 107).then(|| Endpoint::Unix(path.into())),
        None if text == "auto" => Some(Endpoint::Auto),
        None => address(text).filter(|it| it.ip().is_loopback()).map(Endpoint::Tcp),
    };
    Admin { listen: r.text("admin.listen", allowed, parse).unwrap_or(Endpoint::Auto) }
}

fn health(r: &mut Reader) -> Health {
    Health { listen: r.text("health.listen", ADDRESS, address) }
}

fn log(r: &mut Reader) -> Log {
    let allowed = "a filter as in info, brokerd=debug or info,brokerd::cluster=trace";
    let parse = |text: &str| {
        // Its parser cuts the text at byte 4 of a directive: a character of several bytes there would make it panic.
        let readable = !text.is_empty() && text.is_ascii() && tracing_subscriber::EnvFilter::try_new(text).is_ok();
        readable.then(|| text.to_owned())
    };
    Log { filter: r.text("log.filter", allowed, parse).unwrap_or_else(|| "info".into()) }
}
