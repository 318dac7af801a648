//! The corpus: frames made by hand, each with the clause that it is about.

mod connect_invalid;
mod connect_valid;
mod invalid_v3;
mod invalid_v5;
mod valid;

pub(crate) use connect_invalid::CONNECT_INVALID;
pub(crate) use connect_valid::CONNECT_VALID;
pub(crate) use invalid_v3::INVALID_V3;
pub(crate) use invalid_v5::INVALID_V5;
pub(crate) use valid::VALID;

use mqtt::codec::Violation;
use mqtt::{ReasonCode, Version};

use crate::notation;

/// Versions that a frame is for.
pub(crate) type Versions = &'static [Version];
pub(crate) const ALL: Versions = &[Version::V31, Version::V311, Version::V5];
pub(crate) const V3: Versions = &[Version::V31, Version::V311];
pub(crate) const V31: Versions = &[Version::V31];
pub(crate) const V311: Versions = &[Version::V311];
pub(crate) const V5: Versions = &[Version::V5];

/// Versions, clause, what it is, the frame.
pub(crate) type Valid = (Versions, &'static str, &'static str, &'static str);
/// The same, and what the decoder says.
pub(crate) type Invalid = (Versions, &'static str, &'static str, &'static str, Violation);
/// Clause, what it is, the frame, its version.
pub(crate) type ConnectValid = (&'static str, &'static str, &'static str, Version);
/// Clause, what it is, the frame, what the decoder says, and the CONNACK to answer.
pub(crate) type ConnectInvalid = (&'static str, &'static str, &'static str, Violation, Option<(Version, ReasonCode)>);

/// Every frame of the corpus, as bytes, with the version to read it with; `None` for a first packet.
pub(crate) fn every_frame() -> Vec<(Option<Version>, Vec<u8>)> {
    let valid = VALID.iter().map(|row| (row.0, row.3));
    let invalid = INVALID_V3.iter().chain(INVALID_V5).map(|row| (row.0, row.3));
    let later = valid.chain(invalid).flat_map(|(versions, frame)| versions.iter().map(move |&v| (Some(v), frame)));
    let connect = CONNECT_VALID.iter().map(|row| row.2).chain(CONNECT_INVALID.iter().map(|row| row.2));
    later.chain(connect.map(|frame| (None, frame))).map(|(v, frame)| (v, notation::bytes(frame))).collect()
}

#[test]
fn the_corpus_has_250_frames_and_no_frame_twice() {
    let mut frames = every_frame();
    let count = frames.len();
    let distinct_texts =
        VALID.len() + INVALID_V3.len() + INVALID_V5.len() + CONNECT_VALID.len() + CONNECT_INVALID.len();
    assert!(distinct_texts >= 250, "{distinct_texts} frames, {count} with their versions");
    frames.sort();
    for pair in frames.windows(2) {
        assert_ne!(pair[0], pair[1], "twice in the corpus");
    }
}
