//! What waits to be sent to one peer, and what was sent and is not acknowledged. Bounded in bytes: QoS 0 is dropped
//! above the bound, QoS 1 and 2 are taken and make the queue congested. Sends nothing and waits for nothing.

use std::collections::VecDeque;

use mqtt::Qos;
use proto::peer::{ForwardAck, ForwardRefused};

use crate::router::{Outbound, Outcome, Share, Ticket};

/// Messages of a frame.
const FRAME_MESSAGES: usize = 512;
/// Bytes after which a frame takes no further message.
const FRAME_BYTES: usize = 256 << 10;
/// What an entry costs beside its message.
const ENTRY: usize = 48;
/// And what it is to do for shared groups; their texts are shared.
const SHARE: usize = size_of::<Share>() + 48;

/// A frame to be written.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) ack: bool,
    pub(super) messages: Vec<Outbound>,
}

/// A frame that was written and is not acknowledged.
#[derive(Debug)]
struct Sent {
    number: u64,
    messages: Vec<Outbound>,
    bytes: usize,
    is_done: bool,
}

/// The queue of one peer.
#[derive(Debug)]
pub(super) struct Queue {
    bound: usize,
    waiting: VecDeque<Outbound>,
    sent: VecDeque<Sent>,
    bytes: usize,
    number: u64,
    /// After a reconnect: frames above this number go again first.
    resend_after: Option<u64>,
    /// Up to this number, what the peer has taken may be for sessions that are elsewhere by now.
    doubted: u64,
}

/// What an acknowledgement has freed.
#[derive(Debug, Default)]
pub(super) struct Acked {
    /// Whom to tell.
    pub(super) settled: Vec<(Ticket, Outcome)>,
    /// What others may still have to get.
    pub(super) doubted: Vec<Outbound>,
}

impl Queue {
    pub(super) const fn new(bound: usize) -> Self {
        Self {
            bound,
            waiting: VecDeque::new(),
            sent: VecDeque::new(),
            bytes: 0,
            number: 0,
            resend_after: None,
            doubted: 0,
        }
    }

    /// From here on what the peer takes may be for sessions that are elsewhere, too; or not any more from here on.
    pub(super) fn doubt(&mut self, is_doubted: bool) {
        self.doubted = if is_doubted { u64::MAX } else { self.mark() };
    }

    /// Whether publishers must not be read.
    pub(super) const fn is_above(&self) -> bool {
        self.bytes > self.bound
    }
    /// Whether they may be read again.
    pub(super) const fn is_below_half(&self) -> bool {
        self.bytes < self.bound / 2
    }

    /// Whether nothing waits to be sent or acknowledged.
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Messages and bytes that wait to be sent or acknowledged.
    pub(super) fn depth(&self) -> (u64, u64) {
        let sent = self.sent.iter().filter(|sent| !sent.is_done).map(|sent| sent.messages.len());
        ((self.waiting.len() + sent.sum::<usize>()) as u64, self.bytes as u64)
    }

    /// A frame that comes after everything that is in the queue now.
    pub(super) fn mark(&self) -> u64 {
        self.number + self.waiting.len() as u64
    }
    /// Whether everything up to a mark has been acknowledged.
    pub(super) fn is_past(&self, mark: u64) -> bool {
        self.is_empty() || self.sent.iter().find(|sent| !sent.is_done).is_some_and(|first| first.number > mark)
    }

    /// Whether everything has been handed to the link at least once.
    #[cfg(test)]
    pub(super) fn is_all_sent(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a turn's messages and answers how many of QoS 0 had no room.
    pub(super) fn push(&mut self, batch: &mut Vec<Outbound>) -> u64 {
        let mut dropped = 0;
        for outbound in batch.drain(..) {
            if self.is_above() && outbound.message.qos == Qos::AtMostOnce {
                dropped += 1;
                continue;
            }
            self.bytes += cost(&outbound);
            self.waiting.push_back(outbound);
        }
        dropped
    }

    /// The next frame to write. One with a ticket is kept until it is acknowledged.
    pub(super) fn next(&mut self) -> Option<Batch> {
        if let Some(after) = self.resend_after {
            let place = self.sent.partition_point(|sent| sent.number <= after);
            if let Some(sent) = self.sent.range(place..).find(|sent| !sent.is_done) {
                self.resend_after = Some(sent.number);
                return Some(self.batch(sent.number, &sent.messages));
            }
            self.resend_after = None;
        }
        let (mut messages, mut bytes) = (Vec::new(), 0);
        while messages.len() < FRAME_MESSAGES && bytes < FRAME_BYTES {
            let Some(outbound) = self.waiting.pop_front() else {
                break;
            };
            bytes += cost(&outbound);
            messages.push(outbound);
        }
        if messages.is_empty() {
            return None;
        }
        self.number += 1;
        let frame = self.batch(self.number, &messages);
        if frame.ack {
            self.sent.push_back(Sent { number: self.number, messages, bytes, is_done: false });
        } else {
            self.bytes -= bytes;
        }
        Some(frame)
    }

    /// A new stream to the same generation, which has taken every frame up to `received`.
    pub(super) const fn resume(&mut self, received: u64) {
        self.resend_after = Some(received);
    }

    fn batch(&self, number: u64, messages: &[Outbound]) -> Batch {
        let is_awaited =
            |one: &Outbound| one.ticket.is_some() || (number <= self.doubted && one.message.qos > Qos::AtMostOnce);
        Batch { number, ack: messages.iter().any(is_awaited), messages: messages.to_vec() }
    }

    /// Frees what was carried out or refused.
    pub(super) fn acked(&mut self, ack: &ForwardAck) -> Acked {
        let (mut acked, doubted) = (Acked::default(), self.doubted);
        let upper = self.sent.partition_point(|sent| sent.number <= ack.up_to);
        for sent in self.sent.range_mut(..upper) {
            self.bytes -= finish(sent, &ack.refused, doubted, &mut acked);
        }
        for number in &ack.also {
            if let Ok(place) = self.sent.binary_search_by_key(number, |sent| sent.number) {
                self.bytes -= finish(&mut self.sent[place], &ack.refused, doubted, &mut acked);
            }
        }
        while self.sent.pop_front_if(|sent| sent.is_done).is_some() {}
        acked
    }

    /// Everything that is not acknowledged, in order, because the peer is gone; QoS 0 goes with it.
    pub(super) fn take(&mut self) -> Vec<Outbound> {
        let sent = self.sent.drain(..).filter(|sent| !sent.is_done).flat_map(|sent| sent.messages);
        let left = sent.chain(self.waiting.drain(..)).filter(|outbound| outbound.message.qos != Qos::AtMostOnce);
        let left = left.collect();
        self.bytes = 0;
        self.resend_after = None;
        left
    }

    /// Gives everything up, because the peer is gone.
    pub(super) fn release(&mut self) -> Released {
        let sent = self.sent.drain(..).filter(|sent| !sent.is_done).flat_map(|sent| sent.messages);
        let mut released = Released::default();
        // The peer may have given a member what was sent: at QoS 2 another's copy could be a second one.
        sent.for_each(|outbound| released.add(outbound, Qos::AtLeastOnce));
        self.waiting.drain(..).for_each(|outbound| released.add(outbound, Qos::ExactlyOnce));
        self.bytes = 0;
        self.resend_after = None;
        released
    }
}

/// What was left of a queue.
#[derive(Debug, Default)]
pub(super) struct Released {
    /// Whom to tell.
    pub(super) settled: Vec<(Ticket, Outcome)>,
    /// How many messages above QoS 0 nobody gets any more.
    pub(super) lost: u64,
    /// Messages of shared groups: for a member elsewhere.
    pub(super) for_groups: Vec<Outbound>,
}

impl Released {
    /// Adds a message; one of a shared group goes to another member unless its QoS is above this.
    pub(super) fn add(&mut self, outbound: Outbound, most: Qos) {
        let share = outbound.share.as_ref().filter(|share| !share.serve.is_empty() && outbound.message.qos <= most);
        let is_whole = share.is_some_and(|share| share.only_groups);
        self.lost += u64::from(outbound.message.qos != Qos::AtMostOnce && !is_whole);
        if share.is_some() {
            self.for_groups.push(outbound);
        } else {
            self.settled.extend(outbound.ticket.map(|ticket| (ticket, Outcome::Done)));
        }
    }
}

fn cost(outbound: &Outbound) -> usize {
    outbound.message.heap_size() + ENTRY + outbound.share.as_ref().map_or(0, |_| SHARE)
}

/// Settles a frame once; the bytes that it frees.
fn finish(sent: &mut Sent, refused: &[ForwardRefused], doubted: u64, acked: &mut Acked) -> usize {
    if std::mem::replace(&mut sent.is_done, true) {
        return 0;
    }
    for (index, mut outbound) in std::mem::take(&mut sent.messages).into_iter().enumerate() {
        let is_refused = refused.iter().any(|refused| refused.number == sent.number && refused.index as usize == index);
        let is_whole = outbound.share.take().is_some_and(|share| share.only_groups);
        if sent.number <= doubted && outbound.message.qos > Qos::AtMostOnce && !is_refused && !is_whole {
            acked.doubted.push(outbound); // what it was to do for shared groups is done
        } else if let Some(ticket) = outbound.ticket {
            acked.settled.push((ticket, if is_refused { Outcome::Full } else { Outcome::Done }));
        }
    }
    sent.bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use mqtt::Message;
    use std::sync::Arc;

    fn outbound(token: u64, qos: Qos) -> Outbound {
        let mut message = Message::new("t", &[], &[b'x'; 100]);
        message.qos = qos;
        let ticket = (qos != Qos::AtMostOnce).then_some(Ticket { worker: 0, token });
        Outbound { message: Arc::new(message), ticket, share: None, retained_at: 0 }
    }
    fn up_to(number: u64) -> ForwardAck {
        ForwardAck { up_to: number, ..ForwardAck::default() }
    }
    fn done(token: u64) -> (Ticket, Outcome) {
        (Ticket { worker: 0, token }, Outcome::Done)
    }
    fn three_frames() -> Queue {
        let mut queue = Queue::new(1 << 20);
        for token in 1..=3 {
            queue.push(&mut vec![outbound(token, Qos::AtLeastOnce)]);
            queue.next().unwrap();
        }
        queue
    }

    #[test]
    fn above_the_bound_qos_0_is_dropped_and_qos_1_is_taken_and_congests() {
        let mut queue = Queue::new(1_000);
        assert_eq!(queue.push(&mut (0..20).map(|token| outbound(token, Qos::AtLeastOnce)).collect()), 0);
        assert!(queue.is_above());
        assert_eq!(queue.push(&mut vec![outbound(0, Qos::AtMostOnce), outbound(21, Qos::ExactlyOnce)]), 1);
        let frame = queue.next().unwrap();
        assert_eq!((frame.number, frame.ack, frame.messages.len()), (1, true, 21));
        assert!(queue.is_above(), "what is not acknowledged counts");
        assert_eq!(queue.acked(&up_to(1)).settled.len(), 21);
        assert!(queue.is_below_half());
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn a_frame_of_qos_0_asks_for_no_acknowledgement_and_is_not_kept() {
        let mut queue = Queue::new(1_000);
        queue.push(&mut vec![outbound(0, Qos::AtMostOnce)]);
        assert!(!queue.next().unwrap().ack);
        assert_eq!(queue.bytes, 0);
        queue.resume(0);
        assert!(queue.next().is_none());
    }

    #[test]
    fn after_a_reconnect_frames_that_the_peer_has_not_taken_go_again_in_order_and_before_new_ones() {
        let mut queue = three_frames();
        queue.push(&mut vec![outbound(4, Qos::AtLeastOnce)]);
        queue.resume(1);
        let numbers: Vec<u64> = std::iter::from_fn(|| queue.next()).map(|frame| frame.number).collect();
        assert_eq!(numbers, [2, 3, 4]);
        assert_eq!(queue.acked(&up_to(4)).settled, [done(1), done(2), done(3), done(4)]);
    }

    #[test]
    fn a_frame_is_settled_once_however_often_it_is_acknowledged() {
        let mut queue = three_frames();
        let also = ForwardAck { also: vec![2, 2, 77], ..ForwardAck::default() };
        assert_eq!(queue.acked(&also).settled, [done(2)]);
        assert_eq!(queue.acked(&also).settled, []);
        queue.resume(0);
        let numbers: Vec<u64> = std::iter::from_fn(|| queue.next()).map(|frame| frame.number).collect();
        assert_eq!(numbers, [1, 3]);
        assert_eq!(queue.acked(&up_to(3)).settled, [done(1), done(3)]);
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn while_it_is_doubted_what_was_taken_is_settled_by_who_brings_it_on() {
        let mut queue = Queue::new(10_000);
        queue.doubt(true);
        let silent = Outbound { ticket: None, ..outbound(2, Qos::AtLeastOnce) };
        queue.push(&mut vec![outbound(1, Qos::AtLeastOnce), silent]);
        let frame = queue.next().unwrap();
        let refused = vec![ForwardRefused { number: frame.number, index: 0, ..ForwardRefused::default() }];
        let acked = queue.acked(&ForwardAck { up_to: frame.number, refused, ..ForwardAck::default() });
        assert_eq!(acked.settled, [(Ticket { worker: 0, token: 1 }, Outcome::Full)], "it could not be kept there");
        assert_eq!(acked.doubted.len(), 1);
        queue.push(&mut vec![outbound(3, Qos::ExactlyOnce)]);
        queue.doubt(false);
        queue.push(&mut vec![outbound(4, Qos::AtLeastOnce)]);
        let first = queue.next().unwrap().number;
        let acked = queue.acked(&up_to(first));
        assert!(acked.settled.is_empty() && acked.doubted.len() == 2, "one frame: {acked:?}");
        queue.push(&mut vec![Outbound { ticket: None, ..outbound(5, Qos::AtLeastOnce) }]);
        assert!(!queue.next().unwrap().ack, "nobody waits for it any more");
        queue.push(&mut vec![outbound(6, Qos::AtLeastOnce)]);
        let last = queue.next().unwrap().number;
        assert_eq!(queue.acked(&up_to(last)).settled, [done(6)]);
    }

    #[test]
    fn a_refused_message_is_told_as_full() {
        let mut queue = three_frames();
        let refused = vec![ForwardRefused { number: 1, index: 0, why: 1 }];
        let settled = queue.acked(&ForwardAck { up_to: 1, refused, ..ForwardAck::default() }).settled;
        assert_eq!(settled, [(Ticket { worker: 0, token: 1 }, Outcome::Full)]);
    }

    #[test]
    fn what_a_peer_that_is_gone_was_to_give_to_a_group_is_for_another_but_not_what_was_sent_at_qos_2() {
        let mut queue = Queue::new(1 << 20);
        let shared = |token, qos| {
            let share =
                crate::router::Share { serve: vec![Arc::from("$share/g/t")], only_groups: true, ..Default::default() };
            Outbound { share: Some(Arc::new(share)), ..outbound(token, qos) }
        };
        queue.push(&mut vec![shared(1, Qos::AtLeastOnce), shared(2, Qos::ExactlyOnce)]);
        queue.next().unwrap();
        queue.push(&mut vec![shared(3, Qos::AtLeastOnce), shared(4, Qos::ExactlyOnce), shared(5, Qos::AtMostOnce)]);
        let released = queue.release();
        let tokens: Vec<_> = released.for_groups.iter().map(|left| left.ticket.map(|ticket| ticket.token)).collect();
        assert_eq!(tokens, [Some(1), Some(3), Some(4), None]);
        assert_eq!((released.settled, released.lost), (vec![done(2)], 1));
    }

    #[test]
    fn release_tells_everyone_and_counts_what_was_lost() {
        let mut queue = three_frames();
        queue.push(&mut vec![outbound(4, Qos::AtLeastOnce), outbound(0, Qos::AtMostOnce)]);
        queue.acked(&up_to(1));
        let released = queue.release();
        assert_eq!((released.settled, released.lost), (vec![done(2), done(3), done(4)], 3));
        assert!(released.for_groups.is_empty());
        assert_eq!(queue.bytes, 0);
        queue.push(&mut vec![outbound(5, Qos::AtLeastOnce)]);
        assert_eq!(queue.next().unwrap().number, 4, "numbers go on rising for the same peer");
    }
}
