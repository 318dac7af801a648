//! What becomes of whole nodes: the outcomes that operators meet.

use tests::cluster::{Cluster, view};
use tests::discovery::{Etcd, Kubernetes, Names};
use tests::node::Node;
use tests::ports;
use tests::wait::{SOON, eventually};

use crate::nodes::{addresses, by_dns, by_etcd, by_kubernetes, node, start_all, trouble};
use crate::place::SERVICE;

/// Starts of everything at once; each must end in one cluster.
const REPEATS: usize = 3;
const NAMES: [&str; 3] = ["n1", "n2", "n3"];

async fn sees_exactly(node: &Node, names: &[&str]) {
    let what = format!("{} sees {names:?} up", node.name());
    eventually(SOON * 3, &what, async || {
        let seen = view(node).await?;
        let up = seen.values().all(|state| state == "up");
        if up && seen.keys().eq(names.iter()) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

#[tokio::test]
async fn three_nodes_that_know_one_name_of_dns_and_start_at_once_form_one_cluster() {
    for _ in 0..REPEATS {
        let names = Names::start().await;
        let options: Vec<_> = NAMES.iter().map(|name| by_dns(node(name), &names)).collect();
        names.set_service(SERVICE, &addresses(&options));
        let cluster = start_all(options).await;
        cluster.wait_until_all_up().await;
        assert_eq!(trouble(&cluster.nodes[0]).await, "", "nobody was late");
    }
}

#[tokio::test]
async fn three_nodes_that_know_one_etcd_and_start_at_once_form_one_cluster() {
    for _ in 0..REPEATS {
        let etcd = Etcd::start().await;
        let cluster = start_all(NAMES.iter().map(|name| by_etcd(node(name), &etcd)).collect()).await;
        cluster.wait_until_all_up().await;
    }
}

#[tokio::test]
async fn three_nodes_behind_one_service_of_kubernetes_that_start_at_once_form_one_cluster() {
    let api = Kubernetes::start().await;
    let options: Vec<_> = NAMES.iter().map(|name| by_kubernetes(node(name), &api)).collect();
    api.set_nodes(&addresses(&options));
    start_all(options).await.wait_until_all_up().await;
}

#[tokio::test]
async fn three_nodes_that_list_all_three_as_seeds_themselves_too_and_start_at_once_form_one_cluster() {
    for _ in 0..REPEATS {
        let mut options: Vec<_> = NAMES.iter().map(|name| node(name)).collect();
        let seeds = addresses(&options);
        options.iter_mut().for_each(|options| options.seeds.clone_from(&seeds));
        start_all(options).await.wait_until_all_up().await;
    }
}

#[tokio::test]
async fn a_node_whose_name_lists_only_itself_serves_alone_without_an_alarm() {
    let names = Names::start().await;
    let options = by_dns(node("n1"), &names).set("cluster.join_timeout", "2s");
    names.set_service(SERVICE, &[options.cluster_bind]);
    let alone = Node::start(options).await;
    assert_eq!(trouble(&alone).await, "");
}

#[tokio::test]
async fn a_name_that_resolves_only_later_and_to_a_dead_node_too_brings_the_nodes_together() {
    let names = Names::start().await;
    let options: Vec<_> =
        NAMES[..2].iter().map(|name| by_dns(node(name), &names).set("cluster.join_timeout", "500ms")).collect();
    let listed = addresses(&options);
    let cluster = start_all(options).await;
    let alone = trouble(&cluster.nodes[0]).await;
    assert!(alone.contains("no seed answers (dns: `_gossip._udp.brokerd.test` does not resolve"), "{alone}");
    names.set_service(SERVICE, &[ports::free(), listed[0], listed[1]]);
    cluster.wait_until_all_up().await;
    for node in &cluster.nodes {
        eventually(SOON, "the alarm is over", async || match trouble(node).await {
            none if none.is_empty() => Ok(()),
            alarm => Err(alarm),
        })
        .await;
    }
}

#[tokio::test]
async fn a_node_joins_by_the_address_that_the_name_has_now() {
    let names = Names::start().await;
    names.set_service(SERVICE, &[ports::free()]); // of a node that is long gone
    let first = Node::start(node("n1")).await;
    let second = Node::start(by_dns(node("n2"), &names).set("cluster.join_timeout", "500ms")).await;
    assert!(trouble(&second).await.contains("no seed answers"), "the old address is dead");
    names.set_service(SERVICE, &[first.cluster()]);
    Cluster { nodes: vec![first, second] }.wait_until_all_up().await;
}

#[tokio::test]
async fn the_name_server_s_failure_does_not_disturb_nodes_that_have_peers() {
    let names = Names::start().await;
    let options: Vec<_> =
        NAMES[..2].iter().map(|name| by_dns(node(name), &names).set("cluster.dns.period", "100ms")).collect();
    names.set_service(SERVICE, &addresses(&options));
    let cluster = start_all(options).await;
    cluster.wait_until_all_up().await;
    names.set_broken(true);
    let node = &cluster.nodes[0];
    eventually(SOON, "failures are counted", async || {
        let counted = node.ctl().run(&["broker", "metrics", "--node", node.name()]).await.ok();
        match counted["cluster.discovery.failures"].as_u64() {
            Some(count) if count >= 5 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    cluster.wait_until_all_up().await;
    assert_eq!(trouble(node).await, "");
    // A look that it broke in the middle of has other words than those after it.
    let lines = node.log().matches("looking for peers has failed").count();
    assert!((1..=2).contains(&lines), "logged {lines} times, not once for its reason:\n{}", node.log());
}

#[tokio::test]
async fn a_seed_of_another_cluster_is_not_joined_and_not_disturbed() {
    let theirs = Node::start(node("t1")).await;
    let mut options = node("n1").set("cluster.join_timeout", "500ms");
    options.secret = Some("another secret, of another cluster".into());
    options.seeds = vec![theirs.cluster()];
    let ours = Node::start(options).await;
    assert!(trouble(&ours).await.contains("no seed answers"), "{}", trouble(&ours).await);
    sees_exactly(&ours, &["n1"]).await;
    sees_exactly(&theirs, &["t1"]).await;
    assert_eq!(trouble(&theirs).await, "");
}

#[tokio::test]
async fn two_clusters_of_one_secret_that_learn_of_each_other_become_one_and_of_two_secrets_stay_two() {
    let names = Names::start().await;
    let pair = async |pair: [&str; 2]| {
        let mut options: Vec<_> =
            pair.iter().map(|name| by_dns(node(name), &names).set("cluster.dns.period", "500ms")).collect();
        let seeds = addresses(&options);
        options.iter_mut().for_each(|options| options.seeds.clone_from(&seeds));
        let cluster = start_all(options).await;
        cluster.wait_until_all_up().await;
        (cluster, seeds)
    };
    let ((a, in_a), (b, in_b)) = (pair(["a1", "a2"]).await, pair(["b1", "b2"]).await);
    let mut foreign = node("x1");
    foreign.secret = Some("another secret, of another cluster".into());
    let foreign = Node::start(foreign).await;
    sees_exactly(&a.nodes[0], &["a1", "a2"]).await;
    names.set_service(SERVICE, &[&in_a[..], &in_b[..], &[foreign.cluster()]].concat());
    for node in a.nodes.iter().chain(&b.nodes) {
        sees_exactly(node, &["a1", "a2", "b1", "b2"]).await;
    }
    sees_exactly(&foreign, &["x1"]).await;
}

#[tokio::test]
async fn nodes_whose_etcd_is_down_serve_alone_and_join_when_it_is_back() {
    let mut etcd = Etcd::prepare();
    let options = NAMES[..2].iter().map(|name| by_etcd(node(name), &etcd).set("cluster.join_timeout", "500ms"));
    let cluster = start_all(options.collect()).await;
    let alone = trouble(&cluster.nodes[0]).await;
    assert!(alone.contains("no seed answers (etcd: "), "{alone}");
    etcd.up().await;
    cluster.wait_until_all_up().await;
    etcd.down().await;
    sees_exactly(&cluster.nodes[1], &["n1", "n2"]).await;
}

#[tokio::test]
async fn the_key_of_a_node_that_is_killed_expires_and_of_one_that_leaves_is_gone_at_once() {
    let etcd = Etcd::start().await;
    let mut cluster = start_all(NAMES.iter().map(|name| by_etcd(node(name), &etcd)).collect()).await;
    cluster.wait_until_all_up().await;
    let (n1, n2, n3) = (cluster.nodes[0].cluster(), cluster.nodes[1].cluster(), cluster.nodes[2].cluster());
    // Reads as one more node would.
    let own = brokerd::cluster::discovery::Own {
        cluster: "brokerd".into(),
        node: "reader".into(),
        address: "127.0.0.1:1".parse().unwrap(),
    };
    let mut reader = brokerd::cluster::discovery::by(&crate::place::etcd(vec![etcd.url()]), &own).unwrap();
    let listed = reader.look().await.addresses;
    assert!([n1, n2, n3].iter().all(|node| listed.contains(node)), "{listed:?}");
    cluster.nodes[1].ctl().run(&["cluster", "leave"]).await.ok();
    let listed = reader.look().await.addresses;
    assert!(listed.contains(&n1) && !listed.contains(&n2), "{listed:?}");
    cluster.nodes[2].kill9();
    eventually(SOON, "the killed node's key is gone", async || {
        let listed = reader.look().await.addresses;
        if listed.contains(&n1) && !listed.contains(&n3) { Ok(()) } else { Err(format!("{listed:?}")) }
    })
    .await;
}
