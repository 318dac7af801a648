//! Keys and small values, as the scripts want them. Records are `format`'s.

use mqtt::PacketId;

use crate::record::{Sid, Stamp, UnixMillis};

/// 16 digits that sort as numbers do.
pub(super) fn sid(sid: Sid) -> String {
    format!("{:016x}", sid.0)
}

pub(super) fn read_sid(text: &[u8]) -> Option<Sid> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok().map(Sid)
}

/// 20 digits that sort as numbers do: Lua's own numbers end at 2^53.
pub(super) fn epoch(epoch: u64) -> String {
    format!("{epoch:020}")
}

pub(super) fn score(at: Option<UnixMillis>) -> String {
    at.map(|at| at.to_string()).unwrap_or_default()
}

pub(super) fn stamp(stamp: Stamp) -> [u8; 16] {
    (u128::from(stamp.hlc) << 64 | u128::from(stamp.node)).to_be_bytes()
}

pub(super) const fn sent(packet_id: PacketId, is_released: bool) -> [u8; 3] {
    let [high, low] = packet_id.get().to_be_bytes();
    [high, low, is_released as u8]
}

/// The lower end of a range of members that begin with a key: what is after that key.
pub(super) fn after(key: &[u8]) -> Vec<u8> {
    [b"(", key, &[0xFF]].concat()
}

/// What a field of a session's `flight` says.
pub(super) enum Flight {
    Sent { seq: u64, packet_id: PacketId, is_released: bool },
    Received(PacketId),
}

pub(super) fn flight(field: &[u8], value: &[u8]) -> Option<Flight> {
    match (field, value) {
        ([b's', seq @ ..], [high, low, released]) => Some(Flight::Sent {
            seq: u64::from_be_bytes(seq.try_into().ok()?),
            packet_id: PacketId::new(u16::from_be_bytes([*high, *low]))?,
            is_released: *released != 0,
        }),
        ([b'r', high, low], []) => PacketId::new(u16::from_be_bytes([*high, *low])).map(Flight::Received),
        _ => None,
    }
}
