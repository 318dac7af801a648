//! The files that say who may do what, for one node. Owns their directory; never starts the node.

use std::path::PathBuf;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};

use crate::node::NodeOptions;

/// Memory in KiB and passes of a check that takes no time.
const CHEAP: (u32, u32) = (8, 1);
/// Of one that takes about a second of a core.
const SLOW: (u32, u32) = (64 * 1024, 16);

/// A password file and an ACL file.
#[derive(Debug)]
pub struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    /// Users, whose passwords are their names, and rules.
    #[must_use]
    pub fn new(users: &[&str], rules: &str) -> Self {
        let files = Self { directory: tempfile::tempdir().expect("a directory") };
        files.write_users(users);
        files.write_rules(rules);
        files
    }

    /// Makes these the users.
    pub fn write_users(&self, users: &[&str]) {
        self.write_password_file(&users.iter().map(|name| line(name, CHEAP)).collect::<String>());
    }

    /// Adds a user whose password takes about a second to check.
    pub fn add_slow_user(&self, name: &str) {
        let text = std::fs::read_to_string(self.passwords()).expect("a file") + &line(name, SLOW);
        self.write_password_file(&text);
    }

    fn write_password_file(&self, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(self.passwords(), text).expect("a file");
        std::fs::set_permissions(self.passwords(), std::fs::Permissions::from_mode(0o600)).expect("a mode");
    }

    /// Makes these the rules.
    pub fn write_rules(&self, rules: &str) {
        std::fs::write(self.rules(), rules).expect("a file");
    }

    /// `auth.password_file`
    #[must_use]
    pub fn passwords(&self) -> PathBuf {
        self.directory.path().join("passwords")
    }

    /// `auth.acl_file`
    #[must_use]
    pub fn rules(&self) -> PathBuf {
        self.directory.path().join("acl.conf")
    }

    /// A node that goes by these files.
    #[must_use]
    pub fn node(&self) -> NodeOptions {
        NodeOptions::alone("n1")
            .set("auth.password_file", &self.passwords().display().to_string())
            .set("auth.acl_file", &self.rules().display().to_string())
    }
}

fn line(name: &str, (memory, passes): (u32, u32)) -> String {
    let params = Params::new(memory, passes, 1, None).expect("parameters that argon2id has");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: PasswordHash = argon2.hash_password(name.as_bytes()).expect("a hash");
    format!("{name}:{hash}\n")
}
