//! The broker's process: reads what the operator wants, runs the node, stops it at a signal. Owns the exit code.

use std::io::{stderr, stdout};
use std::ops::ControlFlow;
use std::process::ExitCode;

use brokerd::broker::Broker;
use brokerd::cli::Cli;
use brokerd::config::{Config, Machine};
use brokerd::shutdown::Signals;
use brokerd::{limits, telemetry};
use clap::Parser;
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

async fn serve(config: &Config, stop: &CancellationToken) -> anyhow::Result<()> {
    let broker = Broker::start(config).await?;
    for listener in &broker.listeners {
        println!("mqtt {} listening on {}", listener.id(), listener.bind);
    }
    println!("ready");
    stop.cancelled().await;
    broker.stop().await;
    Ok(())
}
