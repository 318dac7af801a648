//! What is written is read back; what is not a record is an error.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::num::NonZeroU32;
use std::sync::Arc;

use mqtt::packet::SubscriptionOptions;
use mqtt::session::{Granted, Will};
use mqtt::{Message, MessageId, Qos, RetainHandling, Version};

use super::*;
use crate::{Body, Entry, SessionRecord};

fn message() -> Message {
    let mut message = Message::new("a/ü", &[0x01, 0x01], &[7; 300]);
    message.id = MessageId { origin: u64::MAX, worker: 3, sequence: 9 };
    message.qos = Qos::ExactlyOnce;
    message.retain = true;
    message
}

fn entries() -> Vec<Entry> {
    let plain = Entry {
        qos: Qos::AtLeastOnce,
        retain: false,
        subscription_ids: Box::default(),
        shared: None,
        expires_at: None,
        body: Body::Inline(Arc::new(message())),
    };
    let full = Entry {
        qos: Qos::ExactlyOnce,
        retain: true,
        subscription_ids: Box::new([1, 268_435_455]),
        shared: NonZeroU32::new(u32::MAX),
        expires_at: Some(1_700_000_000_000),
        body: Body::Shared(message().id, 77),
    };
    vec![Entry { body: Body::Inline(Arc::new(message())), ..full.clone() }, plain, full]
}

fn session() -> SessionRecord {
    let options = SubscriptionOptions {
        qos: Qos::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::Never,
    };
    SessionRecord {
        client_id: "pump".into(),
        version: Version::V5,
        expiry: u32::MAX,
        detached_at: Some(12),
        principal: Some("me".into()),
        subscriptions: vec![Granted { filter: "a/+".into(), options, id: 5, serial: 6 }],
        will: Some(Will { message: message(), delay: 4, expiry: Some(3) }),
        next_seq: 400,
        first_serial: 1,
        serials: 2,
    }
}

#[test]
fn what_is_written_is_read_back() {
    let mut bytes = Vec::new();
    encode_message(&message(), &mut bytes);
    assert_eq!(decode_message(&bytes), Ok(message()));
    for entry in entries() {
        bytes.clear();
        encode_entry(&entry, &mut bytes);
        assert_eq!(decode_entry(&bytes).as_ref(), Ok(&entry));
        let is_named = matches!(entry.body, Body::Shared(..));
        assert_eq!(shared_id(&bytes), is_named.then(|| message().id));
        assert_eq!(head(&bytes), Ok((entry.qos, if is_named { 77 } else { bytes.len() as u32 }, entry.expires_at)));
    }
    for will in [session().will, None] {
        bytes.clear();
        let record = SessionRecord { will, ..session() };
        encode_session(&record, &mut bytes);
        assert_eq!(decode_session(&bytes), Ok(record));
    }
}

#[test]
fn a_record_that_is_cut_or_changed_anywhere_never_panics() {
    let mut session_bytes = Vec::new();
    encode_session(&session(), &mut session_bytes);
    let mut entry_bytes = Vec::new();
    encode_entry(&entries()[0], &mut entry_bytes);
    for bytes in [session_bytes, entry_bytes] {
        for cut in 0..bytes.len() {
            let _ = (decode_session(&bytes[..cut]), decode_entry(&bytes[..cut]), head(&bytes[..cut]));
            for flip in [0x01, 0x80, 0xFF] {
                let mut changed = bytes.clone();
                changed[cut] ^= flip;
                let _ = (decode_session(&changed), decode_entry(&changed), shared_id(&changed));
            }
        }
    }
    assert_eq!(decode_entry(&[2, 0]), Err(DecodeError::Version(2)));
    assert_eq!(decode_entry(&[]), Err(DecodeError::Malformed));
    let claims_a_billion_ids = [&[1, IDS_FLAG][..], &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F]].concat();
    assert_eq!(decode_entry(&claims_a_billion_ids), Err(DecodeError::Malformed));
}

const IDS_FLAG: u8 = 1 << 5;

#[test]
fn the_bytes_of_version_1_do_not_change() {
    let mut bytes = Vec::new();
    encode_entry(&entries()[2], &mut bytes);
    let expected = [
        &[1, 0b0111_1110][..],
        &[0xFF; 8],
        &[0, 3, 0, 0, 0, 0, 0, 0, 0, 9, 77],
        &[0x80, 0xD0, 0x95, 0xFF, 0xBC, 0x31],
        &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F],
        &[2, 1, 0xFF, 0xFF, 0xFF, 0x7F],
    ]
    .concat();
    assert_eq!(bytes, expected);
}
