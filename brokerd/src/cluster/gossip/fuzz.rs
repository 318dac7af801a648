//! A door for the fuzz targets to datagrams and to what a node says of itself. Nothing of the broker goes through it.

use super::member::RouteHead;
use super::seal::{OVERHEAD, Opener, Rejected, Sealer};
use crate::cluster::secret::Ring;

const NOW: u32 = 1_700_000_000;

/// A node that has heard one real datagram, the bytes, and the real one again with each of the bytes laid over it: nothing
/// but the real one is believed, and that once.
pub(in crate::cluster) fn datagrams(bytes: &[u8]) {
    let ring = Ring::derive("a secret of sixteen", ["another secret of it"], "c");
    let (mut opener, mut real) = (Opener::default(), Vec::new());
    // Without randomness there is nothing to seal with.
    let Some(mut sealer) = Sealer::new(ring.current(), NOW) else { return };
    for _ in 0..2 {
        assert!(sealer.seal(b"what gossip says", &mut real), "it fits");
        let mut mixed = real.clone();
        let is_changed = mixed.iter_mut().zip(bytes).fold(false, |is_changed, (byte, over)| {
            *byte ^= over;
            is_changed || *over != 0
        });
        // The bytes may be a datagram that was sealed with these keys once: the corpus has some.
        let _ = opener.open(&mut bytes.to_vec(), &ring, NOW);
        let opened = opener.open(&mut mixed, &ring, NOW).map(<[u8]>::len);
        assert!(opened.is_err() || !is_changed, "{bytes:02x?} was believed");
        let opened = opener.open(&mut real.clone(), &ring, NOW).map(<[u8]>::to_vec);
        let expected = if is_changed { Ok(b"what gossip says".to_vec()) } else { Err(Rejected::Replayed) };
        assert_eq!(opened, expected, "what came before must not matter");
        assert!(opener.open(&mut real.clone(), &ring, NOW) == Err(Rejected::Replayed), "believed twice");
        assert!(real.len() == b"what gossip says".len() + OVERHEAD);
    }
}

/// What reads as a head is written as it was.
pub(in crate::cluster) fn head(text: &str) {
    if let Ok(head) = text.parse::<RouteHead>() {
        assert_eq!(head.to_string(), text);
    }
}
