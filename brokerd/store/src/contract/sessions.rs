//! Sessions: what is saved, what is in flight, how they end.

use super::*;
use mqtt::packet::SubscriptionOptions;
use mqtt::session::{Granted, Will};

fn full_record(client_id: &str) -> SessionRecord {
    let granted = |n: u32| Granted {
        filter: format!("plant/{n}/+/temperature").into(),
        options: SubscriptionOptions {
            qos: Qos::ExactlyOnce,
            no_local: n.is_multiple_of(2),
            ..SubscriptionOptions::default()
        },
        id: n,
        serial: n + 1,
    };
    SessionRecord {
        subscriptions: (0..200).map(granted).collect(),
        will: Some(Will { message: (*message(4, b"gone")).clone(), delay: 30, expiry: Some(9) }),
        detached_at: Some(1_000),
        ..record(client_id)
    }
}

pub(super) async fn a_session_comes_back_as_it_was_saved(place: Box<dyn Place>) {
    let store = place.open().await;
    let sid = claim(&store, "ünï", 1).await;
    let save = |record| Op::SaveSession { sid, epoch: 1, record: Box::new(record) };
    apply(&store, &[save(record("ünï"))]).await;
    apply(&store, &[save(full_record("ünï"))]).await;
    assert_eq!(store.claim(&claim_of("ünï", 2)).await.unwrap().record, Some(full_record("ünï")));
    let Some(store) = reopen(&*place, store).await else { return };
    assert_eq!(store.claim(&claim_of("ünï", 3)).await.unwrap().record, Some(full_record("ünï")));
}

pub(super) async fn what_is_in_flight_comes_back_in_its_state(place: Box<dyn Place>) {
    let store = place.open().await;
    let sid = claim(&store, "one", 1).await;
    let mut ops: Vec<Op> = (1..=5).map(|seq| inline(sid, seq)).collect();
    ops.extend((1..=4).map(|seq| Op::Sent { sid, epoch: 1, seq, packet_id: packet_id(seq as u16 + 10) }));
    apply(&store, &ops).await;
    apply(&store, &[Op::Released { sid, epoch: 1, seq: 2, packet_id: packet_id(12) }]).await;
    apply(&store, &[Op::Released { sid, epoch: 1, seq: 3, packet_id: packet_id(13) }]).await;
    apply(&store, &[Op::Ack { sid, epoch: 1, seq: 1 }, Op::Ack { sid, epoch: 1, seq: 3 }]).await;
    let check = async |store: &Arc<dyn Backend>, epoch| {
        let claimed = store.claim(&claim_of("one", epoch)).await.unwrap();
        let known = |one: &Waiting| (one.seq, one.packet_id, one.is_released, one.size > 0);
        let expected =
            [(2, Some(packet_id(12)), true, false), (4, Some(packet_id(14)), false, true), (5, None, false, true)];
        assert_eq!(claimed.queue.iter().map(known).collect::<Vec<_>>(), expected);
        assert_eq!(seqs(store, sid).await, [4, 5], "a released message is gone, its packet id is not");
    };
    check(&store, 2).await;
    let Some(store) = reopen(&*place, store).await else { return };
    check(&store, 3).await;
    apply(&store, &[Op::Ack { sid, epoch: 3, seq: 2 }, Op::Ack { sid, epoch: 3, seq: 4 }]).await;
    assert_eq!(store.claim(&claim_of("one", 4)).await.unwrap().queue.len(), 1);
}

pub(super) async fn received_packet_ids_come_back_until_they_are_released(place: Box<dyn Place>) {
    let store = place.open().await;
    let (sid, other) = (claim(&store, "one", 1).await, claim(&store, "other", 1).await);
    let received = |id| Op::Received { sid, epoch: 1, packet_id: packet_id(id) };
    apply(&store, &[received(65_535), received(1), received(300), inline(other, 1)]).await;
    apply(&store, &[Op::ReceivedReleased { sid, epoch: 1, packet_id: packet_id(300) }]).await;
    let ids = async |store: &Arc<dyn Backend>, epoch| {
        let mut ids: Vec<u16> = Vec::new();
        ids.extend(store.claim(&claim_of("one", epoch)).await.unwrap().received.iter().map(|id| id.get()));
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(&store, 2).await, [1, 65_535]);
    let Some(store) = reopen(&*place, store).await else { return };
    assert_eq!(ids(&store, 3).await, [1, 65_535]);
}

pub(super) async fn a_dropped_session_leaves_nothing(place: Box<dyn Place>) {
    let store = place.open().await;
    settle(&store).await;
    let (sid, other) = (claim(&store, "one", 1).await, claim(&store, "other", 1).await);
    let body = message(1, b"for many");
    let mut ops = vec![Op::PutMessage(body.id, body.clone()), shared(sid, 5001, body.id), inline(other, 1)];
    ops.splice(1..1, (1..=5000).map(|seq| inline(sid, seq)));
    ops.push(Op::Sent { sid, epoch: 1, seq: 1, packet_id: packet_id(1) });
    apply(&store, &ops).await;
    apply(&store, &[Op::SaveSession { sid, epoch: 1, record: Box::new(record("one")) }]).await;
    assert_eq!(apply(&store, &[Op::DropSession { sid, epoch: 1 }]).await, Outcome::default());
    let left = store.scan_sessions(None, 100, true).await.unwrap().items;
    assert_eq!(left.iter().map(|one| &*one.client_id).collect::<Vec<_>>(), ["other"], "it is gone at once");
    settle(&store).await;
    assert_eq!(seqs(&store, sid).await, [0u64; 0]);
    assert_eq!(store.stats().shared_messages, 0);
    assert_eq!(seqs(&store, other).await, [1]);
    let again = store.claim(&claim_of("one", 2)).await.unwrap();
    assert_eq!((again.record, again.queue.len()), (None, 0));
}

pub(super) async fn sessions_are_listed_page_by_page_with_their_queues(place: Box<dyn Place>) {
    let store = place.open().await;
    for n in 0..25 {
        let name = format!("client-{n}");
        let sid = claim(&store, &name, 1).await;
        let mut ops: Vec<Op> = (1..=n).map(|seq| inline(sid, seq + 10)).collect();
        if n != 7 {
            ops.push(Op::SaveSession { sid, epoch: 1, record: Box::new(record(&name)) });
        }
        apply(&store, &ops).await;
    }
    for count in [true, false] {
        let (mut after, mut found) = (None, Vec::new());
        loop {
            let page = store.scan_sessions(after, 4, count).await.unwrap();
            assert!(page.items.len() <= 4);
            found.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        found.sort_by_key(|head| head.client_id.trim_start_matches("client-").parse::<u64>().unwrap());
        assert_eq!(found.len(), 25);
        for (n, head) in found.into_iter().enumerate() {
            let name = format!("client-{n}");
            assert_eq!((head.epoch, &*head.node, &*head.client_id), (1, "a", &*name));
            assert_eq!(head.record, (n != 7).then(|| record(&name)));
            let n = if count { n as u64 } else { 0 };
            let (first, last) = if n == 0 { (0, 0) } else { (11, n + 10) };
            let ends = (head.queue.first().map_or(0, |one| one.seq), head.queue.last().map_or(0, |one| one.seq));
            assert_eq!((head.queue.len() as u64, ends), (n, (first, last)), "queue of {name}");
            assert!(head.queue.iter().all(|one| one.size > 0));
        }
    }
}

pub(super) async fn a_session_ends_when_its_time_comes_and_not_before(place: Box<dyn Place>) {
    let store = place.open().await;
    let cases = [
        ("away", Some(1_000), 60),
        ("here", None, 60),
        ("for ever", Some(1_000), u32::MAX),
        ("later", Some(9_000), 60),
    ];
    for (name, detached_at, expiry) in cases {
        let sid = claim(&store, name, 1).await;
        let record = Box::new(SessionRecord { detached_at, expiry, ..record(name) });
        apply(&store, &[Op::SaveSession { sid, epoch: 1, record }, inline(sid, 1)]).await;
    }
    let round = async |now| {
        let mut ended: Vec<Box<str>> = Vec::new();
        for _ in 0..20 {
            let expired = store.expire(now, 3).await.unwrap();
            ended.extend(expired.sessions.into_iter().map(|(_, client_id)| client_id));
        }
        ended
    };
    assert_eq!(round(60_999).await, [""; 0].map(Box::from));
    assert_eq!(round(61_000).await, ["away"].map(Box::from));
    settle(&store).await;
    assert_eq!(store.scan_sessions(None, 100, false).await.unwrap().items.len(), 3);
    assert_eq!(store.claim(&claim_of("away", 2)).await.unwrap().record, None);
}

pub(super) async fn a_message_expires_but_not_in_flight(place: Box<dyn Place>) {
    let store = place.open().await;
    let sid = claim(&store, "one", 1).await;
    let mut ops: Vec<Op> = Vec::new();
    for (seq, expires_at) in [(1, Some(10)), (2, None), (3, Some(10)), (4, Some(99)), (5, Some(10))] {
        let entry = Entry { expires_at, ..entry(Body::Inline(message(seq, b"x"))) };
        ops.push(Op::Enqueue { sid, epoch: 1, seq, entry });
    }
    ops.push(Op::Sent { sid, epoch: 1, seq: 3, packet_id: packet_id(1) });
    apply(&store, &ops).await;
    let mut gone = Vec::new();
    for _ in 0..10 {
        gone.extend(store.expire(10, 2).await.unwrap().messages);
    }
    gone.sort_unstable();
    assert_eq!(gone, [(sid, 1), (sid, 5)]);
    assert_eq!(seqs(&store, sid).await, [2, 3, 4]);
}
