//! How rows are named. Numbers are big-endian, so that the order of bytes is theirs.

use crate::record::Sid;

/// The tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    /// `sid seq`: entries.
    Queue,
    /// By tag: [`SESSION`], [`OWNER`], [`CLIENT`], [`GARBAGE`].
    Sessions,
    /// `sid 0 seq`: sent and not finished; `sid 1 packet id`: received and not released.
    Flight,
    /// Message identity: messages that many entries name.
    Bodies,
    /// Topic: retained messages.
    Retained,
    /// Message identity: delayed messages.
    Delayed,
    /// Table number, key: records that could not be read.
    Quarantine,
}

/// All tables, in the order of their numbers.
pub(crate) const TABLES: [(Table, &str); 7] = [
    (Table::Queue, "queue"),
    (Table::Sessions, "sessions"),
    (Table::Flight, "flight"),
    (Table::Bodies, "bodies"),
    (Table::Retained, "retained"),
    (Table::Delayed, "delayed"),
    (Table::Quarantine, "quarantine"),
];

/// `s sid`: the session as saved.
pub(crate) const SESSION: u8 = b's';
/// `o sid`: its owner, epoch and client.
pub(crate) const OWNER: u8 = b'o';
/// `c client id`: its sid.
pub(crate) const CLIENT: u8 = b'c';
/// `g sid`: a session that is gone, whose rows are still to be removed.
pub(crate) const GARBAGE: u8 = b'g';

/// The row of an entry.
pub(crate) fn row(sid: Sid, seq: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&sid.0.to_be_bytes());
    key[8..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// Whose entry a row is; zeros where it is none.
pub(crate) fn of_row(key: &[u8]) -> (Sid, u64) {
    let number = |at: usize| key.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
    (Sid(number(0)), number(8))
}

/// A row of the table of sessions.
pub(crate) fn tagged(tag: u8, sid: Sid) -> [u8; 9] {
    let mut key = [tag; 9];
    key[1..].copy_from_slice(&sid.0.to_be_bytes());
    key
}

/// The sid in such a row.
pub(crate) fn of_tagged(key: &[u8]) -> Sid {
    Sid(key.get(1..9).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes))
}

/// The row of a client.
pub(crate) fn client(client_id: &str) -> Vec<u8> {
    let mut key = vec![CLIENT];
    key.extend_from_slice(client_id.as_bytes());
    key
}

/// The row of a message in flight.
pub(crate) fn sent(sid: Sid, seq: u64) -> [u8; 17] {
    let mut key = [0; 17];
    key[..8].copy_from_slice(&sid.0.to_be_bytes());
    key[9..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// The row of a packet id of the client.
pub(crate) fn received(sid: Sid, packet_id: u16) -> [u8; 11] {
    let mut key = [0; 11];
    key[..8].copy_from_slice(&sid.0.to_be_bytes());
    key[8] = 1;
    key[9..].copy_from_slice(&packet_id.to_be_bytes());
    key
}
