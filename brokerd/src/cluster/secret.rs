//! The keys that come from the cluster's secrets: one is used, others are accepted while they are exchanged. Never keeps,
//! prints or sends a secret itself.

use std::fmt;
use std::sync::Arc;

use ring::{hkdf, hmac};

/// Tells the secrets of a cluster apart, in datagrams and to people. Says no more of a secret than a sealed datagram does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId(pub [u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// One key a purpose, so that no purpose weakens another.
#[derive(Clone)]
pub struct Keys {
    id: KeyId,
    gossip: hkdf::Prk,
    peer_proof: hmac::Key,
}

impl Keys {
    /// Derives the keys of a cluster. Another secret or another name gives other keys.
    #[must_use]
    pub fn derive(secret: &str, cluster: &str) -> Self {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, cluster.as_bytes()).extract(secret.as_bytes());
        let [a, b, c, d, ..] = expand(&root, b"brokerd key id 1");
        Self {
            id: KeyId([a, b, c, d]),
            gossip: hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &expand(&root, b"brokerd gossip 1")),
            peer_proof: hmac::Key::new(hmac::HMAC_SHA256, &expand(&root, b"brokerd peer proof 1")),
        }
    }

    /// Which secret they come from.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Proves on a peer link that this node holds the secret.
    #[must_use]
    pub const fn peer_proof(&self) -> &hmac::Key {
        &self.peer_proof
    }

    /// What the key of each gossip session is derived from.
    pub(super) const fn gossip(&self) -> &hkdf::Prk {
        &self.gossip
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

/// The keys of the secret that a node seals and proves with, and of those that it accepts besides. Prints as their ids,
/// the one in use first.
#[derive(Clone, Debug)]
pub struct Ring {
    current: Keys,
    accepted: Arc<[Keys]>,
}

impl Ring {
    /// Derives all keys. How many there are is bounded by the configuration.
    #[must_use]
    pub fn derive<'a>(secret: &str, accepted: impl IntoIterator<Item = &'a str>, cluster: &str) -> Self {
        let accepted = accepted.into_iter().map(|secret| Keys::derive(secret, cluster)).collect();
        Self { current: Keys::derive(secret, cluster), accepted }
    }

    /// What is sealed and proven with.
    #[must_use]
    pub const fn current(&self) -> &Keys {
        &self.current
    }

    /// All that is believed.
    pub fn iter(&self) -> impl Iterator<Item = &Keys> {
        std::iter::once(&self.current).chain(self.accepted.iter())
    }

    /// The keys with this id, if they are believed.
    #[must_use]
    pub fn find(&self, id: KeyId) -> Option<&Keys> {
        self.iter().find(|keys| keys.id == id)
    }
}

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.current.id)?;
        self.accepted.iter().try_for_each(|keys| write!(f, ",{}", keys.id))
    }
}

/// A key for one purpose.
fn expand(root: &hkdf::Prk, purpose: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    let filled = root.expand(&[purpose], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut key));
    // HKDF-SHA256 gives up to 8,160 bytes (RFC 5869, 2.3); a key of zeros must never leave here.
    assert!(filled.is_ok(), "32 bytes are within the limit of HKDF");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(secret: &str, cluster: &str) -> Vec<u8> {
        hmac::sign(Keys::derive(secret, cluster).peer_proof(), b"x").as_ref().to_vec()
    }

    #[test]
    fn another_secret_or_another_cluster_gives_another_key_and_another_id() {
        assert_eq!(proof("a secret of sixteen", "one"), proof("a secret of sixteen", "one"));
        assert_ne!(proof("a secret of sixteen", "one"), proof("a secret of seventeen", "one"));
        assert_ne!(proof("a secret of sixteen", "one"), proof("a secret of sixteen", "two"));
        let id = |secret, cluster| Keys::derive(secret, cluster).id();
        assert_eq!(id("a secret of sixteen", "one"), id("a secret of sixteen", "one"));
        assert_ne!(id("a secret of sixteen", "one"), id("a secret of seventeen", "one"));
        assert_ne!(id("a secret of sixteen", "one"), id("a secret of sixteen", "two"));
    }

    #[test]
    fn a_ring_prints_the_ids_of_its_keys_and_never_the_keys() {
        let ring = Ring::derive("a secret of sixteen", ["a secret of seventeen"], "one");
        let [current, accepted] = ["a secret of sixteen", "a secret of seventeen"].map(|s| Keys::derive(s, "one").id());
        assert_eq!(ring.to_string(), format!("{current},{accepted}"));
        assert!(ring.find(accepted).is_some() && ring.find(KeyId([0; 4])).is_none());
        assert_eq!(format!("{:?}", ring.current()), "Keys(..)");
    }
}
