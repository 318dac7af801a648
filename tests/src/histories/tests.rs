#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::step::Story;
use super::{Weather, generate};

#[test]
fn a_story_reads_back_from_its_lines_whatever_happens_in_it() {
    for seed in 0..300 {
        let story = generate(seed, 3 + seed as usize % 3, Weather::Storm);
        assert_eq!(story.to_string().parse::<Story>().unwrap(), story);
    }
}

#[test]
fn a_seed_has_one_story_and_another_seed_another_one() {
    assert_eq!(generate(7, 3, Weather::Storm), generate(7, 3, Weather::Storm));
    assert_ne!(generate(7, 3, Weather::Storm), generate(8, 3, Weather::Storm));
}

#[test]
fn a_line_that_is_no_step_is_refused_by_name() {
    let error = "nodes 3\nc1 flies".parse::<Story>().unwrap_err();
    assert!(error.contains("c1 flies"), "{error}");
}
