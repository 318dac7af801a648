//! Time from SUBSCRIBE to SUBACK. One subscription at a time, so that no queue is measured.

use std::net::SocketAddr;
use std::time::Instant;

use crate::client::Client;
use crate::report::Report;

/// Subscribes to fresh filters at the targets in turn.
pub(crate) fn measure(targets: &[SocketAddr], rounds: u32) -> Report {
    let run = std::process::id();
    let connect =
        |(number, target): (usize, &SocketAddr)| Client::connect(*target, None, &format!("suback-{run}-{number}"));
    let mut clients: Vec<_> = targets.iter().enumerate().map(connect).collect();
    let mut times = Vec::with_capacity(rounds as usize);
    for round in 0..rounds {
        let index = round as usize % clients.len();
        let filter = format!("suback/{run}/{round}/+");
        let started = Instant::now();
        clients[index].subscribe(&filter, 0);
        times.push(started.elapsed().as_nanos() as u64);
    }
    Report::of("suback").with("targets", targets.len()).with("rounds", rounds).with_percentiles("suback", &mut times)
}
