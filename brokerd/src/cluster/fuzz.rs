//! A door for the fuzz targets to what other nodes send. Nothing of the broker goes through it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mqtt::Time;
use prost::Message as _;
use proto::claims::{Reply, Request, request};
use proto::peer::frame::Body;
use proto::peer::{Frame, Hello, Rows};

use super::claims::wire;
use super::frames::{FrameReader, FrameWriter, MAX_CONTROL};
use super::remote::Remote;
use super::{gossip, handshake, inbound, routes, versions};
use crate::registry::Clock;

/// As `mqtt.max_packet_size` of a node.
const MAX_PACKET_SIZE: u32 = 1 << 20;

/// Reads frames of a trusted link until they end, and takes what each carries as a node would.
///
/// # Panics
/// If what was taken does not hold together: that is what the fuzzer looks for.
pub fn peer_link(bytes: &[u8]) {
    let read = pin!(read(bytes)).poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(read, Poll::Ready(()), "bytes that are there are not waited for");
}

async fn read(bytes: &[u8]) {
    let mut reader = FrameReader::new(bytes);
    reader.trust(MAX_CONTROL);
    let (mut remote, mut filters) = (Remote::default(), BTreeSet::new());
    while let Ok(Some(frame)) = reader.next().await {
        let again = Frame::decode(frame.encode_to_vec().as_slice());
        assert!(again.as_ref() == Ok(&frame), "{again:?} was {frame:?}");
        match frame.body {
            Some(Body::Forward(forward)) => forward.messages.iter().for_each(check_message),
            Some(Body::Rows(rows)) => {
                apply(&mut remote, rows, &mut filters);
            }
            _ => {}
        }
    }
}

fn check_message(sent: &proto::peer::Message) {
    if let Ok(message) = inbound::decode(sent, Time(1_000_000), MAX_PACKET_SIZE) {
        assert!(mqtt::topic::valid_name(message.topic()), "{message:?}");
        assert_eq!((message.topic_bytes(), message.payload()), (&*sent.topic, &*sent.payload));
        assert_eq!(message.properties(), &*sent.properties);
    }
}

/// Whatever comes, the table is the set that its changes told of, and its digest is that of the set.
fn apply(remote: &mut Remote, rows: Rows, filters: &mut BTreeSet<String>) {
    let applied = remote.apply(rows, |filter, weight| {
        if weight.is_some() {
            filters.insert(filter.to_owned())
        } else {
            filters.remove(filter)
        };
    });
    let digest = filters.iter().fold(0_u128, |sum, filter| sum.wrapping_add(routes::digest(filter)));
    assert_eq!((remote.len(), remote.head().hash), (filters.len(), digest), "{applied:?}");
}

/// Reads what a stranger sends first, before it has proven anything: a hello that is read as a node reads it.
///
/// # Panics
/// If what was taken does not hold together.
pub fn peer_handshake(bytes: &[u8]) {
    let mut reader = FrameReader::new(bytes);
    let read = pin!(reader.next()).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(read) = read else { panic!("bytes that are there are not waited for") };
    let Ok(Some(frame)) = read else { return };
    match frame.body {
        Some(Body::Hello(hello)) => check_hello(&hello),
        Some(body) => {
            let mut writer = FrameWriter::new(Vec::new());
            assert!(writer.push(frame.hlc, body).is_ok(), "what a stranger may say fits a frame");
        }
        None => {}
    }
}

fn check_hello(hello: &Hello) {
    let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
    if let Ok(address) = handshake::address_of(hello, from) {
        assert!(!address.ip().is_unspecified(), "nobody can be dialed at {address}");
    }
    for ours in versions::OLDEST..=versions::NEWEST {
        if let Ok(agreed) = versions::agree(ours, hello.protocol, hello.oldest) {
            assert!((versions::OLDEST..=ours).contains(&agreed) && agreed <= hello.protocol, "{hello:?}: {agreed}");
            assert!(agreed >= hello.oldest, "{hello:?}: {agreed}");
        }
    }
}

/// Reads a request about client ids, and the same bytes as an answer to one, as a node of each version would.
///
/// # Panics
/// If what was taken does not hold together.
pub fn claims(bytes: &[u8]) {
    const SKEW: Duration = Duration::from_secs(60);
    for protocol in versions::OLDEST..=versions::NEWEST {
        let clock = Clock::new(0, SKEW);
        let read = wire::read(bytes::Bytes::copy_from_slice(bytes), &clock, protocol);
        assert!(clock.high_water() <= Clock::new(0, SKEW).now() + 61_000_000, "a clock far ahead was believed");
        let Ok(what) = read else { continue };
        assert!(Request::decode(bytes).is_ok_and(|request| request.what.as_ref() == Some(&what)));
        if let request::What::Entrust(entrusted) = what {
            for will in entrusted.wills.into_iter().filter_map(|will| wire::from_will(will).ok()) {
                assert!(mqtt::topic::valid_name(will.will.message.topic()), "{will:?}");
            }
        }
    }
    if let Ok(reply) = Reply::decode(bytes) {
        assert_eq!(Reply::decode(reply.encode_to_vec().as_slice()), Ok(reply));
    }
}

/// Datagrams of anybody, and what a node says of itself in one that was opened.
pub fn gossip(bytes: &[u8]) {
    gossip::fuzz::datagrams(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        gossip::fuzz::head(text);
    }
}
