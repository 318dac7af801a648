//! Claims and fences.

use super::*;
use crate::error::StoreError;

pub(super) async fn the_higher_epoch_wins_a_claim(place: Box<dyn Place>) {
    let store = place.open().await;
    let first = store.claim(&claim_of("one", 100)).await.unwrap();
    assert_eq!(first.record, None);
    let low = store.claim(&Claim { node: "b".into(), ..claim_of("one", 99) }).await;
    assert_eq!(low, Err(StoreError::Fenced { stored: 100 }));
    let same = store.claim(&Claim { node: "b".into(), ..claim_of("one", 100) }).await;
    assert_eq!(same, Err(StoreError::Fenced { stored: 100 }), "an epoch is one node's");
    let high = store.claim(&Claim { node: "b".into(), ..claim_of("one", 101) }).await.unwrap();
    assert_eq!(high.sid, first.sid, "it is the same session");
    let clean = Claim { is_clean: true, ..claim_of("one", 100) };
    assert_eq!(store.claim(&clean).await, Err(StoreError::Fenced { stored: 101 }), "also where it would be dropped");
    let Some(store) = reopen(&*place, store).await else { return };
    assert_eq!(store.claim(&claim_of("one", 100)).await, Err(StoreError::Fenced { stored: 101 }));
    assert_eq!(claim(&store, "one", 102).await, first.sid);
    assert_ne!(claim(&store, "two", 1).await, first.sid, "numbers are not given again");
}

pub(super) async fn the_same_claim_again_is_granted(place: Box<dyn Place>) {
    let store = place.open().await;
    let first = store.claim(&claim_of("one", 1)).await.unwrap();
    apply(&store, &[inline(first.sid, 1)]).await;
    let again = store.claim(&claim_of("one", 1)).await.unwrap();
    assert_eq!((again.sid, again.queue.len()), (first.sid, 1), "an answer that was lost is given again");
}

pub(super) async fn a_stale_owner_changes_nothing(place: Box<dyn Place>) {
    let store = place.open().await;
    let (sid, mine) = (claim(&store, "one", 1).await, claim(&store, "mine", 1).await);
    apply(&store, &[inline(sid, 1), Op::SaveSession { sid, epoch: 1, record: Box::new(record("one")) }]).await;
    claim(&store, "one", 2).await;
    let stale = [
        inline(sid, 2),
        inline(mine, 1),
        Op::Sent { sid, epoch: 1, seq: 1, packet_id: packet_id(1) },
        Op::Released { sid, epoch: 1, seq: 1, packet_id: packet_id(1) },
        Op::Ack { sid, epoch: 1, seq: 1 },
        Op::AckRange { sid, epoch: 1, first: 1, last: 9 },
        Op::Received { sid, epoch: 1, packet_id: packet_id(1) },
        Op::SaveSession { sid, epoch: 1, record: Box::new(SessionRecord { expiry: 1, ..record("one") }) },
        Op::DropSession { sid, epoch: 1 },
    ];
    assert_eq!(apply(&store, &stale).await.fenced, [sid]);
    assert_eq!(seqs(&store, mine).await, [1], "what is of others in the batch is done");
    assert_eq!(seqs(&store, sid).await, [1]);
    let claimed = store.claim(&claim_of("one", 3)).await.unwrap();
    assert_eq!(claimed.record, Some(record("one")));
    assert_eq!((claimed.queue.iter().filter(|one| one.packet_id.is_some()).count(), claimed.received.len()), (0, 0));
    let gone = apply(&store, &[inline(Sid(u64::MAX), 1)]).await;
    assert_eq!(gone.fenced, [Sid(u64::MAX)], "a session that is not there takes nothing");
}

pub(super) async fn only_one_of_many_claims_at_an_epoch_wins(place: Box<dyn Place>) {
    let store = place.open().await;
    for epoch in 1..=20 {
        let race = |node: &str| {
            let (store, node) = (store.clone(), node.into());
            async move { store.claim(&Claim { node, ..claim_of("one", epoch) }).await.is_ok() }
        };
        let (a, b, c) = tokio::join!(race("a"), race("b"), race("c"));
        let winners = [a, b, c].iter().filter(|won| **won).count();
        assert_eq!(winners, 1, "epoch {epoch} has one owner");
    }
}

pub(super) async fn a_clean_start_gets_an_empty_session(place: Box<dyn Place>) {
    let store = place.open().await;
    let sid = claim(&store, "one", 1).await;
    let save = Op::SaveSession { sid, epoch: 1, record: Box::new(record("one")) };
    let received = Op::Received { sid, epoch: 1, packet_id: packet_id(5) };
    apply(&store, &[save, inline(sid, 1), received]).await;
    let clean = store.claim(&Claim { is_clean: true, ..claim_of("one", 2) }).await.unwrap();
    assert_eq!((clean.record, clean.queue.len(), clean.received.len()), (None, 0, 0));
    let late = apply(&store, &[inline(sid, 2)]).await;
    let is_refused = late.fenced == [sid];
    assert!(is_refused, "the session of before takes nothing");
    settle(&store).await;
    assert_eq!(seqs(&store, clean.sid).await, [0u64; 0]);
    assert_eq!(store.claim(&claim_of("one", 3)).await.unwrap().sid, clean.sid);
}

pub(super) async fn claims_that_go_together_are_answered_each_by_itself(place: Box<dyn Place>) {
    let store = place.open().await;
    let (kept, cleaned, lost) =
        (claim(&store, "kept", 1).await, claim(&store, "cleaned", 1).await, claim(&store, "lost", 9).await);
    let save = |sid, name| Op::SaveSession { sid, epoch: 1, record: Box::new(record(name)) };
    apply(&store, &[save(kept, "kept"), inline(kept, 1), save(cleaned, "cleaned"), inline(cleaned, 1)]).await;
    let mut claims: Vec<Claim> = (0..300).map(|n| claim_of(&format!("new-{n}"), 2)).collect();
    claims.insert(7, claim_of("kept", 2));
    claims.insert(100, Claim { is_clean: true, ..claim_of("cleaned", 2) });
    claims.push(claim_of("lost", 2));
    let mut answers = store.claim_all(&claims).await;
    assert_eq!(answers.pop(), Some(Err(StoreError::Fenced { stored: 9 })), "the other answers are theirs all the same");
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!((answers[7].sid, &answers[7].record, answers[7].queue.len()), (kept, &Some(record("kept")), 1));
    assert_eq!((&answers[100].record, answers[100].queue.len()), (&None, 0));
    assert!(answers[100].sid != cleaned && answers.iter().all(|claimed| claimed.sid != lost));
    let sids: std::collections::BTreeSet<Sid> = answers.iter().map(|claimed| claimed.sid).collect();
    assert_eq!(sids.len(), 302, "each has a number of its own");
    for (claim, claimed) in claims.iter().zip(&answers) {
        let again = store.claim(claim).await;
        let sid = again.map(|again| again.sid);
        assert!(claim.is_clean || sid == Ok(claimed.sid), "{}: {sid:?}", claim.client_id);
    }
    assert_eq!(apply(&store, &[inline(kept, 2)]).await.fenced, [kept], "the owner of before is one no more");
    let again: Vec<_> = store.claim_all(&claims[..50]).await.into_iter().map(|one| one.unwrap().sid).collect();
    assert_eq!(again, answers[..50].iter().map(|one| one.sid).collect::<Vec<_>>(), "an answer that was lost");
}

/// Nobody was told of such a session. Whoever drops it names the epoch that it saw: a claim since then stands.
pub(super) async fn a_claim_that_was_never_saved_is_dropped_at_its_epoch_and_at_no_earlier_one(place: Box<dyn Place>) {
    let store = place.open().await;
    let sid = claim(&store, "c", 1).await;
    assert_eq!(claim(&store, "c", 2).await, sid);
    let outcome = apply(&store, &[Op::DropSession { sid, epoch: 1 }]).await;
    assert_eq!(outcome.fenced, [sid]);
    assert_eq!(store.scan_sessions(None, 10, false).await.unwrap().items.len(), 1);
    assert_eq!(apply(&store, &[Op::DropSession { sid, epoch: 2 }]).await.fenced, []);
    settle(&store).await;
    assert_eq!(store.scan_sessions(None, 10, false).await.unwrap().items, []);
}

/// All of it or nothing: no entry comes without the rest of its batch.
pub(super) async fn what_a_process_before_had_under_way_is_refused_after_the_fence(place: Box<dyn Place>) {
    let before = place.open().await;
    if before.caps().survives != Survives::Node {
        return; // the process before has ended with all it had
    }
    before.fence("a").await.unwrap();
    let (publisher, receiver) = (claim(&before, "publisher", 1).await, claim(&before, "receiver", 1).await);
    apply(&before, &[inline(receiver, 1)]).await;
    let after = place.open().await;
    after.fence("a").await.unwrap();
    let late = [inline(receiver, 2), Op::Received { sid: publisher, epoch: 1, packet_id: packet_id(5) }];
    match before.apply(&[&late], true).await {
        Ok(outcomes) => assert_eq!(outcomes[0].fenced, [publisher, receiver]),
        Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error}"),
    }
    assert_eq!(seqs(&after, receiver).await, [1]);
    let heads = after.scan_sessions(None, 10, false).await.unwrap().items;
    assert!(heads.iter().all(|head| head.received.is_empty()));
    // Who comes back goes on with what it finds.
    let epoch = heads.iter().map(|head| head.epoch).max().unwrap();
    let received = Op::Received { sid: publisher, epoch, packet_id: packet_id(5) };
    assert_eq!(apply(&after, &[received]).await.fenced, []);
}

/// Who goes on with what it has of a session has to have had it all the time.
pub(super) async fn a_claim_of_who_still_has_it_is_refused_where_another_had_it_since(place: Box<dyn Place>) {
    let store = place.open().await;
    let sid = claim(&store, "one", 5).await;
    let held = |epoch, held| Claim { held: Some(held), ..claim_of("one", epoch) };
    assert_eq!(store.claim(&held(6, 5)).await.unwrap().sid, sid, "it is its still");
    assert_eq!(store.claim(&held(6, 5)).await.unwrap().sid, sid, "an answer that was lost");
    assert_eq!(store.claim(&held(8, 7)).await.unwrap().sid, sid, "a claim between has not come");
    store.claim(&Claim { node: "b".into(), ..claim_of("one", 9) }).await.unwrap();
    assert_eq!(store.claim(&held(10, 8)).await, Err(StoreError::Fenced { stored: 9 }));
    let many = [held(10, 8), claim_of("two", 1)];
    assert_eq!(store.claim_all(&many).await.remove(0), Err(StoreError::Fenced { stored: 9 }));
    assert_eq!(claim(&store, "one", 10).await, sid, "as the store has it");
    assert_eq!(store.claim(&held(1, 1)).await, Err(StoreError::Fenced { stored: 10 }));
    let new = Claim { held: Some(3), ..claim_of("three", 4) };
    assert_eq!(store.claim(&new).await.unwrap().record, None, "what has ended is nobody's");
}

/// Whatever epoch the other believes in.
pub(super) async fn only_its_owner_changes_a_session(place: Box<dyn Place>) {
    let ours = place.open().await;
    if ours.caps().survives != Survives::Node {
        return; // it is one node's
    }
    let theirs = place.open().await;
    ours.fence("a").await.unwrap();
    theirs.fence("b").await.unwrap();
    let sid = claim(&ours, "one", 1).await;
    apply(&ours, &[inline(sid, 1)]).await;
    let enqueue = |epoch, seq| match inline(sid, seq) {
        Op::Enqueue { sid, seq, entry, .. } => Op::Enqueue { sid, epoch, seq, entry },
        op => op,
    };
    for epoch in [1, 2] {
        assert_eq!(apply(&theirs, &[enqueue(epoch, 2)]).await.fenced, [sid]);
    }
    assert_eq!(apply(&theirs, &[Op::DropSession { sid, epoch: 2 }]).await.fenced, [sid]);
    assert_eq!(seqs(&ours, sid).await, [1]);
    let never_saved = Op::DropSession { sid, epoch: 1 };
    assert_eq!(apply(&theirs, &[never_saved]).await.fenced, [], "what nobody was told of");
}

/// A PUBLISH at QoS 2 is known only where all of it is: who sends it again would be told that it is.
pub(super) async fn a_publish_is_not_received_where_an_entry_of_its_batch_is_refused(place: Box<dyn Place>) {
    let store = place.open().await;
    let (publisher, here, gone) =
        (claim(&store, "p", 1).await, claim(&store, "h", 1).await, claim(&store, "g", 2).await);
    let received = |packet: u16| Op::Received { sid: publisher, epoch: 1, packet_id: packet_id(packet) };
    let outcome = apply(&store, &[inline(here, 1), inline(gone, 1), received(1)]).await;
    assert_eq!(outcome, Outcome { fenced: vec![gone], is_unreceived: true, is_full: false });
    let outcome = apply(&store, &[inline(here, 2), received(2), Op::Ack { sid: gone, epoch: 1, seq: 9 }]).await;
    assert_eq!(outcome, Outcome { fenced: vec![gone], ..Outcome::default() }, "nothing of it is missing anywhere");
    assert_eq!(seqs(&store, here).await, [1, 2]);
    let heads = store.scan_sessions(None, 10, true).await.unwrap().items;
    let known: Vec<u16> = heads.iter().flat_map(|head| &head.received).map(|id| id.get()).collect();
    assert_eq!(known, [2]);
}
