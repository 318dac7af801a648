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
    let mut steps = prologue(&mut Seeded::from(!seed), nodes);
    let whole = steps.len() + count;
    steps.extend((0..3).map(|client| connect(&mut scene, &mut chance, client)));
    while steps.len() < whole {
        steps.push(next(&mut scene, &mut chance));
    }
    Story { nodes, steps }
}

/// What chance alone would seldom bring about: somebody looks on one node at once for what was acknowledged on another, and
/// two nodes retain in the same moment. By two more clients, on nodes that are far from each other.
fn prologue(chance: &mut Seeded, nodes: usize) -> Vec<Step> {
    let (one, other) = (CLIENTS, CLIENTS + 1);
    let here = chance.below(nodes);
    let there = (here + 1 + chance.below(nodes - 1)) % nodes;
    let connect = |client, node| Step::Connect { client, node, is_v5: true, is_kept: false };
    let mut steps = vec![connect(one, here), connect(other, there), Step::Slow(here, there, 20)];
    let topic = (*chance.pick(&TOPICS)).to_owned();
    let publish = |client, is_retained, is_awaited| {
        let topic = topic.clone();
        Step::Publish { client, topic, qos: 1, is_retained, is_awaited }
    };
    if chance.below(2) == 0 {
        steps.push(Step::Subscribe(other, topic.clone(), 1));
        steps.push(publish(one, false, true));
        steps.push(Step::Unsubscribe(other, topic.clone()));
    } else {
        steps.extend([publish(one, true, false), publish(other, true, false)]);
    }
    steps
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
