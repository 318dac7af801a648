//! The tests that `docs/bad-input.md` names exist.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

const DOCUMENT: &str = include_str!("../../docs/bad-input.md");

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// Names in backticks in the last cell of each row of a section.
fn named(section: &str) -> Vec<&'static str> {
    let (_, text) = DOCUMENT.split_once(section).unwrap_or_else(|| panic!("no section `{section}`"));
    let text = text.split_once("\n## ").map_or(text, |(this, _)| this);
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.trim_end_matches([' ', '|']).rsplit_once(" | ").map(|(_, cell)| cell));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_test_that_the_table_of_wire_and_sessions_names_exists() {
    let mut files = vec![];
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut files);
    let all: String = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let named = named("\n## Wire and sessions\n");
    assert!(named.len() > 40, "{} names were found", named.len());
    let missing: Vec<_> = named.iter().filter(|name| !all.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}
