//! The check itself: each way in which a table can be wrong is found, and a table that is right is not.

use std::fs;

use tempfile::TempDir;

use crate::statements::{Section, Specification, section};
use crate::table::{Counts, counts, problems};

const SPECIFICATION: Specification = Specification {
    name: "a specification",
    table: "nowhere",
    sections: &[section("1.2.3", 2), Section { number: "1.2.4", highest: 3, gaps: &[2] }],
};

const GOOD: &str = "
# A table

| id | who | asks | proof |
|---|---|---|---|
| MQTT-1.2.3-1 | server | One thing. | `tests/a.rs::it_holds`<br>`mqtt/codec/data/b.rs::a frame` |
| MQTT-1.2.3-2 | client | Another. | - what a client sends |
| MQTT-1.2.4-1 | other | A third. | - we are no bridge |
| MQTT-1.2.4-3 | both | A fourth. | shortfall: not yet |
";

/// The problems of `GOOD` with `from` replaced by `to`.
fn problems_with(from: &str, to: &str) -> Vec<String> {
    assert!(GOOD.contains(from), "nothing to break: {from}");
    let root = TempDir::new().unwrap();
    fs::create_dir_all(root.path().join("tests")).unwrap();
    fs::create_dir_all(root.path().join("mqtt/codec/data")).unwrap();
    let tests = "
#[tokio::test]
async fn it_holds() {}
#[test]
#[ignore = \"slow\"]
fn it_is_ignored() {}
/// What others use.
fn it_is_a_helper() {}
proptest! {
    // It may look so.
    #[test]
    // Between.
    fn it_is_a_property(x in 0..1) {}
}
";
    fs::write(root.path().join("tests/a.rs"), tests).unwrap();
    let corpus = "(V3, \"1.2\", \"a frame\", \"30 <>\", Truncated),
        (V3, \"1.2\", \"twice\", \"30 <>\", Truncated),
        (V3, \"1.3\", \"twice\", \"31 <>\", Truncated),";
    fs::write(root.path().join("mqtt/codec/data/b.rs"), corpus).unwrap();
    problems(&SPECIFICATION, &GOOD.replace(from, to), root.path())
}

#[test]
fn a_table_that_is_right_has_no_problem() {
    assert_eq!(problems_with("it_holds", "it_holds"), Vec::<String>::new());
    assert_eq!(problems_with("it_holds", "it_is_a_property"), Vec::<String>::new());
    assert_eq!(problems_with("shortfall: not", "`tests/a.rs::it_holds`<br>shortfall: not"), Vec::<String>::new());
}

#[test]
fn rows_are_counted_by_their_kind() {
    let half = GOOD.replace("a frame` |", "a frame`<br>shortfall: not everywhere |");
    assert_eq!(counts(&half), Counts { statements: 4, proven: 0, client: 1, other: 1, shortfalls: 2 });
    assert_eq!(counts(GOOD), Counts { statements: 4, proven: 1, client: 1, other: 1, shortfalls: 1 });
}

#[test]
fn a_statement_without_a_row_is_named_and_so_is_one_with_two_and_one_that_is_none() {
    let missing = "| MQTT-1.2.3-2 | client | Another. | - what a client sends |\n";
    assert_eq!(problems_with(missing, ""), ["MQTT-1.2.3-2: has no row"]);
    assert_eq!(problems_with(missing, &missing.repeat(2)), ["MQTT-1.2.3-2: has 2 rows"]);
    assert_eq!(
        problems_with("MQTT-1.2.4-3", "MQTT-1.2.4-2"),
        ["MQTT-1.2.4-3: has no row", "MQTT-1.2.4-2: is no statement of a specification"]
    );
}

#[test]
fn a_proof_that_is_none_is_named() {
    for (name, problem) in [
        ("tests/a.rs::it_hold", "`it_hold` is no function in `tests/a.rs`"),
        ("tests/a.rs::it_is_ignored", "`it_is_ignored` is ignored in `tests/a.rs`"),
        ("tests/a.rs::it_is_a_helper", "`it_is_a_helper` is no test in `tests/a.rs`"),
        ("tests/c.rs::it_holds", "there is no file `tests/c.rs`"),
        ("it_holds", "`it_holds` is not `file::test`"),
        ("mqtt/codec/data/b.rs::frame", "`frame` is no row in `mqtt/codec/data/b.rs`"),
        ("mqtt/codec/data/b.rs::twice", "`twice` is more than one row in `mqtt/codec/data/b.rs`"),
    ] {
        assert_eq!(problems_with("tests/a.rs::it_holds", name), [format!("MQTT-1.2.3-1: {problem}")]);
    }
}

#[test]
fn a_row_that_says_too_little_is_named() {
    let fourth = "both | A fourth. | shortfall: not yet |";
    assert_eq!(problems_with(fourth, "both | A fourth. | - it is hard |"), ["MQTT-1.2.4-3: has no proof"]);
    assert_eq!(problems_with(fourth, "server | A fourth. | |"), ["MQTT-1.2.4-3: has no proof"]);
    assert_eq!(problems_with(fourth, "both |  | shortfall: not yet |"), ["MQTT-1.2.4-3: does not say what it asks"]);
    assert_eq!(problems_with(fourth, "both | A | fourth. | - |"), ["MQTT-1.2.4-3: has 5 cells, not 4"]);
    assert_eq!(problems_with("- we are no bridge", "-"), ["MQTT-1.2.4-1: has neither a proof nor a reason"]);
    assert_eq!(
        problems_with("client |", "clients |"),
        ["MQTT-1.2.3-2: concerns `clients`: neither server, client, both nor other"]
    );
}
