//! `brokerctl passwd`, as a process: the file it leaves is one that brokerd reads, and only its owner.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use brokerd::access::{Access, Credentials, Denied, Principal};
use brokerd::config::Auth;

fn passwd(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_brokerctl"))
        .arg("passwd")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input); // it may end before it reads
    child.wait_with_output().unwrap()
}

/// Runs it well, and answers what it printed.
fn done(args: &[&str], input: &[u8]) -> String {
    let output = passwd(args, input);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(args: &[&str], input: &[u8]) -> (i32, String) {
    let output = passwd(args, input);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

async fn login(path: &Path, name: &str, password: &[u8]) -> Result<Principal, Denied> {
    let (password_file, acl_file) = (Some(path.to_owned()), None);
    let auth = Auth { password_file, acl_file, hash_threads: 1, hash_queue: 1, cache_size: 0 };
    let credentials =
        Credentials { username: Some(name.into()), password: Some(password.into()), may_be_anonymous: false };
    Access::load(&auth).unwrap().authenticate(credentials).await
}

fn file() -> (tempfile::TempDir, PathBuf, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("passwords");
    let text = path.display().to_string();
    (dir, path, text)
}

#[tokio::test]
async fn a_user_is_added_changed_and_deleted() {
    let (dir, path, file) = file();
    let user = |name: &str| Ok(Principal::User(name.into()));
    assert_eq!(done(&["--stdin", &file, "ann"], b"first\n"), format!("ann added to {file}\n"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    done(&["--stdin", &file, "bob b"], b"his");
    assert_eq!(login(&path, "ann", b"first").await, user("ann"));
    let before = std::fs::read_to_string(&path).unwrap();
    assert_eq!(done(&["--stdin", &file, "ann"], b"second\r\n"), format!("ann changed in {file}\n"));
    assert_eq!(login(&path, "ann", b"second").await, user("ann"));
    assert_eq!(login(&path, "ann", b"first").await, Err(Denied::BadUserNameOrPassword));
    assert_eq!(login(&path, "bob b", b"his").await, user("bob b"));
    let after = std::fs::read_to_string(&path).unwrap();
    assert_eq!(before.lines().nth(1), after.lines().nth(1), "bob's line was touched");
    assert_eq!(
        done(&["-o", "json", "--delete", &file, "ann"], b""),
        "{\n  \"user\": \"ann\",\n  \"change\": \"deleted\"\n}\n"
    );
    assert_eq!(login(&path, "ann", b"second").await, Err(Denied::BadUserNameOrPassword));
    assert_eq!(refused(&["--delete", &file, "ann"], b"").0, 4);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["passwords"]);
}

#[test]
fn comments_and_the_mode_of_the_file_stay() {
    let (_dir, path, file) = file();
    std::fs::write(&path, "# people\n\n# ann:not me").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    done(&["--stdin", &file, "ann"], b"hers");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("# people\n\n# ann:not me\nann:$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn what_cannot_be_done_is_refused_and_changes_nothing() {
    let (_dir, path, file) = file();
    for (args, input, wanted) in [
        (&["--stdin", &file, "a:b"][..], &b"x"[..], "has no colon"),
        (&["--stdin", &file, "#a"], b"x", "does not begin with #"),
        (&["--stdin", &file, ""], b"x", "is not empty"),
        (&["--stdin", &file, "ann"], b"", "1 to 65535 bytes"),
        (&["--stdin", &file, "ann"], b"two\nlines\n", "more than one line"),
        (&["--stdin", &file, "ann"], &[b'x'; 65_536], "1 to 65535 bytes"),
        (&[&file, "ann"], b"x", "give the password to --stdin"),
        (&[&file, "ann", "hunter2"], b"x", "unexpected argument"),
    ] {
        let (code, told) = refused(args, input);
        assert!(code == 2 && told.contains(wanted), "{args:?}: {code}, {told}");
        assert!(!path.exists(), "{args:?} made the file");
    }
    std::fs::write(&path, "ann:x\nbob:x\nann:y\n").unwrap();
    let (code, told) = refused(&["--delete", &file, "ann"], b"");
    assert!(code == 1 && told.contains("in lines 1 and 3"), "{code}, {told}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "ann:x\nbob:x\nann:y\n");
}

#[test]
fn two_edits_at_a_time_do_not_lose_a_user() {
    let (dir, _path, file) = file();
    std::fs::write(dir.path().join("passwords.new"), "").unwrap();
    let (code, told) = refused(&["--stdin", &file, "ann"], b"x");
    assert!(code == 1 && told.contains("another brokerctl is at work"), "{code}, {told}");
    assert!(dir.path().join("passwords.new").exists(), "the other one's lock was taken away");
}
