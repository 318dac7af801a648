//! The room from outside: files in, principals and answers out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::PasswordHash;

use super::*;

fn hashed(name: &str, password: &str) -> String {
    let cheap = argon2::Params::new(8, 1, 1, None).unwrap();
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cheap);
    let hash: PasswordHash = argon2.hash_password(password.as_bytes()).unwrap();
    format!("{name}:{hash}\n")
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

struct Fixture {
    dir: tempfile::TempDir,
    access: Access,
}

impl Fixture {
    fn new(passwords: &str, acl: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (password_file, acl_file) = (dir.path().join("passwords"), dir.path().join("acl"));
        write(&password_file, passwords);
        write(&acl_file, acl.unwrap_or_default());
        let config = config::Auth {
            password_file: Some(password_file),
            acl_file: acl.map(|_| acl_file),
            hash_threads: 1,
            hash_queue: 8,
            cache_size: 8,
        };
        Self { access: Access::load(&config).unwrap(), dir }
    }

    async fn login(
        &self,
        name: Option<&str>,
        password: Option<&str>,
        may_be_anonymous: bool,
    ) -> Result<Principal, Denied> {
        let credentials = Credentials {
            username: name.map(Into::into),
            password: password.map(|password| password.as_bytes().into()),
            may_be_anonymous,
        };
        self.access.authenticate(credentials).await
    }
}

fn user(name: &str) -> Principal {
    Principal::User(name.into())
}

#[tokio::test]
async fn the_right_password_makes_a_user_and_nothing_else_does() {
    let fixture = Fixture::new(&hashed("ann", "right"), None);
    let bad = Err(Denied::BadUserNameOrPassword);
    for _ in 0..2 {
        assert_eq!(fixture.login(Some("ann"), Some("right"), false).await, Ok(user("ann")));
        assert_eq!(fixture.login(Some("ann"), Some("wrong"), true).await, bad);
    }
    assert_eq!(fixture.login(Some("ann"), Some(""), true).await, bad);
    assert_eq!(fixture.login(Some("ann"), None, true).await, bad);
    assert_eq!(fixture.login(Some("bob"), Some("right"), true).await, bad, "the decoy's own password lets nobody in");
    assert_eq!(fixture.login(Some(""), Some("right"), true).await, bad);
}

#[tokio::test]
async fn who_gives_no_name_is_let_in_only_where_the_listener_says_so() {
    let fixture = Fixture::new(&hashed("ann", "right"), None);
    assert_eq!(fixture.login(None, None, false).await, Err(Denied::NotAuthorized));
    assert_eq!(fixture.login(None, None, true).await, Ok(Principal::Anonymous));
}

#[tokio::test]
async fn a_changed_line_ends_what_the_cache_remembers() {
    let fixture = Fixture::new(&hashed("ann", "old"), None);
    assert_eq!(fixture.login(Some("ann"), Some("old"), false).await, Ok(user("ann")));
    write(&fixture.dir.path().join("passwords"), &hashed("ann", "new"));
    assert_eq!(fixture.access.reload().unwrap(), Loaded { users: 1, rules: 0 });
    assert_eq!(fixture.login(Some("ann"), Some("old"), false).await, Err(Denied::BadUserNameOrPassword));
    assert_eq!(fixture.login(Some("ann"), Some("new"), false).await, Ok(user("ann")));
}

#[tokio::test]
async fn a_reload_that_fails_in_one_file_changes_neither() {
    let fixture = Fixture::new(&hashed("ann", "right"), Some("allow all all a"));
    let identity = Identity::new(user("ann"), [127, 0, 0, 1].into());
    write(&fixture.dir.path().join("passwords"), &hashed("bob", "right"));
    write(&fixture.dir.path().join("acl"), "allow all all b\nrubbish\n");
    let told = fixture.access.reload().unwrap_err().to_string();
    assert!(told.contains("`auth.acl_file`") && told.contains("line 2: "), "{told}");
    let rules = fixture.access.rules();
    assert!(rules.knows(&user("ann")) && !rules.knows(&user("bob")));
    assert!(rules.authorize("c", &identity, Action::Publish("a")));
    write(&fixture.dir.path().join("acl"), "allow all all b\n");
    assert_eq!(fixture.access.reload().unwrap(), Loaded { users: 1, rules: 1 });
    let rules = fixture.access.rules();
    assert!(!rules.knows(&user("ann")) && rules.knows(&user("bob")));
    assert!(
        !rules.authorize("c", &identity, Action::Publish("a")) && rules.authorize("c", &identity, Action::Publish("b"))
    );
}

/// CVE-2017-7652: a reload without a file descriptor left opened everything.
#[tokio::test]
async fn a_reload_that_cannot_open_a_file_leaves_users_and_rules_as_they_were() {
    for (file, key) in [("passwords", "`auth.password_file`"), ("acl", "`auth.acl_file`")] {
        let fixture = Fixture::new(&hashed("ann", "right"), Some("allow all all a"));
        let path = fixture.dir.path().join(file);
        std::fs::remove_file(&path).unwrap();
        let gone = fixture.access.reload().unwrap_err().to_string();
        std::fs::create_dir(&path).unwrap();
        let folder = fixture.access.reload().unwrap_err().to_string();
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, b"\xff\xfe").unwrap();
        let no_text = fixture.access.reload().unwrap_err().to_string();
        for told in [gone, folder, no_text] {
            assert!(told.contains(key) && told.contains(&*path.to_string_lossy()), "{told}");
        }
        let rules = fixture.access.rules();
        let identity = Identity::new(user("ann"), [127, 0, 0, 1].into());
        assert!(rules.knows(&user("ann")), "{file}: the users are gone");
        assert!(rules.authorize("c", &identity, Action::Publish("a")), "{file}: the rules are gone");
        assert!(!rules.authorize("c", &identity, Action::Publish("b")), "{file}: everything is open");
        assert_eq!(fixture.login(None, None, false).await, Err(Denied::NotAuthorized), "{file}: strangers come in");
        assert_eq!(fixture.login(Some("ann"), Some("right"), false).await, Ok(user("ann")));
    }
}

#[test]
fn nobody_publishes_in_the_broker_s_own_topics() {
    let fixture = Fixture::new("", Some("allow all all $SYS/# #"));
    let identity = Identity::new(Principal::Anonymous, [127, 0, 0, 1].into());
    for rules in [fixture.access.rules(), Arc::default()] {
        assert!(!rules.authorize("c", &identity, Action::Publish("$SYS/x")));
        assert!(!rules.authorize("c", &identity, Action::Publish("$SYS")));
        assert!(rules.authorize("c", &identity, Action::Publish("x")));
        assert!(rules.authorize("c", &identity, Action::Subscribe("$SYS/#")));
    }
}

#[test]
fn without_files_everything_but_the_broker_s_own_topics_is_allowed() {
    let config = config::Auth { password_file: None, acl_file: None, hash_threads: 0, hash_queue: 1, cache_size: 1 };
    let rules = Access::load(&config).unwrap().rules();
    assert!(!rules.restricts_subscribers() && rules.knows(&Principal::Anonymous));
}

#[test]
fn a_file_that_cannot_serve_says_which_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("passwords");
    let told = |path: &Path| {
        let (password_file, acl_file) = (Some(path.to_owned()), None);
        let config = config::Auth { password_file, acl_file, hash_threads: 1, hash_queue: 1, cache_size: 1 };
        Access::load(&config).err().expect("loaded").to_string()
    };
    assert!(told(&path).contains("cannot be read: No such file"), "{}", told(&path));
    assert!(told(dir.path()).contains("is not a regular file"));
    write(&path, "");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(told(&path).contains("`auth.password_file`") && told(&path).contains("(mode 0644): chmod o-rw it"));
    write(&path, "ann:hunter2\n");
    assert!(told(&path).contains("line 1: ") && !told(&path).contains("hunter2"), "{}", told(&path));
}
