//! Random lives of clusters of three and five nodes, each from a seed, and those that once failed: no promise is broken.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use tests::histories::{Abilities, Broken, Story, Theatre, Weather, generate, replay, shrink};
use tests::seed::Seeded;

/// Nodes of each cluster that plays; they share the seeds among them.
const THEATRES: [usize; 3] = [3, 3, 5];
const SHRINKING: Duration = Duration::from_secs(60);
/// A story that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(120);

/// `BROKERD_HISTORIES` says how many; `BROKERD_TEST_SEED` is the first of them. A story that fails is printed shortened, as
/// it goes into a file of `tests/histories`.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_happens_to_clients_links_and_nodes_every_promise_is_kept() {
    let count = std::env::var("BROKERD_HISTORIES").map_or(300, |count| count.parse().expect("a number"));
    let first = Seeded::announce("histories").first();
    let playing = THEATRES.iter().enumerate().map(|(place, nodes)| {
        let seeds = (0..count).filter(move |number| number % THEATRES.len() as u64 == place as u64);
        tokio::spawn(play_all(*nodes, seeds.map(move |number| first.wrapping_add(number)).collect()))
    });
    let playing: Vec<_> = playing.collect();
    let mut failures = vec![];
    for theatre in playing {
        failures.extend(theatre.await.expect("a theatre that stands"));
    }
    assert!(failures.is_empty(), "{} histories broke a promise:\n{}", failures.len(), failures.join("\n"));
}

/// What failed, told; a theatre ends with its third failure.
async fn play_all(nodes: usize, seeds: Vec<u64>) -> Vec<String> {
    let mut theatre = Theatre::open(nodes).await;
    let mut failures = vec![];
    for seed in seeds {
        let story = generate(seed, nodes, weather(seed));
        let broken = tokio::time::timeout(LONGEST, theatre.play(&story, Abilities::NOW)).await;
        let broken = broken.unwrap_or_else(|_| panic!("seed {seed} hangs:\n{story}"));
        if broken.is_empty() {
            continue;
        }
        eprintln!("seed {seed} on {nodes} nodes broke:\n{}\n{story}", lines(&broken));
        let is_shrunk = std::env::var_os("BROKERD_HISTORIES_SHRINK").is_none_or(|is| is != "0");
        let patience = if is_shrunk { SHRINKING } else { Duration::ZERO };
        let (story, broken) = shrink(&story, &broken, patience, Abilities::NOW).await;
        failures.push(format!("# seed {seed}\n{}{story}", lines(&broken)));
        if failures.len() == 3 {
            break;
        }
        theatre = Theatre::open(nodes).await;
    }
    failures
}

/// A storm at every other seed. `BROKERD_HISTORIES_STORM` is 1 for storms alone, and 0 for none.
fn weather(seed: u64) -> Weather {
    let asked = std::env::var("BROKERD_HISTORIES_STORM").unwrap_or_default();
    let is_storm = asked == "1" || asked != "0" && seed.is_multiple_of(2);
    if is_storm { Weather::Storm } else { Weather::Calm }
}

fn lines(broken: &[Broken]) -> String {
    broken.iter().take(10).map(|one| format!("# {:?}: {}\n", one.promise, one.what.replace('\n', "\n#   "))).collect()
}

/// Each file of `tests/histories` is a story that once broke a promise.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_once_broke_a_promise_does_not_again() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("histories");
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "story"));
    files.sort();
    assert!(!files.is_empty(), "there are stories");
    for file in files {
        let story: Story = std::fs::read_to_string(&file).unwrap().parse().unwrap();
        let broken = replay(&story, Abilities::NOW).await;
        assert!(broken.is_empty(), "{}:\n{}{story}", file.display(), lines(&broken));
    }
}
