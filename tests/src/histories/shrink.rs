//! A story that fails, made shorter: steps are left out as long as it still breaks the same promise. Bounded in time.

use std::time::{Duration, Instant};

use super::Abilities;
use super::play::replay;
use super::promises::{Broken, Promise};
use super::step::Story;

/// The shortest found, and what it breaks.
pub async fn shrink(
    story: &Story,
    broken: &[Broken],
    patience: Duration,
    abilities: Abilities,
) -> (Story, Vec<Broken>) {
    let until = Instant::now() + patience;
    let (mut best, mut breaks) = (story.clone(), broken.to_vec());
    let promises: Vec<Promise> = broken.iter().map(|one| one.promise).collect();
    let mut chunk = best.steps.len() / 2;
    while chunk > 0 {
        let mut at = 0;
        while at < best.steps.len() && Instant::now() < until {
            let shorter = without(&best, at, chunk);
            let found = replay(&shorter, abilities).await;
            if found.iter().any(|one| promises.contains(&one.promise)) {
                (best, breaks) = (shorter, found);
            } else {
                at += chunk;
            }
        }
        chunk /= 2;
    }
    (best, breaks)
}

pub(super) fn without(story: &Story, at: usize, count: usize) -> Story {
    let mut steps = story.steps.clone();
    steps.drain(at..(at + count).min(story.steps.len()));
    Story { nodes: story.nodes, steps }
}
