//! Seals and opens gossip datagrams. Owns the sender sessions and their replay windows; never opens a socket, and keeps
//! nothing of a sender that did not prove the cluster secret.
//!
//! A datagram is: version (1 byte), sender's session (16 random bytes per process start), counter (8 bytes, big endian),
//! ciphertext and tag. The key is derived per session, so the counter alone is a nonce that never repeats.

use hashbrown::HashMap;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::Prk;
use ring::rand::{SecureRandom, SystemRandom};

const VERSION: u8 = 1;
const SESSION: std::ops::Range<usize> = 1..17;
const COUNTER: std::ops::Range<usize> = 17..25;
const HEADER: usize = 25;
/// Header and tag.
pub(super) const OVERHEAD: usize = HEADER + 16;
/// The most that UDP over IPv4 carries.
pub(super) const MAX_DATAGRAM: usize = 65_507;
/// A cluster is at most 65 nodes; each restart is a new session.
const MAX_SESSIONS: usize = 1_024;

type Session = [u8; 16];

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// Too short, too long, or of another version.
    Malformed,
    /// Not sealed with the keys of this cluster, or changed on the way.
    Forged,
    /// Seen before, or too old to tell.
    Replayed,
    /// This node's own, sent to itself: not counted.
    Own,
}

/// The sender's side.
pub(super) struct Sealer {
    session: Session,
    key: LessSafeKey,
    counter: u64,
}

impl Sealer {
    /// Starts a session. `None` where the system has no randomness to give.
    pub(super) fn new(master: &Prk) -> Option<Self> {
        let mut session = [0; 16];
        SystemRandom::new().fill(&mut session).ok()?;
        let key = session_key(master, &session)?;
        let counter = 0;
        Some(Self { session, key, counter })
    }

    pub(super) const fn session(&self) -> Session {
        self.session
    }

    /// Seals into `out`, which is emptied first. False where the text is too long for a datagram.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> bool {
        out.clear();
        if plain.len() + OVERHEAD > MAX_DATAGRAM {
            return false;
        }
        self.counter += 1;
        out.push(VERSION);
        out.extend_from_slice(&self.session);
        out.extend_from_slice(&self.counter.to_be_bytes());
        let (header, mut body) = (out.clone(), plain.to_vec());
        let sealed = self.key.seal_in_place_append_tag(nonce(self.counter), Aad::from(header), &mut body);
        out.extend_from_slice(&body);
        sealed.is_ok()
    }
}

/// The receiver's side.
pub(super) struct Opener {
    master: Prk,
    own: Session,
    sessions: HashMap<Session, Sender>,
    /// Rises with each datagram that was opened: tells which session is the least recently used.
    turn: u64,
}

struct Sender {
    key: LessSafeKey,
    window: Window,
    used: u64,
}

impl Opener {
    /// `own` is the session of this node's [`Sealer`].
    pub(super) fn new(master: Prk, own: Session) -> Self {
        let (sessions, turn) = (HashMap::new(), 0);
        Self { master, own, sessions, turn }
    }

    /// The text of a datagram, in its place.
    pub(super) fn open<'a>(&mut self, datagram: &'a mut [u8]) -> Result<&'a [u8], Rejected> {
        let length = datagram.len();
        if !(OVERHEAD..=MAX_DATAGRAM).contains(&length) || datagram[0] != VERSION {
            return Err(Rejected::Malformed);
        }
        let (header, body) = datagram.split_at_mut(HEADER);
        let session: Session = header[SESSION].try_into().map_err(|_| Rejected::Malformed)?;
        let counter = u64::from_be_bytes(header[COUNTER].try_into().map_err(|_| Rejected::Malformed)?);
        if session == self.own {
            return Err(Rejected::Own);
        }
        self.turn += 1;
        if let Some(sender) = self.sessions.get_mut(&session) {
            if !sender.window.is_new(counter) {
                return Err(Rejected::Replayed);
            }
            let plain = sender.key.open_in_place(nonce(counter), Aad::from(&*header), body);
            let plain = plain.map_err(|_| Rejected::Forged)?;
            sender.window.mark(counter);
            sender.used = self.turn;
            return Ok(plain);
        }
        let key = session_key(&self.master, &session).ok_or(Rejected::Forged)?;
        let plain = key.open_in_place(nonce(counter), Aad::from(&*header), body);
        let plain = plain.map_err(|_| Rejected::Forged)?;
        let (window, used) = (Window::starting_at(counter), self.turn);
        self.remember(session, Sender { key, window, used });
        Ok(plain)
    }

    fn remember(&mut self, session: Session, sender: Sender) {
        if self.sessions.len() >= MAX_SESSIONS {
            let oldest = self.sessions.iter().min_by_key(|(_, sender)| sender.used).map(|(session, _)| *session);
            if let Some(oldest) = oldest {
                self.sessions.remove(&oldest);
            }
        }
        self.sessions.insert(session, sender);
    }
}

/// The counters of a session that were seen: the highest, and which of the 63 below it.
struct Window {
    highest: u64,
    seen: u64,
}

impl Window {
    const fn starting_at(counter: u64) -> Self {
        Self { highest: counter, seen: 1 }
    }

    const fn is_new(&self, counter: u64) -> bool {
        if counter > self.highest {
            return true;
        }
        let behind = self.highest - counter;
        behind < 64 && self.seen & (1 << behind) == 0
    }

    fn mark(&mut self, counter: u64) {
        if counter > self.highest {
            let ahead = u32::try_from(counter - self.highest).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = counter;
        } else {
            self.seen |= 1 << (self.highest - counter);
        }
    }
}

fn session_key(master: &Prk, session: &Session) -> Option<LessSafeKey> {
    let info: [&[u8]; 1] = [session];
    let okm = master.expand(&info, &CHACHA20_POLY1305).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(okm)))
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 8..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cluster::secret::Keys;

    fn keys() -> Keys {
        Keys::derive("a secret of sixteen", "one")
    }

    fn pair() -> (Sealer, Opener) {
        let sealer = Sealer::new(keys().gossip()).unwrap();
        (sealer, Opener::new(keys().gossip().clone(), [0; 16]))
    }

    fn sealed(sealer: &mut Sealer, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(sealer.seal(text, &mut out));
        out
    }

    #[test]
    fn a_sealed_datagram_opens_once() {
        let (mut sealer, mut opener) = pair();
        let mut datagram = sealed(&mut sealer, b"hello");
        assert!(!datagram.windows(5).any(|window| window == b"hello"));
        assert_eq!(opener.open(&mut datagram.clone()), Ok(&b"hello"[..]));
        assert_eq!(opener.open(&mut datagram), Err(Rejected::Replayed));
    }

    #[test]
    fn datagrams_may_arrive_out_of_order_within_the_window_and_not_beyond() {
        let (mut sealer, mut opener) = pair();
        let mut all: Vec<_> = (0..70).map(|_| sealed(&mut sealer, b"x")).collect();
        assert!(opener.open(&mut all[69].clone()).is_ok());
        assert!(opener.open(&mut all[6].clone()).is_ok(), "63 behind the highest is in the window");
        assert_eq!(opener.open(&mut all[6].clone()), Err(Rejected::Replayed));
        assert_eq!(opener.open(&mut all[5]), Err(Rejected::Replayed), "64 behind cannot be told from a replay");
    }

    #[test]
    fn every_changed_bit_is_noticed_and_leaves_no_session_behind() {
        let (mut sealer, mut opener) = pair();
        let datagram = sealed(&mut sealer, b"hello");
        for bit in 0..datagram.len() * 8 {
            let mut changed = datagram.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(opener.open(&mut changed).is_err(), "bit {bit} changed and was not noticed");
        }
        assert!(opener.sessions.is_empty(), "a stranger made this node remember something");
    }

    #[test]
    fn another_secret_and_another_cluster_do_not_open() {
        for keys in [Keys::derive("another secret of it", "one"), Keys::derive("a secret of sixteen", "two")] {
            let mut stranger = Sealer::new(keys.gossip()).unwrap();
            let (_, mut opener) = pair();
            assert_eq!(opener.open(&mut sealed(&mut stranger, b"x")), Err(Rejected::Forged));
        }
    }

    #[test]
    fn the_sessions_remembered_are_bounded_and_the_one_in_use_stays() {
        let (mut used, mut opener) = pair();
        for _ in 0..MAX_SESSIONS + 10 {
            assert!(opener.open(&mut sealed(&mut used, b"x")).is_ok());
            let mut once = Sealer::new(keys().gossip()).unwrap();
            assert!(opener.open(&mut sealed(&mut once, b"x")).is_ok());
        }
        assert_eq!(opener.sessions.len(), MAX_SESSIONS);
        assert!(opener.sessions.contains_key(&used.session()));
    }

    #[test]
    fn what_does_not_fit_is_not_sealed_and_what_is_too_long_is_not_opened() {
        let (mut sealer, mut opener) = pair();
        let mut out = Vec::new();
        assert!(sealer.seal(&vec![0; MAX_DATAGRAM - OVERHEAD], &mut out));
        assert!(opener.open(&mut out).is_ok());
        assert!(!sealer.seal(&vec![0; MAX_DATAGRAM - OVERHEAD + 1], &mut out));
        assert_eq!(opener.open(&mut vec![VERSION; MAX_DATAGRAM + 1]), Err(Rejected::Malformed));
    }
}
