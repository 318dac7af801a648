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
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

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
        tokio::select! {
            () = signals.obey(stop.clone()) => Ok(()),
            served = serve(config, &stop) => served,
        }
    })
}

/// Runs the node until `stop`, or until it cannot go on. Each line that it prints is read by scripts: see README.
async fn serve(config: &Config, stop: &CancellationToken) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?; // from here on it does not end the process
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
    let failure = loop {
        tokio::select! {
            () = stop.cancelled() => break None,
            why = broker.failed() => break Some(why),
            _ = hangup.recv() => broker.reload().await,
        }
    };
    broker.stop().await;
    failure.map_or(Ok(()), |why| Err(anyhow::anyhow!("gossip ended: {why}")))
}

fn announce(config: &Config, broker: &Broker) {
    println!("brokerd {} is node {}, data in {}", broker::VERSION, config.node.name, config.node.data_dir.display());
    println!("admin listening on {}", broker.admin_endpoint());
    match broker.cluster_address() {
        Some(address) => println!("cluster {} listening on {address} (gossip and peers)", config.cluster.name),
        None => println!("cluster off: no `cluster.secret` (make one with `brokerctl cluster keygen`)"),
    }
}
