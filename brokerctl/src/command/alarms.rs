//! `brokerctl alarms`: what is wrong, as each node sees it.

use clap::Subcommand;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{NodeAnswer, Nothing};
use serde::Serialize;

use crate::Session;
use crate::failure::Failure;
use crate::list::{self, Row};
use crate::time::rfc3339;

/// What is wrong now: list
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:
  brokerctl alarms list")]
pub(crate) enum Alarms {
    /// All alarms that are active
    ///
    /// `member_down`: a node is gone. `partition`: members see different sets, or gossip says that one is alive and no
    /// link reaches it. `alone`: a node serves and is not in sync with all. `clock`: a node's clock is not believed.
    /// `store_down`, `store_full`: what keeps sessions.
    #[command(after_help = "Examples:
  brokerctl alarms list
  brokerctl -o json alarms list --node n1")]
    List,
}

impl Alarms {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List => list::list::<AlarmRow>(session, Question::Alarms(Nothing {})).await,
        }
    }
}

#[derive(Debug, Serialize)]
struct AlarmRow {
    node: String,
    name: String,
    subject: String,
    what: String,
    /// Milliseconds since 1970.
    since: u64,
}

impl Row for AlarmRow {
    const NONE: &'static str = "no alarms";
    const COLUMNS: &'static [&'static str] = &["NODE", "ALARM", "SUBJECT", "SINCE", "WHAT"];

    fn of(node: &str, answer: NodeAnswer) -> Vec<Self> {
        let Some(Answer::Alarms(alarms)) = answer.answer else { return Vec::new() };
        let row = |alarm: proto::admin::Alarm| Self {
            node: node.to_owned(),
            name: alarm.name,
            subject: alarm.subject,
            what: alarm.what,
            since: alarm.since,
        };
        alarms.rows.into_iter().map(row).collect()
    }
    fn cells(&self) -> Vec<String> {
        let since = rfc3339(self.since);
        vec![self.node.clone(), self.name.clone(), self.subject.clone(), since, self.what.clone()]
    }
    fn key(&self) -> [&str; 3] {
        [&self.node, &self.name, &self.subject]
    }
}
