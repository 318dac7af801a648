//! Retained and delayed messages, and sizes.

use super::*;
use crate::backend::{Delayed, Retained};
use crate::record::Stamp;

fn put(topic: &str, hlc: u64, payload: Option<&[u8]>) -> Op {
    let message = payload.map(|payload| message(hlc, payload));
    Op::PutRetained { topic: topic.into(), stamp: Stamp { hlc, node: 1 }, message, expires_at: Some(hlc + 5) }
}

async fn retained(store: &Arc<dyn Backend>) -> Vec<Retained> {
    let mut all = store.scan_retained(None, 10_000).await.unwrap().items;
    all.sort_by(|a, b| a.topic.cmp(&b.topic)); // a store has an order of its own
    all
}

pub(super) async fn the_later_retained_message_stands(place: Box<dyn Place>) {
    let store = place.open().await;
    apply(&store, &[put("a", 5, Some(b"five")), put("a", 4, Some(b"four")), put("b", 1, Some(b"one"))]).await;
    apply(&store, &[put("a", 3, Some(b"three")), put("b", 2, None)]).await;
    let all = retained(&store).await;
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].message.as_ref().unwrap().payload(), b"five");
    assert_eq!((all[0].stamp, all[0].expires_at), (Stamp { hlc: 5, node: 1 }, Some(10)));
    assert_eq!((all[1].stamp.hlc, &all[1].message), (2, &None), "a deletion is remembered");
    let drop = |topic: &str, hlc, node| Op::DropRetained { topic: topic.into(), stamp: Stamp { hlc, node } };
    apply(&store, &[drop("a", 4, 9), drop("b", 2, 1)]).await;
    let Some(store) = reopen(&*place, store).await else { return };
    let left: Vec<Box<str>> = retained(&store).await.into_iter().map(|one| one.topic).collect();
    assert_eq!(left, ["a"].map(Box::from), "what was set later is not dropped");
}

pub(super) async fn retained_messages_are_listed_page_by_page(place: Box<dyn Place>) {
    let store = place.open().await;
    let ops: Vec<Op> = (0..50).map(|n| put(&format!("plant/{n}"), 1, Some(b"x"))).collect();
    apply(&store, &ops).await;
    let (mut after, mut topics): (Option<Box<str>>, Vec<Box<str>>) = (None, Vec::new());
    loop {
        let page = store.scan_retained(after.as_deref(), 7).await.unwrap();
        assert!(page.items.len() <= 7);
        topics.extend(page.items.into_iter().map(|one| one.topic));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    topics.sort_unstable();
    topics.dedup();
    assert_eq!(topics.len(), 50);
}

pub(super) async fn delayed_messages_come_back_until_they_are_dropped(place: Box<dyn Place>) {
    let store = place.open().await;
    let delayed = |n: u64| Delayed {
        id: message(n, b"").id,
        due: 1_000 - n,
        message: message(n, b"later"),
        expires_at: n.is_multiple_of(2).then_some(n + 1),
        client_id: "sender".into(),
        principal: n.is_multiple_of(3).then(|| "somebody".into()),
    };
    let put = |one: Delayed| Op::PutDelayed(Box::new(one));
    apply(&store, &(1..=20).map(|n| put(delayed(n))).collect::<Vec<_>>()).await;
    apply(&store, &(1..=10).map(|n| Op::DropDelayed(delayed(n).id)).collect::<Vec<_>>()).await;
    let store = reopen_or_keep(&*place, store).await;
    let mut found = store.scan_delayed(None, 4).await.unwrap();
    while let Some(next) = found.next {
        let page = store.scan_delayed(Some(next), 4).await.unwrap();
        found.items.extend(page.items);
        found.next = page.next;
    }
    found.items.sort_by_key(|one| one.id);
    assert_eq!(found.items, (11..=20).map(delayed).collect::<Vec<_>>());
}

pub(super) async fn large_values_come_back_whole(place: Box<dyn Place>) {
    let store = place.open().await;
    let sid = claim(&store, &"c".repeat(60_000), 1).await;
    let topic = "t".repeat(usize::from(u16::MAX));
    let payload: Vec<u8> = (0..1 << 20).map(|n: u32| ((n * 31) >> 3) as u8).collect();
    let mut large = Message::new(&topic, &[9; 1000], &payload);
    large.id = message(1, b"").id;
    let large = Arc::new(large);
    let inline = Op::Enqueue { sid, epoch: 1, seq: 1, entry: entry(Body::Inline(large.clone())) };
    let put_retained = Op::PutRetained {
        topic: topic.into(),
        stamp: Stamp::default(),
        message: Some(large.clone()),
        expires_at: None,
    };
    apply(&store, &[inline, Op::PutMessage(large.id, large.clone()), shared(sid, 2, large.id), put_retained]).await;
    let store = reopen_or_keep(&*place, store).await;
    let stored = fetch_all(&store, sid).await;
    assert!(stored.len() == 2 && stored.iter().all(|one| one.message == large), "both queued copies are whole");
    let is_whole = retained(&store).await.iter().all(|one| one.message.as_ref() == Some(&large));
    assert!(is_whole, "the retained copy is whole");
}
