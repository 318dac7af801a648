//! A scenario as a value: steps that print as sentences, and the player that carries them out. Where a step fails the
//! story so far is printed, so that the failure explains itself.

use std::collections::HashMap;
use std::fmt;

use super::Sandbox;
use crate::packet::Connect;
use crate::raw::Raw;

/// One thing that happens. Nodes are numbers, clients names.
#[derive(Clone, Debug)]
pub enum Step {
    /// A 5.0 client connects with a session that lasts; it may have been connected elsewhere.
    Connect(usize, &'static str),
    /// It closes in good order.
    Disconnect(&'static str),
    /// Its connection is torn.
    Abandon(&'static str),
    /// It subscribes, at a QoS, and has the SUBACK.
    Subscribe(&'static str, &'static str, u8),
    /// It unsubscribes, and has the UNSUBACK.
    Unsubscribe(&'static str, &'static str),
    /// It publishes a payload, at a QoS, and has the last acknowledgement.
    Publish(&'static str, &'static str, &'static str, u8),
    /// It receives, and acknowledges, exactly this next.
    Expect(&'static str, &'static str, &'static str),
    /// It has received nothing.
    ExpectNothing(&'static str),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(node, client) => write!(f, "{client} connects to node {node}"),
            Self::Disconnect(client) => write!(f, "{client} disconnects"),
            Self::Abandon(client) => write!(f, "{client} is cut off"),
            Self::Subscribe(client, filter, qos) => write!(f, "{client} subscribes to `{filter}` at QoS {qos}"),
            Self::Unsubscribe(client, filter) => write!(f, "{client} unsubscribes from `{filter}`"),
            Self::Publish(client, topic, payload, qos) => {
                write!(f, "{client} publishes `{payload}` to `{topic}` at QoS {qos}")
            }
            Self::Expect(client, topic, payload) => write!(f, "{client} receives `{payload}` from `{topic}`"),
            Self::ExpectNothing(client) => write!(f, "{client} has received nothing more"),
        }
    }
}

/// Carries the steps out, one after another.
pub async fn play(sandbox: &Sandbox, steps: &[Step]) {
    let mut clients = HashMap::new();
    let mut told = Told(Vec::new());
    for step in steps {
        told.0.push(step.to_string());
        carry_out(sandbox, &mut clients, step).await;
    }
    told.0.clear();
}

/// Prints itself if the story ends early.
struct Told(Vec<String>);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the story, up to the step that failed:");
            for (number, step) in self.0.iter().enumerate() {
                eprintln!("  {:>3}. {step}", number + 1);
            }
        }
    }
}

async fn carry_out(sandbox: &Sandbox, clients: &mut HashMap<&'static str, Raw>, step: &Step) {
    let address = |node: usize| sandbox.nodes[node].mqtt;
    if let Step::Connect(node, client) = *step {
        let connected = Raw::connect(address(node), &Connect::v5(client).persistent()).await;
        if let Some(before) = clients.insert(client, connected) {
            before.abandon();
        }
        return;
    }
    let (Step::Disconnect(name)
    | Step::Abandon(name)
    | Step::Subscribe(name, ..)
    | Step::Unsubscribe(name, _)
    | Step::Publish(name, ..)
    | Step::Expect(name, ..)
    | Step::ExpectNothing(name)
    | Step::Connect(_, name)) = *step;
    let client = clients.get_mut(name).unwrap_or_else(|| panic!("{name} has not connected"));
    match *step {
        Step::Subscribe(_, filter, qos) => assert_eq!(client.subscribe(filter, qos).await, qos, "granted QoS"),
        Step::Unsubscribe(_, filter) => drop(client.unsubscribe(filter).await),
        Step::Publish(_, topic, payload, qos) => client.publish(topic, payload.as_bytes(), qos).await,
        Step::Expect(_, topic, payload) => {
            let got = client.receive().await;
            assert_eq!((got.topic.as_str(), got.text()), (topic, payload));
        }
        Step::ExpectNothing(_) => client.expect_silence().await,
        Step::Disconnect(_) | Step::Abandon(_) | Step::Connect(..) => {
            let Some(client) = clients.remove(name) else { return };
            if matches!(step, Step::Disconnect(_)) { client.disconnect().await } else { client.abandon() }
        }
    }
}
