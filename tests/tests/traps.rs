//! Each trap of the cluster protocol has a test that exists: the table in docs/testing.md names them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const TRAPS: usize = 18;

/// The rows of the table: number, and the tests as `path::name`.
fn rows(text: &str) -> Vec<(usize, Vec<String>)> {
    let row = |line: &str| {
        let number = line.strip_prefix("| ")?.split(' ').next()?.parse().ok()?;
        let names = line.split('`').filter(|span| span.contains(".rs::")).map(ToOwned::to_owned).collect();
        Some((number, names))
    };
    let (_, traps) = text.split_once("\n## The traps").expect("a section on the traps");
    traps.split("\n## ").next().unwrap_or_default().lines().filter_map(row).collect()
}

#[test]
fn every_trap_of_the_cluster_has_a_test_that_exists() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let rows = rows(&fs::read_to_string(root.join("docs/testing.md")).unwrap());
    let numbers: BTreeSet<usize> = rows.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=TRAPS).collect(), "a row for each trap");
    for (number, names) in rows {
        assert!(!names.is_empty(), "trap {number} names no test");
        for name in names {
            let (path, name) = name.split_once("::").unwrap();
            let source = fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(source.contains(&format!("fn {name}(")), "trap {number}: {path} has no test {name}");
        }
    }
}
