//! Packets as mqtt-proto has them, from arbitrary parts: valid ones of a client.

use bytes::Bytes;
use mqtt::{PacketId, Qos};
use mqtt_proto::v5::{UserProperty, VarByteInt};
use mqtt_proto::{Pid, Protocol, TopicFilter, v3, v5};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::third::{self, name, qos_pid};

pub(crate) fn text() -> impl Strategy<Value = std::sync::Arc<str>> {
    "[^\0]{0,12}".prop_map(Into::into)
}

pub(crate) fn data() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn users() -> impl Strategy<Value = Vec<UserProperty>> {
    vec((text(), text()).prop_map(|(name, value)| UserProperty { name, value }), 0..3)
}

fn topic() -> impl Strategy<Value = mqtt_proto::TopicName> {
    "[a-zé/$ ]{1,12}".prop_map(|text| name(&text))
}

fn filter() -> impl Strategy<Value = TopicFilter> {
    "(\\$share/[a-z]{1,3}/)?([a-z]{0,2}|\\+)(/([a-zé]{0,2}|\\+)){0,3}(/#)?"
        .prop_filter("a filter is not empty", |text| mqtt::topic::valid_filter(text))
        .prop_map(|text| TopicFilter::try_from(&*text).unwrap())
}

pub(crate) fn id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|id| PacketId::new(id).unwrap())
}

fn qos() -> impl Strategy<Value = Qos> {
    (0..3_u8).prop_map(|bits| Qos::from_bits(bits).unwrap())
}

fn pid() -> impl Strategy<Value = Pid> {
    id().prop_map(third::pid)
}

prop_compose! {
    pub(crate) fn v5_publish()(
        (qos, id, dup, retain) in (qos(), id(), any::<bool>(), any::<bool>()),
        topic_name in topic(),
        payload in data(),
        (message_expiry_interval, topic_alias) in (any::<Option<u32>>(), option::of(1..=u16::MAX)),
        (response_topic, correlation_data, content_type) in (option::of(topic()), option::of(data()), option::of(text())),
        user_properties in users(),
    ) -> v5::Packet {
        let properties = v5::PublishProperties {
            payload_is_utf8: Some(std::str::from_utf8(&payload).is_ok()),
            message_expiry_interval, topic_alias, response_topic, correlation_data, user_properties,
            subscription_id: None, content_type,
        };
        let dup = dup && qos != Qos::AtMostOnce;
        v5::Packet::Publish(v5::Publish { dup, retain, qos_pid: qos_pid(qos, Some(id)), topic_name, payload, properties })
    }
}

prop_compose! {
    fn v5_will()(
        (qos, retain, topic_name, payload) in (qos(), any::<bool>(), topic(), data()),
        (delay_interval, message_expiry_interval) in (any::<Option<u32>>(), any::<Option<u32>>()),
        (content_type, response_topic, correlation_data) in (option::of(text()), option::of(topic()), option::of(data())),
        user_properties in users(),
    ) -> v5::LastWill {
        let properties = v5::WillProperties {
            delay_interval, payload_is_utf8: None, message_expiry_interval, content_type, response_topic,
            correlation_data, user_properties,
        };
        v5::LastWill { qos: third::qos(qos), retain, topic_name, payload, properties }
    }
}

prop_compose! {
    pub(crate) fn v5_connect()(
        (clean_start, keep_alive, client_id) in (any::<bool>(), any::<u16>(), "[^\0]{0,20}"),
        (session_expiry_interval, receive_max) in (any::<Option<u32>>(), option::of(1..=u16::MAX)),
        (max_packet_size, topic_alias_max) in (option::of(1..=u32::MAX), any::<Option<u16>>()),
        (request_response_info, request_problem_info) in any::<(Option<bool>, Option<bool>)>(),
        (auth_method, auth_data, user_properties) in (option::of(text()), option::of(data()), users()),
        (last_will, username, password) in (option::of(v5_will()), option::of(text()), option::of(data())),
    ) -> v5::Packet {
        let auth_data = auth_data.filter(|_| auth_method.is_some());
        let properties = v5::ConnectProperties {
            session_expiry_interval, receive_max, max_packet_size, topic_alias_max, request_response_info,
            request_problem_info, user_properties, auth_method, auth_data,
        };
        v5::Packet::Connect(v5::Connect {
            protocol: Protocol::V500, clean_start, keep_alive, properties, client_id: client_id.into(), last_will,
            username, password,
        })
    }
}

pub(crate) fn v5_acks() -> impl Strategy<Value = v5::Packet> {
    macro_rules! acks {
        ($packet:ident, $properties:ident, $reason:ident, $codes:expr) => {
            (pid(), proptest::sample::select($codes), option::of(text()), users()).prop_map(
                |(pid, code, reason_string, user_properties)| {
                    let properties = v5::$properties { reason_string, user_properties };
                    let reason_code = v5::$reason::from_u8(code).unwrap();
                    v5::Packet::$packet(v5::$packet { pid, reason_code, properties })
                },
            )
        };
    }
    let received = || vec![0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99_u8];
    let released = || vec![0x00, 0x92_u8];
    prop_oneof![
        acks!(Puback, PubackProperties, PubackReasonCode, received()),
        acks!(Pubrec, PubrecProperties, PubrecReasonCode, received()),
        acks!(Pubrel, PubrelProperties, PubrelReasonCode, released()),
        acks!(Pubcomp, PubcompProperties, PubcompReasonCode, released()),
    ]
}

fn v5_options() -> impl Strategy<Value = v5::SubscriptionOptions> {
    (qos(), any::<bool>(), any::<bool>(), 0..3_u8).prop_map(|(qos, no_local, retain_as_published, handling)| {
        let retain_handling = v5::RetainHandling::from_u8(handling).unwrap();
        v5::SubscriptionOptions { max_qos: third::qos(qos), no_local, retain_as_published, retain_handling }
    })
}

pub(crate) fn v5_others() -> impl Strategy<Value = v5::Packet> {
    let subscription_id = option::of(1..=268_435_455_u32);
    let subscribe = (pid(), subscription_id, users(), vec((filter(), v5_options()), 1..4)).prop_map(
        |(pid, id, user_properties, mut topics)| {
            // [MQTT-3.8.3-4]: no No Local on a shared subscription.
            topics
                .iter_mut()
                .filter(|(filter, _)| filter.starts_with("$share/"))
                .for_each(|one| one.1.no_local = false);
            let subscription_id = id.map(|id| VarByteInt::try_from(id).unwrap());
            v5::Packet::Subscribe(v5::Subscribe {
                pid,
                properties: v5::SubscribeProperties { subscription_id, user_properties },
                topics,
            })
        },
    );
    let unsubscribe = (pid(), users(), vec(filter(), 1..4)).prop_map(|(pid, user_properties, topics)| {
        v5::Packet::Unsubscribe(v5::Unsubscribe {
            pid,
            properties: v5::UnsubscribeProperties { user_properties },
            topics,
        })
    });
    let codes = proptest::sample::select(vec![0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x95, 0x97, 0x99_u8]);
    let disconnect = (codes, any::<Option<u32>>(), option::of(text()), users()).prop_map(
        |(code, session_expiry_interval, reason_string, user_properties)| {
            v5::Packet::Disconnect(v5::Disconnect {
                reason_code: v5::DisconnectReasonCode::from_u8(code).unwrap(),
                properties: v5::DisconnectProperties {
                    session_expiry_interval,
                    reason_string,
                    user_properties,
                    server_reference: None,
                },
            })
        },
    );
    let auth = (0x18..=0x19_u8, text(), option::of(data()), option::of(text()), users()).prop_map(
        |(code, method, auth_data, reason_string, user_properties)| {
            v5::Packet::Auth(v5::Auth {
                reason_code: v5::AuthReasonCode::from_u8(code).unwrap(),
                properties: v5::AuthProperties { auth_method: Some(method), auth_data, reason_string, user_properties },
            })
        },
    );
    prop_oneof![subscribe, unsubscribe, disconnect, auth, Just(v5::Packet::Pingreq)]
}

pub(crate) fn v3_packet() -> impl Strategy<Value = v3::Packet> {
    let publish = (qos(), id(), any::<bool>(), any::<bool>(), topic(), data()).prop_map(
        |(qos, id, dup, retain, topic_name, payload)| {
            let dup = dup && qos != Qos::AtMostOnce;
            v3::Packet::Publish(v3::Publish { dup, retain, qos_pid: qos_pid(qos, Some(id)), topic_name, payload })
        },
    );
    let subscribe = (pid(), vec((filter(), qos().prop_map(third::qos)), 1..4))
        .prop_map(|(pid, topics)| v3::Packet::Subscribe(v3::Subscribe { pid, topics }));
    let unsubscribe =
        (pid(), vec(filter(), 1..4)).prop_map(|(pid, topics)| v3::Packet::Unsubscribe(v3::Unsubscribe { pid, topics }));
    prop_oneof![
        publish,
        subscribe,
        unsubscribe,
        pid().prop_map(v3::Packet::Puback),
        pid().prop_map(v3::Packet::Pubrec),
        pid().prop_map(v3::Packet::Pubrel),
        pid().prop_map(v3::Packet::Pubcomp),
        Just(v3::Packet::Pingreq),
        Just(v3::Packet::Disconnect),
    ]
}

prop_compose! {
    pub(crate) fn v3_connect()(
        is_31: bool,
        (clean_session, keep_alive, client_id) in (any::<bool>(), any::<u16>(), "[a-z]{1,23}"),
        will in option::of((qos(), any::<bool>(), topic(), data())),
        login in option::of((text(), option::of(data()))),
    ) -> v3::Packet {
        let last_will = will.map(|(qos, retain, topic_name, message)| {
            v3::LastWill { qos: third::qos(qos), retain, topic_name, message }
        });
        let protocol = if is_31 { Protocol::V310 } else { Protocol::V311 };
        let (username, password) = login.map_or((None, None), |(name, password)| (Some(name), password));
        v3::Packet::Connect(v3::Connect {
            protocol, clean_session, keep_alive, client_id: client_id.into(), last_will, username, password,
        })
    }
}
