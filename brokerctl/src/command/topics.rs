//! `brokerctl topics`: the route table, a line for each filter and node that has subscribers for it.

use clap::Subcommand;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{ListQuestion, NodeAnswer};
use serde::Serialize;

use crate::Session;
use crate::failure::Failure;
use crate::list::{self, Row};

/// Topic filters and the nodes that have subscribers for them: list, show
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  brokerctl topics list
  brokerctl topics show 'plant/+/temp'")]
pub(crate) enum Topics {
    /// All filters
    #[command(after_help = "Example:
  brokerctl -o json topics list")]
    List,
    /// The nodes with subscribers for exactly this filter
    #[command(after_help = "Example:
  brokerctl topics show 'plant/+/temp'")]
    Show {
        /// The filter, as it was subscribed to
        filter: String,
    },
}

impl Topics {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List => list::list::<TopicRow>(session, Question::Topics(ListQuestion::default())).await,
            Self::Show { filter } => {
                let missing = format!("nobody subscribes to `{filter}`");
                let only = ListQuestion { only: Some(filter), ..ListQuestion::default() };
                list::show::<TopicRow>(session, Question::Topics(only), missing).await
            }
        }
    }
}

#[derive(Debug, Serialize)]
struct TopicRow {
    topic: String,
    node: String,
}

impl Row for TopicRow {
    const NONE: &'static str = "No topics.";
    const COLUMNS: &'static [&'static str] = &["TOPIC", "NODE"];

    fn of(node: &str, answer: NodeAnswer) -> Vec<Self> {
        let Some(Answer::Topics(topics)) = answer.answer else {
            return Vec::new();
        };
        topics.rows.into_iter().map(|topic| Self { topic, node: node.to_owned() }).collect()
    }

    fn cells(&self) -> Vec<String> {
        vec![self.topic.clone(), self.node.clone()]
    }

    fn key(&self) -> [&str; 3] {
        [&self.node, &self.topic, ""]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Format;
    use crate::list::render;

    #[test]
    fn topics_are_filter_and_node() {
        let rows = [
            TopicRow { topic: "a/#".into(), node: "n1".into() },
            TopicRow { topic: "plant/+".into(), node: "n2".into() },
        ];
        assert_eq!(render(&rows, Format::Table), "TOPIC    NODE\na/#      n1\nplant/+  n2\n");
        let expected = "[\n{\"topic\":\"a/#\",\"node\":\"n1\"},\n{\"topic\":\"plant/+\",\"node\":\"n2\"}\n]\n";
        assert_eq!(render(&rows, Format::Json), expected);
    }
}
