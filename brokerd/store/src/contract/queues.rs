//! Queues: order, pages, sharing, removal.

use super::*;

pub(super) async fn entries_come_back_in_order_whatever_their_size(place: Box<dyn Place>) {
    let store = place.open().await;
    let (one, two) = (claim(&store, "one", 1).await, claim(&store, "two", 1).await);
    let payload = |seq: u64| vec![seq as u8; seq as usize * 37 % 5000];
    let mut expected = Vec::new();
    for seq in 1..=300 {
        let entry = Entry {
            qos: if seq % 2 == 0 { Qos::ExactlyOnce } else { Qos::AtMostOnce },
            retain: seq % 3 == 0,
            shared: std::num::NonZeroU32::new(seq as u32 % 4),
            expires_at: (seq % 5 == 0).then_some(seq),
            ..entry(Body::Inline(message(seq, &payload(seq))))
        };
        expected.push(Stored { seq, message: message(seq, &payload(seq)), entry: entry.clone() });
        apply(&store, &[inline(two, seq), Op::Enqueue { sid: one, epoch: 1, seq, entry }]).await;
    }
    assert_eq!(fetch_all(&store, one).await, expected, "entries come back as they were given");
    assert_eq!(seqs(&store, two).await, (1..=300).collect::<Vec<_>>());
    assert_eq!(seqs(&store, Sid(u64::MAX)).await, [0u64; 0], "a session that is not there has an empty queue");
}

pub(super) async fn pages_are_bounded_and_lose_nothing(place: Box<dyn Place>) {
    let store = place.open().await;
    let sid = claim(&store, "one", 1).await;
    apply(&store, &(1..=100).map(|n| inline(sid, n * 3)).collect::<Vec<_>>()).await;
    let (mut after, mut found) = (0, Vec::new());
    loop {
        let page = store.fetch(sid, after, 7, usize::MAX).await.unwrap();
        assert!(page.len() <= 7);
        let Some(last) = page.last() else { break };
        after = last.seq;
        found.extend(page.iter().map(|stored| stored.seq));
    }
    assert_eq!(found, (1..=100).map(|n| n * 3).collect::<Vec<_>>());
    let page = store.fetch(sid, 0, 100, 1).await.unwrap();
    assert_eq!(page.len(), 1, "a page has one entry at least, however few bytes are asked for");
    let two = page[0].message.heap_size() + 1;
    assert_eq!(store.fetch(sid, 0, 100, two).await.unwrap().len(), 2, "a page ends when it has its bytes");
    assert_eq!(store.fetch(sid, 10, 1, usize::MAX).await.unwrap()[0].seq, 12, "a page begins after what was asked");
}

pub(super) async fn the_same_batch_again_changes_nothing(place: Box<dyn Place>) {
    let store = place.open().await;
    let sid = claim(&store, "one", 1).await;
    let body = message(1, b"for many");
    let ops = [
        Op::PutMessage(body.id, body.clone()),
        inline(sid, 1),
        shared(sid, 2, body.id),
        inline(sid, 3),
        Op::Sent { sid, epoch: 1, seq: 1, packet_id: packet_id(9) },
        Op::Received { sid, epoch: 1, packet_id: packet_id(4) },
        Op::Ack { sid, epoch: 1, seq: 3 },
    ];
    for _ in 0..3 {
        assert_eq!(apply(&store, &ops).await, Outcome::default());
    }
    assert_eq!(store.apply(&[&ops, &ops], true).await.unwrap(), [Outcome::default(), Outcome::default()]);
    assert_eq!(seqs(&store, sid).await, [1, 2]);
    let claimed = store.claim(&claim_of("one", 1)).await.unwrap();
    let in_flight = claimed.queue.iter().filter(|one| one.packet_id.is_some()).count();
    assert_eq!((in_flight, claimed.received.len(), claimed.queue.len()), (1, 1, 2));
    apply(&store, &[Op::Ack { sid, epoch: 1, seq: 1 }, Op::Ack { sid, epoch: 1, seq: 2 }]).await;
    settle(&store).await;
    assert_eq!(store.stats().shared_messages, 0, "an entry that was given twice names its message once");
}

pub(super) async fn a_message_for_many_is_stored_once_and_goes_with_its_last_entry(place: Box<dyn Place>) {
    let store = place.open().await;
    settle(&store).await;
    let mut sids = Vec::new();
    for n in 0..100 {
        sids.push(claim(&store, &format!("client-{n}"), 1).await);
    }
    let body = message(77, &[b'x'; 20_000]);
    let put = || Op::PutMessage(body.id, body.clone());
    // Each worker's batch brings the message.
    for part in sids.chunks(25) {
        let ops: Vec<Op> = std::iter::once(put()).chain(part.iter().map(|sid| shared(*sid, 1, body.id))).collect();
        apply(&store, &ops).await;
    }
    assert_eq!(store.stats().shared_messages, 1);
    for sid in &sids {
        let stored = fetch_all(&store, *sid).await;
        assert_eq!(*stored[0].message, *body, "every session reads the whole message");
        apply(&store, &[Op::Ack { sid: *sid, epoch: 1, seq: 1 }]).await;
        apply(&store, &[Op::Ack { sid: *sid, epoch: 1, seq: 1 }]).await; // twice is once
    }
    settle(&store).await;
    assert_eq!(store.stats().shared_messages, 0, "nothing names it any more");
    apply(&store, &[put(), shared(sids[0], 2, body.id)]).await;
    assert_eq!(fetch_all(&store, sids[0]).await.len(), 1, "it is written anew when it is named anew");
}

pub(super) async fn a_shared_message_survives_a_reopen_and_then_goes(place: Box<dyn Place>) {
    let store = place.open().await;
    let (one, two) = (claim(&store, "one", 1).await, claim(&store, "two", 1).await);
    let body = message(5, b"for two");
    apply(&store, &[Op::PutMessage(body.id, body.clone()), shared(one, 1, body.id), shared(two, 1, body.id)]).await;
    let Some(store) = reopen(&*place, store).await else { return };
    // Before its entries are counted, and while they are.
    apply(&store, &[Op::Ack { sid: one, epoch: 1, seq: 1 }]).await;
    assert_eq!(*fetch_all(&store, two).await[0].message, *body);
    settle(&store).await;
    assert_eq!(*fetch_all(&store, two).await[0].message, *body);
    assert_eq!(store.stats().shared_messages, 1);
    apply(&store, &[Op::Ack { sid: two, epoch: 1, seq: 1 }]).await;
    settle(&store).await;
    assert_eq!(store.stats().shared_messages, 0);
}

pub(super) async fn entries_leave_one_by_one_or_in_a_range(place: Box<dyn Place>) {
    let store = place.open().await;
    let (sid, other) = (claim(&store, "one", 1).await, claim(&store, "other", 1).await);
    let ops: Vec<Op> = (1..=500).flat_map(|n| [inline(sid, n), inline(other, n)]).collect();
    apply(&store, &ops).await;
    apply(&store, &[Op::Ack { sid, epoch: 1, seq: 250 }, Op::AckRange { sid, epoch: 1, first: 1, last: 10 }]).await;
    apply(&store, &[Op::AckRange { sid, epoch: 1, first: 300, last: 498 }]).await;
    apply(&store, &[Op::AckRange { sid, epoch: 1, first: 600, last: 1 }]).await; // backwards is nothing
    let expected: Vec<u64> = (11..300).filter(|n| *n != 250).chain([499, 500]).collect();
    assert_eq!(seqs(&store, sid).await, expected);
    assert_eq!(seqs(&store, other).await.len(), 500, "other queues are not touched");
    apply(&store, &[Op::AckRange { sid, epoch: 1, first: 0, last: u64::MAX }]).await;
    assert_eq!(seqs(&store, sid).await, [0u64; 0]);
}

pub(super) async fn changes_of_one_commit_see_each_other(place: Box<dyn Place>) {
    let store = place.open().await;
    settle(&store).await;
    let sid = claim(&store, "one", 1).await;
    let body = message(5, b"for many");
    let put = Op::PutMessage(body.id, body.clone());
    let ack = |seq| Op::Ack { sid, epoch: 1, seq };
    let first = [put.clone(), shared(sid, 1, body.id), ack(1), inline(sid, 2), ack(2), shared(sid, 3, body.id)];
    let range = Op::AckRange { sid, epoch: 1, first: 1, last: 1000 };
    let second: Vec<Op> = (4..=200).map(|seq| inline(sid, seq)).chain([range, inline(sid, 201)]).collect();
    store.apply(&[&first, &second], true).await.unwrap();
    assert_eq!(seqs(&store, sid).await, [201]);
    settle(&store).await;
    assert_eq!(store.stats().shared_messages, 0);
    apply(&store, &[put.clone(), shared(sid, 202, body.id)]).await;
    apply(&store, &[ack(202), ack(202), put, shared(sid, 203, body.id)]).await;
    settle(&store).await;
    assert_eq!(*fetch_all(&store, sid).await[1].message, *body, "it is named again by the commit that let it go");
}

pub(super) async fn ten_thousand_changes_are_one_batch(place: Box<dyn Place>) {
    let store = place.open().await;
    let sid = claim(&store, "one", 1).await;
    let ops: Vec<Op> = (1..=10_000).map(|seq| inline(sid, seq)).collect();
    assert_eq!(apply(&store, &ops).await, Outcome::default());
    assert_eq!(store.claim(&claim_of("one", 1)).await.unwrap().queue.len(), 10_000);
    let Some(store) = reopen(&*place, store).await else { return };
    assert_eq!(seqs(&store, sid).await.len(), 10_000);
}
