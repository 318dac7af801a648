//! `disk` after a power cut, simulated: what was synced is there, of the sectors of the write under way any may be, and
//! nothing else was. Sound for the journal, which is what a commit writes; a cut while the engine writes or merges its
//! tables is not simulated, nor one that loses names of files.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mqtt::{Message, Qos};
use store::{Backend, Body, Claim, DiskSettings, Entry, Op, Sid};

const BATCHES: u64 = 40;
const IN_BATCH: u64 = 10;
const SECTOR: usize = 512;

fn open(directory: &Path) -> Arc<dyn Backend> {
    store::disk(&DiskSettings { reserve: 0, ..DiskSettings::new(directory.to_owned()) }).unwrap()
}

async fn claim(store: &Arc<dyn Backend>) -> Sid {
    let claim = Claim { client_id: "one".into(), epoch: 1, node: "a".into(), is_clean: false, held: None };
    store.claim(&claim).await.unwrap().sid
}

async fn write(store: &Arc<dyn Backend>, sid: Sid, batch: u64) {
    let seqs = batch * IN_BATCH + 1..=(batch + 1) * IN_BATCH;
    let enqueue = |seq: u64| {
        let message = Arc::new(Message::new("a/b", &[], &vec![seq as u8; (seq * 911 % 4000) as usize]));
        let (qos, body) = (Qos::AtLeastOnce, Body::Inline(message));
        let entry =
            Entry { qos, retain: false, subscription_ids: Box::default(), shared: None, expires_at: None, body };
        Op::Enqueue { sid, epoch: 1, seq, entry }
    };
    let ops: Vec<Op> = seqs.map(enqueue).collect();
    store.apply(&[&ops], true).await.unwrap();
}

/// All files, without the zeros at their ends.
fn snapshot(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for file in std::fs::read_dir(next).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let mut bytes = std::fs::read(&path).unwrap();
                if path.extension().is_some_and(|extension| extension == "jnl") {
                    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
                }
                files.insert(path.strip_prefix(directory).unwrap().to_owned(), bytes);
            }
        }
    }
    files
}

/// A directory with these files, journals at their full size.
fn restore(files: &BTreeMap<PathBuf, Vec<u8>>) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            std::fs::File::options().write(true).open(&path).unwrap().set_len(64 << 20).unwrap();
        }
    }
    directory
}

async fn seqs(directory: &Path) -> Vec<u64> {
    let store = open(directory);
    let sid = claim(&store).await;
    store.fetch(sid, 0, usize::MAX, usize::MAX).await.unwrap().iter().map(|stored| stored.seq).collect()
}

/// A store with [`BATCHES`] batches: its files before and after the last, and where the journal of it is.
async fn before_and_after() -> (BTreeMap<PathBuf, Vec<u8>>, Vec<u8>, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let sid = claim(&store).await;
    for batch in 0..BATCHES - 1 {
        write(&store, sid, batch).await;
    }
    let before = snapshot(directory.path());
    write(&store, sid, BATCHES - 1).await;
    let after = snapshot(directory.path());
    let changed: Vec<&PathBuf> = after.keys().filter(|name| before.get(*name) != after.get(*name)).collect();
    assert_eq!(changed.len(), 1, "a commit writes the journal alone: {changed:?}");
    let journal = changed[0].clone();
    let written = after[&journal].clone();
    (before, written, journal)
}

#[tokio::test]
async fn a_write_that_a_power_cut_tore_is_there_whole_or_not_at_all() {
    let (before, written, journal) = before_and_after().await;
    let synced = before[&journal].len();
    let mut random = 20_261_122u64;
    for cut in 0..24 {
        let mut torn = before.clone();
        let mut bytes = before[&journal].clone();
        bytes.resize(written.len(), 0);
        let mut sectors = String::new();
        for from in (synced / SECTOR * SECTOR..written.len()).step_by(SECTOR) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // None, all, or any of the sectors; the last of them alone is the one that deceives best.
            let to = (from + SECTOR).min(written.len());
            let is_there = match cut {
                0 => false,
                1 => true,
                2 => to == written.len(),
                _ => !random.is_multiple_of(3),
            };
            sectors.push(if is_there { '1' } else { '0' });
            if is_there {
                bytes[from..to].copy_from_slice(&written[from..to]);
            }
        }
        torn.insert(journal.clone(), bytes);
        let directory = restore(&torn);
        let found = seqs(directory.path()).await;
        let all_but_last = (BATCHES - 1) * IN_BATCH;
        let expected = if sectors.contains('0') { all_but_last } else { all_but_last + IN_BATCH };
        assert!(found.iter().copied().eq(1..=expected), "sectors {sectors}: {expected} entries, not {found:?}");
        let again = seqs(directory.path()).await;
        assert_eq!(found, again, "sectors {sectors}: what was mended stays so");
    }
}

#[tokio::test]
async fn a_write_cut_off_at_any_byte_is_dropped() {
    let (before, written, journal) = before_and_after().await;
    let synced = before[&journal].len();
    for len in (synced + 1..written.len()).step_by((written.len() - synced) / 12) {
        let mut torn = before.clone();
        torn.insert(journal.clone(), written[..len].to_vec());
        let found = seqs(restore(&torn).path()).await;
        assert_eq!(found.len() as u64, (BATCHES - 1) * IN_BATCH, "cut off after {} bytes", len - synced);
    }
}

#[tokio::test]
async fn a_broken_batch_in_the_middle_is_set_aside_and_takes_no_other_along() {
    let (mut files, _, journal) = before_and_after().await;
    let bytes = files.get_mut(&journal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    let directory = restore(&files);
    let found = seqs(directory.path()).await;
    let expected = ((BATCHES - 2) * IN_BATCH) as usize;
    assert_eq!(found.len(), expected, "one batch is missing, and no more");
    assert!(found.is_sorted() && found.last() == Some(&((BATCHES - 1) * IN_BATCH)));
    let aside = std::fs::read_dir(directory.path().join("broken")).unwrap().count();
    assert_eq!(aside, 1, "what was broken is kept");
}
