//! What must hold of a town from outside: sides serve, views agree, nothing restarted, retained sets are one. Asks what an
//! operator or a client can ask; never changes a link.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Town;
use crate::load::World;
use crate::node::Node;
use crate::packet::Connect;
use crate::raw::Raw;
use crate::read::Packet;
use crate::wait::{SOON, eventually};

/// What must not change: the process of each node, and its generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known(Vec<(u32, u64)>);

impl Known {
    /// As it is.
    pub async fn of(town: &Town) -> Self {
        let mut known = vec![];
        for node in &town.nodes {
            let status = node.ctl().run(&["cluster", "status"]).await.ok();
            let members = status["nodes"].as_array().expect("members");
            let own = members.iter().find(|member| member["name"] == node.name()).expect("itself");
            known.push((node.pid(), own["generation"].as_u64().expect("a generation")));
        }
        Self(known)
    }
}

/// What alarms a node has, as `(name, subject)`.
pub async fn alarms(node: &Node) -> Result<Vec<(String, String)>, String> {
    let answer = node.ctl().run(&["alarms", "list", "--node", node.name()]).await;
    let rows = answer.json.as_array().ok_or_else(|| format!("{}{}", answer.stdout, answer.stderr))?;
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    Ok(rows.iter().map(|row| (text(row, "name"), text(row, "subject"))).collect())
}

/// Whoever is at these nodes is served by them: what one publishes at the last, one at the first gets.
pub async fn serves(town: &Town, group: &[usize]) {
    let (first, last) = (group[0], group[group.len() - 1]);
    let name = format!("probe-{first}-{last}");
    let mut subscriber = Raw::connect(town.nodes[first].mqtt(), &Connect::v5(&name)).await;
    assert_eq!(subscriber.subscribe(&name, 1).await, 1, "a subscription on the side of {group:?}");
    let mut publisher = Raw::connect(town.nodes[last].mqtt(), &Connect::v311(&format!("{name}-publisher"))).await;
    publisher.publish(&name, b"served", 1).await;
    assert_eq!(subscriber.receive().await.payload, b"served", "on the side of {group:?}");
    subscriber.disconnect().await;
    publisher.disconnect().await;
}

/// Within seconds: routes are what is subscribed, no alarm is left, and a client id is one session.
pub async fn agree(town: &Town, world: &World) {
    let begun = world.moment();
    for node in &town.nodes {
        let name = node.name();
        eventually(SOON, &format!("`routes check` is clean at {name}"), async || {
            let report = node.ctl().run(&["routes", "check"]).await;
            let is_clean = report.code == 0 && report.json["nodes"] == town.nodes.len();
            if is_clean { Ok(()) } else { Err(format!("{}: {}{}", report.code, report.stdout, report.stderr)) }
        })
        .await;
        eventually(SOON, &format!("no alarm is left at {name}"), async || {
            let left = alarms(node).await?;
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
    }
    eventually(SOON, "one session a client id", async || one_session_each(&town.nodes[0]).await).await;
    println!("{:?}: all agree, {:?} after the heal", world.moment(), world.moment() - begun);
}

/// Within seconds, and once nobody publishes, a client gets the same retained messages everywhere.
pub async fn one_retained_set(town: &Town) {
    eventually(SOON, "one set of retained messages", async || {
        let first = retained(&town.nodes[0]).await;
        for node in &town.nodes[1..] {
            let other = retained(node).await;
            if other != first {
                return Err(format!("{first:?} and, at {}, {other:?}", node.name()));
            }
        }
        Ok(())
    })
    .await;
}

async fn one_session_each(node: &Node) -> Result<(), String> {
    let clients = node.ctl().run(&["clients", "list"]).await;
    let rows = clients.json.as_array().ok_or_else(|| format!("{}{}", clients.stdout, clients.stderr))?;
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows {
        places.entry(row["clientid"].to_string()).or_default().push(row["node"].to_string());
    }
    places.retain(|_, nodes| nodes.len() > 1);
    if places.is_empty() { Ok(()) } else { Err(format!("more than one: {places:?}")) }
}

/// Topic and payload of all that a client gets at once.
async fn retained(node: &Node) -> BTreeMap<String, Vec<u8>> {
    let mut client = Raw::connect(node.mqtt(), &Connect::v5(&format!("reader-{}", node.name()))).await;
    client.subscribe("#", 0).await;
    let came = client.fence().await;
    client.disconnect().await;
    let retained = came.into_iter().filter_map(|packet| match packet {
        Packet::Publish(publish) if publish.retain => Some((publish.topic, publish.payload)),
        _ => None,
    });
    retained.collect()
}
