//! Memory of the broker for each connection that has said CONNECT and then nothing. Owns the connections until it has
//! looked twice; never counts what the kernel holds.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::BrokerArgs;
use crate::client::Client;
use crate::process;
use crate::report::Report;

/// Connections from one source address: the kernel has some 28,000 ports for each.
const PER_ADDRESS: u32 = 20_000;

/// Connects, and looks at the broker's memory before and after.
pub(crate) fn measure(broker: &BrokerArgs, connections: u32) -> Report {
    let warm: Vec<_> = (0..100).map(|number| connect(broker, number, "warm")).collect();
    drop(warm);
    settle();
    let before = process::memory(broker.pid);
    let clients: Vec<_> = (0..connections).map(|number| connect(broker, number, "idle")).collect();
    settle();
    let after = process::memory(broker.pid);
    let each = |bytes: i64| bytes as f64 / f64::from(connections.max(1));
    let report = Report::of("idle")
        .with("connections", clients.len())
        .with("resident_before", before.resident)
        .with("resident_after", after.resident)
        .with_figure("bytes_per_connection", each(after.resident - before.resident))
        .with_figure("anonymous_per_connection", each(after.anonymous - before.anonymous));
    drop(clients);
    report
}

fn connect(broker: &BrokerArgs, number: u32, name: &str) -> Client {
    let source = Ipv4Addr::new(127, 0, 0, 1 + (number / PER_ADDRESS) as u8);
    let from = broker.target.ip().is_loopback().then_some(IpAddr::V4(source));
    Client::connect(broker.target, from, &format!("{name}-{}-{number}", std::process::id()))
}

/// There is no event for an allocator that has come to rest.
fn settle() {
    #[allow(clippy::disallowed_methods, reason = "this process has no worker to stop")]
    std::thread::sleep(Duration::from_secs(2));
}
