//! What happened, in the order in which it was seen. Owns the list and wakes who waits for it; judges nothing.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// A place in the record.
pub(super) type At = usize;

/// A connection of a client to a node.
#[derive(Clone, Debug)]
pub(super) struct Conn {
    pub(super) client: usize,
    pub(super) node: usize,
    /// Which life of the node.
    pub(super) life: usize,
    pub(super) is_kept: bool,
}

/// What was seen. Connections and publications are numbered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Connecting(usize),
    Connected {
        conn: usize,
        is_present: bool,
    },
    /// We close it.
    Leaving(usize),
    /// Its end, and the reason that the broker gave.
    Closed {
        conn: usize,
        code: Option<u8>,
    },
    Subscribing {
        conn: usize,
        filter: String,
        qos: u8,
    },
    Subscribed {
        conn: usize,
        filter: String,
        code: u8,
    },
    Unsubscribing {
        conn: usize,
        filter: String,
    },
    Unsubscribed {
        conn: usize,
        filter: String,
    },
    Publishing {
        conn: usize,
        number: usize,
        topic: String,
        qos: u8,
        is_retained: bool,
    },
    /// RETAIN and nothing in it.
    Clearing {
        conn: usize,
        number: usize,
        topic: String,
    },
    Acknowledged {
        number: usize,
        code: u8,
    },
    Came {
        conn: usize,
        number: usize,
        qos: u8,
        is_dup: bool,
        is_retained: bool,
    },
    /// The answer to a PINGREQ.
    Fenced(usize),
    /// What two nodes say to each other does not come any more, one way at least.
    Struck(usize, usize),
    /// Every link passes everything.
    Healed,
    /// Everybody sees everybody.
    Settled,
    Killed(usize),
}

#[derive(Debug)]
pub(super) struct Record {
    inner: Mutex<Inner>,
    grown: watch::Sender<usize>,
    began: Instant,
}

/// What there is so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Inner {
    pub(super) conns: Vec<Conn>,
    pub(super) events: Vec<(Duration, Event)>,
}

impl Record {
    pub(super) fn new() -> Self {
        Self { inner: Mutex::default(), grown: watch::Sender::new(0), began: Instant::now() }
    }

    pub(super) fn so_far(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panicked with it")
    }

    pub(super) fn note(&self, event: Event) {
        let count = {
            let mut inner = self.so_far();
            inner.events.push((self.began.elapsed(), event));
            inner.events.len()
        };
        self.grown.send_replace(count);
    }

    pub(super) fn begin(&self, conn: Conn) -> usize {
        let mut inner = self.so_far();
        inner.conns.push(conn);
        let number = inner.conns.len() - 1;
        inner.events.push((self.began.elapsed(), Event::Connecting(number)));
        number
    }

    /// Waits until the record says so; `false` when it did not in time.
    pub(super) async fn until(&self, deadline: Duration, says: impl Fn(&Inner) -> bool) -> bool {
        let mut grown = self.grown.subscribe();
        let waiting = async {
            loop {
                grown.mark_unchanged();
                if says(&self.so_far()) {
                    return;
                }
                let _ = grown.changed().await; // the sender is ours
            }
        };
        tokio::time::timeout(deadline, waiting).await.is_ok()
    }
}
