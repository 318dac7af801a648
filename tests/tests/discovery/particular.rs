//! What only one way has.

use std::time::{Duration, Instant};

use brokerd::cluster::discovery::{DEADLINE, by};
use brokerd::config;
use tests::discovery::{Etcd, Kubernetes, Names};
use tests::wait::{SOON, eventually};
use tokio::net::TcpListener;

use crate::place::{self, NAME, at, own};

fn dns(names: &Names) -> Box<dyn brokerd::cluster::discovery::Discovery> {
    let settings = place::dns(names, NAME, config::DnsRecord::A);
    by(&config::Discovery::Dns(settings), &own(at(1))).unwrap()
}

#[tokio::test]
async fn a_name_with_addresses_of_both_kinds_gives_both() {
    let names = Names::start().await;
    names.set_host(NAME, &[[127, 0, 0, 2].into(), "::1".parse().unwrap()]);
    let mut found = dns(&names).look().await.addresses;
    found.sort();
    assert_eq!(found, [at(2), "[::1]:7946".parse().unwrap()]);
}

#[tokio::test]
async fn a_name_server_that_is_silent_ends_the_look_in_time_and_is_heard_when_it_speaks() {
    let names = Names::start().await;
    names.set_silent(true);
    let mut way = dns(&names);
    let began = Instant::now();
    let trouble = way.look().await.trouble.expect("a trouble");
    assert!(began.elapsed() < DEADLINE * 2 && trouble.contains(NAME), "{trouble} after {:?}", began.elapsed());
    names.set_silent(false);
    names.set_host(NAME, &[[127, 0, 0, 2].into()]);
    assert_eq!(way.look().await.addresses, [at(2)]);
}

#[tokio::test]
async fn every_look_asks_anew_and_leaves_no_task_behind() {
    let names = Names::start().await;
    names.set_host(NAME, &[[127, 0, 0, 2].into()]);
    let mut way = dns(&names);
    way.look().await;
    let (asked, metrics) = (names.asked(), tokio::runtime::Handle::current().metrics());
    let mut looks = 1;
    for _ in 0..20 {
        assert_eq!(way.look().await.addresses, [at(2)]);
        looks += 1;
    }
    assert_eq!(names.asked(), looks * asked, "a question was answered from memory");
    eventually(SOON, "the sockets of old looks are gone", async || match metrics.num_alive_tasks() {
        few if few <= 4 => Ok(()),
        many => Err(format!("{many} tasks")),
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_of_etcd_that_is_silent_or_closed_is_passed_over() {
    let (etcd, silent) = (Etcd::start().await, TcpListener::bind("127.0.0.1:0").await.unwrap());
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let closed = format!("http://{}", tests::ports::free());
    let mut way = by(&place::etcd(vec![silent, closed, etcd.url()]), &own(at(1))).unwrap();
    let found = way.look().await;
    assert_eq!((found.addresses, found.trouble), (vec![at(1)], None));
}

#[tokio::test]
async fn a_key_of_this_node_that_vanished_is_written_again_and_clusters_of_other_names_do_not_see_it() {
    let etcd = Etcd::start().await;
    let settings = place::etcd(vec![etcd.url()]);
    let (mut first, mut second) = (by(&settings, &own(at(1))).unwrap(), by(&settings, &own(at(1))).unwrap());
    first.look().await;
    second.look().await; // the same node, started again: its key has another lease
    second.withdraw().await;
    let mut other = by(&settings, &own(at(2))).unwrap();
    assert_eq!(other.look().await.addresses, [at(2)], "the key is gone with the second lease");
    first.look().await;
    assert_eq!(other.look().await.addresses, [at(1), at(2)]);
    let stranger = brokerd::cluster::discovery::Own { cluster: "other".into(), ..own(at(3)) };
    assert_eq!(by(&settings, &stranger).unwrap().look().await.addresses, [at(3)]);
}

#[tokio::test]
async fn the_api_is_not_believed_without_its_authority_and_does_not_answer_without_the_token() {
    let api = Kubernetes::start().await;
    api.set_nodes(&[at(2)]);
    let look = async |settings: config::Kubernetes| {
        by(&config::Discovery::Kubernetes(settings), &own(at(1))).unwrap().look().await
    };
    let stranger = Kubernetes::start().await;
    let wrong = look(config::Kubernetes { ca_file: stranger.file("ca.crt"), ..place::kubernetes(&api) }).await;
    assert!(wrong.trouble.as_deref().is_some_and(|why| why.contains("TLS")), "{wrong:?}");
    assert!(api.paths().is_empty(), "the token was sent to somebody unknown");
    let missing = look(config::Kubernetes { token_file: api.file("none"), ..place::kubernetes(&api) }).await;
    assert!(missing.trouble.as_deref().is_some_and(|why| why.contains("none cannot be read")), "{missing:?}");
    std::fs::write(api.file("old"), "an old token").unwrap();
    let old = look(config::Kubernetes { token_file: api.file("old"), ..place::kubernetes(&api) }).await;
    assert!(old.trouble.as_deref().is_some_and(|why| why.contains("401") && why.contains("Unauthorized")), "{old:?}");
}

#[tokio::test]
async fn a_token_that_kubernetes_replaces_is_read_again() {
    let api = Kubernetes::start().await;
    api.set_nodes(&[at(2), at(3)]);
    std::fs::write(api.file("rotated"), "expired").unwrap();
    std::fs::write(api.file("namespace"), "mqtt").unwrap();
    let settings = config::Kubernetes { token_file: api.file("rotated"), namespace: None, ..place::kubernetes(&api) };
    let mut way = by(&config::Discovery::Kubernetes(settings), &own(at(1))).unwrap();
    assert!(way.look().await.trouble.is_some());
    std::fs::write(api.file("rotated"), tests::discovery::TOKEN).unwrap();
    assert_eq!(way.look().await.addresses, [at(2), at(3)], "endpoints that are not ready count");
}

#[tokio::test]
async fn a_lease_expires_when_nobody_keeps_it_alive_and_lives_while_somebody_does() {
    let etcd = Etcd::start().await;
    let config::Discovery::Etcd(settings) = place::etcd(vec![etcd.url()]) else { unreachable!() };
    let brief = config::Discovery::Etcd(config::Etcd { ttl: Duration::from_secs(2), ..settings });
    let (mut dies, mut lives) = (by(&brief, &own(at(2))).unwrap(), by(&brief, &own(at(1))).unwrap());
    dies.look().await;
    assert_eq!(lives.look().await.addresses, [at(1), at(2)]);
    drop(dies); // as a crash: it does not withdraw
    eventually(SOON, "the dead node's key is gone, and the living one's is not", async || {
        match lives.look().await.addresses[..] {
            [one] if one == at(1) => Ok(()),
            ref other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn an_etcd_that_wants_a_password_is_given_the_one_that_is_in_the_file_now() {
    let etcd = Etcd::start().await;
    etcd.lock("pw").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "wrong\n").unwrap();
    let config::Discovery::Etcd(settings) = place::etcd(vec![etcd.url()]) else { unreachable!() };
    let login = Some(("root".to_owned(), file.path().to_owned()));
    let mut way = by(&config::Discovery::Etcd(config::Etcd { login, ..settings.clone() }), &own(at(1))).unwrap();
    let refused = way.look().await.trouble.expect("a trouble");
    assert!(refused.contains("authentication failed"), "{refused}");
    std::fs::write(file.path(), "pw\n").unwrap();
    assert_eq!(way.look().await.addresses, [at(1)]);
    assert_eq!(way.look().await.trouble, None, "the lease is kept alive");
    let without = by(&config::Discovery::Etcd(settings), &own(at(2))).unwrap().look().await;
    assert!(without.trouble.is_some(), "{without:?}");
}
