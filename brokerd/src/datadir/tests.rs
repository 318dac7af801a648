#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::os::unix::fs::PermissionsExt;

use super::*;

fn parent() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_missing_directory_is_made_for_its_owner_only() {
    let parent = parent();
    let path = parent.path().join("state/brokerd/b1");
    let _dir = DataDir::open(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_second_opening_is_refused_by_key_and_process_until_the_first_ends() {
    let parent = parent();
    let first = DataDir::open(parent.path()).unwrap();
    let told = DataDir::open(parent.path()).unwrap_err().to_string();
    let wanted = format!(
        "node.data_dir = {}: in use by another brokerd (process {}); give each node its own",
        parent.path().display(),
        std::process::id()
    );
    assert_eq!(told, wanted);
    drop(first);
    DataDir::open(parent.path()).unwrap();
}

#[test]
fn a_path_that_cannot_be_a_directory_is_named_with_its_key() {
    let parent = parent();
    let file = parent.path().join("file");
    std::fs::write(&file, "").unwrap();
    let told = DataDir::open(&file.join("data")).unwrap_err().to_string();
    assert!(told.starts_with(&format!("node.data_dir = {}/data: cannot make", file.display())), "{told}");
}

#[test]
fn generations_rise_over_restarts_also_when_the_clock_goes_back() {
    let parent = parent();
    let dir = DataDir::open(parent.path()).unwrap();
    assert_eq!(dir.next_generation(1_000).unwrap(), 1_000);
    assert_eq!(dir.next_generation(1_000).unwrap(), 1_001);
    drop(dir);
    let dir = DataDir::open(parent.path()).unwrap();
    assert_eq!(dir.next_generation(5).unwrap(), 1_002, "the clock went back");
    assert_eq!(dir.next_generation(2_000).unwrap(), 2_000);
}

#[test]
fn the_high_water_survives_and_never_falls() {
    let parent = parent();
    let dir = DataDir::open(parent.path()).unwrap();
    assert_eq!(dir.high_water(), 0);
    dir.save_high_water(9).unwrap();
    dir.save_high_water(7).unwrap();
    drop(dir);
    assert_eq!(DataDir::open(parent.path()).unwrap().high_water(), 9);
}

#[test]
fn what_is_said_of_deletions_survives_and_is_not_there_before_it_is_said() {
    let parent = parent();
    let dir = DataDir::open(parent.path()).unwrap();
    assert_eq!(dir.retained(), None);
    dir.save_retained(5, 0).unwrap();
    dir.save_retained(3, 9).unwrap();
    drop(dir);
    assert_eq!(DataDir::open(parent.path()).unwrap().retained(), Some((3, 9)));
}

#[test]
fn seeds_are_remembered_once_each_and_forgotten_on_demand() {
    let parent = parent();
    let dir = DataDir::open(parent.path()).unwrap();
    for seed in ["a:1", "b.example.org:2", "[::1]:3", "a:1"] {
        dir.remember_seed(seed).unwrap();
    }
    drop(dir);
    let dir = DataDir::open(parent.path()).unwrap();
    assert_eq!(dir.seeds(), ["b.example.org:2", "[::1]:3", "a:1"]);
    dir.forget_cluster().unwrap();
    drop(dir);
    assert_eq!(DataDir::open(parent.path()).unwrap().seeds(), [""; 0]);
}

#[test]
fn the_seeds_are_bounded_and_the_oldest_goes() {
    let parent = parent();
    let dir = DataDir::open(parent.path()).unwrap();
    let longest = |n: usize| format!("{n:0>253}:65535");
    for n in 0..=MOST_SEEDS {
        dir.remember_seed(&longest(n)).unwrap();
    }
    drop(dir);
    let seeds = DataDir::open(parent.path()).unwrap().seeds();
    assert_eq!((seeds.len(), seeds[0].clone()), (MOST_SEEDS, longest(1)));
}

#[test]
fn peers_are_remembered_as_they_were_last_and_forgotten_with_the_seeds() {
    let parent = parent();
    let dir = DataDir::open(parent.path()).unwrap();
    let many: Vec<String> = (1..=MOST_SEEDS + 1).map(|n| format!("a:{n}")).collect();
    dir.remember_peers(&many).unwrap();
    assert_eq!(dir.peers(), many[..MOST_SEEDS]);
    dir.remember_peers(&["[::1]:3".into(), "no address".into(), "b:2".into()]).unwrap();
    drop(dir);
    let dir = DataDir::open(parent.path()).unwrap();
    assert_eq!(dir.peers(), ["[::1]:3", "b:2"]);
    dir.forget_cluster().unwrap();
    drop(dir);
    assert_eq!(DataDir::open(parent.path()).unwrap().peers(), [""; 0]);
}

#[test]
fn what_is_no_seed_is_refused_and_does_not_reach_the_file() {
    let parent = parent();
    let dir = DataDir::open(parent.path()).unwrap();
    for wrong in ["", "a", ":1", "a:", "a:0", "a:65536", "a b:1", "a\n:1", &format!("{}:1", "x".repeat(300))] {
        assert!(matches!(dir.remember_seed(wrong), Err(Error::BadSeed(_))), "{wrong:?}");
    }
    assert_eq!(dir.seeds(), [""; 0]);
}

#[test]
fn files_that_make_no_sense_are_set_aside_and_the_node_starts() {
    let parent = parent();
    let too_large = "a:1\n".repeat(100_000);
    for (name, text) in [
        ("generation", &b"12"[..]),
        ("generation", b""),
        ("generation", b"18446744073709551615\n"),
        ("hlc", b"x\n"),
        ("seeds", b"a:1\nb:"),
        ("seeds", b"\xff\xfe\n"),
        ("seeds", too_large.as_bytes()),
        ("peers", b"a:1\nb:"),
    ] {
        std::fs::write(parent.path().join(name), text).unwrap();
        let dir = DataDir::open(parent.path()).unwrap();
        assert_eq!((dir.high_water(), dir.seeds(), dir.peers()), (0, vec![], vec![]), "{name}");
        let aside = std::fs::read(parent.path().join(format!("{name}.corrupt"))).expect("set aside");
        assert_eq!(aside, text, "{name}");
        assert!(!parent.path().join(name).exists(), "{name}");
        assert_eq!(dir.next_generation(3).unwrap(), 3);
        dir.remember_seed("a:1").unwrap();
        dir.forget_cluster().unwrap();
        std::fs::remove_file(parent.path().join("generation")).unwrap();
    }
}

#[test]
fn a_write_that_fails_changes_nothing() {
    let parent = parent();
    let dir = DataDir::open(parent.path()).unwrap();
    dir.remember_seed("a:1").unwrap();
    // A directory where the temporary file should be: what a full disk does, without one.
    std::fs::create_dir(parent.path().join("seeds.new")).unwrap();
    let told = dir.remember_seed("b:2").unwrap_err().to_string();
    assert!(told.contains("cannot write") && told.contains("/seeds"), "{told}");
    assert_eq!(dir.seeds(), ["a:1"]);
}
