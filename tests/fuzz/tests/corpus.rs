//! Every input that the fuzzers were given or found passes its target, without a fuzzer.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use fuzz::TARGETS;

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(folder(target)).unwrap_or_else(|error| panic!("{target}: {error}"));
    files.map(|file| file.unwrap().path()).map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let folders = std::fs::read_dir(folder("")).unwrap();
    let folders: BTreeSet<String> = folders.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(targets, folders);
}

#[test]
fn the_corpus_is_small() {
    let sizes = TARGETS.iter().flat_map(|(name, _)| inputs(name)).map(|(_, bytes)| bytes.len());
    let (count, bytes) = sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size));
    assert!(count > 100 && bytes < 1_000_000, "{count} inputs of {bytes} bytes");
}

#[test]
fn every_input_of_the_corpus_passes_its_target() {
    for (name, target) in TARGETS {
        for (path, bytes) in inputs(name) {
            let passed = std::panic::catch_unwind(|| target(&bytes));
            assert!(passed.is_ok(), "{name}: {}", path.display());
        }
    }
}
