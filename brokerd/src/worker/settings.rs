//! The configuration as the workers need it. Never checks it: `config` has.

use mqtt::codec::Limits;
use mqtt::session::{Capabilities, Priorities, QueueLimits, ServerLimits, SessionLimits, WhenFull};

use super::delayed::DelayLimits;
use super::shard::Settings;
use crate::config::{self, Config};

pub(super) fn settings(config: &Config) -> Settings {
    let (mqtt, persistence) = (&config.mqtt, &config.persistence);
    let capabilities = Capabilities {
        max_qos: mqtt::Qos::from_bits(mqtt.max_qos).unwrap_or_default(),
        retain: mqtt.retain_available,
        wildcards: mqtt.wildcard_subscription,
        subscription_ids: mqtt.subscription_identifiers,
        shared: mqtt.shared_subscription,
        exclusive: mqtt.exclusive_subscription,
    };
    Settings {
        decode: Limits {
            max_packet_size: mqtt.max_packet_size,
            max_topic_len: usize::from(mqtt.max_topic_len),
            max_filter_len: usize::from(mqtt.max_subscription_len),
            max_topic_levels: usize::from(mqtt.max_topic_levels),
            max_user_properties: mqtt.max_user_properties,
        },
        server: ServerLimits {
            receive_maximum: mqtt.receive_maximum,
            max_inflight: mqtt.max_inflight,
            max_packet_size: mqtt.max_packet_size,
            topic_alias_maximum: mqtt.topic_alias_maximum,
            topic_alias_out: mqtt.topic_alias_out,
            max_keep_alive: mqtt.max_keep_alive,
            session_expiry: mqtt.session_expiry,
            max_session_expiry: mqtt.max_session_expiry,
            max_client_id_len: usize::from(mqtt.max_client_id_len),
            capabilities,
            response_information: Some(mqtt.response_information.as_str())
                .filter(|text| !text.is_empty())
                .map(Into::into),
        },
        session: SessionLimits {
            queue: QueueLimits {
                depth: persistence.queue_depth,
                bytes: persistence.queue_bytes,
                when_full: match persistence.when_full {
                    config::WhenFull::DropOldest => WhenFull::DropOldest,
                    config::WhenFull::DropNewest => WhenFull::DropNewest,
                },
                qos0: persistence.queue_qos0,
                priorities: priorities(config),
            },
            write_buffer: mqtt.write_buffer,
            max_subscriptions: mqtt.max_subscriptions,
            capabilities,
            auth_timeout: u64::try_from(mqtt.connect_timeout.as_millis()).unwrap_or(u64::MAX),
        },
        delayed: DelayLimits { messages: mqtt.max_delayed, bytes: mqtt.max_delayed_bytes },
        max_connect_size: mqtt.max_connect_size,
        max_partial_bytes: mqtt.max_partial_bytes,
        connect_timeout: mqtt.connect_timeout,
        max_offline_sessions: persistence.max_offline_sessions,
        deny_disconnects: mqtt.deny_action == config::DenyAction::Disconnect,
    }
}

fn priorities(config: &Config) -> Priorities {
    let rules = config.queue_priority.iter().map(|rule| (rule.topic.as_str().into(), rule.priority));
    Priorities::new(rules, config.persistence.default_priority == config::DefaultPriority::Highest)
}
