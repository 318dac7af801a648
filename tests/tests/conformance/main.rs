//! The tables of conformance miss no statement, and the tests that they name exist and run.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod broken;
mod statements;
mod table;
mod v3_1_1;
mod v5_0;

use std::fs;
use std::path::Path;

use statements::Specification;
use table::{counts, problems, unproven};

/// The specifications, each with its table.
const SPECIFICATIONS: &[Specification] = &[v3_1_1::V3_1_1, v5_0::V5_0];

/// The index: says how many statements each table answers, and how.
const INDEX: &str = "docs/conformance.md";

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn document(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_statement_has_a_row_and_every_row_a_test_that_runs() {
    for specification in SPECIFICATIONS {
        let problems = problems(specification, &document(specification.table), root());
        assert!(problems.is_empty(), "{}:\n{}", specification.table, problems.join("\n"));
    }
}

#[test]
fn the_index_counts_what_the_tables_hold() {
    let index = document(INDEX);
    for specification in SPECIFICATIONS {
        let counts = counts(&document(specification.table));
        let row = format!(
            "| {} | {} | {} | {} | {} | {} |",
            specification.name, counts.statements, counts.proven, counts.client, counts.other, counts.shortfalls
        );
        assert!(index.contains(&row), "{INDEX} does not have: {row}");
    }
}

#[test]
fn the_tests_that_the_index_names_exist() {
    let index = document(INDEX);
    let names: Vec<&str> = index.split('`').filter(|span| span.contains(".rs::")).collect();
    let problems: Vec<String> = names.iter().filter_map(|name| unproven(name, root())).collect();
    assert!(!names.is_empty() && problems.is_empty(), "{INDEX}:\n{}", problems.join("\n"));
}
