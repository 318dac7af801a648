//! What stands under `$SYS`, by the names of EMQX and, for what is commonly watched there, of mosquitto. Never
//! publishes.

use std::time::Duration;

use super::load::Loads;
use super::{Figures, date};

/// The node at one moment.
pub(super) struct Snapshot<'a> {
    pub(super) node: &'a str,
    pub(super) version: &'a str,
    pub(super) uptime: Duration,
    pub(super) unix_seconds: u64,
    pub(super) figures: &'a Figures,
    pub(super) metrics: &'a [(&'static str, u64)],
    pub(super) loads: &'a Loads,
}

/// mosquitto's name of a figure, and ours: of a counter. Its `messages` are packets of any type.
const COUNTERS: [(&str, &str); 8] = [
    ("messages/received", "packets.received"),
    ("messages/sent", "packets.sent"),
    ("bytes/received", "bytes.received"),
    ("bytes/sent", "bytes.sent"),
    ("publish/messages/received", "messages.received"),
    ("publish/messages/sent", "messages.sent"),
    ("publish/messages/dropped", "delivery.dropped"),
    ("clients/expired", "session.terminated"),
];

/// The same: of a figure of `broker stats`.
const STATS: [(&str, &str); 4] = [
    ("clients/total", "connections.count"),
    ("clients/connected", "live_connections.count"),
    ("subscriptions/count", "subscriptions.count"),
    ("retained messages/count", "retained.count"),
];

/// Every topic with its value.
pub(super) fn values(snapshot: &Snapshot<'_>) -> Vec<(String, String)> {
    let mut values = vec![("$SYS/brokers".to_owned(), snapshot.figures.brokers.join(","))];
    emqx(snapshot, &mut values);
    mosquitto(snapshot, &mut values);
    values
}

fn emqx(snapshot: &Snapshot<'_>, values: &mut Vec<(String, String)>) {
    let own = format!("$SYS/brokers/{}", snapshot.node);
    let mut put = |name: &str, value: String| values.push((format!("{own}/{name}"), value));
    put("version", snapshot.version.to_owned());
    put("uptime", snapshot.uptime.as_millis().to_string());
    put("datetime", date::rfc3339(snapshot.unix_seconds));
    put("sysdescr", "brokerd".to_owned());
    for (name, count) in &snapshot.figures.stats {
        put(&format!("stats/{}", name.replace('.', "/")), count.to_string());
    }
    for (name, count) in snapshot.metrics {
        put(&format!("metrics/{}", name.replace('.', "/")), count.to_string());
    }
}

fn mosquitto(snapshot: &Snapshot<'_>, values: &mut Vec<(String, String)>) {
    let mut put = |name: &str, value: String| values.push((format!("$SYS/broker/{name}"), value));
    let of = |all: &[(&str, u64)], name: &str| all.iter().find(|(known, _)| *known == name).map_or(0, |found| found.1);
    let stats = &snapshot.figures.stats;
    put("version", format!("brokerd version {}", snapshot.version));
    put("uptime", format!("{} seconds", snapshot.uptime.as_secs()));
    for (name, ours) in COUNTERS {
        put(name, of(snapshot.metrics, ours).to_string());
    }
    for (name, ours) in STATS {
        put(name, of(stats, ours).to_string());
    }
    let away = of(stats, "connections.count").saturating_sub(of(stats, "live_connections.count"));
    put("clients/disconnected", away.to_string());
    for (name, span, average) in snapshot.loads.averages() {
        put(&format!("load/{name}/{span}"), format!("{average:.2}"));
    }
}
