//! Topic aliases that the server sets on one connection, for a client that takes them (5.0 section 3.3.2.3.4). First
//! come, first served: an alias stands for its topic to the end of the connection, so that nothing depends on whether
//! what was sent is read in time. Never writes a packet.

use hashbrown::HashMap;

/// An alias property has as many bytes: a topic of no more is not worth one.
const PROPERTY: usize = 3;
/// A longer topic is always sent: it would be kept for each connection.
const LONGEST: usize = 1024;

/// What a PUBLISH says of its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// The name alone.
    Plain,
    /// The name, and the alias that stands for it from then on.
    Introduce(u16),
    /// The alias alone.
    Known(u16),
}

/// The aliases of one connection. There are none where the client takes none.
#[derive(Debug)]
pub(super) struct Aliases {
    maximum: u16,
    known: HashMap<Box<[u8]>, u16, foldhash::fast::RandomState>,
}

impl Aliases {
    /// `maximum` is the smaller of the client's Topic Alias Maximum and our own bound.
    pub(super) fn new(maximum: u16) -> Option<Box<Self>> {
        (maximum > 0).then(|| Box::new(Self { maximum, known: HashMap::default() }))
    }

    pub(super) fn naming(&self, topic: &[u8]) -> Naming {
        if topic.len() <= PROPERTY || topic.len() > LONGEST {
            return Naming::Plain;
        }
        if let Some(alias) = self.known.get(topic) {
            return Naming::Known(*alias);
        }
        let next = u16::try_from(self.known.len() + 1).ok().filter(|next| *next <= self.maximum);
        next.map_or(Naming::Plain, Naming::Introduce)
    }

    /// The client has been sent this.
    pub(super) fn introduced(&mut self, topic: &[u8], alias: u16) {
        self.known.insert(topic.into(), alias);
    }
}
