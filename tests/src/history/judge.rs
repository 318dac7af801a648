//! Whether a history may be. Each promise is one function over the record; what `docs/delivery.md` excludes is excused
//! here, and nothing else. Never guesses: what may be either way is not judged.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Delivery, History, Message, Moment, Publication, Receiver, Subscription};

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// What was acknowledged is delivered to whoever was subscribed before it was published and stays so.
    NothingMissing,
    /// At QoS 2 a message comes once to a session.
    OnceAtQos2,
    /// What a publisher sends to a topic comes in its order.
    Order,
    /// Nothing comes that is not subscribed to, nor what was published after UNSUBACK.
    NothingAfterUnsuback,
    /// A kept session is there when its client comes back.
    SessionPresent,
}

/// A promise that was not kept, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub promise: Promise,
    /// By what.
    pub what: String,
}

/// What to hold a run against.
#[derive(Clone, Copy, Debug)]
pub struct Promises {
    has_many_nodes: bool,
    is_once_due: bool,
}

impl Promises {
    /// Of one node whose store outlives its process: no exclusions.
    #[must_use]
    pub const fn of_one_node() -> Self {
        Self { has_many_nodes: false, is_once_due: true }
    }

    /// Of several nodes with one store. A message that was under way when a node was killed, which is from the first PUBLISH
    /// until its acknowledgement, may come a second time at QoS 2, and so may one that its publisher sent again because it
    /// got no answer between a kill and its mending; one that was under way between a kill and its mending
    /// may come after what its publisher sent before the acknowledgement.
    #[must_use]
    pub const fn of_many_nodes() -> Self {
        Self { has_many_nodes: true, is_once_due: true }
    }

    /// The same, but second copies at QoS 2 are counted and printed, not refused.
    #[must_use]
    pub const fn counting_second_copies(self) -> Self {
        Self { is_once_due: false, ..self }
    }

    /// All that is broken.
    #[must_use]
    pub fn judge(self, history: &History) -> Vec<Broken> {
        let mut broken: Vec<Broken> = history.missing().map(|what| fault(Promise::NothingMissing, what)).collect();
        for receiver in &history.receivers {
            broken.extend(self.twice(history, receiver).map(|what| fault(Promise::OnceAtQos2, what)));
            broken.extend(self.out_of_order(history, receiver).into_iter().map(|what| fault(Promise::Order, what)));
            let sent =
                |delivery: &Delivery| history.publications.get(&delivery.message).map(|published| published.sent);
            let may_get = |delivery: &&Delivery| sent(delivery).is_some_and(|sent| receiver.may_get(delivery, sent));
            let unasked = receiver.deliveries.iter().filter(|delivery| !may_get(delivery));
            broken.extend(unasked.map(|delivery| {
                let what =
                    format!("{}: {delivery:?} sent at {:?} was not subscribed to", receiver.name, sent(delivery));
                fault(Promise::NothingAfterUnsuback, what)
            }));
        }
        let lost =
            history.connections.iter().filter(|one| one.expected.is_some_and(|expected| expected != one.is_present));
        broken.extend(lost.map(|one| fault(Promise::SessionPresent, format!("{one:?}"))));
        broken
    }

    /// Panics where something is broken, and says what.
    pub fn hold(self, history: &History) {
        println!("{}", history.summary());
        let mut broken = self.judge(history);
        if !self.is_once_due {
            let all = broken.len();
            broken.retain(|one| one.promise != Promise::OnceAtQos2);
            println!("{} second copies at QoS 2", all - broken.len());
        }
        let kinds: BTreeMap<Promise, usize> = broken.iter().fold(BTreeMap::new(), |mut kinds, one| {
            *kinds.entry(one.promise).or_default() += 1;
            kinds
        });
        let mut some = vec![];
        for kind in kinds.keys() {
            let of_kind = broken.iter().filter(|one| one.promise == *kind).take(8);
            some.extend(of_kind.map(|one| format!("{kind:?}: {}", one.what)));
        }
        let faults = &history.faults;
        let came = if broken.is_empty() { String::new() } else { history.itinerary() };
        assert!(broken.is_empty(), "promises broken: {kinds:?}\nfaults: {faults:?}\n{}\n{came}", some.join("\n"));
    }

    fn twice(self, history: &History, receiver: &Receiver) -> impl Iterator<Item = String> {
        let mut counts: BTreeMap<(u32, Message), Vec<Moment>> = BTreeMap::new();
        for delivery in receiver.deliveries.iter().filter(|delivery| delivery.qos == 2) {
            counts.entry((delivery.session, delivery.message)).or_default().push(delivery.at);
        }
        let is_excused = |message: &Message| {
            let published = history.publications.get(message);
            self.has_many_nodes && published.is_some_and(|published| history.was_struck(published))
        };
        let twice = counts.into_iter().filter(|((_, message), times)| times.len() > 1 && !is_excused(message));
        let twice = twice.map(|((_, message), times)| {
            format!("{}: {message:?} {:?} came at {times:?}", receiver.name, history.publications.get(&message))
        });
        twice.collect::<Vec<_>>().into_iter()
    }

    fn out_of_order(self, history: &History, receiver: &Receiver) -> Vec<String> {
        // Of each publisher and topic: what came so far, for the first time.
        let mut came: HashMap<(u16, &str), BTreeSet<u32>> = HashMap::new();
        let mut known = HashSet::new();
        let mut broken = vec![];
        for delivery in receiver.deliveries.iter().filter(|delivery| known.insert((delivery.session, delivery.message)))
        {
            let Message { publisher, number } = delivery.message;
            let before = came.entry((publisher, &delivery.topic)).or_default();
            let overtaken_by = before.range(number..).find(|later| {
                let later = Message { publisher, number: **later };
                let is_late = self.has_many_nodes && history.may_be_overtaken(delivery.message, later);
                !is_late && !receiver.had_no_place_for(history, delivery.message)
            });
            if let Some(later) = overtaken_by {
                let published = history.publications.get(&delivery.message);
                let later = Message { publisher, number: *later };
                let sent = history.publications.get(&later).map(|later| later.sent);
                broken.push(format!(
                    "{}: {:?} {published:?} came at {:?}, after {later:?} sent at {sent:?}",
                    receiver.name, delivery.message, delivery.at
                ));
            }
            before.insert(number);
        }
        broken
    }
}

const fn fault(promise: Promise, what: String) -> Broken {
    Broken { promise, what }
}

impl History {
    /// What was acknowledged and did not come.
    pub fn missing(&self) -> impl Iterator<Item = String> + '_ {
        self.receivers.iter().enumerate().flat_map(move |(index, receiver)| {
            let had: HashSet<Message> = receiver.deliveries.iter().map(|delivery| delivery.message).collect();
            let due = self.publications.iter().filter(move |(message, published)| {
                let is_due =
                    published.acknowledged.is_some() && !had.contains(message) && receiver.is_to_get(published);
                is_due && !self.was_severed(message.publisher.into(), index, published)
            });
            due.map(|(message, published)| format!("{}: {message:?} {published:?} never came", receiver.name))
        })
    }

    /// Whether it was on its way while its publisher's node and the receiver's did not hear of each other.
    fn was_severed(&self, publisher: usize, receiver: usize, published: &Publication) -> bool {
        let end = published.acknowledged.unwrap_or(Moment::MAX);
        self.homes > 0
            && self.severances.iter().any(|one| {
                let is_between = one.pairs.contains(&(publisher % self.homes, receiver % self.homes));
                is_between && one.begun <= end && one.ended.is_none_or(|ended| published.sent <= ended)
            })
    }

    /// Whether it was on its way when a node was killed.
    fn was_struck(&self, published: &Publication) -> bool {
        let end = published.acknowledged.unwrap_or(Moment::MAX);
        let is_during = |until: Option<Moment>| until.is_none_or(|until| published.sent <= until);
        self.faults.iter().any(|fault| {
            let was_under_way = published.sent <= fault.struck.1 || (published.is_resent && is_during(fault.mended));
            was_under_way && fault.struck.0 <= end
        })
    }

    /// Both were under way at a time, while a node was gone.
    fn may_be_overtaken(&self, early: Message, late: Message) -> bool {
        let (Some(early), Some(late)) = (self.publications.get(&early), self.publications.get(&late)) else {
            return false;
        };
        let end = early.acknowledged.unwrap_or(Moment::MAX);
        let is_during = |until: Option<Moment>| until.is_none_or(|until| early.sent <= until);
        late.sent <= end && self.faults.iter().any(|fault| fault.struck.0 <= end && is_during(fault.mended))
    }
}

impl Receiver {
    /// A subscription that was there before the message and has not been left.
    fn is_to_get(&self, published: &Publication) -> bool {
        self.subscriptions.iter().any(|subscription| {
            let stands = subscription.begun.is_some_and(|begun| begun < published.sent) && subscription.left.is_none();
            stands && matches(&subscription.filter, &published.topic)
        })
    }

    /// It was sent again, and who subscribed between may have only that.
    fn had_no_place_for(&self, history: &History, message: Message) -> bool {
        let published = history.publications.get(&message);
        published.is_some_and(|published| published.is_resent && !self.is_to_get(published))
    }

    /// What was queued by UNSUBACK may still come [MQTT-3.10.4-2]; what was published after it may not.
    fn may_get(&self, delivery: &Delivery, sent: Moment) -> bool {
        let covers = |subscription: &Subscription| {
            subscription.asked <= delivery.at && subscription.ended.is_none_or(|ended| sent <= ended)
        };
        let mut matching = self.subscriptions.iter().filter(|one| matches(&one.filter, &delivery.topic));
        matching.any(covers)
    }
}

/// MQTT 4.7, without the rule of `$`, which no topic of a run begins with.
fn matches(filter: &str, topic: &str) -> bool {
    let (mut levels, mut names) = (filter.split('/'), topic.split('/'));
    loop {
        match (levels.next(), names.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(name)) if level == name => {}
            _ => return false,
        }
    }
}
