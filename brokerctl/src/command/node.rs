//! `brokerctl node`: takes the clients of one node away, and gives it clients again.

use clap::Subcommand;
use proto::admin::drain_order::What;
use proto::admin::{Drain, DrainOrder};

use crate::Session;
use crate::api::Api;
use crate::args::Format;
use crate::failure::Failure;
use crate::moving::{self, DrainRow, Sights};
use crate::output::{json, printable};
use crate::table;

/// One node: drain, undrain, status
///
/// For the node that is called, or the one of --node.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  brokerctl node drain --rate 500/s
  brokerctl node undrain --node n2")]
pub(crate) enum Node {
    /// Accept nobody any more and send all clients to other nodes, at a rate
    ///
    /// /readyz says 503 first. Clients of MQTT 5 are told where to go (0x9C, with `node.server_reference` of the others);
    /// those of 3.x are disconnected. Interrupting the command does not stop the drain: `node undrain` does. A drain
    /// under way takes up a new rate.
    #[command(after_help = "Examples:
  brokerctl node drain
  brokerctl node drain --node n1 --rate 100/s --to n2")]
    Drain(DrainArgs),
    /// Take clients again
    #[command(after_help = "Example:
  brokerctl node undrain --node n1")]
    Undrain,
    /// How far the drain is
    #[command(after_help = "Example:
  brokerctl node status --node n1")]
    Status,
}

/// How to drain.
#[derive(Debug, clap::Args)]
pub(crate) struct DrainArgs {
    /// Clients a second [default: node.drain_rate of the node]
    #[arg(long, value_name = "N/s", value_parser = moving::rate)]
    pub(crate) rate: Option<u32>,
    /// Where to, by the names of members [default: all others]
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub(crate) to: Vec<String>,
    /// Do not wait until all are gone
    #[arg(long)]
    no_wait: bool,
    /// The same as `node undrain`
    #[arg(long, conflicts_with_all = ["rate", "to", "no_wait"])]
    stop: bool,
}

impl DrainArgs {
    /// The same, waiting until all are gone.
    pub(crate) fn and_wait(self) -> Self {
        Self { no_wait: false, ..self }
    }
}

impl Node {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let mut api = Api::connect(&session.global).await?;
        let sights = Sights::gather(&mut api).await?;
        let node = moving::target(session, &sights);
        let what = match &self {
            Self::Drain(args) if !args.stop => {
                let drain = drain(session, &mut api, &sights, args, false).await?;
                return print(session, &node, drain);
            }
            Self::Drain(_) | Self::Undrain => What::Stop,
            Self::Status => What::Status,
        };
        let order = DrainOrder { what: what.into(), ..DrainOrder::default() };
        let drain = moving::order(&mut api, &node, order).await?;
        print(session, &node, drain)
    }
}

/// Drains the node that is meant, and waits for it if it is to be waited for.
pub(crate) async fn drain(
    session: &mut Session<'_>,
    api: &mut Api,
    sights: &Sights,
    args: &DrainArgs,
    is_for_good: bool,
) -> Result<Drain, Failure> {
    let node = moving::target(session, sights);
    let others = sights.others(&node, &args.to)?;
    if others.is_empty() {
        writeln!(session.err, "no other member takes clients: those of {} have nowhere to go", printable(&node))?;
    }
    let order = DrainOrder {
        what: What::Start.into(),
        rate: args.rate.unwrap_or(0),
        references: moving::references(&others),
        clients: 0,
        is_for_good,
        heirs: others.iter().map(|(name, _)| name.clone()).collect(),
    };
    let begun = moving::order(api, &node, order).await?;
    let seconds = begun.connected.div_ceil(u64::from(begun.rate.max(1)));
    let (node_shown, connected, rate) = (printable(&node), begun.connected, begun.rate);
    writeln!(session.err, "{node_shown} sends {connected} clients away at {rate}/s: about {seconds} s")?;
    if args.no_wait { Ok(begun) } else { moving::wait(session, api, &node).await }
}

fn print(session: &mut Session<'_>, node: &str, drain: Drain) -> Result<(), Failure> {
    let row = DrainRow::new(node, drain);
    if session.global.output == Format::Json {
        return json(session.out, &row);
    }
    let mut table = table::Writer::new(session.out, DrainRow::COLUMNS, !session.global.no_headers);
    table.push(row.cells())?;
    table.flush()
}
