//! The promise of a PUBACK when a node is killed with -9 under load: what was acknowledged is at the subscribers of the
//! nodes that live, in order, and the cluster goes on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tests::cluster::Cluster;
use tests::packet::{Connect, PublishOut, Version, acknowledge};
use tests::raw::Raw;
use tests::read::Packet;
use tests::seed::Seeded;
use tests::wait::{eventually, within};

/// Of each publisher on a node that lives.
const MESSAGES: u32 = 600;
const TOPICS: u32 = 3;
const WINDOW: usize = 8;
/// An acknowledgement may wait until the victim is declared down.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one subscriber has received: by topic, the numbers in the order they came first.
type Received = Arc<Mutex<BTreeMap<String, Vec<u32>>>>;

/// Publishes with a window, and tells the numbers that were acknowledged. Ends early when its node dies.
async fn publish_load(mut client: Raw, name: String, acknowledged: Arc<AtomicU32>) -> Vec<(String, u32)> {
    let mut open = BTreeMap::new();
    let mut done = vec![];
    let mut next = 0;
    while next < MESSAGES || !open.is_empty() {
        while open.len() < WINDOW && next < MESSAGES {
            let topic = format!("load/{name}/{}", next % TOPICS);
            let id = next as u16 + 1;
            client.send(&PublishOut::new(&topic, &next.to_be_bytes(), 1, id).encode(Version::V311)).await;
            open.insert(id, (topic, next));
            next += 1;
        }
        match client.next_or_end().await {
            Some(Packet::Puback(id, 0)) => {
                done.push(open.remove(&id).expect("an acknowledgement of what was sent"));
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Some(other) => panic!("{name}: {other:?}"),
            None => return done,
        }
    }
    done
}

/// Receives until its connection ends.
async fn subscribe_load(mut client: Raw, received: Received) {
    while let Some(packet) = client.next_or_end().await {
        let Packet::Publish(publish) = packet else { continue };
        client.send(&acknowledge(0x40, publish.id)).await;
        let number = u32::from_be_bytes(publish.payload.as_slice().try_into().expect("four bytes"));
        let mut received = received.lock().unwrap();
        let numbers = received.entry(publish.topic).or_default();
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
}

async fn start_subscriber(cluster: &Cluster, node: usize) -> Received {
    let connect = Connect::v311(&format!("subscriber{node}"));
    let mut client = Raw::connect(cluster.nodes[node].mqtt(), &connect).await.patient(PATIENCE);
    assert_eq!(client.subscribe("load/#", 1).await, 1);
    let received = Received::default();
    tokio::spawn(subscribe_load(client, received.clone()));
    received
}

async fn assert_all_arrive(acknowledged: &[(String, u32)], received: &Received, who: &str) {
    eventually(PATIENCE, &format!("{who} has all that was acknowledged"), async || {
        let received = received.lock().unwrap();
        let has = |(topic, number): &&(String, u32)| received.get(topic).is_some_and(|all| all.contains(number));
        let missing: BTreeSet<_> = acknowledged.iter().filter(|message| !has(message)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!("{} missing, first {:?}", missing.len(), missing.first()))
    })
    .await;
}

fn assert_in_order(received: &Received, who: &str) {
    for (topic, numbers) in received.lock().unwrap().iter() {
        let early = numbers.windows(2).find(|pair| pair[0] > pair[1]);
        assert_eq!(early, None, "{who}: {topic} is out of order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_message_is_missing_at_a_node_that_lives() {
    let mut chance = Seeded::announce("kill one node");
    let mut cluster = Cluster::start(3).await;
    let victim = chance.below(3);
    let survivors: Vec<usize> = (0..3).filter(|node| *node != victim).collect();
    let mut received = vec![];
    for node in 0..3 {
        received.push(start_subscriber(&cluster, node).await);
    }
    let acknowledged = Arc::new(AtomicU32::new(0));
    let mut publishers = vec![];
    for number in 0..6 {
        let name = format!("publisher{number}");
        let client = Raw::connect(cluster.nodes[number % 3].mqtt(), &Connect::v311(&name)).await.patient(PATIENCE);
        publishers.push(tokio::spawn(publish_load(client, name, acknowledged.clone())));
    }
    let when = 200 + chance.below(1500) as u32;
    eventually(PATIENCE, "enough is acknowledged", async || {
        let so_far = acknowledged.load(Ordering::Relaxed);
        if so_far >= when { Ok(()) } else { Err(format!("{so_far} of {when}")) }
    })
    .await;
    println!("n{} is killed after {when} acknowledgements", victim + 1);
    cluster.nodes[victim].kill9();

    let mut all = vec![];
    for (number, publisher) in publishers.into_iter().enumerate() {
        let done = within(2 * PATIENCE, "a publisher ends", publisher).await.expect("a publisher that did not panic");
        let is_on_a_survivor = number % 3 != victim;
        assert!(!is_on_a_survivor || done.len() == MESSAGES as usize, "publisher{number}: {} done", done.len());
        all.extend(done);
    }
    for node in survivors {
        let who = format!("the subscriber on n{}", node + 1);
        assert_all_arrive(&all, &received[node], &who).await;
        assert_in_order(&received[node], &who);
    }

    cluster.nodes[victim].restart().await;
    cluster.wait_until_all_up().await;
    let mut back = Raw::connect(cluster.nodes[victim].mqtt(), &Connect::v311("back")).await;
    back.subscribe("back/#", 1).await;
    for node in 0..3 {
        let mut publisher = Raw::connect(cluster.nodes[node].mqtt(), &Connect::v311("again")).await;
        publisher.publish(&format!("back/{node}"), b"again", 1).await;
        assert_eq!(back.receive().await.topic, format!("back/{node}"));
    }
}
