//! Claims and what they are answered while the view stands still.
use super::*;

#[tokio::test(start_paused = true)]
async fn a_claim_names_the_previous_owner_and_the_loser_is_told() {
    let names = ["a", "b", "c"];
    let sim = Sim::of(&names).await;
    for id in (0..50).map(|n| format!("device-{n}")) {
        let first = sim.claim("a", &id).await;
        assert_eq!(first.previous, None);
        let second = sim.claim("b", &id).await;
        assert_eq!(second.previous.as_deref(), Some("a"));
        assert!(second.epoch > first.epoch);
        assert_eq!(sim.owners(&id), [("b", second.epoch)]);
        let again = sim.claim("b", &id).await;
        assert_eq!(again.previous, None, "its own earlier session is no other node's");
    }
    assert_eq!(sim.timed_out(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_claims_of_one_id_from_all_nodes_ends_with_one_owner_the_highest_epoch() {
    let names = ["a", "b", "c", "d", "e"];
    let sim = Arc::new(Sim::of(&names).await);
    for round in 0..20 {
        *sim.net.jitter.lock() = round;
        let id = format!("device-{round}");
        let mut storm = tokio::task::JoinSet::new();
        for turn in 0..25 {
            let (sim, id) = (sim.clone(), id.clone());
            storm.spawn(async move { sim.claim(names[turn % 5], &id).await.epoch });
        }
        let highest = storm.join_all().await.into_iter().max().unwrap();
        sim.settled().await;
        let registrar = sim.nodes["a"].claims.engine.lock().view().registrar(&id).to_owned();
        let row = sim.row(&registrar, &id).unwrap();
        assert_eq!(sim.owners(&id), [(row.owner.as_str(), highest)], "round {round}");
        assert_eq!(row.epoch, highest);
    }
}

#[tokio::test(start_paused = true)]
async fn a_registrar_whose_clock_is_behind_grants_above_every_known_epoch() {
    let names = ["a", "b", "c"];
    let mut sim = Sim::of(&["a", "b"]).await;
    sim.add("c", Duration::from_secs(30));
    sim.all_see(&names);
    let ahead = Epoch(wall() + 30_000_000);
    let id = id_of(&names, "b", &names, "b");
    let first = sim.claim_knowing("c", &id, ahead).await;
    assert!(first.epoch > ahead);
    let second = sim.claim("a", &id).await;
    assert!(second.epoch > first.epoch);
    assert_eq!(sim.owners(&id), [("a", second.epoch)]);
}

#[tokio::test(start_paused = true)]
async fn a_grant_below_what_the_loser_holds_is_raised_above_it() {
    let names = ["a", "b", "c"];
    let sim = Sim::of(&names).await;
    let id = id_of(&names, "b", &names, "b");
    sim.claim("c", &id).await;
    // c holds more than the registrar's row says.
    let held = Epoch(wall() + 20_000_000);
    sim.nodes["c"].sessions.0.lock().insert(Arc::from(id.as_str()), held);
    let grant = sim.claim("a", &id).await;
    assert!(grant.epoch > held);
    assert_eq!(sim.owners(&id), [("a", grant.epoch)]);
    assert_eq!(sim.row("b", &id), Some(Found { owner: "a".to_owned(), epoch: grant.epoch, holder: Holder::default() }));
}

#[tokio::test(start_paused = true)]
async fn a_clock_a_year_ahead_is_refused_and_poisons_nobody() {
    let names = ["a", "b", "c"];
    let mut sim = Sim::of(&["a", "b"]).await;
    sim.add("c", Duration::from_secs(365 * 86_400));
    sim.all_see(&names);
    let id = id_of(&names, "b", &names, "b");
    sim.claim("c", &id).await;
    sim.settled().await;
    let limit = wall() + 61_000_000;
    for name in ["a", "b"] {
        assert!(sim.nodes[name].clock.high_water() < limit, "the clock of {name} was poisoned");
    }
    assert_eq!(sim.row("b", &id), None);
    assert_eq!(sim.timed_out(), 1, "c granted for itself, counted");
    // The same stamp inside a request of a sound clock.
    let epoch = wall() + 365 * 86_400_000_000;
    let owned = vec![pb::Owned { client_id: id.clone(), epoch, holder: 0 }];
    for what in [
        request::What::Announce(pb::Announce { owned }),
        request::What::Superseded(pb::Superseded { client_id: id.clone(), epoch, clean: false }),
        request::What::Claim(pb::Claim { client_id: id.clone(), known: epoch, ..pb::Claim::default() }),
    ] {
        let request = pb::Request { hlc: wall(), what: Some(what) };
        sim.nodes["b"].claims.handle("a", request.encode_to_vec().into()).await;
        assert_eq!(sim.row("b", &id), None);
        assert!(sim.nodes["b"].clock.high_water() < limit);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_registrar_is_done_without_counted_and_told_later() {
    let names = ["a", "b", "c"];
    let sim = Sim::of(&names).await;
    let id = id_of(&names, "b", &names, "b");
    let known = sim.claim("a", &id).await.epoch;
    sim.cut_off("b");
    let start = Instant::now();
    let grant = sim.claim_knowing("a", &id, known).await;
    assert!(start.elapsed() <= TIMEOUT, "{:?}", start.elapsed());
    assert!(grant.epoch > known);
    assert_eq!(sim.timed_out(), 1);
    sim.net.cut.lock().clear();
    sim.settled().await;
    assert_eq!(sim.row("b", &id), Some(Found { owner: "a".to_owned(), epoch: grant.epoch, holder: Holder::default() }));
}

#[tokio::test(start_paused = true)]
async fn a_loser_that_was_out_of_reach_is_told_when_it_is_back() {
    let names = ["a", "b", "c"];
    let sim = Sim::of(&names).await;
    let id = id_of(&names, "b", &names, "b");
    sim.claim("a", &id).await;
    sim.cut_off("a");
    let start = Instant::now();
    let grant = sim.claim("c", &id).await;
    assert!(start.elapsed() <= TIMEOUT);
    assert_eq!(grant.previous.as_deref(), Some("a"));
    assert_eq!(sim.timed_out(), 0, "the grant is the registrar's");
    assert_eq!(sim.owners(&id).len(), 2);
    sim.net.cut.lock().clear();
    sim.settled().await;
    assert_eq!(sim.owners(&id), [("c", grant.epoch)]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_the_registrar_in_its_own_view_redirects_once() {
    let names = ["a", "b", "c"];
    let sim = Sim::of(&names).await;
    let id = id_of(&["a", "b"], "b", &names, "c");
    sim.nodes["a"].claims.on_view(vec!["a".to_owned(), "b".to_owned()]);
    let grant = sim.claim("a", &id).await;
    assert_eq!(sim.timed_out(), 0);
    assert_eq!(sim.row("c", &id), Some(Found { owner: "a".to_owned(), epoch: grant.epoch, holder: Holder::default() }));
    assert_eq!(sim.row("b", &id), None);
}

#[tokio::test(start_paused = true)]
async fn a_release_removes_the_row_at_its_own_epoch_only() {
    let names = ["a", "b", "c"];
    let sim = Sim::of(&names).await;
    for registrar in names {
        let id = id_of(&names, registrar, &names, registrar);
        let grant = sim.claim("a", &id).await;
        let client_id: Arc<str> = Arc::from(id.as_str());
        sim.nodes["a"].claims.release(&client_id, Epoch(grant.epoch.0 - 1));
        sim.settled().await;
        assert!(sim.row(registrar, &id).is_some(), "released at an epoch that is not its own");
        sim.nodes["a"].claims.release(&client_id, grant.epoch);
        sim.settled().await;
        assert_eq!(sim.row(registrar, &id), None);
    }
}

#[tokio::test(start_paused = true)]
async fn any_bytes_are_answered_and_change_nothing() {
    let sim = Sim::of(&["a", "b"]).await;
    let mut random = 1_u64;
    for length in 0..2_000 {
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random.to_be_bytes()[0]
        };
        let bytes: Vec<u8> = (0..length % 64).map(|_| next()).collect();
        sim.nodes["a"].claims.handle("b", bytes.into()).await;
    }
    let owned = vec![pb::Owned::default(); 1_001];
    let too_many = pb::Request { hlc: 0, what: Some(request::What::Announce(pb::Announce { owned })) };
    let answer = sim.nodes["a"].claims.handle("b", too_many.encode_to_vec().into()).await;
    let answer = pb::Reply::decode(answer).unwrap();
    assert!(matches!(answer.what, Some(reply::What::Refused(_))), "{answer:?}");
    assert_eq!(sim.nodes["a"].claims.rows(), 0);
}

#[tokio::test(start_paused = true)]
async fn trap_6_a_grant_is_above_what_only_the_claimant_knows() {
    let names = ["a", "b"];
    let sim = Sim::of(&names).await;
    for registrar in names {
        let known = Epoch(wall() + 40_000_000);
        let id = id_of(&names, registrar, &names, registrar);
        assert!(sim.claim_knowing("a", &id, known).await.epoch > known, "granted by {registrar}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_loses_an_id_to_a_session_that_is_over_before_its_registrar_answers_is_told_all_the_same() {
    let names = ["a", "b", "c"];
    let sim = Sim::of(&names).await;
    let id = id_of(&names, "c", &names, "c");
    sim.claim("b", &id).await;
    sim.cut_off("c");
    sim.claim("a", &id).await;
    sim.end("a", &id);
    sim.net.cut.lock().clear();
    sim.settled().await;
    assert_eq!(sim.owners(&id), []);
}
