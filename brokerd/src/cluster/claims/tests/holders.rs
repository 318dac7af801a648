//! Claims for somebody: what another holder has on a live node is not taken.
use super::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Ids whose registrar is each of the three nodes, when c lives and when it does not.
fn ids() -> Vec<String> {
    NAMES.iter().map(|registrar| id_of(&NAMES, registrar, &NAMES, registrar)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_another_holder_has_is_refused_by_every_registrar_and_stays_where_it_is() {
    let sim = Sim::of(&NAMES).await;
    for id in ids() {
        let first = sim.claim_for("a", &id, "ann").await.unwrap();
        for name in ["b", "c"] {
            assert_eq!(sim.claim_for(name, &id, "bob").await, Err(Refusal::Held));
        }
        assert_eq!(sim.owners(&id), [("a", first.epoch)]);
        let second = sim.claim_for("b", &id, "ann").await.unwrap();
        assert_eq!((second.previous.as_deref(), sim.owners(&id)), (Some("a"), vec![("b", second.epoch)]));
    }
    let refused: u64 = sim.nodes.values().map(|node| node.counters.get(Metric::ClaimsRefused)).sum();
    assert_eq!((refused, sim.timed_out()), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn what_its_holder_gave_up_is_free_at_once_although_the_registrar_has_not_heard() {
    let sim = Sim::of(&NAMES).await;
    for id in ids() {
        sim.claim_for("a", &id, "ann").await.unwrap();
        // The registrar's row stands: the release is lost.
        sim.nodes["a"].sessions.0.lock().clear();
        let grant = sim.claim_for("b", &id, "bob").await.unwrap();
        assert_eq!(sim.owners(&id), [("b", grant.epoch)]);
        sim.end("b", &id);
        sim.settled().await;
        sim.claim_for("c", &id, "cid").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_node_had_is_free_and_what_a_silent_one_has_is_not() {
    let mut sim = Sim::of(&NAMES).await;
    for id in ids() {
        sim.claim_for("c", &id, "ann").await.unwrap();
    }
    sim.cut_off("c");
    for id in ids() {
        let refused = sim.claim_for("a", &id, "bob").await.unwrap_err();
        let by_c = id == id_of(&NAMES, "c", &NAMES, "c");
        assert_eq!(refused, if by_c { Refusal::Silent } else { Refusal::Held }, "c is silent, and not down yet");
    }
    sim.kill("c");
    sim.all_see(&["a", "b"]);
    sim.settled().await;
    for id in ids() {
        let grant = sim.claim_for("a", &id, "bob").await.unwrap();
        assert_eq!(sim.owners(&id), [("a", grant.epoch)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_registrar_that_started_anew_learns_who_holds_what_before_it_refuses_or_grants() {
    for is_told in [true, false] {
        let mut sim = Sim::of(&NAMES).await;
        let id = id_of(&NAMES, "b", &NAMES, "b");
        sim.claim_for("a", &id, "ann").await.unwrap();
        sim.kill("b");
        sim.add("b", Duration::ZERO);
        sim.nodes["b"].claims.on_view(NAMES.map(str::to_owned).to_vec());
        if is_told {
            sim.settled().await;
        }
        assert_eq!(sim.claim_for("c", &id, "bob").await, Err(Refusal::Held), "told: {is_told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_holders_ends_with_exactly_one_and_all_others_are_refused() {
    let names = ["a", "b", "c", "d", "e"];
    let sim = Arc::new(Sim::of(&names).await);
    for round in 0..30 {
        *sim.net.jitter.lock() = round;
        let id = format!("\0topic-{round}");
        let mut storm = tokio::task::JoinSet::new();
        for name in names {
            let (sim, id) = (sim.clone(), id.clone());
            storm.spawn(async move { sim.claim_for(name, &id, name).await.ok() });
        }
        let granted: Vec<_> = storm.join_all().await.into_iter().flatten().collect();
        sim.settled().await;
        assert_eq!((granted.len(), sim.owners(&id).len()), (1, 1), "round {round}");
    }
    assert_eq!(sim.timed_out(), 0);
}

#[tokio::test(start_paused = true)]
async fn after_a_partition_in_which_both_sides_granted_the_higher_epoch_stays() {
    let sim = Sim::of(&NAMES).await;
    let id = id_of(&NAMES, "b", &NAMES, "b");
    sim.cut_off("c");
    sim.nodes["c"].claims.on_view(vec!["c".to_owned()]);
    for name in ["a", "b"] {
        sim.nodes[name].claims.on_view(vec!["a".to_owned(), "b".to_owned()]);
    }
    sim.settled().await;
    sim.claim_for("a", &id, "ann").await.unwrap();
    let later = sim.claim_for("c", &id, "bob").await.unwrap();
    assert_eq!(sim.owners(&id).len(), 2, "each side knows of its own only");
    sim.net.cut.lock().clear();
    sim.all_see(&NAMES);
    sim.settled().await;
    assert_eq!(sim.owners(&id), [("c", later.epoch)]);
    assert_eq!(sim.claim_for("a", &id, "ann").await, Err(Refusal::Held));
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_node_is_gone_is_not_taken_from_the_node_that_its_client_came_to() {
    let mut sim = Sim::of(&NAMES).await;
    let mut before = Vec::new();
    for id in ids() {
        before.push((id.clone(), sim.claim_as("c", &id, Holder::default(), Epoch(0)).await.unwrap().epoch));
    }
    sim.kill("c");
    sim.all_see(&["a", "b"]);
    sim.settled().await;
    for (id, known) in before {
        let came = sim.claim_as("a", &id, Holder::default(), Epoch(0)).await.unwrap();
        assert_eq!(sim.claim_orphan("b", &id, known).await, Err(Refusal::Held), "its client is on a by now");
        assert_eq!(sim.owners(&id), [("a", came.epoch)], "and stays there");
        sim.end("a", &id);
        assert!(sim.claim_orphan("b", &id, known).await.is_ok(), "whatever the registrar has heard, nobody has it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_node_is_gone_is_not_taken_while_its_client_is_on_its_way_to_another_node() {
    let mut sim = Sim::of(&NAMES).await;
    let mut before = Vec::new();
    for id in ids() {
        before.push((id.clone(), sim.claim_as("c", &id, Holder::default(), Epoch(0)).await.unwrap().epoch));
    }
    sim.kill("c");
    sim.all_see(&["a", "b"]);
    sim.settled().await;
    for (id, known) in before {
        // Its registrar was c, and could not be asked: a has decided alone, and its session is still to come.
        let client_id: Arc<str> = id.as_str().into();
        sim.nodes["a"].sessions.3.lock().insert(client_id.clone());
        assert_eq!(sim.claim_orphan("b", &id, known).await, Err(Refusal::Held), "nor is it known to the registrar");
        sim.nodes["a"].sessions.3.lock().remove(&client_id);
        assert!(sim.claim_orphan("b", &id, known).await.is_ok());
    }
}
