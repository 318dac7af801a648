//! What a client is subscribed to. Never matches a topic: the index does.

use std::sync::Arc;

use hashbrown::HashMap;

use super::SessionLimits;
use crate::ReasonCode;
use crate::packet::{Subscription, SubscriptionOptions};
use crate::topic;

/// Above so many subscriptions a session looks its filters up in a map instead of along the list.
const MANY: usize = 16;

/// Up to so many the list has no room to spare: most clients have one subscription, and keep it.
const FEW: usize = 4;

/// A subscription that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// As the client wrote it.
    pub filter: Arc<str>,
    /// As granted.
    pub options: SubscriptionOptions,
    /// Subscription Identifier; 0 is none.
    pub id: u32,
    /// Names the subscription from SUBSCRIBE to UNSUBSCRIBE; a replacement keeps it, so that what was matched before
    /// and is still on its way is delivered [MQTT-3.8.4-3]. Not used again, neither here nor, but for a chance of one
    /// in millions, by the session that next has this one's place.
    pub serial: u32,
}

impl Granted {
    /// Whether it is a member's of a shared group.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        topic::is_shared(&self.filter)
    }

    /// The filter that topics are held against, where the subscription is an exclusive one.
    #[must_use]
    pub fn exclusive(&self) -> Option<&str> {
        topic::parse_exclusive(&self.filter)
    }

    /// What is authorised, matched and retained: the filter without `$exclusive/`.
    #[must_use]
    pub fn plain(&self) -> &str {
        self.exclusive().unwrap_or(&self.filter)
    }
}

/// One filter of a SUBSCRIBE, settled by the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requested {
    /// The subscription; `Err` is the code of its refusal.
    pub outcome: Result<Granted, ReasonCode>,
    /// Whether the session did not have it before: Retain Handling 1 asks.
    pub is_new: bool,
}

/// The subscriptions. A few are searched one by one; many have their places in maps.
#[derive(Debug)]
pub(super) struct Subscriptions {
    list: Vec<Granted>,
    places: Option<Box<Places>>,
    /// Serials count from here.
    pub(super) first_serial: u32,
    /// How many were given.
    pub(super) serials: u32,
    /// How many of `list` are shared.
    shared: u32,
    /// SUBSCRIBEs of this connection that have no SUBACK yet.
    pub(super) unanswered: u32,
}

/// Where each subscription stands in the list.
#[derive(Debug, Default)]
struct Places {
    by_filter: HashMap<Arc<str>, usize, foldhash::fast::RandomState>,
    by_serial: HashMap<u32, usize, foldhash::fast::RandomState>,
}

impl super::Session {
    /// Settles subscriptions that the server makes for the client: make them live, and send no SUBACK.
    pub fn request<'a>(
        &mut self,
        asked: impl Iterator<Item = Subscription<'a>>,
        limits: &SessionLimits,
    ) -> Vec<Requested> {
        self.subscriptions.request(asked, 0, limits)
    }
}

impl Subscriptions {
    pub(super) const fn new(incarnation: u32) -> Self {
        // The golden ratio spreads the beginnings of any run of sessions as evenly as can be.
        let first_serial = incarnation.wrapping_mul(0x9E37_79B1);
        Self { list: Vec::new(), places: None, first_serial, serials: 0, shared: 0, unanswered: 0 }
    }

    /// As they were. Serials count on, so that none names two subscriptions.
    pub(super) fn restore(granted: Vec<Granted>, first_serial: u32, serials: u32) -> Self {
        let mut restored = Self { first_serial, serials, ..Self::new(0) };
        granted.into_iter().for_each(|one| restored.insert(one));
        restored
    }

    /// Settles every filter of a SUBSCRIBE. A refused one does not stop the others.
    pub(super) fn request<'a>(
        &mut self,
        filters: impl Iterator<Item = Subscription<'a>>,
        id: u32,
        limits: &SessionLimits,
    ) -> Vec<Requested> {
        let settle = |mut asked: Subscription<'_>| match limits.capabilities.check_filter(asked.filter, id) {
            Ok(()) => {
                asked.options.qos = asked.options.qos.min(limits.capabilities.max_qos); // [MQTT-3.2.2-10]
                self.settle(&asked, id, limits)
            }
            Err(reason) => Requested { outcome: Err(reason), is_new: false },
        };
        filters.map(settle).collect()
    }

    fn settle(&mut self, asked: &Subscription<'_>, id: u32, limits: &SessionLimits) -> Requested {
        let refused = |reason| Requested { outcome: Err(reason), is_new: false };
        if let Some(known) = self.place(asked.filter).and_then(|place| self.list.get_mut(place)) {
            (known.options, known.id) = (asked.options, id);
            return Requested { outcome: Ok(known.clone()), is_new: false };
        }
        if limits.capabilities.exclusive && self.has_other_form(asked.filter) {
            return refused(ReasonCode::TopicFilterInvalid); // the index holds one subscription of a session to a filter
        }
        let most = limits.max_subscriptions;
        let is_full = most != 0 && self.list.len() >= most;
        let Some(serials) = self.serials.checked_add(1).filter(|_| !is_full) else {
            return refused(ReasonCode::QuotaExceeded);
        };
        self.serials = serials;
        let serial = self.first_serial.wrapping_add(serials);
        let granted = Granted { filter: asked.filter.into(), options: asked.options, id, serial };
        self.insert(granted.clone());
        Requested { outcome: Ok(granted), is_new: true }
    }

    fn place(&self, filter: &str) -> Option<usize> {
        match &self.places {
            Some(places) => places.by_filter.get(filter).copied(),
            None => self.list.iter().position(|one| &*one.filter == filter),
        }
    }

    /// Whether there is a plain subscription where an exclusive one is asked for, or the other way round.
    fn has_other_form(&self, filter: &str) -> bool {
        let other = match topic::parse_exclusive(filter) {
            Some(plain) => self.place(plain),
            None => self.place(&topic::exclusive(filter)),
        };
        other.is_some()
    }

    fn insert(&mut self, granted: Granted) {
        self.shared += u32::from(granted.is_shared());
        if self.list.len() < FEW {
            self.list.reserve_exact(1);
        }
        self.list.push(granted);
        if self.places.is_none() && self.list.len() > MANY {
            let mut places = Box::new(Places::default());
            self.list.iter().enumerate().for_each(|(place, one)| places.put(one, place));
            self.places = Some(places);
        } else if let (Some(places), Some(last)) = (&mut self.places, self.list.last()) {
            places.put(last, self.list.len() - 1);
        }
    }

    pub(super) fn remove(&mut self, filter: &str) -> Option<Granted> {
        let place = self.place(filter)?;
        let gone = self.list.swap_remove(place);
        self.shared -= u32::from(gone.is_shared());
        if let Some(places) = &mut self.places {
            places.by_filter.remove(filter);
            places.by_serial.remove(&gone.serial);
            if let Some(moved) = self.list.get(place) {
                places.put(moved, place);
            }
        }
        if self.list.is_empty() {
            self.list = Vec::new();
            self.places = None;
        }
        Some(gone)
    }

    pub(super) fn get(&self, serial: u32) -> Option<&Granted> {
        match &self.places {
            Some(places) => places.by_serial.get(&serial).and_then(|place| self.list.get(*place)),
            None => self.list.iter().find(|one| one.serial == serial),
        }
    }

    /// Those of shared groups. Costs nothing where there are none.
    pub(super) fn shared(&self) -> impl Iterator<Item = &Granted> {
        let list = if self.shared > 0 { &*self.list } else { &[] };
        list.iter().filter(|granted| granted.is_shared())
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Granted> {
        self.list.iter()
    }
}

impl Places {
    fn put(&mut self, granted: &Granted, place: usize) {
        self.by_filter.insert(granted.filter.clone(), place);
        self.by_serial.insert(granted.serial, place);
    }
}
