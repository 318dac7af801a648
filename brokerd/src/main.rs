//! The broker's process: reads what the operator wants, runs the node, stops it at a signal. Owns the exit code.

use std::io::{stderr, stdout};
use std::ops::ControlFlow;
use std::process::ExitCode;

use brokerd::broker::{self, Broker};
use brokerd::cli::Cli;
use brokerd::config::{Config, Machine};
use brokerd::shutdown::Signals;
use brokerd::{limits, telemetry};
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Chosen by measurement: docs/decisions/0010. What is freed goes back to the system within seconds.
#[cfg(not(target_env = "musl"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let environment = std::env::vars_os().collect();
    let config = match cli.configure(environment, Machine::here(), &mut stdout(), &mut stderr()) {
        ControlFlow::Continue(config) => config,
        ControlFlow::Break(code) => return ExitCode::from(code),
    };
    match run(&cli, &config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("brokerd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli, config: &Config) -> anyhow::Result<()> {
    telemetry::init(&config.log.filter, cli.verbose)?;
    let (before, after) = limits::raise_open_files();
    tracing::debug!(before, after, "open files");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let signals = Signals::install()?;
        let hangups = signal(SignalKind::hangup())?; // from the start: else one that comes early ends the process
        tokio::select! {
            () = signals.obey(stop.clone()) => Ok(()),
            served = serve(cli, config, hangups, &stop) => served,
        }
    })
}

/// Runs the node until `stop`, or until it cannot go on. Each line that it prints is read by scripts: see README.
async fn serve(cli: &Cli, config: &Config, hangups: Signal, stop: &CancellationToken) -> anyhow::Result<()> {
    let starting = Broker::start(config, |broker| announce(config, broker));
    let broker = tokio::select! {
        broker = starting => broker?,
        () = stop.cancelled() => return Ok(()),
    };
    if broker.cluster_address().is_none() {
        announce(config, &broker);
    }
    for listener in broker.listeners().iter() {
        println!("mqtt {} listening on {}", listener.id(), listener.config.bind);
    }
    println!("ready");
    let failure = tokio::select! {
        () = stop.cancelled() => None,
        why = broker.failed() => Some(why),
        () = obey_hangups(cli, &broker, hangups) => None,
    };
    broker.stop().await;
    failure.map_or(Ok(()), |why| Err(anyhow::anyhow!("gossip ended: {why}")))
}

/// Reads users, rules, certificates and the secrets of the cluster again at each SIGHUP, for as long as the node runs.
async fn obey_hangups(cli: &Cli, broker: &Broker, mut hangups: Signal) {
    while hangups.recv().await.is_some() {
        if let Err(why) = broker.reload_access().await {
            tracing::error!(%why, "users and rules stay as they were");
        }
        if let Err(why) = broker.reload_certificates().await {
            tracing::error!(%why, "certificates stay as they were");
        }
        match cli.load(std::env::vars_os().collect(), Machine::here()) {
            Ok(config) => broker.exchange_secrets(&config.cluster),
            Err(problems) => {
                for problem in problems {
                    tracing::error!(%problem, "the secrets of the cluster stay as they were");
                }
            }
        }
    }
    std::future::pending().await // the runtime is about to end
}

fn announce(config: &Config, broker: &Broker) {
    println!("brokerd {} is node {}, data in {}", broker::VERSION, config.node.name, config.node.data_dir.display());
    println!("admin listening on {}", broker.admin_endpoint());
    if let Some(address) = broker.health_address() {
        println!("health listening on {address}");
    }
    match broker.cluster_address() {
        Some(address) => println!("cluster {} listening on {address} (gossip and peers)", config.cluster.name),
        None => println!("cluster off: no `cluster.secret` (make one with `brokerctl cluster keygen`)"),
    }
}
