//! Which client of this node has which filter for itself. Shared by its workers; never asks another node, and never
//! touches a session. Holds no more rows than there are exclusive subscriptions, made or under way.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use slab::Slab;

use crate::registry::{Epoch, Holder, Owned};

/// The table, by key (`registry::exclusive_key`).
#[derive(Default)]
pub(crate) struct Exclusives(Mutex<Table>);

#[derive(Default)]
struct Table {
    places: HashMap<Arc<str>, usize, foldhash::fast::RandomState>,
    rows: Slab<Row>,
}

struct Row {
    key: Arc<str>,
    client_id: Arc<str>,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    /// Its claim is under way, and whoever wanted it may have gone. One claim of a key at a time: the registrar's row
    /// is that of the last.
    Claiming {
        lost: Epoch,
        is_wanted: bool,
    },
    Held(Epoch),
}

/// What a client that wants a filter is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reserved {
    /// It has it.
    Held,
    /// Claim the key, then say what came of it: [`Exclusives::settle`].
    Claim,
    /// Another one has it, or is about to.
    Taken,
}

impl Exclusives {
    pub(super) fn reserve(&self, key: &Arc<str>, client_id: &Arc<str>) -> Reserved {
        let mut table = self.0.lock();
        let Some(row) = table.row(key) else {
            let state = State::Claiming { lost: Epoch(0), is_wanted: true };
            let place = table.rows.insert(Row { key: key.clone(), client_id: client_id.clone(), state });
            table.places.insert(key.clone(), place);
            return Reserved::Claim;
        };
        let is_held = matches!(row.state, State::Held(_)) && row.client_id == *client_id;
        if is_held { Reserved::Held } else { Reserved::Taken }
    }

    /// The claim was granted by this epoch, or refused. Answers whether the client has the filter now.
    pub(super) fn settle(&self, key: &Arc<str>, granted: Option<Epoch>) -> bool {
        let mut table = self.0.lock();
        let Some(row) = table.row(key) else { return false };
        let State::Claiming { lost, is_wanted: true } = row.state else {
            table.remove(key);
            return false;
        };
        let Some(epoch) = granted.filter(|epoch| *epoch > lost) else {
            table.remove(key);
            return false;
        };
        row.state = State::Held(epoch);
        true
    }

    /// The client wants it no more. Answers the epoch to be released.
    pub(super) fn let_go(&self, key: &str, client_id: &str) -> Option<Epoch> {
        let mut table = self.0.lock();
        let row = table.row(key).filter(|row| *row.client_id == *client_id)?;
        match &mut row.state {
            State::Claiming { is_wanted, .. } => {
                *is_wanted = false;
                None
            }
            State::Held(epoch) => {
                let epoch = *epoch;
                table.remove(key);
                Some(epoch)
            }
        }
    }

    /// Another node has it from `epoch` on. Answers the client that lost it.
    pub(crate) fn superseded(&self, key: &str, epoch: Epoch) -> Option<Arc<str>> {
        let mut table = self.0.lock();
        let row = table.row(key)?;
        match &mut row.state {
            State::Claiming { lost, .. } => {
                *lost = epoch.max(*lost);
                None
            }
            State::Held(held) if *held >= epoch => None,
            State::Held(_) => table.remove(key),
        }
    }

    pub(super) fn is_held_by(&self, key: &str, client_id: &str) -> bool {
        let mut table = self.0.lock();
        table.row(key).is_some_and(|row| matches!(row.state, State::Held(_)) && *row.client_id == *client_id)
    }

    pub(crate) fn owned_one(&self, key: &str) -> Option<(Epoch, Holder)> {
        let owned = self.0.lock().row(key)?.owned()?;
        Some((owned.epoch, owned.holder))
    }

    /// Looks at `limit` rows from `place` on. Answers the place to go on from, if there are more.
    pub(crate) fn page(&self, place: usize, limit: usize) -> (Vec<Owned>, Option<usize>) {
        let table = self.0.lock();
        let end = place.saturating_add(limit.max(1)).min(table.rows.capacity());
        let rows = (place..end).filter_map(|at| table.rows.get(at)?.owned()).collect();
        (rows, (end < table.rows.capacity()).then_some(end))
    }
}

impl Row {
    fn owned(&self) -> Option<Owned> {
        let State::Held(epoch) = self.state else { return None };
        Some(Owned { client_id: self.key.clone(), epoch, holder: Holder::of(&self.client_id) })
    }
}

impl Table {
    fn row(&mut self, key: &str) -> Option<&mut Row> {
        self.rows.get_mut(*self.places.get(key)?)
    }

    fn remove(&mut self, key: &str) -> Option<Arc<str>> {
        let place = self.places.remove(key)?;
        let gone = self.rows.try_remove(place)?;
        if self.rows.is_empty() {
            *self = Self::default();
        }
        Some(gone.client_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (Exclusives, Arc<str>, Arc<str>, Arc<str>) {
        (Exclusives::default(), "\0t".into(), "ann".into(), "bob".into())
    }

    #[test]
    fn the_first_client_has_it_until_it_lets_go() {
        let (table, key, ann, bob) = names();
        assert_eq!((table.reserve(&key, &ann), table.reserve(&key, &bob)), (Reserved::Claim, Reserved::Taken));
        assert!(table.settle(&key, Some(Epoch(5))));
        assert_eq!((table.reserve(&key, &ann), table.reserve(&key, &bob)), (Reserved::Held, Reserved::Taken));
        assert_eq!(table.owned_one(&key), Some((Epoch(5), Holder::of("ann"))));
        assert_eq!(table.let_go(&key, &bob), None, "it is not his");
        assert_eq!(table.let_go(&key, &ann), Some(Epoch(5)));
        assert_eq!((table.owned_one(&key), table.reserve(&key, &bob)), (None, Reserved::Claim));
    }

    #[test]
    fn what_is_not_wanted_any_more_or_was_lost_when_its_claim_ends_is_not_held() {
        let (table, key, ann, bob) = names();
        table.reserve(&key, &ann);
        assert_eq!(table.let_go(&key, &ann), None, "nothing to release yet");
        assert_eq!(table.reserve(&key, &bob), Reserved::Taken, "one claim at a time");
        assert!(!table.settle(&key, Some(Epoch(5))));
        table.reserve(&key, &bob);
        assert_eq!(table.superseded(&key, Epoch(7)), None);
        assert!(!table.settle(&key, Some(Epoch(6))));
        table.reserve(&key, &bob);
        assert!(!table.settle(&key, None));
        assert_eq!(table.page(0, 10), (Vec::new(), None));
    }

    #[test]
    fn a_higher_epoch_elsewhere_takes_it_and_a_lower_one_does_not() {
        let (table, key, ann, _) = names();
        table.reserve(&key, &ann);
        table.settle(&key, Some(Epoch(5)));
        assert_eq!(table.superseded(&key, Epoch(5)), None);
        assert!(table.is_held_by(&key, &ann));
        assert_eq!(table.superseded(&key, Epoch(6)), Some(ann.clone()));
        assert!(!table.is_held_by(&key, &ann));
    }

    #[test]
    fn pages_hold_every_row_once() {
        let (table, _, ann, _) = names();
        let keys: Vec<Arc<str>> = (0..25).map(|number| format!("\0{number}").into()).collect();
        for key in &keys {
            table.reserve(key, &ann);
            table.settle(key, Some(Epoch(1)));
        }
        let (mut found, mut next) = (Vec::new(), Some(0));
        while let Some(place) = next {
            let (rows, after) = table.page(place, 10);
            assert!(rows.len() <= 10);
            found.extend(rows.into_iter().map(|owned| owned.client_id));
            next = after;
        }
        assert_eq!(found, keys);
    }
}
