//! Who may take a key from its live owner. Never says whether anybody is who they say: `access` does.

/// A fingerprint of somebody: the principal that a session belongs to, or the client of an exclusive subscription. Nodes
/// compare it, and it must be the same in every version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holder(
    /// 0 is nobody in particular, from whom and by whom everything may be taken.
    pub u64,
);

impl Holder {
    /// Of a name. Nobody finds another name with the same fingerprint but by 2^64 attempts.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
        let first = digest.as_ref().first_chunk::<8>().copied().unwrap_or_default();
        Self(u64::from_be_bytes(first).max(1))
    }

    /// Whether this one must not take what `other` has.
    #[must_use]
    pub fn is_rival_of(self, other: Self) -> bool {
        self != other && self.0 != 0 && other.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_who_are_known_and_differ_are_rivals() {
        let (ann, bob, unknown) = (Holder::of("ann"), Holder::of("bob"), Holder::default());
        assert!(ann.is_rival_of(bob) && bob.is_rival_of(ann));
        assert!(!ann.is_rival_of(ann) && !ann.is_rival_of(unknown) && !unknown.is_rival_of(ann));
        // A literal, not computed: a change of it is a change of the protocol.
        assert_eq!(Holder::of("abc"), Holder(0xba78_16bf_8f01_cfea));
    }
}
