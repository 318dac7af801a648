//! What happened in a run, and whether it may. Never takes part in it.

use std::collections::{BTreeMap, HashMap};

use crate::subscriber::Seen;

/// A message, by what it carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) number: u32,
}

/// A message that was acknowledged: PUBACK, or PUBREC and all that follows.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) message: Message,
    pub(crate) qos: u8,
}

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// By publisher.
    pub(crate) sent: Vec<Vec<Sent>>,
    pub(crate) seen: Vec<Seen>,
}

impl History {
    pub(crate) fn check(&self) {
        let qos: HashMap<&Message, u8> = self.sent.iter().flatten().map(|sent| (&sent.message, sent.qos)).collect();
        let mut faults = vec![];
        for seen in &self.seen {
            faults.extend(seen.faults.iter().cloned());
            faults.extend(self.missing(seen));
            faults.extend(out_of_order(seen));
            faults.extend(twice(seen, &qos));
        }
        let deliveries: usize = self.seen.iter().map(|seen| seen.messages.len()).sum();
        println!("{} messages acknowledged, {deliveries} deliveries", qos.len());
        assert!(
            faults.is_empty(),
            "{} faults, the first of them:\n{}",
            faults.len(),
            faults[..faults.len().min(20)].join("\n")
        );
    }

    fn missing(&self, seen: &Seen) -> Vec<String> {
        let had: HashMap<&Message, ()> = seen.messages.iter().map(|message| (message, ())).collect();
        let sent = self.sent.iter().flatten().filter(|sent| !had.contains_key(&sent.message));
        sent.map(|sent| format!("{}: {:?} was acknowledged and never came", seen.name, sent.message)).collect()
    }
}

/// Of each topic, which has one publisher, what comes first comes in the order of publication.
fn out_of_order(seen: &Seen) -> Vec<String> {
    let mut last: BTreeMap<&str, u32> = BTreeMap::new();
    let mut known = std::collections::HashSet::new();
    let mut faults = vec![];
    for message in seen.messages.iter().filter(|message| known.insert(*message)) {
        if let Some(before) = last.insert(&message.topic, message.number)
            && before > message.number
        {
            faults.push(format!("{}: {} of {} came after {before}", seen.name, message.number, message.topic));
        }
    }
    faults
}

/// What was published and subscribed to at QoS 2 comes once.
fn twice(seen: &Seen, qos: &HashMap<&Message, u8>) -> Vec<String> {
    let mut counts: BTreeMap<&Message, usize> = BTreeMap::new();
    for message in seen.messages.iter().filter(|message| seen.qos == 2 && qos.get(message) == Some(&2)) {
        *counts.entry(message).or_default() += 1;
    }
    let twice = counts.into_iter().filter(|(_, count)| *count > 1);
    twice.map(|(message, count)| format!("{}: {message:?} came {count} times at QoS 2", seen.name)).collect()
}
