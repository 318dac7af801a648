//! What the filter index and the retained store cost: `cargo bench -p brokerd --bench index`. Each row is a process of
//! its own, so that no row measures what another left on the heap.

use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use brokerd::retain::{Limits, Retained};
use brokerd::router::{Index, Matches, Subscriber};
use mqtt::{Message, Qos, Time};

const MILLION: u32 = 1_000_000;

/// A kind of filter: the i-th one, and a topic that only it matches.
type Shape = (&'static str, fn(u32) -> String, fn(u32) -> String);

const SHAPES: [Shape; 6] = [
    ("exact", |i| format!("plant/{}/device/{i}/temp", i % 1000), |i| format!("plant/{}/device/{i}/temp", i % 1000)),
    (
        "plus in the middle",
        |i| format!("plant/{}/+/{i}/temp", i % 1000),
        |i| format!("plant/{}/dev/{i}/temp", i % 1000),
    ),
    ("trailing #", |i| format!("plant/{}/device/{i}/#", i % 1000), |i| format!("plant/{}/device/{i}/a/b", i % 1000)),
    ("pairs (most nodes)", |i| format!("plant/{}/+/v{}", i / 2, i % 2), |i| format!("plant/{}/x/v{}", i / 2, i % 2)),
    ("leading plus", |i| format!("+/device/{i}/temp"), |i| format!("x/device/{i}/temp")),
    ("mixed", |i| SHAPES[i as usize % 5].1(i), |i| SHAPES[i as usize % 5].2(i)),
];

fn main() -> Result<()> {
    match std::env::args().find_map(|arg| arg.strip_prefix("row=").map(str::to_owned)) {
        None => {
            println!("index, {MILLION} subscriptions, one a filter; every match finds one");
            println!(
                "{:20} {:>8} {:>7} {:>12} {:>11} {:>12} {:>12} {:>12} {:>11} {:>7} {:>8}",
                "filters",
                "text",
                "B/sub",
                "inserts/s",
                "slowest us",
                "match 10^1",
                "match 10^4",
                "match 10^6",
                "removes/s",
                "left",
                "refilled"
            );
            (0..SHAPES.len()).try_for_each(|row| run_row(&row.to_string()))?;
            println!();
            ["fan-out", "retained"].into_iter().try_for_each(run_row)
        }
        Some(row) if row == "fan-out" => fan_out(),
        Some(row) if row == "retained" => retained(),
        Some(row) => shape(SHAPES[row.parse::<usize>()?]),
    }
}

fn run_row(row: &str) -> Result<()> {
    let status = Command::new(std::env::current_exe()?).arg(format!("row={row}")).status()?;
    anyhow::ensure!(status.success(), "row {row} failed");
    Ok(())
}

fn shape((name, filter, topic): Shape) -> Result<()> {
    let match_10 = time_matches(&filled(10, filter), 10, topic);
    let match_10_000 = time_matches(&filled(10_000, filter), 10_000, topic);
    let text: usize = (0..MILLION).map(|i| filter(i).len()).sum();
    let before = resident()?;
    let index = Index::default();
    let (busy, slowest) = fill(&index, filter);
    let held = resident()? - before;
    let match_million = time_matches(&index, MILLION, topic);
    let mut removing = Duration::ZERO;
    for i in 0..MILLION {
        let filter = filter(i);
        let start = Instant::now();
        index.unsubscribe(&filter, 0, i, || ());
        removing += start.elapsed();
    }
    // glibc joins small chunks that were freed, and gives them back, only when a large one is freed.
    drop(black_box(vec![1_u8; 100_000]));
    let left = resident()?.saturating_sub(before);
    fill(&index, filter);
    let refilled = resident()?.saturating_sub(before);
    println!(
        "{name:20} {:>8.1} {:>7.1} {:>12.0} {:>11} {:>9.0} ns {:>9.0} ns {:>9.0} ns {:>11.0} {:>7.1} {:>8.1}",
        per_million(text),
        per_million(held),
        f64::from(MILLION) / busy.as_secs_f64(),
        slowest.as_micros(),
        match_10,
        match_10_000,
        match_million,
        f64::from(MILLION) / removing.as_secs_f64(),
        per_million(left),
        per_million(refilled),
    );
    Ok(())
}

/// A million subscriptions: the time in all and of the slowest.
fn fill(index: &Index, filter: fn(u32) -> String) -> (Duration, Duration) {
    let (mut busy, mut slowest) = (Duration::ZERO, Duration::ZERO);
    for i in 0..MILLION {
        let filter = Arc::from(filter(i));
        let start = Instant::now();
        index.subscribe(&filter, subscriber(i), || 1);
        let took = start.elapsed();
        busy += took;
        slowest = slowest.max(took);
    }
    (busy, slowest)
}

fn filled(count: u32, filter: fn(u32) -> String) -> Index {
    let index = Index::default();
    for i in 0..count {
        index.subscribe(&Arc::from(filter(i)), subscriber(i), || 1);
    }
    index
}

/// Nanoseconds a match, over topics drawn at random.
fn time_matches(index: &Index, count: u32, topic: fn(u32) -> String) -> f64 {
    const TOPICS: u32 = 100_000;
    let mut random = 1_u64;
    let topics: Vec<String> = (0..TOPICS)
        .map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            topic((random >> 33) as u32 % count)
        })
        .collect();
    let mut found = Matches::default();
    let start = Instant::now();
    for _ in 0..5 {
        for topic in &topics {
            found.clear();
            index.matches(topic, &mut found);
            assert_eq!(black_box(&found).local.len(), 1, "{topic}");
        }
    }
    start.elapsed().as_nanos() as f64 / f64::from(5 * TOPICS)
}

fn fan_out() -> Result<()> {
    let (index, filter) = (Index::default(), Arc::from("fan/out"));
    let before = resident()?;
    let start = Instant::now();
    for session in 0..100_000 {
        index.subscribe(&filter, subscriber(session), || 1);
    }
    let subscribed = start.elapsed();
    let held = resident()? - before;
    let mut found = Matches::default();
    index.matches("fan/out", &mut found);
    found.clear();
    let start = Instant::now();
    index.matches("fan/out", &mut found);
    let matched = start.elapsed();
    let start = Instant::now();
    for session in 0..100_000 {
        index.unsubscribe("fan/out", 0, session, || ());
    }
    println!(
        "one filter, 100000 subscribers: {:.1} bytes and {} ns to subscribe, {} ns to unsubscribe, {} us to match",
        held as f64 / 100_000.0,
        subscribed.as_nanos() / 100_000,
        start.elapsed().as_nanos() / 100_000,
        matched.as_micros(),
    );
    Ok(())
}

fn retained() -> Result<()> {
    let topics: Vec<String> = (0..MILLION).map(|i| format!("plant/{}/{}", i / 10, i % 10)).collect();
    let before = resident()?;
    let store = Retained::new(Limits { max_messages: usize::MAX, max_bytes: usize::MAX });
    let start = Instant::now();
    for topic in &topics {
        store.set(Arc::new(Message::new(topic, b"", b"21.5")))?;
    }
    let set = start.elapsed();
    let held = resident()? - before;
    let counted = store.counts().bytes;
    println!(
        "retained, 1000000 messages: {:.1} bytes each ({:.1} of them the message), {} ns to set",
        per_million(held),
        per_million(counted),
        set.as_nanos() / u128::from(MILLION)
    );
    for (filter, limit) in [("#", 1000), ("plant/+/7", 1000), ("plant/77/+", 1000), ("plant/77/7", 1000)] {
        let (mut pages, mut found, mut slowest, mut after) = (0, 0, Duration::ZERO, None::<String>);
        let start = Instant::now();
        loop {
            let page_start = Instant::now();
            let page = store.matching(filter, after.as_deref(), limit, Time(0));
            slowest = slowest.max(page_start.elapsed());
            (pages, found) = (pages + 1, found + page.messages.len());
            let Some(next) = page.next else { break };
            after = Some(next);
        }
        println!(
            "  {filter:12} {found:>8} found on {pages:>5} pages in {:>9} us, the slowest page {} us",
            start.elapsed().as_micros(),
            slowest.as_micros()
        );
    }
    Ok(())
}

fn subscriber(session: u32) -> Subscriber {
    Subscriber { session, serial: session, subscription_id: 0, worker: 0, qos: Qos::AtMostOnce, flags: 0 }
}

fn per_million(total: usize) -> f64 {
    total as f64 / f64::from(MILLION)
}

/// Bytes of memory that this process has.
fn resident() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? * 1024)
}
