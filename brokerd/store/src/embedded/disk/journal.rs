//! Looks at the engine's journals before it does. The engine drops everything after the first batch that it cannot
//! read, and opens nothing where a checksum is wrong: here only what is broken is taken out, kept aside, and said.
//! Never changes a batch.
//!
//! A commit waits for the one before it to be durable, so a power cut tears the last batch alone: what is intact behind
//! a broken one was durable once, and stays.

use std::fs::File;
use std::io::{Read, Result, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use crate::format::Reader;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8] = b"FJL\x03";
/// Where what was taken out is kept, beside the journals.
const ASIDE: &str = "broken";

/// Takes broken batches out of all journals in a directory.
pub(super) fn mend(directory: &Path) -> Result<()> {
    for file in std::fs::read_dir(directory)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            mend_one(directory, &path)?;
        }
    }
    Ok(())
}

fn mend_one(directory: &Path, path: &Path) -> Result<()> {
    let bytes = read(path)?;
    let (broken, end) = broken(&bytes);
    if broken.is_empty() {
        return Ok(());
    }
    let aside = directory.join(ASIDE);
    std::fs::create_dir_all(&aside)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for part in &broken {
        let (from, len) = (part.start, part.len());
        let kept = aside.join(format!("{name}.{from}"));
        std::fs::write(&kept, &bytes[part.clone()])?;
        let is_last = part.end == end;
        let what = if is_last { "a torn last write was dropped" } else { "a broken write was set aside" };
        tracing::error!(journal = %path.display(), from, len, kept = %kept.display(), "{what}");
    }
    let mut whole = Vec::with_capacity(end);
    let mut from = 0;
    for part in broken {
        whole.extend_from_slice(&bytes[from..part.start]);
        from = part.end;
    }
    whole.extend_from_slice(&bytes[from..end]);
    replace(directory, path, &whole)
}

/// A journal is made at its full size, so most of a new one is zeros: they are not read to the end.
fn read(path: &Path) -> Result<Vec<u8>> {
    const PIECE: usize = 1 << 20;
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        let got = (&mut file).take(PIECE as u64).read_to_end(&mut bytes)?;
        let is_blank = bytes[before..].iter().all(|byte| *byte == 0);
        if got == 0 {
            return Ok(bytes);
        }
        if is_blank && is_hole(&mut file, before as u64)? {
            bytes.truncate(before);
            return Ok(bytes);
        }
    }
}

/// Whether nothing was ever written from here on.
fn is_hole(file: &mut File, from: u64) -> Result<bool> {
    let at = file.stream_position()?;
    let data = rustix::fs::seek(&*file, rustix::fs::SeekFrom::Data(from));
    file.seek(SeekFrom::Start(at))?;
    Ok(data == Err(rustix::io::Errno::NXIO))
}

/// The new journal is whole before it has the name of the old one.
fn replace(directory: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let next: PathBuf = path.with_extension("mended");
    let mut file = File::create(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&next, path)?;
    File::open(directory)?.sync_all()
}

/// The parts that are not batches, and where the last thing that was written ends.
fn broken(bytes: &[u8]) -> (Vec<Range<usize>>, usize) {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let (mut parts, mut at): (Vec<Range<usize>>, usize) = (Vec::new(), 0);
    while at < end {
        if let Some(len) = batch(&bytes[at..]) {
            at += len;
            continue;
        }
        let next = (at + 1..end).find(|from| bytes[*from] == START && batch(&bytes[*from..]).is_some());
        let next = next.unwrap_or(end);
        parts.push(at..next);
        at = next;
    }
    (parts, end.max(at))
}

/// The length of the batch that begins here, if it is whole.
fn batch(bytes: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(bytes);
    if reader.u8().ok()? != START {
        return None;
    }
    let count = little(reader.take(4).ok()?);
    reader.take(8).ok()?;
    const HEAD: usize = 13;
    let mut at = HEAD;
    for _ in 0..count {
        let mut item = Reader::new(bytes.get(at..)?);
        at += match item.u8().ok()? {
            ITEM => {
                let fixed = item.take(20).ok()?; // type, compression, table, and three lengths
                let len = 21 + little(&fixed[10..12]) + little(&fixed[16..20]);
                item.take(len - 21).ok()?;
                len
            }
            CLEAR => item.take(8).ok().map(|_| 9)?,
            _ => return None,
        };
    }
    let mut trailer = Reader::new(bytes.get(at..)?);
    let is_end = trailer.u8().ok()? == END;
    let checksum = trailer.take(8).ok()?;
    let is_whole = is_end && checksum == xxh3_64(&bytes[HEAD..at]).to_le_bytes() && trailer.take(4).ok()? == TRAILER;
    is_whole.then_some(at + 13)
}

fn little(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
}
