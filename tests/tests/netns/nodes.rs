//! Nodes that are stopped, slow, killed, and started again in any order.

use std::time::Duration;

use tests::cluster::wait_for_states;
use tests::netns::{Making, Town, agree, all_pairs, serves, with_hosts};
use tests::seed::Seeded;

use crate::{Run, SOME};

#[test]
fn a_node_that_is_stopped_past_its_detection_goes_on_as_if_nothing_had_been() {
    with_hosts(3, async |street| {
        let run = Run::in_a_town(street, Making::default(), "stop and continue").await;
        run.world.severed(&all_pairs(1, 3));
        run.town.nodes[1].stop();
        for other in [0, 2] {
            wait_for_states(&run.town.nodes[other], &[("n2", "down")]).await;
        }
        serves(&run.town, &[0, 2]).await;
        run.world.acknowledgements(SOME).await;
        run.town.nodes[1].cont();
        run.town.wait_until_all_up().await;
        run.world.joined();
        run.end().await;
    });
}

#[test]
fn a_node_that_runs_a_third_of_the_time_is_slow_and_no_more() {
    with_hosts(3, async |street| {
        let run = Run::in_a_town(street, Making::default(), "slow node").await;
        for _ in 0..30 {
            run.town.nodes[2].stop();
            tokio::time::sleep(Duration::from_millis(100)).await;
            run.town.nodes[2].cont();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        serves(&run.town, &[0, 2]).await;
        run.end().await;
    });
}

fn on_disk() -> Making {
    Making::default().set("persistence.backend", "disk")
}

#[test]
fn a_node_that_is_killed_and_started_again_has_what_was_acknowledged() {
    with_hosts(3, async |street| {
        let mut run = Run::in_a_town(street, on_disk(), "kill -9 and restart").await;
        run.world.severed(&all_pairs(2, 3));
        run.world.kill(2, &mut run.town.nodes[2]);
        for other in [0, 1] {
            wait_for_states(&run.town.nodes[other], &[("n3", "down")]).await;
        }
        serves(&run.town, &[0, 1]).await;
        run.world.acknowledgements(SOME).await;
        run.town.nodes[2].restart().await;
        run.world.is_back(2);
        run.town.wait_until_all_up().await;
        run.end_after_kills().await;
    });
}

#[test]
fn all_nodes_killed_and_started_in_another_order_are_one_cluster_with_all_that_was_acknowledged() {
    with_hosts(3, async |street| {
        let mut run = Run::in_a_town(street, on_disk(), "full restart").await;
        run.world.severed(&[(0, 1), (0, 2), (1, 2)]);
        let mut order = [0, 1, 2];
        for number in order {
            run.world.kill(number, &mut run.town.nodes[number]);
        }
        Seeded::announce("order of the restart").shuffle(&mut order);
        for number in order {
            run.town.nodes[number].start_again();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        for number in order {
            run.town.nodes[number].wait_until_ready().await;
            run.world.is_back(number);
        }
        run.town.wait_until_all_up().await;
        run.end_after_kills().await;
    });
}

#[test]
fn five_nodes_started_at_the_same_moment_are_one_cluster() {
    with_hosts(5, async |street| {
        let town = Town::start(street, Making::default()).await;
        for first in 0..5 {
            serves(&town, &[first, (first + 1) % 5]).await;
        }
        agree(&town, &town.world()).await;
    });
}
