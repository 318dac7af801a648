//! The scenarios that are a plan of messages and nothing else: `pub`, `p2p`, `fanout`, `fanin`, `shared`.

use clap::Args;

use crate::bench::load::LoadArgs;
use crate::bench::place::{Place, PlaceArgs};
use crate::bench::report::Report;
use crate::bench::traffic::{Filters, Plan, run, summary};
use crate::failure::Failure;

/// Who talks to whom.
type Parties = (u32, u32, Filters);

/// Publishers alone: what the broker accepts, and how long PUBACK takes
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: brokerctl bench pub --publishers 10 --qos 1 --window 100 --duration 10s")]
pub(crate) struct Pub {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Publishers
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    publishers: u32,
    /// Topics, which messages go to in turn [default: one for each publisher]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=99_999_999))]
    topics: Option<u32>,
    /// Messages are retained
    #[arg(long)]
    retain: bool,
}

/// Point to point: each publisher has a topic and a subscriber of its own
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  brokerctl bench p2p --pairs 50 --rate 20000 --qos 1 --pid $(pidof brokerd)
  brokerctl bench p2p --pairs 50 --pub-target 127.0.0.1:1881 --sub-target 127.0.0.1:1882")]
pub(crate) struct P2p {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Publishers, and subscribers
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) pairs: u32,
}

/// Few publishers, and every subscriber receives all of it
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: brokerctl bench fanout --publishers 5 --subscribers 1000 --rate 250")]
pub(crate) struct Fanout {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Publishers
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    publishers: u32,
    /// Subscribers, each to all the publishers' topics
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    subscribers: u32,
}

/// Many publishers to one subscriber, or a few, by a wildcard
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: brokerctl bench fanin --publishers 1000 --rate 20000")]
pub(crate) struct Fanin {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Publishers
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    publishers: u32,
    /// Subscribers, each of which receives everything
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    subscribers: u32,
}

/// Many publishers to one shared subscription: each message goes to one of its members
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example: brokerctl bench shared --publishers 500 --subscribers 5 --qos 1 --rate 20000")]
pub(crate) struct Shared {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Publishers
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    publishers: u32,
    /// Members of the group
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    subscribers: u32,
}

/// Flows (a publisher to a subscriber) that are checked at most: each is some 50 bytes of this process.
const FLOWS: u64 = 20_000_000;

fn carry_out(plan: &Plan, place: &Place) -> Result<Report, Failure> {
    let is_paired = plan.filters == Filters::Own;
    if !is_paired && plan.publishers as u64 * plan.subscribers as u64 > FLOWS {
        return Err(Failure::Usage(format!("publishers times subscribers is over {FLOWS}: use fewer")));
    }
    Ok(summary(plan, &run(plan, place)?))
}

impl Pub {
    pub(crate) fn run(&self, place: &Place) -> Result<Report, Failure> {
        let mut plan = self.load.plan("pub", place, (self.publishers, 0, Filters::Own));
        plan.topics = self.topics.unwrap_or(self.publishers);
        plan.retain = self.retain;
        carry_out(&plan, place)
    }
}

impl P2p {
    pub(crate) fn run(&self, place: &Place) -> Result<Report, Failure> {
        self.carry_out("p2p", place)
    }

    /// Under a scenario's name.
    pub(crate) fn carry_out(&self, scenario: &'static str, place: &Place) -> Result<Report, Failure> {
        let parties: Parties = (self.pairs, self.pairs, Filters::Own);
        carry_out(&self.load.plan(scenario, place, parties), place)
    }
}

impl Fanout {
    pub(crate) fn run(&self, place: &Place) -> Result<Report, Failure> {
        let parties: Parties = (self.publishers, self.subscribers, Filters::Each);
        carry_out(&self.load.plan("fanout", place, parties), place)
    }
}

impl Fanin {
    pub(crate) fn run(&self, place: &Place) -> Result<Report, Failure> {
        let parties: Parties = (self.publishers, self.subscribers, Filters::All);
        carry_out(&self.load.plan("fanin", place, parties), place)
    }
}

impl Shared {
    pub(crate) fn run(&self, place: &Place) -> Result<Report, Failure> {
        let parties: Parties = (self.publishers, self.subscribers, Filters::Shared);
        carry_out(&self.load.plan("shared", place, parties), place)
    }
}
