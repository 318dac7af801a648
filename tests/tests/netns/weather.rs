//! Links that lose packets or take their time.

use std::time::Duration;

use tests::netns::{Making, serves, with_hosts};

use crate::Run;

/// A run that is long enough for every kind of frame to be lost or late.
const MUCH: u64 = 1000;

#[test]
fn with_five_percent_of_the_packets_lost_nothing_else_is() {
    with_hosts(3, async |street| {
        let run = Run::in_a_town(street, Making::default(), "loss of 5 %").await;
        run.town.street.lose(5);
        run.world.acknowledgements(MUCH).await;
        serves(&run.town, &[0, 1, 2]).await;
        run.town.heal(&run.world).await;
        run.end().await;
    });
}

#[test]
fn with_100_ms_between_nodes_all_goes_on() {
    with_hosts(3, async |street| {
        let making = Making { delay: Some(Duration::from_millis(100)), ..Making::default() };
        let run = Run::in_a_town(street, making, "100 ms each way").await;
        run.world.acknowledgements(MUCH).await;
        serves(&run.town, &[0, 1, 2]).await;
        run.end().await;
    });
}

#[test]
fn with_100_ms_and_five_percent_lost_all_goes_on() {
    with_hosts(3, async |street| {
        let making = Making { delay: Some(Duration::from_millis(100)), ..Making::default() };
        let run = Run::in_a_town(street, making, "100 ms each way and loss of 5 %").await;
        run.town.street.lose(5);
        run.world.acknowledgements(MUCH).await;
        run.town.heal(&run.world).await;
        run.end().await;
    });
}
