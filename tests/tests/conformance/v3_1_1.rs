//! The statements of MQTT 3.1.1, as its Appendix B counts them.

use crate::statements::{Section, Specification, section};

/// OASIS Standard of 29 October 2014.
pub(crate) const V3_1_1: Specification =
    Specification { name: "MQTT 3.1.1", table: "docs/conformance-3.1.1.md", sections: SECTIONS };

const SECTIONS: &[Section] = &[
    section("1.5.3", 3),
    section("2.2.2", 2),
    section("2.3.1", 7),
    section("3.1.0", 2),
    section("3.1.2", 24),
    section("3.1.3", 11),
    section("3.1.4", 5),
    section("3.2.0", 1),
    section("3.2.2", 6),
    section("3.3.1", 12),
    section("3.3.2", 3),
    section("3.3.4", 1),
    section("3.3.5", 2),
    section("3.6.1", 1),
    section("3.8.1", 1),
    section("3.8.3", 4),
    section("3.8.4", 6),
    section("3.9.3", 2),
    section("3.10.1", 1),
    section("3.10.3", 2),
    section("3.10.4", 6),
    section("3.12.4", 1),
    section("3.14.1", 1),
    section("3.14.4", 3),
    section("4.1.0", 2),
    section("4.3.1", 1),
    section("4.3.2", 2),
    section("4.3.3", 2),
    section("4.4.0", 1),
    section("4.5.0", 2),
    section("4.6.0", 6),
    section("4.7.1", 3),
    section("4.7.2", 1),
    section("4.7.3", 4),
    section("4.8.0", 2),
    section("6.0.0", 4),
    section("7.0.0", 2),
    section("7.1.1", 1),
    section("7.1.2", 1),
];
