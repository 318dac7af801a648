//! mqttbytes as the second opinion: what we have taken from a client, in its words, and what it reads itself.

use bytes::{Bytes, BytesMut};
use mqtt::codec::Property;
use mqtt::packet::{Ack, AckKind, Connect, Packet, Properties, Publish, Subscription, Will};
use mqtt::{Qos, ReasonCode, RetainHandling, Version};
use mqttbytes::{Error, QoS, v4, v5};

pub(crate) fn read_v4(bytes: &[u8]) -> Result<v4::Packet, Error> {
    v4::read(&mut BytesMut::from(bytes), usize::MAX)
}

pub(crate) fn read_v5(bytes: &[u8]) -> Result<v5::Packet, Error> {
    v5::read(&mut BytesMut::from(bytes), usize::MAX)
}

/// Says how mqttbytes differs on `frame`, which we have read as `packet`.
pub(crate) fn differs(version: Version, frame: &[u8], packet: &Packet<'_>) -> Option<String> {
    if is_exception(version, frame, packet) {
        return None;
    }
    if version == Version::V5 {
        let (theirs, ours) = (read_v5(frame), as_v5(packet));
        (theirs.as_ref() != Ok(&ours)).then(|| format!("mqttbytes: {theirs:?}\nours:      {ours:?}"))
    } else {
        let (theirs, ours) = (read_v4(frame), as_v4(packet));
        (theirs.as_ref() != Ok(&ours)).then(|| format!("mqttbytes: {theirs:?}\nours:      {ours:?}"))
    }
}

/// The valid packets that mqttbytes 0.6.0 refuses. It must go on refusing them: an entry that is no longer needed fails.
fn is_exception(version: Version, frame: &[u8], packet: &Packet<'_>) -> bool {
    let expected = match packet {
        // 3.1 is unknown to it.
        Packet::Connect(connect) if connect.version == Version::V31 => Some(Error::InvalidProtocol),
        // A password is a string to it, not binary data.
        Packet::Connect(connect) if connect.password.is_some_and(|bytes| std::str::from_utf8(bytes).is_err()) => {
            Some(Error::TopicNotUtf8)
        }
        // The two short forms of DISCONNECT.
        Packet::Disconnect(_) if version == Version::V5 && frame.len() == 2 => Some(Error::PayloadRequired),
        Packet::Disconnect(_) if version == Version::V5 && frame.len() == 3 => Some(Error::InsufficientBytes(1)),
        Packet::Auth(_) => Some(Error::InvalidPacketType(15)),
        _ => None,
    };
    let Some(expected) = expected else {
        return false;
    };
    let theirs = if version == Version::V5 { read_v5(frame).err() } else { read_v4(frame).err() };
    assert_eq!(theirs, Some(expected), "the exception for {packet:?} is no longer one");
    true
}

fn qos(qos: Qos) -> QoS {
    mqttbytes::qos(qos as u8).unwrap()
}

fn text(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

/// mqttbytes does not tell an empty user name or password from none.
fn login(connect: &Connect<'_>) -> Option<(String, String)> {
    let password = std::str::from_utf8(connect.password.unwrap_or_default()).unwrap();
    let login = (text(connect.username), password.to_owned());
    (login != Default::default()).then_some(login)
}

fn as_v4(packet: &Packet<'_>) -> v4::Packet {
    match packet {
        Packet::Connect(connect) => v4::Packet::Connect(v4::Connect {
            protocol: mqttbytes::Protocol::V4,
            keep_alive: connect.keep_alive,
            client_id: connect.client_id.to_owned(),
            clean_session: connect.clean_start,
            last_will: connect.will.as_ref().map(|will| v4::LastWill {
                topic: will.topic.to_owned(),
                message: Bytes::copy_from_slice(will.payload),
                qos: qos(will.qos),
                retain: will.retain,
            }),
            login: login(connect).map(|(username, password)| v4::Login { username, password }),
        }),
        Packet::Publish(publish) => v4::Packet::Publish(v4::Publish {
            dup: publish.dup,
            qos: qos(publish.qos),
            retain: publish.retain,
            topic: publish.topic.to_owned(),
            pkid: publish.packet_id.map_or(0, |id| id.get()),
            payload: Bytes::copy_from_slice(publish.payload),
        }),
        Packet::Ack(ack) => {
            let pkid = ack.packet_id.get();
            match ack.kind {
                AckKind::PubAck => v4::Packet::PubAck(v4::PubAck { pkid }),
                AckKind::PubRec => v4::Packet::PubRec(v4::PubRec { pkid }),
                AckKind::PubRel => v4::Packet::PubRel(v4::PubRel { pkid }),
                AckKind::PubComp => v4::Packet::PubComp(v4::PubComp { pkid }),
            }
        }
        Packet::Subscribe(subscribe) => v4::Packet::Subscribe(v4::Subscribe {
            pkid: subscribe.packet_id.get(),
            filters: subscribe
                .filters()
                .map(|one| v4::SubscribeFilter { path: one.filter.to_owned(), qos: qos(one.options.qos) })
                .collect(),
        }),
        Packet::Unsubscribe(unsubscribe) => v4::Packet::Unsubscribe(v4::Unsubscribe {
            pkid: unsubscribe.packet_id.get(),
            topics: unsubscribe.filters().map(str::to_owned).collect(),
        }),
        Packet::PingReq => v4::Packet::PingReq,
        Packet::Disconnect(_) => v4::Packet::Disconnect,
        Packet::Auth(_) => unreachable!("AUTH is not in 3.x"),
    }
}

fn as_v5(packet: &Packet<'_>) -> v5::Packet {
    match packet {
        Packet::Connect(connect) => v5::Packet::Connect(v5_connect(connect)),
        Packet::Publish(publish) => v5::Packet::Publish(v5_publish(publish)),
        Packet::Ack(ack) => v5_ack(ack),
        Packet::Subscribe(subscribe) => v5::Packet::Subscribe(v5::Subscribe {
            pkid: subscribe.packet_id.get(),
            filters: subscribe.filters().map(v5_filter).collect(),
            properties: some(subscribe.properties).map(|properties| v5::SubscribeProperties {
                id: subscribe.subscription_id.map(|id| id as usize),
                user_properties: users(properties),
            }),
        }),
        Packet::Unsubscribe(unsubscribe) => v5::Packet::Unsubscribe(v5::Unsubscribe {
            pkid: unsubscribe.packet_id.get(),
            filters: unsubscribe.filters().map(str::to_owned).collect(),
            properties: some(unsubscribe.properties)
                .map(|properties| v5::UnsubscribeProperties { user_properties: users(properties) }),
        }),
        Packet::PingReq => v5::Packet::PingReq,
        Packet::Disconnect(disconnect) => v5::Packet::Disconnect(v5::Disconnect {
            reason_code: v5::DisconnectReasonCode::try_from(disconnect.reason as u8).unwrap(),
            properties: some(disconnect.properties).map(|properties| v5::DisconnectProperties {
                session_expiry_interval: disconnect.session_expiry,
                reason_string: reason_string(properties),
                user_properties: users(properties),
                server_reference: None,
            }),
        }),
        Packet::Auth(_) => unreachable!("an exception"),
    }
}

fn some(properties: Properties<'_>) -> Option<Properties<'_>> {
    (!properties.as_bytes().is_empty()).then_some(properties)
}

pub(crate) fn find<T>(properties: Properties<'_>, pick: impl Fn(Property<'_>) -> Option<T>) -> Option<T> {
    properties.iter().find_map(pick)
}

pub(crate) fn users(properties: Properties<'_>) -> Vec<(String, String)> {
    let user = |property| match property {
        Property::User(name, value) => Some((name.to_owned(), value.to_owned())),
        _ => None,
    };
    properties.iter().filter_map(user).collect()
}

pub(crate) fn reason_string(properties: Properties<'_>) -> Option<String> {
    find(properties, |property| match property {
        Property::ReasonString(text) => Some(text.to_owned()),
        _ => None,
    })
}

pub(crate) fn format(properties: Properties<'_>) -> Option<u8> {
    find(properties, |property| match property {
        Property::PayloadFormat(is_text) => Some(u8::from(is_text)),
        _ => None,
    })
}

pub(crate) fn content_type(properties: Properties<'_>) -> Option<String> {
    find(properties, |property| match property {
        Property::ContentType(text) => Some(text.to_owned()),
        _ => None,
    })
}

pub(crate) fn response_topic(properties: Properties<'_>) -> Option<String> {
    find(properties, |property| match property {
        Property::ResponseTopic(text) => Some(text.to_owned()),
        _ => None,
    })
}

pub(crate) fn correlation_data(properties: Properties<'_>) -> Option<Bytes> {
    find(properties, |property| match property {
        Property::CorrelationData(data) => Some(Bytes::copy_from_slice(data)),
        _ => None,
    })
}

fn v5_publish(publish: &Publish<'_>) -> v5::Publish {
    v5::Publish {
        dup: publish.dup,
        qos: qos(publish.qos),
        retain: publish.retain,
        topic: publish.topic.to_owned(),
        pkid: publish.packet_id.map_or(0, |id| id.get()),
        properties: some(publish.properties).map(|properties| v5::PublishProperties {
            payload_format_indicator: format(properties),
            message_expiry_interval: publish.expiry,
            topic_alias: publish.topic_alias,
            response_topic: response_topic(properties),
            correlation_data: correlation_data(properties),
            user_properties: users(properties),
            subscription_identifiers: Vec::new(),
            content_type: content_type(properties),
        }),
        payload: Bytes::copy_from_slice(publish.payload),
    }
}

fn v5_connect(connect: &Connect<'_>) -> v5::Connect {
    let flag = |pick: fn(Property<'_>) -> Option<bool>| find(connect.properties, pick).map(u8::from);
    v5::Connect {
        protocol: mqttbytes::Protocol::V5,
        keep_alive: connect.keep_alive,
        client_id: connect.client_id.to_owned(),
        clean_session: connect.clean_start,
        last_will: connect.will.as_ref().map(v5_will),
        login: login(connect).map(|(username, password)| v5::Login { username, password }),
        properties: some(connect.properties).map(|properties| v5::ConnectProperties {
            session_expiry_interval: connect.session_expiry,
            receive_maximum: find(properties, |property| match property {
                Property::ReceiveMaximum(maximum) => Some(maximum),
                _ => None,
            }),
            max_packet_size: connect.maximum_packet_size,
            topic_alias_max: find(properties, |property| match property {
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
            authentication_method: connect.authentication_method.map(str::to_owned),
            authentication_data: connect.authentication_data.map(Bytes::copy_from_slice),
        }),
    }
}

fn v5_will(will: &Will<'_>) -> v5::LastWill {
    v5::LastWill {
        topic: will.topic.to_owned(),
        message: Bytes::copy_from_slice(will.payload),
        qos: qos(will.qos),
        retain: will.retain,
        properties: some(will.properties).map(|properties| v5::WillProperties {
            delay_interval: find(properties, |property| match property {
                Property::WillDelay(seconds) => Some(seconds),
                _ => None,
            }),
            payload_format_indicator: format(properties),
            message_expiry_interval: will.expiry,
            content_type: content_type(properties),
            response_topic: response_topic(properties),
            correlation_data: correlation_data(properties),
            user_properties: users(properties),
        }),
    }
}

fn v5_filter(subscription: Subscription<'_>) -> v5::SubscribeFilter {
    let options = subscription.options;
    v5::SubscribeFilter {
        path: subscription.filter.to_owned(),
        qos: qos(options.qos),
        nolocal: options.no_local,
        preserve_retain: options.retain_as_published,
        retain_forward_rule: match options.retain_handling {
            RetainHandling::Always => v5::RetainForwardRule::OnEverySubscribe,
            RetainHandling::IfNew => v5::RetainForwardRule::OnNewSubscribe,
            RetainHandling::Never => v5::RetainForwardRule::Never,
        },
    }
}

/// The four packets have four types of the same shape, with two sets of codes.
fn v5_ack(ack: &Ack<'_>) -> v5::Packet {
    macro_rules! packet {
        ($packet:ident, $properties:ident, $reason:expr) => {
            v5::Packet::$packet(v5::$packet {
                pkid: ack.packet_id.get(),
                reason: $reason,
                properties: some(ack.properties).map(|properties| v5::$properties {
                    reason_string: reason_string(properties),
                    user_properties: users(properties),
                }),
            })
        };
    }
    macro_rules! received {
        ($reason:ident) => {
            match ack.reason {
                ReasonCode::Success => v5::$reason::Success,
                ReasonCode::NoMatchingSubscribers => v5::$reason::NoMatchingSubscribers,
                ReasonCode::UnspecifiedError => v5::$reason::UnspecifiedError,
                ReasonCode::ImplementationSpecificError => v5::$reason::ImplementationSpecificError,
                ReasonCode::NotAuthorized => v5::$reason::NotAuthorized,
                ReasonCode::TopicNameInvalid => v5::$reason::TopicNameInvalid,
                ReasonCode::PacketIdentifierInUse => v5::$reason::PacketIdentifierInUse,
                ReasonCode::QuotaExceeded => v5::$reason::QuotaExceeded,
                ReasonCode::PayloadFormatInvalid => v5::$reason::PayloadFormatInvalid,
                other => panic!("{other:?} in {ack:?}"),
            }
        };
    }
    macro_rules! released {
        ($reason:ident) => {
            match ack.reason {
                ReasonCode::Success => v5::$reason::Success,
                ReasonCode::PacketIdentifierNotFound => v5::$reason::PacketIdentifierNotFound,
                other => panic!("{other:?} in {ack:?}"),
            }
        };
    }
    match ack.kind {
        AckKind::PubAck => packet!(PubAck, PubAckProperties, received!(PubAckReason)),
        AckKind::PubRec => packet!(PubRec, PubRecProperties, received!(PubRecReason)),
        AckKind::PubRel => packet!(PubRel, PubRelProperties, released!(PubRelReason)),
        AckKind::PubComp => packet!(PubComp, PubCompProperties, released!(PubCompReason)),
    }
}
