//! A story from a seed. Owns the weights; never looks at what a story does.

use super::step::{Step, Story};
use crate::seed::Seeded;

const TOPICS: [&str; 4] = ["a", "a/b", "a/c", "b"];
const FILTERS: [&str; 10] = ["a", "a/b", "a/+", "a/#", "#", "+/b", "b", "$share/g/a", "$share/g/a/#", "$share/h/#"];
const CLIENTS: usize = 5;

/// What a story has come to, as far as the next step should make sense.
struct Scene {
    nodes: usize,
    weather: Weather,
    connected: [bool; CLIENTS],
    dead: Option<usize>,
    /// Links that are not whole, and since how many steps.
    hurt: usize,
}

/// What may happen to nodes and links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// They are slow at most.
    Calm,
    /// Links are cut, silent, slow; nodes stall, are killed and come back.
    Storm,
}

/// Each seed has one story, on this many nodes.
#[must_use]
pub fn generate(seed: u64, nodes: usize, weather: Weather) -> Story {
    let mut chance = Seeded::from(seed);
    let mut scene = Scene { nodes, weather, connected: [false; CLIENTS], dead: None, hurt: 0 };
    let count = 12 + chance.below(20);
    let mut steps: Vec<Step> = (0..3).map(|client| connect(&mut scene, &mut chance, client)).collect();
    while steps.len() < count {
        steps.push(next(&mut scene, &mut chance));
    }
    Story { nodes, steps }
}

fn next(scene: &mut Scene, chance: &mut Seeded) -> Step {
    if scene.hurt > 0 {
        scene.hurt += 1;
        if scene.hurt > 5 {
            scene.hurt = 0;
            return if chance.below(4) == 0 { Step::Settle } else { Step::Heal };
        }
    }
    let client = chance.below(CLIENTS);
    if !scene.connected[client] {
        return connect(scene, chance, client);
    }
    match chance.below(100) {
        0..=21 => Step::Subscribe(client, (*chance.pick(&FILTERS)).into(), chance.below(3) as u8),
        22..=29 => Step::Unsubscribe(client, (*chance.pick(&FILTERS)).into()),
        30..=64 => publish(chance, client),
        65..=67 => Step::Clear(client, (*chance.pick(&TOPICS)).into()),
        68..=75 => connect(scene, chance, client), // it moves, or comes again
        76..=83 => {
            scene.connected[client] = false;
            if chance.below(2) == 0 { Step::Leave(client) } else { Step::Tear(client) }
        }
        _ => fault(scene, chance),
    }
}

fn connect(scene: &mut Scene, chance: &mut Seeded, client: usize) -> Step {
    scene.connected[client] = true;
    let node = chance.below(scene.nodes);
    Step::Connect { client, node, is_v5: chance.below(3) > 0, is_kept: chance.below(2) == 0 }
}

fn publish(chance: &mut Seeded, client: usize) -> Step {
    let (qos, is_retained, is_awaited) = (chance.below(3) as u8, chance.below(5) == 0, chance.below(2) == 0);
    Step::Publish { client, topic: (*chance.pick(&TOPICS)).into(), qos, is_retained, is_awaited }
}

fn fault(scene: &mut Scene, chance: &mut Seeded) -> Step {
    if let Some(node) = scene.dead
        && scene.hurt == 0
    {
        scene.dead = None;
        return Step::Restart(node);
    }
    let one = chance.below(scene.nodes);
    let other = (one + 1 + chance.below(scene.nodes - 1)) % scene.nodes;
    if scene.weather == Weather::Calm {
        return Step::Slow(one, other, 1 + chance.below(30) as u64);
    }
    if scene.hurt > 0 && chance.below(5) == 0 {
        return Step::Outlast;
    }
    match chance.below(12) {
        0..=1 if scene.dead.is_none() => {
            scene.dead = Some(one);
            return Step::Kill(one);
        }
        0..=2 => return Step::Slow(one, other, 1 + chance.below(30) as u64),
        _ => scene.hurt = scene.hurt.max(1),
    }
    match chance.below(4) {
        0..=1 => Step::Cut(one, other),
        2 => Step::Silence(one, other),
        _ => Step::Stall(one),
    }
}
