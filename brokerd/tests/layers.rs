//! Holds every room's imports against the table of `docs/architecture.md`. An import outside it needs a decision record.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Which rooms of `brokerd` a room may import. Whoever is not named here is the composition root and may import all.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("access", &["config"]),
    (
        "admin",
        &["alarms", "cluster", "config", "drain", "listener", "metrics", "registry", "retain", "router", "worker"],
    ),
    ("alarms", &[]),
    ("cli", &["access", "config"]),
    ("cluster", &["alarms", "config", "metrics", "registry", "retain", "router"]),
    ("config", &[]),
    ("datadir", &[]),
    ("drain", &["listener", "registry", "worker"]),
    ("health", &["registry"]),
    ("limits", &[]),
    ("listener", &["config", "transport"]),
    ("metrics", &[]),
    ("registry", &[]),
    ("retain", &["config"]),
    ("router", &[]),
    ("shutdown", &[]),
    ("sys", &["metrics", "retain", "router"]),
    ("telemetry", &[]),
    ("transport", &[]),
    ("worker", &["access", "config", "listener", "metrics", "registry", "retain", "router", "transport"]),
];

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The rooms named after `crate::`, in `use` lines (grouped ones too) and in paths.
fn imports(text: &str) -> BTreeSet<String> {
    let name = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut rooms = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => {
                let mut depth = 0;
                for part in group.split_inclusive([',', '{', '}']) {
                    if depth == 0 {
                        rooms.insert(name(part.trim()));
                    }
                    depth += i32::from(part.ends_with('{')) - i32::from(part.ends_with('}'));
                    if depth < 0 {
                        break;
                    }
                }
            }
            None => {
                rooms.insert(name(rest));
            }
        }
    }
    rooms.remove("");
    rooms
}

#[test]
fn every_room_imports_only_what_the_table_allows() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let table: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for file in files {
        let inside = file.strip_prefix(&source).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let room = first.trim_end_matches(".rs").to_owned();
        seen.insert(room.clone());
        if ["lib", "main", "broker"].contains(&room.as_str()) {
            continue;
        }
        let Some(allowed) = table.get(room.as_str()) else {
            wrong.push(format!("room `{room}` is not in the table"));
            continue;
        };
        for import in imports(&std::fs::read_to_string(&file).unwrap()) {
            let is_room = table.contains_key(import.as_str()) || import == "broker";
            if is_room && import != room && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{}: room `{room}` imports `{import}`", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen.len() > MAY_IMPORT.len() - 3, "only {seen:?} were read");
}

#[test]
fn a_grouped_import_is_seen() {
    let found = imports("use crate::{a::b, c::{d, e}, f};\nuse crate::g::h;\ncrate::i::j()");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a", "c", "f", "g", "i"]);
}

#[test]
fn the_table_has_no_circle() {
    let mut left: Vec<_> = MAY_IMPORT.to_vec();
    while !left.is_empty() {
        let names: BTreeSet<&str> = left.iter().map(|(room, _)| *room).collect();
        let before = left.len();
        left.retain(|(_, imports)| imports.iter().any(|import| names.contains(import)));
        assert!(left.len() < before, "a circle among {names:?}");
    }
}
