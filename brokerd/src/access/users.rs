//! The password file: who exists, and the hash of each one's password. Never sees a password.
//!
//! One line a user, `name:$argon2id$v=19$m=..,t=..,p=..$salt$hash`, as `brokerctl passwd` writes it; empty lines and
//! lines that begin with `#` are skipped.

use std::sync::Arc;

use argon2::Params;
use argon2::password_hash::phc::PasswordHash;
use hashbrown::HashMap;

use super::file::BadLine;

/// Kibibytes that one check of a password may take: times `auth.hash_threads`, it is what the pool takes.
const MOST_MEMORY: u32 = 1 << 20;
/// Passes over that memory.
const MOST_PASSES: u32 = 64;
/// Lanes.
const MOST_LANES: u32 = 16;
/// Bytes of a hash below which a wrong password may well fit.
const SHORTEST_HASH: usize = 16;
/// What a user that does not exist is checked against where nobody exists. No password is known to fit, and none would
/// be let in: the answer is not looked at.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGF0IGFsbA$bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm8";

/// The users.
#[derive(Debug, Default)]
pub(super) struct Users {
    /// To the place in `hashes`.
    names: HashMap<Arc<str>, u32>,
    hashes: Vec<Arc<str>>,
}

impl Users {
    /// Reads a whole file, or refuses it at the first line that is wrong: a line that was skipped would be a user who is
    /// locked out, or let in, by a slip of the pen.
    pub(super) fn parse(text: &str) -> Result<Self, BadLine> {
        let mut users = Self::default();
        for (at, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            users.add(line).map_err(|why| BadLine { line: at + 1, why })?;
        }
        Ok(users)
    }

    /// Messages never show the line: it may hold a password in the clear.
    fn add(&mut self, line: &str) -> Result<(), String> {
        let (name, hash) = line.split_once(':').ok_or("is not `name:$argon2id$...`")?;
        if name.is_empty() || name.len() > mqtt::topic::MAX_TEXT || name.contains(char::is_control) {
            return Err("the name is empty, too long or has control characters".into());
        }
        check(hash)?;
        let place = u32::try_from(self.hashes.len()).map_err(|_| "too many users")?;
        if self.names.insert(name.into(), place).is_some() {
            return Err(format!("user `{name}` is there twice"));
        }
        self.hashes.push(hash.into());
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// The name, shared, and the hash.
    pub(super) fn find(&self, name: &str) -> Option<(Arc<str>, Arc<str>)> {
        let (name, place) = self.names.get_key_value(name)?;
        Some((name.clone(), self.hashes.get(*place as usize)?.clone()))
    }

    /// The hash that a user who does not exist is checked against. One name always gets the same one, so that the time
    /// it takes looks like that of a user who exists.
    pub(super) fn decoy(&self, number: u64) -> Arc<str> {
        let place = number.checked_rem(self.hashes.len() as u64).and_then(|place| usize::try_from(place).ok());
        place.and_then(|place| self.hashes.get(place)).cloned().unwrap_or_else(|| NOBODY.into())
    }
}

/// Whether a hash is one that this version checks, at a cost that it can bear.
fn check(text: &str) -> Result<(), String> {
    let hash = PasswordHash::new(text).map_err(|_| "what follows the name is not a hash of `brokerctl passwd`")?;
    if hash.algorithm.as_str() != "argon2id" {
        return Err(format!("hash `{}` is not known; allowed is argon2id", hash.algorithm.as_str()));
    }
    if hash.version != Some(argon2::Version::V0x13 as u32) {
        return Err("the hash is not of version 19".into());
    }
    let params = Params::try_from(&hash).map_err(|_| "the hash has parameters that argon2id does not have")?;
    if params.m_cost() > MOST_MEMORY || params.t_cost() > MOST_PASSES || params.p_cost() > MOST_LANES {
        return Err(format!("the hash costs more than m={MOST_MEMORY},t={MOST_PASSES},p={MOST_LANES}"));
    }
    let is_whole = hash.salt.is_some() && hash.hash.is_some_and(|hash| hash.as_bytes().len() >= SHORTEST_HASH);
    if is_whole { Ok(()) } else { Err("the hash has no salt, or is cut short".into()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm8";

    fn why(text: &str) -> String {
        Users::parse(text).expect_err("accepted").to_string()
    }

    #[test]
    fn users_comments_and_empty_lines_are_read() {
        let users = Users::parse(&format!("# people\n\nann:{HASH}\nbob b:{HASH}\n")).unwrap();
        assert_eq!((users.len(), users.has("ann"), users.has("bob b"), users.has("people")), (2, true, true, false));
    }

    #[test]
    fn a_file_with_one_wrong_line_is_refused_with_its_number() {
        let argon2i = HASH.replace("argon2id", "argon2i");
        for (line, wanted) in [
            ("junk", "is not `name:"),
            ("bob:", "not a hash"),
            ("bob:hunter2", "not a hash"),
            (&*format!(":{HASH}"), "the name is empty"),
            (&*format!("ann:{HASH}"), "user `ann` is there twice"),
            (&*format!("bob:{argon2i}"), "hash `argon2i` is not known"),
            (&*format!("bob:{}", HASH.replace("v=19", "v=16")), "not of version 19"),
            (&*format!("bob:{}", HASH.replace("m=8", "m=4000000000")), "costs more"),
            (&*format!("bob:{}", HASH.replace("t=1", "t=4000000")), "costs more"),
            (&*format!("bob:{}", HASH.replace("$bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm8", "")), "cut short"),
            ("bob:$2b$10$abcdefghijklmnopqrstuvABCDEFGHIJKLMNOPQRSTUVWXYZ012345", "hash"),
        ] {
            let told = why(&format!("ann:{HASH}\n{line}\n"));
            assert!(told.starts_with("line 2: ") && told.contains(wanted), "{line}: {told}");
            assert!(!told.contains("hunter2"), "a password in the clear was shown: {told}");
        }
    }

    #[test]
    fn a_user_that_does_not_exist_is_checked_against_the_hash_of_one_that_does() {
        let users = Users::parse(&format!("ann:{HASH}\n")).unwrap();
        assert_eq!(&*users.decoy(17), HASH);
        assert_eq!(&*Users::default().decoy(17), NOBODY);
        check(NOBODY).unwrap();
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(\\PC|\n|[a:$=,0-9]|argon2id){0,80}") {
            let _ = Users::parse(&text);
            let _ = Users::parse(&format!("a:$argon2id$v=19${text}"));
        }
    }
}
