//! The cluster secret: where it may come from, and that it never shows.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::config::Secret;

fn secret_file(text: &[u8], mode: u32) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    let assignment = format!("cluster.secret_file={}", path.display());
    (dir, assignment)
}

#[test]
fn what_is_typed_needs_no_quotes_and_a_secret_may_look_like_a_number() {
    for (typed, meant) in [
        ("1234567890123456", "1234567890123456"),
        ("0x12345678901234567", "0x12345678901234567"),
        ("[1, 2, 3, 4, 5, 6]", "[1, 2, 3, 4, 5, 6]"),
        ("\"in quotes, of TOML\"", "in quotes, of TOML"),
        ("no quotes = no harm", "no quotes = no harm"),
    ] {
        let by_flag = accepted(&with_set(&[&format!("cluster.secret={typed}")]));
        assert_eq!(by_flag.cluster.secret, Some(Secret::new(meant.into())), "{typed}");
        let by_variable = accepted(&with_variables(&[("BROKERD_CLUSTER__SECRET", typed)]));
        assert_eq!(by_variable.cluster.secret, Some(Secret::new(meant.into())), "{typed}");
    }
}

#[test]
fn a_secret_file_is_read_without_its_line_end() {
    let (_dir, assignment) = secret_file(b"sixteen bytes or more\r\n", 0o640);
    let config = accepted(&with_set(&[&assignment]));
    assert_eq!(config.cluster.secret, Some(Secret::new("sixteen bytes or more".into())));
}

#[test]
fn a_secret_file_that_others_may_read_is_refused_with_how_to_mend_it() {
    let (_dir, assignment) = secret_file(b"sixteen bytes or more", 0o644);
    let told = refused(&with_set(&[&assignment]));
    assert!(told.contains("(mode 0644): chmod o-rw it"), "{told}");
}

#[test]
fn a_secret_file_that_cannot_serve_says_why() {
    let (dir, assignment) = secret_file(b"short\n", 0o600);
    assert!(refused(&with_set(&[&assignment])).contains("the secret has 5 bytes, allowed is 16 or more"));
    let missing = format!("cluster.secret_file={}/none", dir.path().display());
    assert!(refused(&with_set(&[&missing])).contains("cannot be read: No such file"));
    let directory = format!("cluster.secret_file={}", dir.path().display());
    assert!(refused(&with_set(&[&directory])).contains("is not a regular file"));
    let (_dir, assignment) = secret_file(&[0xff; 32], 0o600);
    assert!(refused(&with_set(&[&assignment])).contains("cannot be read: stream did not contain valid UTF-8"));
    let (_dir, assignment) = secret_file(&[b'x'; 70_000], 0o600);
    assert!(refused(&with_set(&[&assignment])).contains("over 64 KiB"));
}

#[test]
fn further_lines_of_a_secret_file_are_accepted_beside_the_first() {
    let (_dir, assignment) = secret_file(b"sixteen bytes or more\nanother one, as long\r\n", 0o600);
    let config = accepted(&with_set(&[&assignment, "cluster.accept_secrets=and this third one"]));
    let expected = ["and this third one", "another one, as long"].map(|text| Secret::new(text.into()));
    assert_eq!(config.cluster.secret, Some(Secret::new("sixteen bytes or more".into())));
    assert_eq!(config.cluster.accept_secrets, expected);
}

#[test]
fn secrets_that_are_accepted_are_as_long_as_the_first_and_few() {
    let secret = "cluster.secret=sixteen bytes or more";
    let short = refused(&with_set(&[secret, "cluster.accept_secrets=short"]));
    assert!(short.contains("cluster.accept_secrets") && short.contains("the secret has 5 bytes"), "{short}");
    let (_dir, assignment) = secret_file(&b"sixteen bytes or more\n".repeat(5), 0o600);
    assert!(refused(&with_set(&[&assignment])).contains("4 secrets are accepted beside the first, allowed are 3"));
    let alone = refused(&with_set(&["cluster.accept_secrets=sixteen bytes or more"]));
    assert!(alone.contains("there is no clustering without a secret"), "{alone}");
    let (_dir, assignment) = secret_file(b"sixteen bytes or more\n\n\n", 0o600);
    assert!(accepted(&with_set(&[&assignment])).cluster.accept_secrets.is_empty(), "empty lines at its end");
}

#[test]
fn two_secrets_are_one_too_many() {
    let (_dir, assignment) = secret_file(b"sixteen bytes or more", 0o600);
    let told = refused(&with_set(&[&assignment, "cluster.secret=sixteen bytes or more"]));
    assert!(told.contains("cluster.secret is given too"), "{told}");
}

#[test]
fn seeds_without_a_secret_are_refused_with_the_command_that_makes_one() {
    let told = refused(&Sources { seeds: vec!["a:1".into()], ..machine() });
    assert!(told.contains("cluster.seeds = [\"a:1\"] (--seed)") && told.contains("brokerctl cluster keygen"), "{told}");
}

#[test]
fn a_cluster_on_every_address_must_say_which_one_peers_dial() {
    let set = ["cluster.secret=sixteen bytes or more", "cluster.bind=0.0.0.0:7946"];
    assert!(refused(&with_set(&set)).contains("set cluster.advertise"));
    accepted(&with_set(&[set[0], set[1], "cluster.advertise=10.0.0.1:7946"]));
}

#[test]
fn no_message_shows_a_secret() {
    for sources in [
        with_set(&["cluster.secret=hunter2"]),
        with_set(&["cluster.secert=hunter2hunter2hunter2"]),
        with_set(&["cluster.secret=hunter2hunter2hunter2", "cluster.secret_file=/x"]),
        with_file("[cluster]\nsecret = ['hunter2hunter2hunter2']"),
        with_set(&["cluster.secret=sixteen bytes or more", "cluster.accept_secrets=hunter2"]),
        with_file("[cluster]\nsecret = 'sixteen bytes or more'\naccept_secrets = 'hunter2hunter2hunter2'"),
        with_variables(&[("BROKERD_CLUSTER_SECRET", "hunter2hunter2hunter2")]),
    ] {
        let told = refused(&sources);
        assert!(!told.contains("hunter2"), "{told}");
    }
    let config = accepted(&with_set(&["cluster.secret=hunter2hunter2hunter2"]));
    assert!(!format!("{config:?}").contains("hunter2"));
}
