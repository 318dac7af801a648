//! The codec against a corpus of frames made by hand, against mqttbytes and mqtt-proto, and against a million mutants.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod corpus;
mod data;
mod decoded;
mod differential;
mod encoded;
mod exchange;
mod generated;
mod mutants;
mod notation;
mod oracle;
mod round_trip;
mod third;

use mqtt::codec::Limits;

/// What the corpus is read with: generous, so that only the frames about limits meet them.
const LIMITS: Limits = Limits {
    max_packet_size: 70_000,
    max_topic_len: 65_000,
    max_filter_len: 65_000,
    max_topic_levels: 20,
    max_user_properties: 20,
};
