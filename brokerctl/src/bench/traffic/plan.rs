//! Who publishes to whom: what one scenario differs from another by. Never runs.

use mqtt::{Qos, Version};

use crate::bench::dial::{Dial, Keep};
use crate::bench::template::topic;

/// What subscribers ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filters {
    /// The topic of the publisher of the same number.
    Own,
    /// Each topic, by a filter of its own.
    Each,
    /// All topics, by `+`.
    All,
    /// All topics, by `+`, each message to one of them.
    Shared,
}

/// How fast messages are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// So many a second, over all publishers, whatever the broker does: an open loop.
    Rate(u64),
    /// So many of each publisher on their way: a closed loop.
    Window(u32),
}

/// How long.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// Nanoseconds that are not measured, and nanoseconds that are.
    Time { warm_up: u64, measured: u64 },
    /// Messages, over all publishers, all measured.
    Count(u64),
}

/// A load of messages.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) scenario: &'static str,
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    pub(crate) filters: Filters,
    /// Topics: all messages, counted over the publishers in turn, go to them in turn.
    pub(crate) topics: u32,
    pub(crate) prefix: String,
    pub(crate) qos: Qos,
    pub(crate) size: usize,
    pub(crate) retain: bool,
    pub(crate) pace: Pace,
    pub(crate) until: Until,
    /// Of the subscribers.
    pub(crate) keep: Keep,
    pub(crate) publish_to: Dial,
    pub(crate) subscribe_at: Dial,
    pub(crate) version: Version,
}

/// The part of a plan that one thread carries out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) first_publisher: usize,
    pub(crate) publishers: usize,
    pub(crate) first_subscriber: usize,
    pub(crate) subscribers: usize,
}

impl Plan {
    /// Deliveries of one message.
    pub(crate) const fn copies(&self) -> u64 {
        match (self.subscribers, self.filters) {
            (0, _) => 0,
            (_, Filters::Own | Filters::Shared) => 1,
            (subscribers, Filters::Each | Filters::All) => subscribers as u64,
        }
    }

    /// Whether threads can have publishers and subscribers of their own that have nothing to do with each other.
    pub(crate) fn is_divisible(&self) -> bool {
        self.subscribers == 0 || (self.filters == Filters::Own && self.subscribers == self.publishers)
    }

    /// The part of one of so many threads.
    pub(crate) fn share(&self, index: usize, threads: usize) -> Share {
        let part = |all: usize| (all * index / threads, all * (index + 1) / threads - all * index / threads);
        let ((first_publisher, publishers), (first_subscriber, subscribers)) =
            (part(self.publishers), part(self.subscribers));
        Share { first_publisher, publishers, first_subscriber, subscribers }
    }

    /// Messages of one publisher; the first ones have one more where the count does not divide.
    pub(crate) const fn messages_of(&self, publisher: usize) -> u64 {
        let (all, publisher) = (self.publishers as u64, publisher as u64);
        match self.until {
            Until::Time { .. } => u64::MAX,
            Until::Count(count) => (count + all - 1 - publisher) / all,
        }
    }

    /// The topic of a publisher's n-th message.
    pub(crate) const fn topic(&self, publisher: usize, number: u64) -> u32 {
        ((number * self.publishers as u64 + publisher as u64) % self.topics as u64) as u32
    }

    /// Filters of a subscriber in its n-th SUBSCRIBE.
    pub(crate) fn filters_of(&self, subscriber: usize, round: usize) -> Option<Vec<String>> {
        /// In one SUBSCRIBE.
        const AT_A_TIME: usize = 100;
        let all = format!("{}/+", self.prefix);
        match self.filters {
            Filters::Own => (round == 0).then(|| vec![topic(&self.prefix, subscriber as u32)]),
            Filters::All => (round == 0).then(|| vec![all]),
            Filters::Shared => (round == 0).then(|| vec![format!("$share/bench/{all}")]),
            Filters::Each => {
                let topics = self.topics as usize;
                let from = (round * AT_A_TIME).min(topics);
                let to = (from + AT_A_TIME).min(topics);
                Some((from..to).map(|number| topic(&self.prefix, number as u32)).collect())
            }
        }
    }
}
