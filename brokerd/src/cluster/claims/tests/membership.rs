//! What changes of the view do to the rows.
use super::*;

#[tokio::test(start_paused = true)]
async fn trap_5_a_registrar_that_dies_before_owners_announced_leaves_no_silent_empty_session() {
    let (names, rest) = (["a", "b", "c", "d"], ["a", "c", "d"]);
    let mut sim = Sim::of(&names).await;
    let id = id_of(&names, "b", &rest, "c");
    let first = sim.claim("a", &id).await;
    sim.kill("b");
    // c and d know of the death; a, the owner, does not yet, so it announces nothing.
    for name in ["c", "d"] {
        sim.nodes[name].claims.on_view(rest.iter().map(ToString::to_string).collect());
    }
    let second = sim.claim("d", &id).await;
    assert_eq!(second.previous.as_deref(), Some("a"));
    assert!(second.epoch > first.epoch);
    assert_eq!(sim.owners(&id), [("d", second.epoch)]);
}

#[tokio::test(start_paused = true)]
async fn owners_announce_the_ids_of_a_registrar_that_died() {
    let (names, rest) = (["a", "b", "c"], ["a", "c"]);
    let mut sim = Sim::of(&names).await;
    let id = id_of(&names, "b", &rest, "c");
    let first = sim.claim("a", &id).await;
    sim.kill("b");
    sim.all_see(&rest);
    sim.settled().await;
    assert_eq!(sim.row("c", &id), Some(Found { owner: "a".to_owned(), epoch: first.epoch, holder: Holder::default() }));
    assert!(sim.is_complete());
}

#[tokio::test(start_paused = true)]
async fn a_joiner_gets_its_rows_in_pages_and_the_old_registrars_let_theirs_go() {
    let mut sim = Sim::of(&["a", "b"]).await;
    for n in 0..5_000 {
        sim.claim(if n % 2 == 0 { "a" } else { "b" }, &format!("device-{n}")).await;
    }
    assert_eq!(sim.nodes["a"].claims.rows() + sim.nodes["b"].claims.rows(), 5_000);
    sim.net.pages.lock().clear();
    sim.add("c", Duration::ZERO);
    sim.all_see(&["a", "b", "c"]);
    sim.settled().await;
    assert!(sim.is_complete());
    let rows: Vec<_> = sim.nodes.values().map(|node| node.claims.rows()).collect();
    assert_eq!(rows.iter().sum::<usize>(), 5_000, "{rows:?}");
    assert!((1_400..1_950).contains(&rows[2]), "{rows:?}");
    let pages = sim.net.pages.lock().clone();
    assert!(pages.iter().all(|(_, size)| *size <= 1_000));
    assert_eq!(pages.iter().filter(|(to, _)| to == "c").map(|(_, size)| size).sum::<usize>(), rows[2]);
    let to_others: BTreeSet<_> = pages.iter().filter(|(to, _)| to != "c").map(|(_, size)| *size).collect();
    assert_eq!(to_others, BTreeSet::from([0]), "ids that did not move were announced");
}

#[tokio::test(start_paused = true)]
async fn a_registrar_that_starts_anew_unnoticed_gets_everything_again() {
    let names = ["a", "b", "c"];
    let mut sim = Sim::of(&names).await;
    let id = id_of(&names, "b", &names, "b");
    let first = sim.claim("a", &id).await;
    sim.kill("b");
    sim.add("b", Duration::ZERO);
    sim.nodes["b"].claims.on_view(names.iter().map(ToString::to_string).collect());
    assert!(!sim.nodes["b"].claims.engine.lock().is_complete());
    let second = sim.claim("c", &id).await;
    assert_eq!(second.previous.as_deref(), Some("a"), "found by asking");
    sim.settled().await;
    assert!(sim.is_complete());
    assert!(second.epoch > first.epoch);
    assert_eq!(sim.owners(&id), [("c", second.epoch)]);
}

#[tokio::test(start_paused = true)]
async fn trap_10_both_sides_of_a_partition_own_an_id_and_the_higher_epoch_wins_on_heal() {
    let names = ["a", "b", "c"];
    let sim = Sim::of(&names).await;
    let id = id_of(&names, "b", &["a", "b"], "b");
    sim.cut_off("c");
    sim.all_see(&["a", "b"]);
    sim.nodes["c"].claims.on_view(vec!["c".to_owned()]);
    sim.claim("a", &id).await;
    let higher = sim.claim("c", &id).await;
    assert_eq!(sim.owners(&id).len(), 2);
    sim.net.cut.lock().clear();
    sim.all_see(&names);
    sim.settled().await;
    assert_eq!(sim.owners(&id), [("c", higher.epoch)]);
    assert!(sim.is_complete());
}
