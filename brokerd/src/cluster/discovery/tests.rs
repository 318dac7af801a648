//! The search, against a way that does as it is told. Time is paused.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::search::Plan;
use super::*;
use crate::metrics::Metrics;

const PERIOD: Duration = Duration::from_secs(10);

fn own() -> SocketAddr {
    at(1)
}
fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
fn found(ports: &[u16]) -> Found {
    Found::from(Ok(ports.iter().map(|port| at(*port)).collect()))
}
fn failed(why: &str) -> Found {
    Found::from(Err(why.to_owned()))
}

/// Shows what it was given, the last of it for ever.
struct Scripted {
    script: Arc<Mutex<VecDeque<Found>>>,
    looked_tx: mpsc::Sender<Instant>,
    withdrawn: Arc<Mutex<bool>>,
}

impl Discovery for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }
    fn period(&self) -> Duration {
        PERIOD
    }
    fn look(&mut self) -> Boxed<'_, Found> {
        let _ = self.looked_tx.try_send(Instant::now());
        let mut script = self.script.lock();
        let next = if script.len() > 1 { script.pop_front() } else { script.front().cloned() };
        Box::pin(std::future::ready(next.unwrap()))
    }
    fn withdraw(&mut self) -> Boxed<'_, ()> {
        *self.withdrawn.lock() = true;
        Box::pin(std::future::ready(()))
    }
}

struct Bench {
    search: Search,
    joined_tx: watch::Sender<bool>,
    looked: mpsc::Receiver<Instant>,
    contacted: Arc<Mutex<Vec<SocketAddr>>>,
    metrics: Metrics,
    withdrawn: Arc<Mutex<bool>>,
}

fn start(script: &[Found]) -> Bench {
    let (looked_tx, looked) = mpsc::channel(64);
    let (joined_tx, is_joined) = watch::channel(false);
    let (withdrawn, contacted, metrics) = (Arc::default(), Arc::new(Mutex::default()), Metrics::default());
    let way = Scripted {
        script: Arc::new(Mutex::new(script.iter().cloned().collect())),
        looked_tx,
        withdrawn: Arc::clone(&withdrawn),
    };
    let seen: Arc<Mutex<Vec<SocketAddr>>> = contacted.clone();
    let search = Search::start(Plan {
        ways: vec![Box::new(way)],
        own: own(),
        contact: Arc::new(move |address| seen.lock().push(address)),
        is_joined,
        interval: Duration::from_millis(250),
        metrics: metrics.clone(),
    });
    Bench { search, joined_tx, looked, contacted, metrics, withdrawn }
}

impl Bench {
    /// Seconds between the next looks.
    async fn gaps<const N: usize>(&mut self) -> [u64; N] {
        let mut last = self.looked.recv().await.unwrap();
        let mut gaps = [0; N];
        for gap in &mut gaps {
            let next = self.looked.recv().await.unwrap();
            (*gap, last) = (next.duration_since(last).as_secs(), next);
        }
        gaps
    }
    fn counter(&self, name: &str) -> u64 {
        let (_, count) = self.metrics.totals().into_iter().find(|(known, _)| *known == name).unwrap();
        count
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_way_is_asked_at_growing_intervals_up_to_its_period_and_each_failure_is_counted() {
    let mut bench = start(&[failed("no such name")]);
    assert_eq!(bench.gaps().await, [1, 2, 4, 8, 10, 10]);
    assert_eq!(bench.counter("cluster.discovery.failures"), bench.counter("cluster.discovery.looks"));
    let alarm = bench.search.outlook().alarm().unwrap();
    assert_eq!(alarm, "no seed answers (scripted: no such name): this node serves alone, and keeps trying");
    assert!(bench.contacted.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_is_alone_looks_every_second_who_has_peers_once_a_period_and_who_loses_them_at_once() {
    let mut bench = start(&[found(&[2])]);
    assert_eq!(bench.gaps().await, [1, 1, 1]);
    bench.joined_tx.send_replace(true);
    assert_eq!(bench.gaps().await, [10, 10]);
    bench.joined_tx.send_replace(false);
    let before = Instant::now();
    assert_eq!(bench.looked.recv().await.unwrap(), before);
}

#[tokio::test(start_paused = true)]
async fn a_failure_does_not_end_the_search_of_a_node_that_has_peers_and_a_success_ends_the_back_off() {
    let mut bench = start(&[failed("x"), failed("x"), found(&[3]), failed("y"), found(&[4])]);
    bench.joined_tx.send_replace(true);
    assert_eq!(bench.gaps().await, [1, 2, 10, 1, 10]);
    assert_eq!(bench.counter("cluster.discovery.failures"), 3);
    assert_eq!(bench.contacted.lock()[..2], [at(3), at(4)]);
    assert!(bench.search.outlook().alarm().is_some_and(|why| !why.contains("scripted")), "no trouble any more");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_finds_only_itself_contacts_nobody_and_raises_no_alarm() {
    let mut bench = start(&[found(&[1])]);
    assert!(bench.search.outlook().alarm().is_some(), "nothing is known before the first look");
    assert_eq!(bench.gaps().await, [1, 1]);
    assert_eq!(bench.search.outlook().alarm(), None);
    assert!(bench.contacted.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn addresses_that_change_are_contacted_as_they_are_now_and_this_node_s_own_never_is() {
    let mut bench = start(&[found(&[1, 2]), found(&[3, 1])]);
    assert_eq!(bench.gaps().await, [1, 1]);
    assert_eq!(bench.contacted.lock()[..2], [at(2), at(3)]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_withdraws_and_looks_no_more_and_one_that_stops_does_not_withdraw() {
    let mut bench = start(&[found(&[2])]);
    bench.looked.recv().await.unwrap();
    bench.search.withdraw().await;
    assert!(*bench.withdrawn.lock());
    while bench.looked.try_recv().is_ok() {}
    assert!(bench.looked.recv().await.is_none(), "the way is gone");

    let mut bench = start(&[found(&[2])]);
    bench.looked.recv().await.unwrap();
    drop(bench.search);
    while bench.looked.recv().await.is_some() {}
    assert!(!*bench.withdrawn.lock());
}

#[test]
fn what_a_stranger_wrote_is_shown_short_and_without_control_characters() {
    assert_eq!(shown("a\u{1b}[31m\n"), "a\\u{1b}[31m\\n");
    assert_eq!(shown(&"x".repeat(5_000)).len(), 200);
}
