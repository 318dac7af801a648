//! What the index knows of one filter: who on this node has it, and which peers. Never knows the filter itself.

use hashbrown::HashTable;

use super::super::{PeerSet, Subscriber};

/// From how many subscribers on a list has a table of places beside it.
const LARGE: usize = 32;

/// A filter's holders: 32 bytes.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) local: Local,
    pub(super) remote: PeerSet,
    /// Of the row's last local change, as `first` gave it.
    pub(super) version: u64,
}

impl Row {
    pub(super) fn is_empty(&self) -> bool {
        self.remote.is_empty() && self.local.as_slice().is_empty()
    }
}

/// The subscribers on this node: 16 bytes, as most filters have one.
#[derive(Debug, Default)]
pub(super) enum Local {
    #[default]
    None,
    One(Subscriber),
    /// Two or more.
    Many(Box<Many>),
}

impl Local {
    pub(super) fn as_slice(&self) -> &[Subscriber] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => &many.list,
        }
    }

    /// Adds a subscriber, or replaces the one of its session. Answers whether it is new.
    pub(super) fn put(&mut self, subscriber: Subscriber) -> bool {
        match self {
            Self::None => {
                *self = Self::One(subscriber);
                true
            }
            Self::One(one) if key(one) == key(&subscriber) => {
                *one = subscriber;
                false
            }
            Self::One(one) => {
                *self = Self::Many(Box::new(Many { list: vec![*one, subscriber], places: None }));
                true
            }
            Self::Many(many) => many.put(subscriber),
        }
    }

    /// Removes a session's subscriber. Answers whether there was one.
    pub(super) fn take(&mut self, worker: u16, session: u32) -> bool {
        match self {
            Self::None => false,
            Self::One(one) => {
                let found = key(one) == (worker, session);
                if found {
                    *self = Self::None;
                }
                found
            }
            Self::Many(many) => {
                let found = many.take((worker, session));
                if let [one] = many.list[..] {
                    *self = Self::One(one);
                }
                found
            }
        }
    }
}

/// Many subscribers of one filter.
#[derive(Debug)]
pub(super) struct Many {
    list: Vec<Subscriber>,
    /// Where each session stands in `list`, once that is large: without it, 100,000 clients that leave would be
    /// ten thousand million comparisons. (In a box, for most lists are small.)
    places: Option<Box<HashTable<u32>>>,
}

impl Many {
    fn put(&mut self, subscriber: Subscriber) -> bool {
        if let Some(place) = self.find(key(&subscriber)) {
            self.list[place] = subscriber;
            return false;
        }
        let place = self.list.len() as u32;
        self.list.push(subscriber);
        let Self { list, places } = self;
        let rehash = |place: &u32| hash(key(&list[*place as usize]));
        if let Some(places) = places {
            places.insert_unique(hash(key(&subscriber)), place, rehash);
        } else if list.len() > LARGE {
            let mut table = HashTable::with_capacity(2 * LARGE);
            for (place, subscriber) in (0..).zip(list.iter()) {
                table.insert_unique(hash(key(subscriber)), place, rehash);
            }
            *places = Some(Box::new(table));
        }
        true
    }

    fn take(&mut self, session: (u16, u32)) -> bool {
        let Some(place) = self.find(session) else { return false };
        self.list.swap_remove(place);
        let Self { list, places } = self;
        if let Some(table) = places {
            if let Ok(found) = table.find_entry(hash(session), |at| *at as usize == place) {
                found.remove();
            }
            if let Some(moved) = list.get(place)
                && let Some(at) = table.find_mut(hash(key(moved)), |at| *at as usize == list.len())
            {
                *at = place as u32;
            }
            if list.len() <= LARGE / 2 {
                *places = None;
            } else if table.capacity() > 4 * list.len() + LARGE {
                table.shrink_to(2 * list.len(), |place| hash(key(&list[*place as usize])));
            }
        }
        if list.capacity() > 4 * list.len() + 4 {
            list.shrink_to(2 * list.len());
        }
        true
    }

    fn find(&self, session: (u16, u32)) -> Option<usize> {
        let Some(places) = &self.places else {
            return self.list.iter().position(|subscriber| key(subscriber) == session);
        };
        places.find(hash(session), |place| key(&self.list[*place as usize]) == session).map(|place| *place as usize)
    }
}

fn key(subscriber: &Subscriber) -> (u16, u32) {
    (subscriber.worker, subscriber.session)
}

/// Sessions are numbered by this process, densely and not by its clients: one multiplication spreads them, once its
/// high half, where the sessions differ most, is folded into the low bits that choose the bucket.
fn hash((worker, session): (u16, u32)) -> u64 {
    let product = (u64::from(worker) << 32 | u64::from(session)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    product ^ product >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_one_subscriber_takes_32_bytes() {
        assert_eq!((size_of::<Subscriber>(), size_of::<Local>(), size_of::<Row>()), (16, 16, 32));
    }
}
