//! Links that carry nothing: of one pair, one way, between sides, and again.

use tests::netns::{Making, alarms, between, serves, with_hosts};
use tests::packet::Connect;
use tests::raw::Raw;
use tests::wait::{SOON, eventually};

use crate::{Run, SOME};

/// Each node has an alarm for each that it does not reach.
async fn alarmed(run: &Run, pairs: &[(usize, usize)]) {
    for (one, other) in pairs.iter().flat_map(|(one, other)| [(*one, *other), (*other, *one)]) {
        let (node, subject) = (&run.town.nodes[one], format!("n{}", other + 1));
        eventually(SOON, &format!("{} says that {subject} is not reached", node.name()), async || {
            let found = alarms(node).await?;
            let is_it =
                |alarm: &(String, String)| ["member_down", "partition"].contains(&&*alarm.0) && alarm.1 == subject;
            if found.iter().any(is_it) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
}

/// Sides that do not hear of each other, twice; each serves.
fn partition(hosts: usize, sides: &'static [&'static [usize]], name: &'static str) {
    with_hosts(hosts, async move |street| {
        let run = Run::in_a_town(street, Making::default(), name).await;
        let pairs = between(sides);
        for round in 0..2 {
            let mut early = Raw::connect(run.town.nodes[sides[0][0]].mqtt(), &Connect::v5("both")).await;
            run.town.cut(&run.world, &pairs).await;
            alarmed(&run, &pairs).await;
            for side in sides {
                serves(&run.town, side).await;
            }
            let there = *sides[sides.len() - 1].last().unwrap();
            let mut late = Raw::connect(run.town.nodes[there].mqtt(), &Connect::v5("both")).await;
            early.expect_silence().await;
            retain(&run, sides, round).await;
            run.world.acknowledgements(SOME).await;
            run.town.heal(&run.world).await;
            assert_eq!(early.expect_close().await, Some(0x8e), "the later owner of a client id stays");
            late.expect_silence().await;
            late.disconnect().await;
        }
        run.end().await;
    });
}

/// A topic that every side writes, and one that the first writes and the last deletes.
async fn retain(run: &Run, sides: &[&[usize]], round: u8) {
    for (at, side) in sides.iter().enumerate() {
        let name = format!("writer-{at}");
        let mut writer = Raw::connect(run.town.nodes[side[0]].mqtt(), &Connect::v5(&name)).await;
        writer.publish_retained("all", &[round, at as u8], 1).await;
        writer.publish_retained(&format!("own/{at}"), &[round], 1).await;
        writer.publish_retained("gone", if at + 1 == sides.len() { b"" } else { b"here" }, 1).await;
        writer.disconnect().await;
    }
}

#[test]
fn a_side_of_one_and_a_side_of_two_both_serve_and_are_one_again_twice() {
    partition(3, &[&[0], &[1, 2]], "partition 1|2");
}

#[test]
fn three_sides_of_one_all_serve_and_are_one_again_twice() {
    partition(3, &[&[0], &[1], &[2]], "partition 1|1|1");
}

#[test]
fn two_nodes_that_lost_each_other_find_each_other_again_twice() {
    partition(2, &[&[0], &[1]], "partition 1|1");
}

#[test]
fn sides_of_two_and_three_both_serve_and_are_one_again_twice() {
    partition(5, &[&[0, 1], &[2, 3, 4]], "partition 2|3");
}

#[test]
fn a_cut_of_one_link_of_three_leaves_everybody_served() {
    with_hosts(3, async |street| {
        let run = Run::in_a_town(street, Making::default(), "cut of one link of three").await;
        run.town.cut(&run.world, &[(0, 2)]).await;
        alarmed(&run, &[(0, 2)]).await;
        serves(&run.town, &[0, 1]).await;
        serves(&run.town, &[1, 2]).await;
        serves(&run.town, &[2]).await;
        run.world.acknowledgements(SOME).await;
        run.town.heal(&run.world).await;
        run.end().await;
    });
}

#[test]
fn a_link_that_carries_one_way_only_leaves_everybody_served() {
    with_hosts(3, async |street| {
        let run = Run::in_a_town(street, Making::default(), "one way cut").await;
        run.world.severed(&[(0, 2)]);
        run.town.street.cut(&[(0, 2)]);
        run.town.wait_until_down(&[(0, 2)]).await;
        alarmed(&run, &[(0, 2)]).await;
        for side in [&[0, 1][..], &[1, 2], &[2, 1], &[1, 0], &[0], &[2]] {
            serves(&run.town, side).await;
        }
        run.world.acknowledgements(SOME).await;
        run.town.heal(&run.world).await;
        run.end().await;
    });
}
