//! A story as a value: one step a line, in words that read back. Never carries anything out.

use std::fmt;
use std::str::FromStr;

/// What happens to nodes and clients, one thing after another. Nodes are numbers, and so are clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// How many nodes.
    pub nodes: usize,
    /// What happens. A step that makes no sense where it stands, such as one of a client without a connection, is passed over.
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A client connects, of 5.0 or 3.1.1, for a session that is kept or one that ends with its connection.
    Connect {
        /// Who.
        client: usize,
        /// Where.
        node: usize,
        /// 5.0.
        is_v5: bool,
        /// The session is resumed, and kept.
        is_kept: bool,
    },
    /// It says good-bye.
    Leave(usize),
    /// Its connection is torn.
    Tear(usize),
    /// It subscribes, and has the SUBACK.
    Subscribe(usize, String, u8),
    /// It unsubscribes, and has the UNSUBACK.
    Unsubscribe(usize, String),
    /// It publishes.
    Publish {
        /// Who.
        client: usize,
        /// Where to.
        topic: String,
        /// At which QoS.
        qos: u8,
        /// For later subscribers too.
        is_retained: bool,
        /// The acknowledgement is waited for, if no fault keeps it away.
        is_awaited: bool,
    },
    /// It deletes what is retained.
    Clear(usize, String),
    /// The links between two nodes are cut.
    Cut(usize, usize),
    /// What one node says to another does not come.
    Silence(usize, usize),
    /// What two nodes say to each other comes this many milliseconds later.
    Slow(usize, usize, u64),
    /// A node is silent and deaf to the others.
    Stall(usize),
    /// All links are as new.
    Heal,
    /// Whoever is cut off is declared down.
    Outlast,
    /// All links are as new, and everybody sees everybody.
    Settle,
    /// A node is gone.
    Kill(usize),
    /// It is back.
    Restart(usize),
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "nodes {}", self.nodes)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { client, node, is_v5, is_kept } => {
                let (version, life) = (if *is_v5 { "v5" } else { "v3" }, if *is_kept { "kept" } else { "clean" });
                write!(f, "c{client} connects to n{node} {version} {life}")
            }
            Self::Leave(client) => write!(f, "c{client} leaves"),
            Self::Tear(client) => write!(f, "c{client} tears"),
            Self::Subscribe(client, filter, qos) => write!(f, "c{client} subscribes {filter} {qos}"),
            Self::Unsubscribe(client, filter) => write!(f, "c{client} unsubscribes {filter}"),
            Self::Publish { client, topic, qos, is_retained, is_awaited } => {
                let verb = if *is_awaited { "publishes" } else { "sends" };
                write!(f, "c{client} {verb} {topic} {qos}{}", if *is_retained { " retained" } else { "" })
            }
            Self::Clear(client, topic) => write!(f, "c{client} clears {topic}"),
            Self::Cut(one, other) => write!(f, "cut n{one} n{other}"),
            Self::Silence(from, to) => write!(f, "silence n{from} n{to}"),
            Self::Slow(one, other, by) => write!(f, "slow n{one} n{other} {by}"),
            Self::Stall(node) => write!(f, "stall n{node}"),
            Self::Heal => f.write_str("heal"),
            Self::Outlast => f.write_str("outlast"),
            Self::Settle => f.write_str("settle"),
            Self::Kill(node) => write!(f, "kill n{node}"),
            Self::Restart(node) => write!(f, "restart n{node}"),
        }
    }
}

impl FromStr for Story {
    type Err = String;

    /// Lines that begin with `#` are remarks.
    fn from_str(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut story = Self { nodes: 3, steps: vec![] };
        for line in lines {
            match line.strip_prefix("nodes ") {
                Some(count) => story.nodes = count.parse().map_err(|_| format!("not a number of nodes: {line}"))?,
                None => story.steps.push(line.parse()?),
            }
        }
        Ok(story)
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let read = || -> Option<Self> {
            Some(match *words.as_slice() {
                ["heal"] => Self::Heal,
                ["outlast"] => Self::Outlast,
                ["settle"] => Self::Settle,
                ["cut", one, other] => Self::Cut(of('n', one)?, of('n', other)?),
                ["silence", from, to] => Self::Silence(of('n', from)?, of('n', to)?),
                ["slow", one, other, by] => Self::Slow(of('n', one)?, of('n', other)?, by.parse().ok()?),
                ["stall", node] => Self::Stall(of('n', node)?),
                ["kill", node] => Self::Kill(of('n', node)?),
                ["restart", node] => Self::Restart(of('n', node)?),
                [client, ref rest @ ..] => of_client(of('c', client)?, rest)?,
                [] => return None,
            })
        };
        read().ok_or_else(|| format!("not a step: {line}"))
    }
}

fn of_client(client: usize, words: &[&str]) -> Option<Step> {
    Some(match *words {
        ["connects", "to", node, version, life] => {
            Step::Connect { client, node: of('n', node)?, is_v5: version == "v5", is_kept: life == "kept" }
        }
        ["leaves"] => Step::Leave(client),
        ["tears"] => Step::Tear(client),
        ["subscribes", filter, qos] => Step::Subscribe(client, filter.into(), qos.parse().ok()?),
        ["unsubscribes", filter] => Step::Unsubscribe(client, filter.into()),
        ["clears", topic] => Step::Clear(client, topic.into()),
        [verb @ ("publishes" | "sends"), topic, qos, ref retained @ ..] => Step::Publish {
            client,
            topic: topic.into(),
            qos: qos.parse().ok()?,
            is_retained: *retained == ["retained"],
            is_awaited: verb == "publishes",
        },
        _ => return None,
    })
}

fn of(kind: char, word: &str) -> Option<usize> {
    word.strip_prefix(kind)?.parse().ok()
}
