//! A store whose server is away while it is given something: what became of a batch is not known, and all that was
//! acknowledged comes, once at QoS 2.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use store::{Settings, State, Store};
use tokio::sync::Semaphore;

use super::behind::{HEARS_NOTHING, SENDS_NOTHING, Slow, WELL};
use super::packets::*;
use super::*;
use crate::metrics::Metric;

const Q2: Qos = Qos::ExactlyOnce;
const V311: Version = Version::V311;

/// A node, and how it reaches the server of its sessions.
fn node() -> (Node, Arc<AtomicU8>, Arc<Store>) {
    let link = Arc::new(AtomicU8::new(WELL));
    let backend = Slow { inner: store::memory(), may: Arc::new(Semaphore::new(1)), link: link.clone() };
    let settings = Settings { timeout: Duration::from_millis(100), ..Settings::default() };
    let store = Arc::new(Store::embedded(Arc::new(backend), settings).unwrap());
    (Node::keeping(store.clone()), link, store)
}

fn kept(version: Version, id: &'static str) -> Connect {
    Connect { client_id: id, ..Connect::kept(version) }
}

/// A QoS 2 message whose batch the server took or not: its publisher hears nothing, or why, and sends it again.
fn comes_once(version: Version, receiver_at: u16, trouble: u8) {
    let (node, link, _) = node();
    let receiver = node.id_on(receiver_at, "receiver");
    node.client(kept(V5, receiver)).subscribe("t", 2);
    let publisher = kept(version, node.id_on(0, "publisher"));
    let mut first = node.client(publisher.clone());

    link.store(trouble, Ordering::Release);
    first.send(publish(version, Q2, 1, "x"));
    let end = (version == V5).then(|| "DISCONNECT 0x83".to_owned());
    assert_eq!(first.next().map(|line| line.chars().take(15).collect()), end, "it is not acknowledged");
    assert!(node.metric(Metric::StoreLate) > 0);

    link.store(WELL, Ordering::Release);
    let mut again = node.client(publisher);
    again.send(publish_dup(version, Q2, 1, "x"));
    assert_eq!(again.line(), "PUBREC #1");
    again.send(pubrel(1));
    assert_eq!(again.line(), "PUBCOMP #1");
    let came = node.client(kept(V5, receiver)).until_pong();
    assert_eq!(came.iter().filter(|line| line.starts_with("PUBLISH")).count(), 1, "{came:?}");
}

#[test]
fn what_the_server_did_not_take_comes_once() {
    for version in [V5, V311] {
        comes_once(version, 0, SENDS_NOTHING);
    }
}

#[test]
fn what_the_server_took_without_an_answer_comes_once() {
    for version in [V5, V311] {
        comes_once(version, 0, HEARS_NOTHING);
    }
}

#[test]
fn what_goes_to_another_worker_comes_once_either_way() {
    for (version, trouble) in [(V5, SENDS_NOTHING), (V311, SENDS_NOTHING), (V5, HEARS_NOTHING), (V311, HEARS_NOTHING)] {
        comes_once(version, 1, trouble);
    }
}

#[test]
fn who_is_sent_a_message_while_the_server_is_away_gets_it_after_and_once() {
    for trouble in [SENDS_NOTHING, HEARS_NOTHING] {
        let (node, link, store) = node();
        let receiver = kept(V5, node.id_on(0, "receiver"));
        let mut there = node.client(receiver.clone());
        there.subscribe("t", 2);
        let mut publisher = node.client(kept(V311, node.id_on(0, "publisher")));
        link.store(trouble, Ordering::Release);
        publisher.send(publish(V311, Q2, 1, "x"));
        assert_eq!(publisher.next(), None);
        let heard: Vec<String> = std::iter::from_fn(|| there.next()).collect();
        assert!(!heard.iter().any(|line| line.starts_with("PUBLISH")), "it is not known to be kept: {heard:?}");
        link.store(WELL, Ordering::Release);
        // Until then a CONNECT that needs the store is refused.
        node.until("the store answers again", || store.state() == State::Ok);
        let came = node.client(receiver).until_pong();
        assert_eq!(came.iter().filter(|line| line.starts_with("PUBLISH")).count(), 1, "{came:?}");
    }
}
