//! What the messages of one thread came to. Never decides whether that is good.

use crate::bench::figures::Durations;

/// Counts of all messages, durations of those measured.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) sent: u64,
    /// Acknowledged to the end: PUBACK, or PUBCOMP.
    pub(crate) acknowledged: u64,
    /// Acknowledged with a reason code that says no.
    pub(crate) refused: u64,
    /// Never acknowledged.
    pub(crate) unanswered: u64,
    /// Deliveries, each counted once.
    pub(crate) delivered: u64,
    pub(crate) duplicates: u64,
    pub(crate) out_of_order: u64,
    /// Deliveries that never came.
    pub(crate) lost: u64,
    /// Messages that are not of this run.
    pub(crate) foreign: u64,
    /// Connections that broke.
    pub(crate) broken: u64,
    /// Messages that were due and could not be sent (open loop).
    pub(crate) unsent: u64,
    /// From the intended time of sending to the delivery.
    pub(crate) latency: Durations,
    /// From the intended time of sending to the last acknowledgement.
    pub(crate) ack: Durations,
    /// The latest a message was sent after its time.
    pub(crate) late: u64,
    /// The last acknowledgement or delivery.
    pub(crate) last: u64,
}

impl Outcome {
    /// Of nothing.
    pub(crate) fn new() -> Self {
        let (latency, ack) = (Durations::new(), Durations::new());
        Self {
            sent: 0,
            acknowledged: 0,
            refused: 0,
            unanswered: 0,
            delivered: 0,
            duplicates: 0,
            out_of_order: 0,
            lost: 0,
            foreign: 0,
            broken: 0,
            unsent: 0,
            latency,
            ack,
            late: 0,
            last: 0,
        }
    }

    /// With those of another thread.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        self.delivered += other.delivered;
        self.duplicates += other.duplicates;
        self.out_of_order += other.out_of_order;
        self.lost += other.lost;
        self.foreign += other.foreign;
        self.broken += other.broken;
        self.unsent += other.unsent;
        self.latency.add(&other.latency);
        self.ack.add(&other.ack);
        self.late = self.late.max(other.late);
        self.last = self.last.max(other.last);
    }
}
