//! Several nodes that know one seed. Owns the nodes; asks them only what an operator can ask.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::node::{Node, NodeOptions};
use crate::wait::{SOON, eventually};

/// Time for a node that was killed to be declared down by the others, and for all to agree again.
pub const MEMBERSHIP: Duration = Duration::from_secs(30);

/// A cluster under test.
#[derive(Debug)]
pub struct Cluster {
    /// By order of start; the first is everybody's seed.
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// Starts that many nodes, one after the other, and waits until each sees all of them up.
    pub async fn start(size: usize) -> Self {
        Self::start_with(size, |options| options).await
    }

    /// The same with options of the test's own.
    pub async fn start_with(size: usize, adjust: impl Fn(NodeOptions) -> NodeOptions) -> Self {
        let first = Node::start(adjust(NodeOptions::clustered("n1", &[]))).await;
        let seed = first.cluster();
        let mut nodes = vec![first];
        for number in 2..=size {
            let options = NodeOptions::clustered(&format!("n{number}"), &[seed]);
            nodes.push(Node::launch(adjust(options)));
        }
        for node in &mut nodes[1..] {
            node.wait_until_ready().await;
        }
        let cluster = Self { nodes };
        cluster.wait_until_all_up().await;
        cluster
    }

    /// Waits until every node that a test has not killed sees every node up.
    pub async fn wait_until_all_up(&self) {
        let names: Vec<_> = self.nodes.iter().map(Node::name).collect();
        for node in &self.nodes {
            wait_for_states(node, &names.iter().map(|name| (*name, "up")).collect::<Vec<_>>()).await;
        }
    }
}

/// Name and state of every member as this node sees them.
pub async fn view(node: &Node) -> Result<BTreeMap<String, String>, String> {
    let answer = node.ctl().run(&["cluster", "status"]).await;
    if answer.code != 0 {
        return Err(format!("exit code {}: {}", answer.code, answer.stderr));
    }
    let members = answer.json["nodes"].as_array().ok_or_else(|| format!("no `nodes` in {}", answer.stdout))?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok(members.iter().map(|member| (text(&member["name"]), text(&member["state"]))).collect())
}

/// Waits until this node's view of these members is as given. A member expected `gone` may be absent.
pub async fn wait_for_states(node: &Node, expected: &[(&str, &str)]) {
    let what = format!("{} sees {expected:?}", node.name());
    eventually(MEMBERSHIP, &what, async || {
        let seen = view(node).await?;
        let agrees = |(name, state): &(&str, &str)| match seen.get(*name) {
            Some(found) => found == state,
            None => *state == "gone",
        };
        if expected.iter().all(agrees) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

/// A counter of `broker metrics` on one node.
pub async fn metric(node: &Node, name: &str) -> u64 {
    let answer = node.ctl().run(&["broker", "metrics", "--node", node.name()]).await.ok();
    answer[name].as_u64().unwrap_or_else(|| panic!("no `{name}` in {answer}"))
}

/// Waits until `topics list`, asked at this node, is exactly these `(filter, node)` rows.
pub async fn wait_for_routes(node: &Node, mut expected: Vec<(String, String)>) {
    expected.sort();
    let what = format!("{} lists exactly the {} live routes", node.name(), expected.len());
    eventually(SOON, &what, async || {
        let seen = routes(node).await?;
        if seen == expected { Ok(()) } else { Err(difference(&seen, &expected)) }
    })
    .await;
}

/// The `(filter, node)` rows of `topics list`, sorted.
pub async fn routes(node: &Node) -> Result<Vec<(String, String)>, String> {
    let answer = node.ctl().run(&["topics", "list"]).await;
    if answer.code != 0 {
        return Err(format!("exit code {}: {}", answer.code, answer.stderr));
    }
    let rows = answer.json.as_array().ok_or_else(|| format!("not an array: {}", answer.stdout))?;
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let mut rows: Vec<_> = rows.iter().map(|row| (text(row, "topic"), text(row, "node"))).collect();
    rows.sort();
    Ok(rows)
}

/// Waits until this node holds, for every node, as many routes as are expected of it: its copy of their tables is whole.
pub async fn wait_for_copies(node: &Node, expected: &[(String, String)]) {
    let what = format!("{} holds a copy of the {} routes", node.name(), expected.len());
    eventually(SOON, &what, async || {
        let members = node.ctl().run(&["cluster", "status"]).await.ok();
        let members = members["nodes"].as_array().cloned().unwrap_or_default();
        for member in &members {
            let owned = expected.iter().filter(|(_, owner)| member["name"] == owner.as_str()).count();
            if member["routes"] != owned {
                return Err(format!("{} routes of {}, expected {owned}", member["routes"], member["name"]));
            }
        }
        Ok(())
    })
    .await;
}

fn difference(seen: &[(String, String)], expected: &[(String, String)]) -> String {
    let stray: Vec<_> = seen.iter().filter(|row| !expected.contains(row)).take(10).collect();
    let missing: Vec<_> = expected.iter().filter(|row| !seen.contains(row)).take(10).collect();
    format!("{} rows; stray {stray:?}; missing {missing:?}", seen.len())
}
