//! The queue where topics have priorities, against a naive one.

use proptest::prelude::*;

use super::packets::*;
use super::*;

const TOPICS: [&str; 5] = ["alarm/fire", "alarm/door", "log/a", "plain", "other"];

fn priorities(others_first: bool) -> Priorities {
    let rules = [("log/#", 1), ("alarm/+", 100), ("alarm/fire", 200)];
    Priorities::new(rules.map(|(filter, priority)| (filter.into(), priority)), others_first)
}

/// What the rules of [`priorities`] say, by hand.
fn order(topic: &str, others_first: bool) -> u16 {
    match topic {
        "alarm/fire" => 200,
        "alarm/door" => 100,
        "log/a" => 1,
        _ if others_first => 1000,
        _ => 0,
    }
}

fn payloads(pair: &mut Pair) -> Vec<String> {
    let payload = |line: &String| line.split_once('=')?.1.split(' ').next().map(str::to_owned);
    pair.sent().iter().filter_map(payload).collect()
}

fn offer(pair: &mut Pair, topic: &str, payload: &str) {
    pair.deliver_message(Q1, Message::new(topic, &[], payload.as_bytes()));
}

fn away(others_first: bool) -> Pair {
    let mut pair = Pair::v5();
    pair.limits.queue.priorities = priorities(others_first);
    let _ = pair.lost();
    pair
}

fn back(pair: &mut Pair) -> Vec<String> {
    pair.server.max_inflight = 100;
    pair.attach(Connect::kept(Version::V5));
    payloads(pair)
}

#[test]
fn higher_priorities_leave_first_and_each_keeps_its_order() {
    for (others_first, wanted) in [(false, ["c", "e", "b", "a", "d"]), (true, ["a", "d", "c", "e", "b"])] {
        let mut pair = away(others_first);
        let topics = ["plain", "log/a", "alarm/fire", "other", "alarm/fire"];
        for (topic, payload) in topics.iter().zip(["a", "b", "c", "d", "e"]) {
            offer(&mut pair, topic, payload);
        }
        assert_eq!(back(&mut pair), wanted, "others first: {others_first}");
    }
}

#[test]
fn a_full_queue_drops_the_oldest_of_the_lowest_priority_and_never_a_higher_one_for_a_lower() {
    let mut pair = away(false);
    for (topic, payload) in [("log/a", "a"), ("log/a", "b"), ("alarm/door", "c"), ("alarm/fire", "d"), ("plain", "e")] {
        offer(&mut pair, topic, payload);
    }
    offer(&mut pair, "alarm/door", "f"); // instead of e
    offer(&mut pair, "alarm/door", "g"); // instead of a
    offer(&mut pair, "plain", "h"); // all that waits is higher: h itself
    assert_eq!(pair.tally().queue_full, 3);
    assert_eq!(back(&mut pair), ["d", "c", "f", "g", "b"]);
    assert_eq!(pair.session.depths().2, 0);
}

/// What the session does, as a list that is searched.
#[derive(Default)]
struct Naive {
    queue: Vec<(u16, String)>,
    wire: Vec<String>,
    dropped: u64,
}

impl Naive {
    fn offer(&mut self, order: u16, payload: &str) {
        if self.queue.is_empty() && self.wire.is_empty() {
            return self.wire.push(payload.to_owned());
        }
        if self.queue.len() == 5 {
            self.dropped += 1;
            let lowest = self.queue.iter().map(|(order, _)| *order).min().unwrap();
            if lowest > order {
                return;
            }
            let oldest = self.queue.iter().position(|(order, _)| *order == lowest).unwrap();
            self.queue.remove(oldest);
        }
        self.queue.push((order, payload.to_owned()));
    }

    fn flush(&mut self) -> Vec<String> {
        let sent = std::mem::take(&mut self.wire);
        if let Some(highest) = self.queue.iter().map(|(order, _)| *order).max() {
            let next = self.queue.iter().position(|(order, _)| *order == highest).unwrap();
            self.wire.push(self.queue.remove(next).1);
        }
        sent
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_with_priorities_sends_and_drops_what_a_naive_one_does(
        others_first: bool,
        steps in prop::collection::vec(prop::option::weighted(0.7, 0..TOPICS.len()), 1..150),
    ) {
        let mut pair = Pair::v5();
        pair.limits.queue.priorities = priorities(others_first);
        pair.limits.write_buffer = 1;
        let mut naive = Naive::default();
        for (number, step) in steps.iter().enumerate() {
            if let Some(topic) = step.map(|topic| TOPICS[topic]) {
                let payload = number.to_string();
                pair.deliver_message(Q0, Message::new(topic, &[], payload.as_bytes()));
                naive.offer(order(topic, others_first), &payload);
            } else {
                prop_assert_eq!(payloads(&mut pair), naive.flush(), "at step {}", number);
                pair.pump();
            }
            let (_, _, queued, bytes) = pair.session.depths();
            prop_assert_eq!((queued, bytes == 0), (naive.queue.len(), queued == 0));
        }
        prop_assert_eq!(pair.tally().queue_full, naive.dropped);
    }
}
