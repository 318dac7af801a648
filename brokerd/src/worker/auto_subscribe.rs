//! Subscriptions that the broker makes for each client when it connects: `[[auto_subscribe]]`. They are the client's like
//! any other: authorised, counted, kept with its session, and ended by its UNSUBSCRIBE.

use mqtt::packet::{Subscription, SubscriptionOptions};
use mqtt::{Qos, RetainHandling, topic};

use super::rewrite::{Who, fill};
use super::shard::Shard;
use crate::config;

/// One of them, its `%c` and `%u` not filled in yet.
pub(super) struct Automatic {
    filter: String,
    options: SubscriptionOptions,
}

impl Automatic {
    pub(super) fn new(one: &config::AutoSubscribe) -> Self {
        let options = SubscriptionOptions {
            qos: Qos::from_bits(one.qos).unwrap_or_default(),
            no_local: one.no_local,
            retain_as_published: one.retain_as_published,
            retain_handling: RetainHandling::from_bits(one.retain_handling).unwrap_or(RetainHandling::Always),
        };
        Self { filter: one.topic.clone(), options }
    }
}

impl Shard {
    /// The CONNACK is written: makes the subscriptions, without a SUBACK.
    pub(super) fn auto_subscribe(&mut self, slot: u32) {
        let shared = self.shared.clone();
        let Some(entry) = self.sessions.get_mut(slot as usize).filter(|_| !shared.automatic.is_empty()) else {
            return;
        };
        let limits = &shared.settings.session;
        let client_id = entry.session.client_id().clone();
        let username = entry.username().map(str::to_owned);
        let who = Who { client_id: &client_id, username: username.as_deref() };
        let filled = shared.automatic.iter().filter_map(|one| Some((fill(&one.filter, who)?, one.options)));
        // No Local on a shared subscription is an error of the protocol, and so is a name that makes no filter.
        let filters: Vec<_> = filled
            .filter(|(filter, options)| {
                topic::valid_filter(filter) && !(options.no_local && topic::parse_share(filter).is_some())
            })
            .collect();
        let asked = filters.iter().map(|(filter, options)| Subscription { filter, options: *options });
        let requested = entry.session.request(asked, limits);
        self.subscribe(slot, None, requested);
    }
}
