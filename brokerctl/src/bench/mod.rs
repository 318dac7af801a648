//! `brokerctl bench`: loads for any MQTT broker, measured from outside, and what came of them. Never asks the management
//! API anything. A scenario is clients under one epoll a thread, so that the load is not what is measured.

mod client;
mod dial;
mod figures;
mod fleet;
mod link;
mod load;
mod place;
mod plot;
mod process;
mod progress;
mod report;
mod scenario;
mod seen;
mod subscribing;
mod template;
mod traffic;
mod visits;
mod watch;
mod wire;

use clap::Subcommand;

use crate::Session;
use crate::failure::Failure;
use place::PlaceArgs;
use scenario::{connections, handshakes, held, messages, offline, retained, subscriptions};

/// Measures an MQTT broker, ours or another
///
/// Latency counts from the time a message was meant to be sent. --timeout is how long an answer may take. Exit code 1: a
/// message at QoS 1 or 2 was lost, one at QoS 2 came twice, order was broken, or a connection broke.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  brokerctl bench p2p --pairs 50 --rate 20000 --qos 1 --pid $(pidof brokerd)
  brokerctl bench idle --connections 15000 --pid $(pidof brokerd)
  brokerctl -o json bench fanout --publishers 5 --subscribers 1000 --rate 250")]
pub(crate) enum Bench {
    Conn(connections::Conn),
    Idle(connections::Idle),
    Pub(messages::Pub),
    Sub(subscriptions::Sub),
    P2p(messages::P2p),
    Fanout(messages::Fanout),
    Fanin(messages::Fanin),
    Shared(messages::Shared),
    Retained(retained::Retained),
    Wildcard(held::Wildcard),
    Churn(handshakes::Churn),
    Storm(connections::Storm),
    Tls(handshakes::Tls),
    #[command(subcommand)]
    Offline(offline::Offline),
}

impl Bench {
    const fn place(&self) -> &PlaceArgs {
        match self {
            Self::Conn(scenario) => &scenario.place,
            Self::Idle(scenario) => &scenario.place,
            Self::Pub(scenario) => &scenario.place,
            Self::Sub(scenario) => &scenario.place,
            Self::P2p(scenario) => &scenario.place,
            Self::Fanout(scenario) => &scenario.place,
            Self::Fanin(scenario) => &scenario.place,
            Self::Shared(scenario) => &scenario.place,
            Self::Retained(scenario) => &scenario.place,
            Self::Wildcard(scenario) => &scenario.p2p.place,
            Self::Churn(scenario) => &scenario.place,
            Self::Storm(scenario) => &scenario.place,
            Self::Tls(scenario) => &scenario.place,
            Self::Offline(scenario) => scenario.place(),
        }
    }

    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<(), Failure> {
        // The phases of `offline` are processes of their own, and mean the same sessions.
        let name = match self {
            Self::Offline(_) => "bench-offline".to_owned(),
            _ => format!("bench-{}", std::process::id()),
        };
        let place = self.place().open(&name, session.global.timeout)?;
        let report = match self {
            Self::Conn(scenario) => scenario.run(&place),
            Self::Idle(scenario) => scenario.run(&place),
            Self::Pub(scenario) => scenario.run(&place),
            Self::Sub(scenario) => scenario.run(&place),
            Self::P2p(scenario) => scenario.run(&place),
            Self::Fanout(scenario) => scenario.run(&place),
            Self::Fanin(scenario) => scenario.run(&place),
            Self::Shared(scenario) => scenario.run(&place),
            Self::Retained(scenario) => scenario.run(&place),
            Self::Wildcard(scenario) => scenario.run(&place),
            Self::Churn(scenario) => scenario.run(&place),
            Self::Storm(scenario) => scenario.run(&place),
            Self::Tls(scenario) => scenario.run(&place),
            Self::Offline(scenario) => scenario.run(&place),
        }?;
        if let Some(path) = &self.place().plot {
            let written = std::fs::write(path, report.plot.svg());
            written.map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
        }
        report.print(session)
    }
}
