//! The ways in which a client can break the protocol, by name and clause. Never says what is done about it.

use crate::ReasonCode;

/// What a client did that it must not do. It ends the connection; `reason` is what 5.0 says before it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant is its documentation")]
pub enum Violation {
    #[error("asks for an answer that is larger than the client's own Maximum Packet Size [MQTT-3.1.2-24]")]
    AnswerTooLarge,
    #[error("Authentication Data without an Authentication Method (5.0, 3.1.2.11.10)")]
    AuthDataWithoutMethod,
    #[error("AUTH with another method than CONNECT's, or none was given there (5.0, 4.12) [MQTT-4.12.0-5]")]
    AuthMethodChanged,
    #[error("AUTH without an Authentication Method (5.0, 3.15.2.2.2)")]
    AuthMethodMissing,
    #[error("unknown or refused Authentication Method (5.0, 4.12) [MQTT-4.12.0-1]")]
    AuthMethodRefused,
    #[error("authentication of more rounds or bytes than this server allows (5.0, 4.12)")]
    AuthTooLong,
    #[error("packet other than AUTH or DISCONNECT before the CONNACK of an authentication [MQTT-3.1.2-30]")]
    BeforeConnack,
    #[error("client identifier of a forbidden length or empty without clean session [MQTT-3.1.3-8; 3.1, 3.1]")]
    ClientIdInvalid,
    #[error("reserved CONNECT flag is set [MQTT-3.1.2-3]")]
    ConnectFlagReserved,
    #[error("DUP with QoS 0 [MQTT-3.3.1-2]")]
    DupWithQos0,
    #[error("topic filter that is empty or has a misplaced wildcard or share name [MQTT-4.7.1-1, 4.7.3-1, 4.8.2-1]")]
    FilterInvalid,
    #[error("topic filter with more bytes or levels than this server takes (5.0, 3.14.2.1 0x8F)")]
    FilterTooLong,
    #[error("the first packet is not CONNECT [MQTT-3.1.0-1]")]
    FirstPacketNotConnect,
    #[error("fixed header flags that this packet type does not have [MQTT-2.1.3-1]")]
    HeaderFlagsInvalid,
    #[error("Variable Byte Integer of more than four bytes (1.5.5; 3.1.1, 2.2.3)")]
    IntegerTooLong,
    #[error("Variable Byte Integer in more bytes than it needs [MQTT-1.5.5-1]")]
    IntegerNotMinimal,
    #[error("nothing received within 1.5 times the keep alive [MQTT-3.1.2-22]")]
    KeepAliveTimeout,
    #[error("more messages than the server takes (5.0, 3.14.2.1 0x96)")]
    MessageRateTooHigh,
    #[error("No Local on a shared subscription [MQTT-3.8.3-4]")]
    NoLocalOnShared,
    #[error("the client may not do this (5.0, 3.14.2.1 0x87)")]
    NotAuthorized,
    #[error("SUBSCRIBE or UNSUBSCRIBE without a filter [MQTT-3.8.3-2, 3.10.3-2]")]
    NoFilter,
    #[error("packet identifier 0 [MQTT-2.2.1-3]")]
    PacketIdZero,
    #[error("packet larger than this server takes (5.0, 3.2.2.3.6)")]
    PacketTooLarge,
    #[error("password without a user name (3.1.1) [MQTT-3.1.2-22]")]
    PasswordWithoutUserName,
    #[error("payload is not what its format indicator says (5.0, 3.3.2.3.2)")]
    PayloadFormatInvalid,
    #[error("property that may stand once stands twice (5.0, 2.2.2.2)")]
    PropertyDuplicate,
    #[error("property that a client must not send in this packet (5.0, 2.2.2.2) [MQTT-3.3.4-6]")]
    PropertyNotAllowed,
    #[error("property identifier that does not exist (5.0, 2.2.2.2)")]
    PropertyUnknown,
    #[error("property with a value out of its range (5.0, 2.2.2.2)")]
    PropertyValueInvalid,
    #[error("protocol name is neither MQTT nor MQIsdp [MQTT-3.1.2-1]")]
    ProtocolNameInvalid,
    #[error("QoS 3 [MQTT-3.3.1-4, 3.1.2-12]")]
    QosInvalid,
    #[error("a QoS above the Maximum QoS of the server [MQTT-3.2.2-11]")]
    QosNotSupported,
    #[error("more than the server allows this client (5.0, 3.14.2.1 0x97)")]
    QuotaExceeded,
    #[error("reason code that this packet does not have (5.0, 3.4.2.1, 3.6.2.1, 3.14.2.1, 3.15.2.1)")]
    ReasonCodeInvalid,
    #[error("reason code that only a server sends (5.0, 3.14.2.1, 3.15.2.1)")]
    ReasonCodeServerOnly,
    #[error("more than Receive Maximum publications in flight [MQTT-3.3.4-7]")]
    ReceiveMaximumExceeded,
    #[error("packet type that this version reserves (2.1.2)")]
    ReservedPacketType,
    #[error("Response Topic that is empty or has a wildcard [MQTT-3.3.2-14, 4.7.3-1]")]
    ResponseTopicInvalid,
    #[error("Retain Handling 3 (5.0, 3.8.3.1)")]
    RetainHandlingInvalid,
    #[error("RETAIN although the server has none [MQTT-3.2.2-14]")]
    RetainNotSupported,
    #[error("second CONNECT on one connection [MQTT-3.1.0-2]")]
    SecondConnect,
    #[error("packet type that only a server sends (2.1.2)")]
    ServerPacket,
    #[error("DISCONNECT raises a Session Expiry Interval of 0 (5.0, 3.14.2.2.2)")]
    SessionExpiryRaised,
    #[error("shared subscription although the server has none (5.0, 3.2.2.3.13)")]
    SharedNotSupported,
    #[error("QoS 3 in a subscription [MQTT-3-8.3-4; 5.0, 3.8.3.1]")]
    SubscriptionQosInvalid,
    #[error("reserved bits of the subscription options are set [MQTT-3.8.3-5]")]
    SubscriptionOptionsReserved,
    #[error("string with U+0000 [MQTT-1.5.4-2]")]
    TextHasNul,
    #[error("string that is not UTF-8 [MQTT-1.5.4-1]")]
    TextNotUtf8,
    #[error("Topic Alias above the server's maximum [MQTT-3.3.2-9]")]
    TopicAliasTooLarge,
    #[error("Topic Alias that was not set and no topic name (5.0, 3.3.2.3.4)")]
    TopicAliasUnknown,
    #[error("Topic Alias 0 [MQTT-3.3.2-8]")]
    TopicAliasZero,
    #[error("empty topic name [MQTT-4.7.3-1; 5.0, 3.3.2.1]")]
    TopicEmpty,
    #[error("topic name with a wildcard [MQTT-3.3.2-2]")]
    TopicHasWildcard,
    #[error("topic name with more bytes or levels than this server takes (5.0, 3.14.2.1 0x90)")]
    TopicTooLong,
    #[error("bytes after the last field (2.1.4; 5.0, 4.13.1)")]
    TrailingBytes,
    #[error("a field ends after its packet or property section (2.1.4; 5.0, 4.13.1)")]
    Truncated,
    #[error("AUTH when none is expected (5.0, 4.12)")]
    UnexpectedAuth,
    #[error("protocol level that this server does not speak [MQTT-3.1.2-2]")]
    UnsupportedVersion,
    #[error("more User Properties than this server takes (5.0, 3.14.2.1 0x97)")]
    UserPropertiesTooMany,
    #[error("will QoS or will retain without a will [MQTT-3.1.2-11, 3.1.2-13]")]
    WillFlagsInvalid,
}

impl Violation {
    /// What CONNACK or DISCONNECT says of it in 5.0 (sections 3.2.2.2, 3.14.2.1 and 4.13). 3.x has no word for it.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::ConnectFlagReserved
            | Self::DupWithQos0
            | Self::HeaderFlagsInvalid
            | Self::IntegerNotMinimal
            | Self::IntegerTooLong
            | Self::PacketIdZero
            | Self::PasswordWithoutUserName
            | Self::PropertyUnknown
            | Self::QosInvalid
            | Self::ReasonCodeInvalid
            | Self::SubscriptionOptionsReserved
            | Self::TextHasNul
            | Self::TextNotUtf8
            | Self::TrailingBytes
            | Self::Truncated
            | Self::WillFlagsInvalid => ReasonCode::MalformedPacket,
            Self::AuthDataWithoutMethod
            | Self::AuthMethodChanged
            | Self::AuthMethodMissing
            | Self::BeforeConnack
            | Self::FirstPacketNotConnect
            | Self::NoFilter
            | Self::NoLocalOnShared
            | Self::PropertyDuplicate
            | Self::PropertyNotAllowed
            | Self::PropertyValueInvalid
            | Self::ReasonCodeServerOnly
            | Self::ReservedPacketType
            | Self::ResponseTopicInvalid
            | Self::RetainHandlingInvalid
            | Self::SecondConnect
            | Self::ServerPacket
            | Self::SessionExpiryRaised
            | Self::SubscriptionQosInvalid
            | Self::TopicAliasUnknown
            | Self::TopicEmpty
            | Self::UnexpectedAuth => ReasonCode::ProtocolError,
            Self::AuthMethodRefused => ReasonCode::BadAuthenticationMethod,
            Self::ClientIdInvalid => ReasonCode::ClientIdentifierNotValid,
            Self::FilterInvalid | Self::FilterTooLong => ReasonCode::TopicFilterInvalid,
            Self::KeepAliveTimeout => ReasonCode::KeepAliveTimeout,
            Self::MessageRateTooHigh => ReasonCode::MessageRateTooHigh,
            Self::AuthTooLong | Self::NotAuthorized => ReasonCode::NotAuthorized,
            Self::AnswerTooLarge | Self::PacketTooLarge => ReasonCode::PacketTooLarge,
            Self::PayloadFormatInvalid => ReasonCode::PayloadFormatInvalid,
            Self::ProtocolNameInvalid | Self::UnsupportedVersion => ReasonCode::UnsupportedProtocolVersion,
            Self::QosNotSupported => ReasonCode::QosNotSupported,
            Self::QuotaExceeded | Self::UserPropertiesTooMany => ReasonCode::QuotaExceeded,
            Self::ReceiveMaximumExceeded => ReasonCode::ReceiveMaximumExceeded,
            Self::RetainNotSupported => ReasonCode::RetainNotSupported,
            Self::SharedNotSupported => ReasonCode::SharedSubscriptionsNotSupported,
            Self::TopicAliasTooLarge | Self::TopicAliasZero => ReasonCode::TopicAliasInvalid,
            Self::TopicHasWildcard | Self::TopicTooLong => ReasonCode::TopicNameInvalid,
        }
    }
}
