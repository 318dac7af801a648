//! What is promised, one file each. Each is a function over the facts of a story, or over what the nodes show of themselves
//! at its end, and names what breaks it. What `docs/delivery.md` excludes is excused in the file of its promise.

mod acknowledged;
mod once;
mod order;
mod owner;
mod retained;
mod routes;
mod shared;
#[cfg(test)]
mod tests;
mod unsuback;

pub(super) use owner::untold;
pub(super) use retained::Shelf;
pub(super) use routes::{Expected, disagreement};

use super::facts::Facts;

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Every request of a client that can be answered is.
    Answered,
    /// A message whose acknowledgement came is with every matching session that could be reached.
    Acknowledged,
    /// Each once.
    Once,
    /// A publisher's messages of one topic and QoS come in its order.
    Order,
    /// One session a client id, where its client is; a kept one is there when it comes back.
    Owner,
    /// All nodes retain the same, and it is the latest.
    Retained,
    /// What each node holds of the others' subscriptions is what there is.
    Routes,
    /// One member of a group gets a message, and it is a living one.
    Shared,
    /// Nothing comes after UNSUBACK, nor without a subscription.
    Unsuback,
}

/// How one was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub promise: Promise,
    /// By what.
    pub what: String,
}

/// What must come and has not come yet.
pub(super) fn due(facts: &Facts) -> Vec<Broken> {
    let missing = acknowledged::missing(facts).into_iter().map(|what| Broken { promise: Promise::Acknowledged, what });
    let unserved = shared::unserved(facts).into_iter().map(|what| Broken { promise: Promise::Shared, what });
    let open = owner::still_open(facts).into_iter().map(|what| Broken { promise: Promise::Owner, what });
    let silent = acknowledged::unanswered(facts).into_iter().map(|what| Broken { promise: Promise::Answered, what });
    missing.chain(unserved).chain(open).chain(silent).collect()
}

type Find = fn(&Facts) -> Vec<String>;

/// What must never have come.
pub(super) fn wrong(facts: &Facts) -> Vec<Broken> {
    let kinds: [(Promise, Find); 5] = [
        (Promise::Once, once::twice),
        (Promise::Order, order::overtaken),
        (Promise::Owner, owner::ousted),
        (Promise::Shared, shared::doubled),
        (Promise::Unsuback, unsuback::unasked),
    ];
    let found =
        kinds.into_iter().flat_map(|(promise, find)| find(facts).into_iter().map(move |what| Broken { promise, what }));
    found.collect()
}

/// What is wrong with what the nodes retain at the end.
pub(super) fn of_retained(facts: &Facts, shelves: &[Shelf]) -> Vec<Broken> {
    let found = retained::wrong(facts, shelves).into_iter();
    found.map(|what| Broken { promise: Promise::Retained, what }).collect()
}
