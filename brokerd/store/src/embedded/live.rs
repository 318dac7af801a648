//! What is kept in memory beside the tables: owners, and how many entries name each shared message. Never holds
//! anything for an entry that has its message inline, so a queue of millions costs nothing here.

use std::collections::VecDeque;
use std::ops::{Bound, ControlFlow};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use mqtt::MessageId;

use super::engine::Engine;
use super::keys::{self, GARBAGE, OWNER, Table};
use crate::error::StoreError;
use crate::format::Reader;
use crate::record::Sid;

/// A session's owner.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Owner {
    pub(super) epoch: u64,
    /// The highest number enqueued since the store was opened: what is not above it may be a repetition.
    pub(super) last_seq: u64,
}

/// How far the entries have been read to count those that name a message. What is not counted yet names a message that
/// is not removed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// Rows below this one.
    Below([u8; 16]),
    /// All entries; of the messages, those up to this one were looked at.
    Entries(Option<MessageId>),
    /// Everything.
    All,
}

/// The memory beside the tables.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) owners: HashMap<Sid, Owner, RandomState>,
    pub(super) next_sid: u64,
    /// Entries that name a message.
    pub(super) references: HashMap<MessageId, u32, RandomState>,
    /// Of the entries of a session, how many name one: those of the others need not be read to be removed.
    pub(super) naming: HashMap<Sid, u32, RandomState>,
    pub(super) counted: Counted,
    /// Sessions whose rows are to be removed.
    pub(super) garbage: VecDeque<Sid>,
    /// How far the first of them is done: the rows that are gone would be passed over again and again.
    pub(super) collected: (Table, [u8; 17]),
    pub(super) expire_session: Option<Sid>,
    pub(super) expire_row: [u8; 16],
}

impl Default for Live {
    fn default() -> Self {
        Self {
            owners: HashMap::default(),
            next_sid: 1,
            references: HashMap::default(),
            naming: HashMap::default(),
            counted: Counted::All,
            garbage: VecDeque::new(),
            collected: (Table::Queue, [0; 17]),
            expire_session: None,
            expire_row: [0; 16],
        }
    }
}

impl Live {
    pub(super) fn load<E: Engine>(engine: &E) -> Result<Self, StoreError> {
        let mut live = Self { counted: Counted::Below([0; 16]), ..Self::default() };
        engine.scan(
            Table::Sessions,
            (Bound::Included(&[GARBAGE]), Bound::Excluded(&[OWNER + 1])),
            &mut |key, value| {
                let sid = keys::of_tagged(key);
                live.next_sid = live.next_sid.max(sid.0 + 1);
                match key.first() {
                    Some(&GARBAGE) => live.garbage.push_back(sid),
                    Some(&OWNER) => {
                        // One whose owner cannot be read is claimed anew by any epoch.
                        let epoch = Reader::versioned(value).and_then(|mut reader| reader.u64()).unwrap_or(0);
                        live.owners.insert(sid, Owner { epoch, last_seq: 0 });
                    }
                    _ => {}
                }
                ControlFlow::Continue(())
            },
        )?;
        // A claim that a power cut undid may have left rows: its number is not for somebody else.
        for table in [Table::Queue, Table::Flight] {
            let last = engine.last_key(table)?.map_or(0, |key| keys::of_row(&key).0.0);
            live.next_sid = live.next_sid.max(last.saturating_add(1));
        }
        Ok(live)
    }

    /// Whether what the row names has been counted.
    pub(super) fn is_counted(&self, row: &[u8; 16]) -> bool {
        match &self.counted {
            Counted::Below(cursor) => row < cursor,
            Counted::Entries(_) | Counted::All => true,
        }
    }

    pub(super) fn refer(&mut self, sid: Sid, id: MessageId) {
        *self.references.entry(id).or_default() += 1;
        *self.naming.entry(sid).or_default() += 1;
    }

    /// Answers whether nothing names it any more.
    pub(super) fn release(&mut self, sid: Sid, id: MessageId) -> bool {
        if let Some(count) = self.naming.get_mut(&sid) {
            *count -= 1;
            if *count == 0 {
                self.naming.remove(&sid);
            }
        }
        let Some(count) = self.references.get_mut(&id) else { return false };
        *count -= 1;
        if *count > 0 {
            return false;
        }
        self.references.remove(&id);
        true
    }

    /// Whether a message that nothing is known to name is named by nothing.
    pub(super) fn knows_all_references(&self) -> bool {
        !matches!(self.counted, Counted::Below(_))
    }
}
