//! Exclusive subscriptions where the cluster parts and is one again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tests::packet::Connect;
use tests::raw::Raw;
use tests::sandbox::Sandbox;
use tests::wait::{SOON, eventually};

/// Each side gives it once the other is down; after the heal the later one stays, and nobody is disconnected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_of_a_cut_may_have_it_and_after_the_heal_one_has() {
    let sandbox = Sandbox::start_with(2, &["mqtt.exclusive_subscription=true", "cluster.down_after=1s"]).await;
    let connect =
        async |node: usize, id: &str| Raw::connect(sandbox.nodes[node].mqtt, &Connect::v5(id)).await.patient(SOON * 3);
    let (mut near, mut far) = (connect(0, "near").await, connect(1, "far").await);
    assert_eq!(near.subscribe("$exclusive/t", 1).await, 1);
    assert_eq!(far.subscribe("$exclusive/t", 1).await, 0x97);
    sandbox.cut();
    eventually(SOON * 3, "the other side gives it", async || match far.subscribe("$exclusive/t", 1).await {
        1 => Ok(()),
        code => Err(format!("0x{code:02x}")),
    })
    .await;
    near.publish("t", b"near", 1).await;
    assert_eq!(near.receive().await.text(), "near", "its own side knows of no other");
    sandbox.heal();
    let mut publisher = connect(0, "publisher").await;
    eventually(SOON * 3, "only the later one gets what is published", async || {
        publisher.publish("t", b"healed", 1).await;
        let (at_near, at_far) = (near.fence().await.len(), far.fence().await.len());
        if (at_near, at_far) == (0, 1) { Ok(()) } else { Err(format!("{at_near} and {at_far}")) }
    })
    .await;
    assert_eq!(near.subscribe("$exclusive/t", 1).await, 0x97, "connected still, and told when it asks");
}
