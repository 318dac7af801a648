//! The tree without a broker.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use super::load::Loads;
use super::tree::{Snapshot, values};
use super::{Figures, LIMITS};

const METRICS: &[(&str, u64)] = &[("packets.received", 120), ("messages.qos1.received", 7), ("delivery.dropped", 0)];

fn tree(loads: &Loads) -> BTreeMap<String, String> {
    let figures = Figures {
        brokers: vec!["b1".into(), "b2".into()],
        stats: vec![("connections.count", 5), ("live_connections.count", 3)],
    };
    let all = values(&Snapshot {
        node: "b1",
        version: "1.2.3",
        uptime: Duration::from_millis(61_500),
        unix_seconds: 0,
        figures: &figures,
        metrics: METRICS,
        loads,
    });
    let count = all.len();
    let tree: BTreeMap<_, _> = all.into_iter().collect();
    assert_eq!(tree.len(), count, "a topic stands twice");
    tree
}

#[test]
fn values_stand_under_the_names_of_emqx_and_of_mosquitto() {
    let tree = tree(&Loads::default());
    for (topic, value) in [
        ("$SYS/brokers", "b1,b2"),
        ("$SYS/brokers/b1/version", "1.2.3"),
        ("$SYS/brokers/b1/uptime", "61500"),
        ("$SYS/brokers/b1/datetime", "1970-01-01T00:00:00Z"),
        ("$SYS/brokers/b1/sysdescr", "brokerd"),
        ("$SYS/brokers/b1/stats/connections/count", "5"),
        ("$SYS/brokers/b1/metrics/messages/qos1/received", "7"),
        ("$SYS/broker/version", "brokerd version 1.2.3"),
        ("$SYS/broker/uptime", "61 seconds"),
        ("$SYS/broker/clients/total", "5"),
        ("$SYS/broker/clients/connected", "3"),
        ("$SYS/broker/clients/disconnected", "2"),
        ("$SYS/broker/messages/received", "120"),
        ("$SYS/broker/load/messages/received/15min", "0.00"),
    ] {
        assert_eq!(tree.get(topic).map(String::as_str), Some(value), "{topic}");
    }
}

#[test]
fn a_steady_rate_becomes_the_load_and_the_short_average_is_there_first() {
    let mut loads = Loads::default();
    for minute in 1..=3_u64 {
        loads.observe(&[("packets.received", minute * 600)], Duration::from_secs(60));
    }
    let tree = tree(&loads);
    let load = |span: &str| tree[&format!("$SYS/broker/load/messages/received/{span}")].parse::<f64>().unwrap();
    let expected = |span: f64| 600.0 * (1.0 - (-180.0 / span).exp());
    for (name, span) in [("1min", 60.0), ("5min", 300.0), ("15min", 900.0)] {
        assert!((load(name) - expected(span)).abs() < 0.01, "{name}: {} is not {}", load(name), expected(span));
    }
}

#[test]
fn the_store_has_room_for_every_counter_several_times() {
    let topics = crate::metrics::NAMES.len() + 64;
    assert!(topics * 4 < LIMITS.max_messages && LIMITS.max_messages * 512 <= LIMITS.max_bytes);
}
