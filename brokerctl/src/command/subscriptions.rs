//! `brokerctl subscriptions`: who subscribed to what.

use clap::Subcommand;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{ListQuestion, NodeAnswer, Subscription};
use serde::Serialize;

use crate::Session;
use crate::failure::Failure;
use crate::list::{self, Row};

/// Subscriptions: list, show
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  brokerctl subscriptions list
  brokerctl -o json subscriptions show sensor-17")]
pub(crate) enum Subscriptions {
    /// All subscriptions
    #[command(after_help = "Example:
  brokerctl subscriptions list --node n1")]
    List,
    /// Those of one client
    #[command(after_help = "Example:
  brokerctl subscriptions show sensor-17")]
    Show {
        /// Its client id
        client_id: String,
    },
}

impl Subscriptions {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List => {
                list::list::<SubscriptionRow>(session, Question::Subscriptions(ListQuestion::default())).await
            }
            Self::Show { client_id } => {
                let missing = format!("no client is called `{client_id}`");
                let only = ListQuestion { only: Some(client_id), ..ListQuestion::default() };
                list::show::<SubscriptionRow>(session, Question::Subscriptions(only), missing).await
            }
        }
    }
}

/// A subscription by the names of `emqx_ctl`: no local, retain handling, retain as published.
#[derive(Debug, Serialize)]
struct SubscriptionRow {
    clientid: String,
    topic: String,
    qos: u32,
    nl: u8,
    rh: u32,
    rap: u8,
    node: String,
}

impl SubscriptionRow {
    fn new(node: &str, subscription: Subscription) -> Self {
        Self {
            clientid: subscription.client_id,
            topic: subscription.topic,
            qos: subscription.qos,
            nl: subscription.no_local.into(),
            rh: subscription.retain_handling,
            rap: subscription.retain_as_published.into(),
            node: node.to_owned(),
        }
    }
}

impl Row for SubscriptionRow {
    const NONE: &'static str = "No subscriptions.";
    const COLUMNS: &'static [&'static str] = &["CLIENTID", "TOPIC", "QOS", "NL", "RH", "RAP", "NODE"];

    fn of(node: &str, answer: NodeAnswer) -> Vec<Self> {
        let Some(Answer::Subscriptions(subscriptions)) = answer.answer else {
            return Vec::new();
        };
        subscriptions.rows.into_iter().map(|subscription| Self::new(node, subscription)).collect()
    }

    fn exists(answer: &NodeAnswer) -> bool {
        matches!(&answer.answer, Some(Answer::Subscriptions(subscriptions)) if subscriptions.found)
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.clientid.clone(),
            self.topic.clone(),
            self.qos.to_string(),
            self.nl.to_string(),
            self.rh.to_string(),
            self.rap.to_string(),
            self.node.clone(),
        ]
    }

    fn key(&self) -> [&str; 3] {
        [&self.node, &self.clientid, &self.topic]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Format;
    use crate::list::render;

    fn rows() -> Vec<SubscriptionRow> {
        let subscription = Subscription {
            client_id: "pump".into(),
            topic: "$share/g/plant/+/temp".into(),
            qos: 1,
            no_local: false,
            retain_handling: 2,
            retain_as_published: true,
            subscription_id: 0,
        };
        vec![SubscriptionRow::new("n1", subscription)]
    }

    #[test]
    fn the_table_has_the_fields_of_emqx_ctl() {
        let expected = "\
CLIENTID  TOPIC                  QOS  NL  RH  RAP  NODE
pump      $share/g/plant/+/temp  1    0   2   1    n1
";
        assert_eq!(render(&rows(), Format::Table), expected);
    }

    #[test]
    fn the_list_is_one_json_array() {
        let expected = r#"[
{"clientid":"pump","topic":"$share/g/plant/+/temp","qos":1,"nl":0,"rh":2,"rap":1,"node":"n1"}
]
"#;
        assert_eq!(render(&rows(), Format::Json), expected);
    }
}
