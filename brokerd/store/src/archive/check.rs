//! Looks at a whole archive before anything of it is applied. Never changes anything.

use std::fs::File;
use std::hash::Hash;
use std::io::BufReader;
use std::path::Path;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::frame::{Frame, Stage};
use super::read::Records;
use super::{ArchiveError, Contents};
use crate::record::Stamp;

/// An archive in which every record can be read.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// What is in it, or what of it counts where its nodes had several of the same.
    pub contents: Contents,
    /// Numbers of sessions and of retained messages that another of the same name has overtaken.
    pub(super) lost_sessions: HashSet<u64, RandomState>,
    pub(super) lost_retained: HashSet<u64, RandomState>,
}

/// The best of each name.
struct Best<K, R>(HashMap<K, (R, u64), RandomState>);

impl<K: Hash + Eq, R: Ord> Best<K, R> {
    /// Answers the number that loses, if two have this name.
    fn add(&mut self, name: K, rank: R, number: u64) -> Option<u64> {
        match self.0.get_mut(&name) {
            Some(best) if best.0 >= rank => Some(number),
            Some(best) => Some(std::mem::replace(best, (rank, number)).1),
            None => {
                self.0.insert(name, (rank, number));
                None
            }
        }
    }
}

/// Reads the archive in a file to its end. Blocks.
///
/// # Errors
/// What is wrong with it, and where.
pub fn check(path: &Path) -> Result<Checked, ArchiveError> {
    let mut records = Records::new(BufReader::new(File::open(path)?));
    let mut checked = Checked::default();
    let mut clients: Best<Box<str>, u64> = Best(HashMap::default());
    let mut topics: Best<Box<str>, Stamp> = Best(HashMap::default());
    let mut found = Contents::default();
    let mut taken: HashSet<u16, RandomState> = HashSet::default();
    while let Some(frame) = records.next()? {
        let of = match frame {
            Frame::Session { epoch, record, .. } => {
                let number = found.sessions;
                checked.lost_sessions.extend(clients.add(record.client_id, epoch, number));
                taken.clear();
                Contents { sessions: 1, ..Contents::default() }
            }
            Frame::Entry { stage, .. } => {
                let id = match stage {
                    Stage::Waits => None,
                    Stage::Sent(id) | Stage::Released(id) => Some(id.get()),
                };
                if id.is_some_and(|id| !taken.insert(id)) {
                    return Err(records.damaged("two deliveries of a session have one packet id"));
                }
                Contents { messages: 1, ..Contents::default() }
            }
            Frame::Retained(retained) => {
                let number = found.retained;
                checked.lost_retained.extend(topics.add(retained.topic, retained.stamp, number));
                Contents { retained: 1, ..Contents::default() }
            }
            Frame::Delayed(_) => Contents { delayed: 1, ..Contents::default() },
            Frame::Head(_) | Frame::End(_) => continue,
        };
        found = found.plus(of);
    }
    checked.contents = Contents {
        sessions: found.sessions - checked.lost_sessions.len() as u64,
        retained: found.retained - checked.lost_retained.len() as u64,
        ..found
    };
    Ok(checked)
}
