//! Passwords that were right a while ago, so that a storm of reconnects does not cost a hash each. Owns no password:
//! an entry is a keyed digest over user, password and stored hash, and dies with any of them.

use hashbrown::HashSet;
use parking_lot::Mutex;
use ring::{hmac, rand};

/// Digest of one success.
pub(super) type Tag = [u8; 32];

/// The successes, in two halves: when the younger is full, the older is forgotten. An entry in use stays.
pub(super) struct Recent {
    /// Of this process alone.
    key: hmac::Key,
    halves: Mutex<Halves>,
    half: usize,
}

#[derive(Default)]
struct Halves {
    young: HashSet<Tag>,
    old: HashSet<Tag>,
}

impl Recent {
    /// At most `size` entries; none at 0. `None` where the system gives no key.
    pub(super) fn new(size: usize) -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new()).ok()?;
        Some(Self { key, halves: Mutex::default(), half: size.div_ceil(2) })
    }

    pub(super) fn tag(&self, user: &str, password: &[u8], hash: &str) -> Tag {
        let mut digest = hmac::Context::with_key(&self.key);
        for part in [user.as_bytes(), password, hash.as_bytes()] {
            digest.update(&(part.len() as u64).to_be_bytes()); // so that `a`, `bc` is not `ab`, `c`
            digest.update(part);
        }
        let mut tag = Tag::default();
        tag.copy_from_slice(digest.sign().as_ref());
        tag
    }

    /// A number of a name that nobody outside can foretell.
    pub(super) fn number(&self, name: &str) -> u64 {
        let digest = hmac::sign(&self.key, name.as_bytes());
        digest.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    pub(super) fn has(&self, tag: &Tag) -> bool {
        let mut halves = self.halves.lock();
        if halves.young.contains(tag) {
            return true;
        }
        let was_old = halves.old.remove(tag);
        if was_old {
            self.insert(&mut halves, *tag);
        }
        was_old
    }

    pub(super) fn note(&self, tag: Tag) {
        self.insert(&mut self.halves.lock(), tag);
    }

    fn insert(&self, halves: &mut Halves, tag: Tag) {
        if self.half == 0 {
            return;
        }
        if halves.young.len() >= self.half {
            halves.old = std::mem::take(&mut halves.young);
        }
        halves.young.insert(tag);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn an_entry_is_for_one_user_one_password_and_one_hash() {
        let recent = Recent::new(10).unwrap();
        recent.note(recent.tag("ann", b"right", "h1"));
        assert!(recent.has(&recent.tag("ann", b"right", "h1")));
        for (user, password, hash) in
            [("bob", "right", "h1"), ("ann", "wrong", "h1"), ("ann", "right", "h2"), ("an", "nright", "h1")]
        {
            assert!(!recent.has(&recent.tag(user, password.as_bytes(), hash)), "{user} {password} {hash}");
        }
    }

    #[test]
    fn no_two_processes_share_a_key() {
        let (one, other) = (Recent::new(1).unwrap(), Recent::new(1).unwrap());
        assert_ne!(one.tag("ann", b"right", "h"), other.tag("ann", b"right", "h"));
    }

    #[test]
    fn the_size_is_a_bound_and_what_is_used_stays() {
        let recent = Recent::new(100).unwrap();
        let used = recent.tag("used", b"", "");
        recent.note(used);
        for n in 0..10_000_u32 {
            recent.note(recent.tag("other", &n.to_be_bytes(), ""));
            assert!(recent.has(&used), "lost after {n} others");
            let halves = recent.halves.lock();
            assert!(halves.young.len() + halves.old.len() <= 100);
        }
    }

    #[test]
    fn a_size_of_0_remembers_nothing() {
        let recent = Recent::new(0).unwrap();
        let tag = recent.tag("ann", b"right", "h");
        recent.note(tag);
        assert!(!recent.has(&tag));
    }
}
