//! How much a minute, averaged over the last one, five and fifteen minutes, as mosquitto's `$SYS/broker/load`. Never
//! reads a clock: it is told how long it was.

use std::time::Duration;

/// The names of the averages, and how many seconds each spans.
pub(super) const SPANS: [(&str, f64); 3] = [("1min", 60.0), ("5min", 300.0), ("15min", 900.0)];

/// mosquitto's name of a load, and the counter that it is the rise of. Its `messages` are packets of any type.
pub(super) const LOADS: [(&str, &str); 8] = [
    ("messages/received", "packets.received"),
    ("messages/sent", "packets.sent"),
    ("publish/received", "messages.received"),
    ("publish/sent", "messages.sent"),
    ("publish/dropped", "delivery.dropped"),
    ("bytes/received", "bytes.received"),
    ("bytes/sent", "bytes.sent"),
    ("connections", "client.connected"),
];

/// The averages.
#[derive(Debug, Default)]
pub(super) struct Loads {
    last: [u64; LOADS.len()],
    averages: [[f64; SPANS.len()]; LOADS.len()],
}

impl Loads {
    /// Takes the counters as they are `elapsed` after the last time.
    pub(super) fn observe(&mut self, counters: &[(&'static str, u64)], elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        for (at, (_, counter)) in LOADS.iter().enumerate() {
            let now = counters.iter().find(|(name, _)| name == counter).map_or(0, |(_, count)| *count);
            let risen = now.saturating_sub(std::mem::replace(&mut self.last[at], now));
            #[expect(clippy::cast_precision_loss, reason = "an average of two decimals")]
            let a_minute = risen as f64 * 60.0 / seconds;
            for (average, (_, span)) in self.averages[at].iter_mut().zip(SPANS) {
                *average = a_minute + (-seconds / span).exp() * (*average - a_minute);
            }
        }
    }

    /// The averages of each of [`LOADS`], by [`SPANS`].
    pub(super) fn averages(&self) -> impl Iterator<Item = (&'static str, &'static str, f64)> {
        LOADS.iter().zip(&self.averages).flat_map(|((name, _), averages)| {
            SPANS.iter().zip(averages).map(move |((span, _), average)| (*name, *span, *average))
        })
    }
}
