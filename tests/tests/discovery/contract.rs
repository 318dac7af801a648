//! What every way keeps to.

use std::net::SocketAddr;

use brokerd::cluster::discovery::Discovery;
use tests::discovery::{Etcd, Kubernetes, Names};
use tokio::sync::watch;

use crate::place::{Place, at};

/// The others that a look shows, and what is wrong.
async fn others(way: &mut Box<dyn Discovery>) -> (Vec<SocketAddr>, Option<String>) {
    let found = way.look().await;
    let mut others: Vec<_> = found.addresses.into_iter().filter(|address| *address != at(1)).collect();
    others.sort();
    (others, found.trouble)
}

async fn what_is_listed_later_is_found_later_by_the_same_way(mut place: Place) {
    let mut way = place.way(at(1));
    assert_eq!(others(&mut way).await.0, [], "nobody is there yet");
    place.list(&[at(2), at(3)]).await;
    assert_eq!(others(&mut way).await, (vec![at(2), at(3)], None));
}

async fn a_list_that_changes_is_seen_as_it_is_now(mut place: Place) {
    let mut way = place.way(at(1));
    place.list(&[at(2), at(3)]).await;
    assert_eq!(others(&mut way).await.0, [at(2), at(3)]);
    place.list(&[at(3), at(4)]).await;
    assert_eq!(others(&mut way).await, (vec![at(3), at(4)], None));
}

async fn a_node_that_is_listed_finds_itself_at_its_own_address(mut place: Place) {
    let mut way = place.way(at(1));
    place.list(&[at(1)]).await;
    let found = way.look().await;
    assert_eq!((found.addresses, found.trouble), (vec![at(1)], None));
}

async fn a_failure_is_told_in_the_same_words_each_time_and_is_over_when_its_cause_is(mut place: Place) {
    place.fail().await;
    let mut way = place.way(at(1));
    let (nobody, first) = others(&mut way).await;
    assert!(nobody.is_empty() && first.is_some(), "{nobody:?} {first:?}");
    assert_eq!(others(&mut way).await, (nobody, first));
    place.mend().await;
    place.list(&[at(2)]).await;
    assert_eq!(others(&mut way).await, (vec![at(2)], None));
}

macro_rules! contract {
    ($($way:ident: $place:expr;)*) => { $(
        mod $way {
            use super::*;

            contract!(@claims $place; what_is_listed_later_is_found_later_by_the_same_way
                a_list_that_changes_is_seen_as_it_is_now
                a_node_that_is_listed_finds_itself_at_its_own_address
                a_failure_is_told_in_the_same_words_each_time_and_is_over_when_its_cause_is);
        }
    )* };
    (@claims $place:expr; $($claim:ident)*) => { $(
        #[tokio::test]
        async fn $claim() {
            super::$claim($place).await;
        }
    )* };
}

contract! {
    seeds: Place::Seeds(watch::Sender::default());
    dns_addresses: Place::Addresses(Names::start().await);
    dns_services: Place::Services(Names::start().await);
    etcd: Place::Etcd(Box::new(Etcd::start().await), Vec::new());
    kubernetes: Place::Kubernetes(Kubernetes::start().await);
}
