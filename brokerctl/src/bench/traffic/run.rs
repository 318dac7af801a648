//! Carries out a plan: threads connect, start together, and are watched from outside. Owns the threads.

use std::ops::Range;
use std::time::Duration;

use super::outcome::Outcome;
use super::plan::{Plan, Share, Until};
use super::shard::Shard;
use crate::bench::fleet::Fleet;
use crate::bench::place::Place;
use crate::bench::process::{Broker, need_open_files, now};
use crate::bench::progress::Progress;
use crate::bench::subscribing::Subscribing;
use crate::bench::visits::{Greeting, Visits};
use crate::bench::watch::{Sample, Watch};
use crate::failure::Failure;

/// Between two looks at the threads.
const LOOK: Duration = Duration::from_millis(10);
/// Between two points of a plot.
const POINT: u64 = 250_000_000;

/// What a run came to, and what was seen of it from outside.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) outcome: Outcome,
    pub(crate) start: u64,
    /// At the start and at the end of what is measured.
    pub(crate) from: Sample,
    pub(crate) to: Sample,
    pub(crate) series: Vec<Sample>,
    pub(crate) threads: usize,
}

/// Runs it to its end.
pub(crate) fn run(plan: &Plan, place: &Place) -> Result<Ran, Failure> {
    need_open_files(plan.publishers + plan.subscribers)?;
    let threads = if plan.is_divisible() { place.threads.clamp(1, plan.publishers) } else { 1 };
    let watch = Watch::new(Broker::of(&place.pids)?, threads);
    let work = |index: usize| {
        let done = one_thread(plan, place, plan.share(index, threads), &watch);
        watch.finish();
        done
    };
    let work = &work;
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|index| scope.spawn(move || work(index))).collect();
        let seen = observe(plan, &watch, threads);
        let mut outcome = Outcome::new();
        for handle in handles {
            let done = handle.join().map_err(|_| Failure::Failed("a thread of the load ended".into()))?;
            outcome.add(&done?);
        }
        let (start, from, to, series) = seen.ok_or_else(|| Failure::Failed("the load never started".into()))?;
        Ok(Ran { outcome, start, from, to, series, threads })
    })
}

fn one_thread(plan: &Plan, place: &Place, share: Share, watch: &Watch) -> Result<Outcome, Failure> {
    let attached = Fleet::new()
        .map_err(|error| Failure::Failed(format!("epoll: {error}")))
        .and_then(|mut fleet| attach(plan, place, share, watch, &mut fleet).map(|limits| (fleet, limits)));
    let start = watch.ready(attached.is_ok());
    let (mut fleet, limits) = attached?;
    let Some(start) = start else {
        return Ok(Outcome::new()); // the thread that failed says why
    };
    let shard = Shard { plan, share, patience: place.patience, watch };
    shard.run(&mut fleet, &limits, start).map_err(Failure::Failed)
}

/// Connects subscribers, then publishers; what each publisher's broker takes at a time.
fn attach(plan: &Plan, place: &Place, share: Share, watch: &Watch, fleet: &mut Fleet) -> Result<Vec<u16>, Failure> {
    let (filters, mut attached) = (|number, round| plan.filters_of(number, round), 0);
    let mut tick = |done: usize| {
        watch.attach(done.saturating_sub(attached));
        attached = done;
    };
    let first = share.first_subscriber;
    let mut errand = Subscribing::new(plan.version, plan.qos as u8, first, &filters);
    let dials = std::slice::from_ref(&plan.subscribe_at);
    let ids = format!("{}-sub-", place.name);
    let visits = Visits { keep: plan.keep, ..place.visits(dials, &ids, first, share.subscribers) };
    visits.run(fleet, &mut errand, &mut tick)?.complete()?;
    if errand.refused > 0 {
        return Err(Failure::Unauthorised(format!("{} filters were refused in SUBACK", errand.refused)));
    }
    attached = 0;
    let mut tick = |done: usize| {
        watch.attach(done.saturating_sub(attached));
        attached = done;
    };
    let dials = std::slice::from_ref(&plan.publish_to);
    let ids = format!("{}-pub-", place.name);
    let visits = place.visits(dials, &ids, share.first_publisher, share.publishers);
    let visited = Visits { base: share.subscribers, ..visits }.run(fleet, &mut Greeting, &mut tick)?.complete()?;
    Ok(visited.limits)
}

type Seen = (u64, Sample, Sample, Vec<Sample>);

/// Looks on until all threads have ended.
fn observe(plan: &Plan, watch: &Watch, threads: usize) -> Option<Seen> {
    let mut progress = Progress::new();
    let (mut from, mut to, mut series) = (None, None, Vec::<Sample>::new());
    while watch.finished() < threads {
        pause(LOOK);
        let Some((start, at_start)) = watch.start() else {
            let all = plan.publishers + plan.subscribers;
            progress.draw("connecting", watch.attached() as u64, all as u64);
            continue;
        };
        let measured = measured(plan, start);
        let time = now();
        if from.is_none() && measured.start <= start {
            from = Some(at_start);
        } else if from.is_none() && time >= measured.start {
            from = Some(watch.sample());
        }
        if to.is_none() && time >= measured.end {
            to = Some(watch.sample());
        }
        if series.last().is_none_or(|last| time >= last.time + POINT) {
            series.push(watch.sample());
        }
        let done = series.last().map_or(0, |last| last.sent);
        match plan.until {
            Until::Count(count) => progress.draw("messages", done, count),
            Until::Time { .. } => progress.draw("of the time", time.saturating_sub(start), measured.end - start),
        }
    }
    let (start, at_start) = watch.start()?;
    let to = to.unwrap_or_else(|| watch.sample());
    Some((start, from.unwrap_or(at_start), to, series))
}

/// The time that is measured.
const fn measured(plan: &Plan, start: u64) -> Range<u64> {
    match plan.until {
        Until::Count(_) => start..u64::MAX,
        Until::Time { warm_up, measured } => start + warm_up..start + warm_up + measured,
    }
}

/// Lets time pass.
pub(crate) fn pause(time: Duration) {
    #[allow(clippy::disallowed_methods, reason = "this process has no worker to stop")]
    std::thread::sleep(time);
}
