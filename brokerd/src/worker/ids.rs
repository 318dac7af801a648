//! Which place the session of a client id has: nine bytes an id, for the id itself is with the session. Never looks at a
//! session: whoever asks does.

use std::hash::BuildHasher;

use hashbrown::HashTable;

/// The places of a worker's sessions, by client id.
#[derive(Default)]
pub(super) struct Ids {
    places: HashTable<Place>,
    hasher: foldhash::fast::RandomState,
}

/// A part of the hash is kept, so that the table grows without a look at any session.
struct Place {
    hash: u32,
    slot: u32,
}

impl Ids {
    /// The place of an id, where `is_its` says whether the session in a place has it.
    pub(super) fn find(&self, client_id: &str, is_its: impl Fn(u32) -> bool) -> Option<u32> {
        let hash = self.hash(client_id);
        let place = self.places.find(spread(hash), |place| place.hash == hash && is_its(place.slot))?;
        Some(place.slot)
    }

    /// An id has a place; it has no other.
    pub(super) fn insert(&mut self, client_id: &str, slot: u32) {
        let hash = self.hash(client_id);
        self.places.insert_unique(spread(hash), Place { hash, slot }, |place| spread(place.hash));
    }

    /// It has this place no more.
    pub(super) fn remove(&mut self, client_id: &str, slot: u32) {
        if let Ok(place) = self.places.find_entry(spread(self.hash(client_id)), |place| place.slot == slot) {
            place.remove();
        }
    }

    /// All places that sessions have.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.places.iter().map(|place| place.slot)
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.places.shrink_to_fit(|place| spread(place.hash));
    }

    fn hash(&self, client_id: &str) -> u32 {
        // The half that is dropped says nothing that the other does not.
        u32::try_from(self.hasher.hash_one(client_id) >> 32).unwrap_or_default()
    }
}

/// The table takes its place from the low bits of a hash, and what it compares first from the high ones.
const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_id_is_found_in_its_place_while_others_come_and_go() {
        assert_eq!(size_of::<Place>(), 8);
        let (mut ids, names) = (Ids::default(), (0..5_000).map(|n| format!("device-{n}")).collect::<Vec<_>>());
        let find = |ids: &Ids, at: usize| ids.find(&names[at], |slot| slot as usize == at);
        (0..5_000).for_each(|at| ids.insert(&names[at], u32::try_from(at).unwrap()));
        (0..5_000).step_by(3).for_each(|at| ids.remove(&names[at], u32::try_from(at).unwrap()));
        ids.remove("device-1", 2);
        ids.shrink_to_fit();
        for at in 0..5_000 {
            assert_eq!(find(&ids, at), (at % 3 != 0).then(|| u32::try_from(at).unwrap()), "{at}");
        }
        assert_eq!(ids.slots().count(), 3_333);
    }
}
