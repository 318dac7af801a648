//! Measures a broker from outside: messages a second, latency from the intended time of sending, CPU a delivery, memory
//! a connection, time to SUBACK. One thread and epoll, so that it is not what is measured. Never starts a broker.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that cannot go on says so by panicking")]

mod client;
mod idle;
mod pairs;
mod process;
mod report;
mod suback;

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};

/// Measure a broker.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Point to point at a fixed rate, whatever the broker does (open loop)
    P2p {
        #[command(flatten)]
        pairs: PairsArgs,
        /// Messages a second, over all pairs
        #[arg(long, default_value_t = 20_000)]
        rate: u64,
    },
    /// Point to point as fast as the broker delivers (closed loop)
    P2pClosed {
        #[command(flatten)]
        pairs: PairsArgs,
        /// Messages of a pair that are on their way at a time
        #[arg(long, default_value_t = 16)]
        window: u64,
    },
    /// Bytes of the broker's memory for each connection that does nothing
    Idle {
        #[command(flatten)]
        broker: BrokerArgs,
        /// How many
        #[arg(long, default_value_t = 10_000)]
        connections: u32,
    },
    /// Time from SUBSCRIBE to SUBACK, a fresh filter each time, the targets in turn
    Suback {
        /// Brokers, with commas between them
        #[arg(long, value_delimiter = ',', required = true)]
        targets: Vec<SocketAddr>,
        /// Subscriptions
        #[arg(long, default_value_t = 3_000)]
        rounds: u32,
    },
}

#[derive(Args, Debug)]
struct BrokerArgs {
    /// Address of the broker
    #[arg(long)]
    target: SocketAddr,
    /// Process id of the broker
    #[arg(long)]
    pid: u32,
}

#[derive(Args, Debug)]
struct PairsArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// Publishers, each with a subscriber of its own
    #[arg(long, default_value_t = 50)]
    pairs: usize,
    /// QoS of publications and subscriptions
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// Bytes of a payload
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Seconds that are measured, after one that is not
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

fn main() {
    process::raise_open_files();
    let report = match Cli::parse().scenario {
        Scenario::P2p { pairs, rate } => pairs::open_loop(&pairs, rate),
        Scenario::P2pClosed { pairs, window } => pairs::closed_loop(&pairs, window),
        Scenario::Idle { broker, connections } => idle::measure(&broker, connections),
        Scenario::Suback { targets, rounds } => suback::measure(&targets, rounds),
    };
    report.print();
}
