//! The keys that come from `cluster.secret`. Never keeps, prints or sends the secret itself.

use ring::{hkdf, hmac};

/// One key a purpose, so that no purpose weakens another.
#[derive(Clone)]
pub struct Keys {
    gossip: hkdf::Prk,
    peer_proof: hmac::Key,
}

impl Keys {
    /// Derives the keys of a cluster. Another secret or another name gives other keys.
    #[must_use]
    pub fn derive(secret: &str, cluster: &str) -> Self {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, cluster.as_bytes()).extract(secret.as_bytes());
        Self {
            gossip: hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &expand(&root, b"brokerd gossip 1")),
            peer_proof: hmac::Key::new(hmac::HMAC_SHA256, &expand(&root, b"brokerd peer proof 1")),
        }
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

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
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
    fn another_secret_or_another_cluster_gives_another_key() {
        assert_eq!(proof("a secret of sixteen", "one"), proof("a secret of sixteen", "one"));
        assert_ne!(proof("a secret of sixteen", "one"), proof("a secret of seventeen", "one"));
        assert_ne!(proof("a secret of sixteen", "one"), proof("a secret of sixteen", "two"));
    }

    #[test]
    fn keys_do_not_print() {
        assert_eq!(format!("{:?}", Keys::derive("a secret of sixteen", "one")), "Keys(..)");
    }
}
