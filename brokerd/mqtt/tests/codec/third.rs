//! mqtt-proto 0.4 as the third opinion, in its words and with its fields: unlike mqttbytes it knows 3.1 and AUTH, and
//! tells an absent user name from an empty one.
//!
//! It takes 93 packets of the corpus that we refuse (server packets, trailing bytes, NUL, limits of ours): each row there
//! names the clause by which we are right, and `differential` counts them. What we take or send and it refuses is here:
//!
//! | what | mqtt-proto | right | clause |
//! |---|---|---|---|
//! | 3.1: PUBREL, SUBSCRIBE, UNSUBSCRIBE with DUP | refuses | we | 3.6, 3.8, 3.10 of 3.1: sent again, they have DUP |
//! | 3.1: the user name flag, and the packet ends before the name | waits for more | we | 3.1 of 3.1: a server must allow for that |
//! | a payload that is not the text its format indicator says | refuses | both | 3.3.2.3.2: a receiver MAY check it |
//! | the same of a will | refuses | both | 3.1.3.2.3 |
//! | two Subscription Identifiers in a PUBLISH, which a server sends | refuses | we | 3.3.2.3.8, [MQTT-3.3.4-4]: all that match |

use std::sync::Arc;

use bytes::Bytes;
use mqtt::codec::Property;
use mqtt::packet::{Ack, AckKind, Connect, Packet, Properties, Publish, Will};
use mqtt::{PacketId, Qos, RetainHandling, Version};
use mqtt_proto::v5::UserProperty;
use mqtt_proto::{Pid, Protocol, QoS, QosPid, TopicFilter, TopicName, v3, v5};

use crate::oracle;

/// Says how mqtt-proto differs on `frame`, which we have read as `packet`.
pub(crate) fn differs(version: Version, frame: &[u8], packet: &Packet<'_>) -> Option<String> {
    if let Some(exception) = exception(frame, packet) {
        assert!(!takes(version, frame), "no longer an exception: {exception} in {packet:?}");
        return None;
    }
    if version == Version::V5 {
        let (theirs, ours) = (v5::Packet::decode(frame), as_v5(packet));
        (theirs.as_ref() != Ok(&Some(ours.clone()))).then(|| format!("mqtt-proto: {theirs:?}\nours:       {ours:?}"))
    } else {
        let (theirs, ours) = (v3::Packet::decode(frame), as_v3(packet));
        (theirs.as_ref() != Ok(&Some(ours.clone()))).then(|| format!("mqtt-proto: {theirs:?}\nours:       {ours:?}"))
    }
}

/// Whether it takes a frame at all, and all of it.
pub(crate) fn takes(version: Version, frame: &[u8]) -> bool {
    if version == Version::V5 {
        matches!(v5::Packet::decode(frame), Ok(Some(_)))
    } else {
        matches!(v3::Packet::decode(frame), Ok(Some(_)))
    }
}

/// The rows of the table above: what it refuses and we take. It must go on refusing it.
fn exception(frame: &[u8], packet: &Packet<'_>) -> Option<&'static str> {
    let is_not_text = |properties: Properties<'_>, payload: &[u8]| {
        oracle::format(properties) == Some(1) && std::str::from_utf8(payload).is_err()
    };
    match packet {
        Packet::Ack(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) if frame[0] & 0b1000 != 0 => Some("DUP in 3.1"),
        Packet::Publish(publish) if is_not_text(publish.properties, publish.payload) => Some("payload format"),
        Packet::Connect(connect) if is_left_out(frame, connect) => {
            Some("a user name or password that is left out in 3.1")
        }
        Packet::Connect(connect) => {
            let will = connect.will.as_ref();
            will.filter(|will| is_not_text(will.properties, will.payload)).map(|_| "will payload format")
        }
        _ => None,
    }
}

/// Whether a flag says that there is a user name or password, and the packet ends before it.
fn is_left_out(frame: &[u8], connect: &Connect<'_>) -> bool {
    let name = frame.windows(6).position(|bytes| bytes == b"MQIsdp");
    let flags = name.filter(|_| connect.version == Version::V31).map_or(0, |at| frame[at + 7]);
    (flags & 0x80 != 0 && connect.username.is_none()) || (flags & 0x40 != 0 && connect.password.is_none())
}

pub(crate) fn pid(id: PacketId) -> Pid {
    Pid::try_from(id.get()).unwrap()
}

pub(crate) fn qos(qos: Qos) -> QoS {
    QoS::from_u8(qos as u8).unwrap()
}

pub(crate) fn qos_pid(qos: Qos, id: Option<PacketId>) -> QosPid {
    match (qos, id) {
        (Qos::AtMostOnce, _) => QosPid::Level0,
        (Qos::AtLeastOnce, id) => QosPid::Level1(pid(id.unwrap())),
        (Qos::ExactlyOnce, id) => QosPid::Level2(pid(id.unwrap())),
    }
}

pub(crate) fn name(text: &str) -> TopicName {
    TopicName::try_from(text).unwrap_or_else(|error| panic!("topic {text:?}: {error}"))
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::try_from(text).unwrap_or_else(|error| panic!("filter {text:?}: {error}"))
}

fn text(text: &str) -> Arc<str> {
    Arc::from(text)
}

fn users(properties: Properties<'_>) -> Vec<UserProperty> {
    let pair = |(name, value): (String, String)| UserProperty { name: name.into(), value: value.into() };
    oracle::users(properties).into_iter().map(pair).collect()
}

fn reason_string(properties: Properties<'_>) -> Option<Arc<str>> {
    oracle::reason_string(properties).map(Arc::from)
}

fn protocol(version: Version) -> Protocol {
    match version {
        Version::V31 => Protocol::V310,
        Version::V311 => Protocol::V311,
        Version::V5 => Protocol::V500,
    }
}

pub(crate) fn as_v3(packet: &Packet<'_>) -> v3::Packet {
    match packet {
        Packet::Connect(connect) => v3::Packet::Connect(v3::Connect {
            protocol: protocol(connect.version),
            clean_session: connect.clean_start,
            keep_alive: connect.keep_alive,
            client_id: text(connect.client_id),
            last_will: connect.will.as_ref().map(|will| v3::LastWill {
                qos: qos(will.qos),
                retain: will.retain,
                topic_name: name(will.topic),
                message: Bytes::copy_from_slice(will.payload),
            }),
            username: connect.username.map(text),
            password: connect.password.map(Bytes::copy_from_slice),
        }),
        Packet::Publish(publish) => v3::Packet::Publish(v3::Publish {
            dup: publish.dup,
            retain: publish.retain,
            qos_pid: qos_pid(publish.qos, publish.packet_id),
            topic_name: name(publish.topic),
            payload: Bytes::copy_from_slice(publish.payload),
        }),
        Packet::Ack(ack) => match ack.kind {
            AckKind::PubAck => v3::Packet::Puback(pid(ack.packet_id)),
            AckKind::PubRec => v3::Packet::Pubrec(pid(ack.packet_id)),
            AckKind::PubRel => v3::Packet::Pubrel(pid(ack.packet_id)),
            AckKind::PubComp => v3::Packet::Pubcomp(pid(ack.packet_id)),
        },
        Packet::Subscribe(subscribe) => v3::Packet::Subscribe(v3::Subscribe {
            pid: pid(subscribe.packet_id),
            topics: subscribe.filters().map(|one| (filter(one.filter), qos(one.options.qos))).collect(),
        }),
        Packet::Unsubscribe(unsubscribe) => v3::Packet::Unsubscribe(v3::Unsubscribe {
            pid: pid(unsubscribe.packet_id),
            topics: unsubscribe.filters().map(filter).collect(),
        }),
        Packet::PingReq => v3::Packet::Pingreq,
        Packet::Disconnect(_) => v3::Packet::Disconnect,
        Packet::Auth(_) => unreachable!("AUTH is not in 3.x"),
    }
}

pub(crate) fn as_v5(packet: &Packet<'_>) -> v5::Packet {
    match packet {
        Packet::Connect(connect) => v5::Packet::Connect(v5_connect(connect)),
        Packet::Publish(publish) => v5::Packet::Publish(v5_publish(publish)),
        Packet::Ack(ack) => v5_ack(ack),
        Packet::Subscribe(subscribe) => v5::Packet::Subscribe(v5::Subscribe {
            pid: pid(subscribe.packet_id),
            properties: v5::SubscribeProperties {
                subscription_id: subscribe.subscription_id.map(|id| v5::VarByteInt::try_from(id).unwrap()),
                user_properties: users(subscribe.properties),
            },
            topics: subscribe.filters().map(|one| (filter(one.filter), v5_options(one.options))).collect(),
        }),
        Packet::Unsubscribe(unsubscribe) => v5::Packet::Unsubscribe(v5::Unsubscribe {
            pid: pid(unsubscribe.packet_id),
            properties: v5::UnsubscribeProperties { user_properties: users(unsubscribe.properties) },
            topics: unsubscribe.filters().map(filter).collect(),
        }),
        Packet::PingReq => v5::Packet::Pingreq,
        Packet::Disconnect(disconnect) => v5::Packet::Disconnect(v5::Disconnect {
            reason_code: v5::DisconnectReasonCode::from_u8(disconnect.reason as u8).unwrap(),
            properties: v5::DisconnectProperties {
                session_expiry_interval: disconnect.session_expiry,
                reason_string: reason_string(disconnect.properties),
                user_properties: users(disconnect.properties),
                server_reference: None,
            },
        }),
        Packet::Auth(auth) => v5::Packet::Auth(v5::Auth {
            reason_code: v5::AuthReasonCode::from_u8(auth.reason as u8).unwrap(),
            properties: v5::AuthProperties {
                auth_method: auth.method.map(text),
                auth_data: auth.data.map(Bytes::copy_from_slice),
                reason_string: reason_string(auth.properties),
                user_properties: users(auth.properties),
            },
        }),
    }
}

fn v5_publish(publish: &Publish<'_>) -> v5::Publish {
    let properties = publish.properties;
    v5::Publish {
        dup: publish.dup,
        retain: publish.retain,
        qos_pid: qos_pid(publish.qos, publish.packet_id),
        topic_name: name(publish.topic),
        payload: Bytes::copy_from_slice(publish.payload),
        properties: v5::PublishProperties {
            payload_is_utf8: oracle::format(properties).map(|format| format == 1),
            message_expiry_interval: publish.expiry,
            topic_alias: publish.topic_alias,
            response_topic: oracle::response_topic(properties).as_deref().map(name),
            correlation_data: oracle::correlation_data(properties),
            user_properties: users(properties),
            subscription_id: None,
            content_type: oracle::content_type(properties).map(Arc::from),
        },
    }
}

fn v5_connect(connect: &Connect<'_>) -> v5::Connect {
    let properties = connect.properties;
    let flag = |pick: fn(Property<'_>) -> Option<bool>| oracle::find(properties, pick);
    v5::Connect {
        protocol: protocol(connect.version),
        clean_start: connect.clean_start,
        keep_alive: connect.keep_alive,
        properties: v5::ConnectProperties {
            session_expiry_interval: connect.session_expiry,
            receive_max: oracle::find(properties, |property| match property {
                Property::ReceiveMaximum(maximum) => Some(maximum),
                _ => None,
            }),
            max_packet_size: connect.maximum_packet_size,
            topic_alias_max: oracle::find(properties, |property| match property {
                Property::TopicAliasMaximum(maximum) => Some(maximum),
                _ => None,
            }),
            request_response_info: flag(|property| match property {
                Property::RequestResponseInformation(wanted) => Some(wanted),
                _ => None,
            }),
            request_problem_info: flag(|property| match property {
                Property::RequestProblemInformation(wanted) => Some(wanted),
                _ => None,
            }),
            user_properties: users(properties),
            auth_method: connect.authentication_method.map(text),
            auth_data: connect.authentication_data.map(Bytes::copy_from_slice),
        },
        client_id: text(connect.client_id),
        last_will: connect.will.as_ref().map(v5_will),
        username: connect.username.map(text),
        password: connect.password.map(Bytes::copy_from_slice),
    }
}

fn v5_will(will: &Will<'_>) -> v5::LastWill {
    let properties = will.properties;
    v5::LastWill {
        qos: qos(will.qos),
        retain: will.retain,
        topic_name: name(will.topic),
        payload: Bytes::copy_from_slice(will.payload),
        properties: v5::WillProperties {
            delay_interval: oracle::find(properties, |property| match property {
                Property::WillDelay(seconds) => Some(seconds),
                _ => None,
            }),
            payload_is_utf8: oracle::format(properties).map(|format| format == 1),
            message_expiry_interval: will.expiry,
            content_type: oracle::content_type(properties).map(Arc::from),
            response_topic: oracle::response_topic(properties).as_deref().map(name),
            correlation_data: oracle::correlation_data(properties),
            user_properties: users(properties),
        },
    }
}

fn v5_options(options: mqtt::packet::SubscriptionOptions) -> v5::SubscriptionOptions {
    v5::SubscriptionOptions {
        max_qos: qos(options.qos),
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        retain_handling: match options.retain_handling {
            RetainHandling::Always => v5::RetainHandling::SendAtSubscribe,
            RetainHandling::IfNew => v5::RetainHandling::SendAtSubscribeIfNotExist,
            RetainHandling::Never => v5::RetainHandling::DoNotSend,
        },
    }
}

/// The four packets have four types of the same shape.
fn v5_ack(ack: &Ack<'_>) -> v5::Packet {
    macro_rules! packet {
        ($packet:ident, $properties:ident, $reason:ident) => {
            v5::Packet::$packet(v5::$packet {
                pid: pid(ack.packet_id),
                reason_code: v5::$reason::from_u8(ack.reason as u8).unwrap(),
                properties: v5::$properties {
                    reason_string: reason_string(ack.properties),
                    user_properties: users(ack.properties),
                },
            })
        };
    }
    match ack.kind {
        AckKind::PubAck => packet!(Puback, PubackProperties, PubackReasonCode),
        AckKind::PubRec => packet!(Pubrec, PubrecProperties, PubrecReasonCode),
        AckKind::PubRel => packet!(Pubrel, PubrelProperties, PubrelReasonCode),
        AckKind::PubComp => packet!(Pubcomp, PubcompProperties, PubcompReasonCode),
    }
}
