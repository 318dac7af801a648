//! What a client is subscribed to. Never matches a topic: the index does.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::ReasonCode;
use crate::packet::{Subscribe, SubscriptionOptions};

/// Above so many subscriptions a session looks its filters up in a map instead of along the list.
const MANY: usize = 16;

/// A subscription that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// As the client wrote it.
    pub filter: Arc<str>,
    /// As granted.
    pub options: SubscriptionOptions,
    /// Subscription Identifier; 0 is none.
    pub id: u32,
    /// Unique within the session, rising: a later subscription to the same filter has a higher one.
    pub serial: u32,
}

/// One filter of a SUBSCRIBE, settled by the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requested {
    /// The subscription; `Err` is the code of its refusal.
    pub outcome: Result<Granted, ReasonCode>,
    /// Whether the session did not have it before: Retain Handling 1 asks.
    pub is_new: bool,
}

/// The list, by serial, and where it is long a map beside it.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    list: Vec<Granted>,
    by_filter: Option<Box<HashMap<Arc<str>, u32, foldhash::fast::RandomState>>>,
    last_serial: u32,
}

impl Subscriptions {
    /// Settles every filter of a SUBSCRIBE. A refused one does not stop the others.
    pub(super) fn request(&mut self, subscribe: &Subscribe<'_>, most: usize) -> Vec<Requested> {
        let id = subscribe.subscription_id.unwrap_or(0);
        let settle = |asked: crate::packet::Subscription<'_>| {
            if asked.filter.starts_with("$share/") {
                let outcome = Err(ReasonCode::SharedSubscriptionsNotSupported);
                return Requested { outcome, is_new: false };
            }
            let known = self.remove(asked.filter); // replaced: [MQTT-3.8.4-3]
            if known.is_none() && most != 0 && self.list.len() >= most {
                return Requested { outcome: Err(ReasonCode::QuotaExceeded), is_new: false };
            }
            let is_new = known.is_none();
            let filter = known.map_or_else(|| asked.filter.into(), |known| known.filter);
            self.last_serial += 1;
            let granted = Granted { filter, options: asked.options, id, serial: self.last_serial };
            self.insert(granted.clone());
            Requested { outcome: Ok(granted), is_new }
        };
        subscribe.filters().map(settle).collect()
    }

    fn insert(&mut self, granted: Granted) {
        if let Some(map) = &mut self.by_filter {
            map.insert(granted.filter.clone(), granted.serial);
        } else if self.list.len() == MANY {
            let all = self.list.iter().chain([&granted]);
            let map = all.map(|one| (one.filter.clone(), one.serial)).collect();
            self.by_filter = Some(Box::new(map));
        }
        self.list.push(granted); // serials rise, so the list stays sorted by them
    }

    pub(super) fn remove(&mut self, filter: &str) -> Option<Granted> {
        let at = match &mut self.by_filter {
            Some(map) => {
                let serial = map.remove(filter)?;
                self.list.binary_search_by_key(&serial, |one| one.serial).ok()?
            }
            None => self.list.iter().position(|one| &*one.filter == filter)?,
        };
        let gone = self.list.remove(at);
        if self.list.is_empty() {
            self.list = Vec::new();
            self.by_filter = None;
        }
        Some(gone)
    }

    pub(super) fn has(&self, serial: u32) -> bool {
        self.list.binary_search_by_key(&serial, |one| one.serial).is_ok()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Granted> {
        self.list.iter()
    }
}
