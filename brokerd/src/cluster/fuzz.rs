//! A door for the fuzz targets to what other nodes send. Nothing of the broker goes through it.

use std::collections::BTreeSet;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use mqtt::Time;
use prost::Message as _;
use proto::peer::frame::Body;
use proto::peer::{Frame, Rows};

use super::frames::{FrameReader, MAX_CONTROL};
use super::remote::Remote;
use super::{inbound, routes};

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
