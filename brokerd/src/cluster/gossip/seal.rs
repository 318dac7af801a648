//! Seals and opens gossip datagrams. Owns the sender sessions and their replay windows; never opens a socket, and keeps
//! nothing of a sender that did not prove the cluster secret.
//!
//! A datagram is: version (1 byte), sender's session (16 bytes), counter (8 bytes, big endian), ciphertext and tag. A
//! session is: the id of the secret (4 bytes), when it began in seconds since 1970 (4 bytes, big endian), 8 random bytes. The
//! key is derived per session, so the counter alone is a nonce that never repeats. The id says which secret to try: one
//! datagram costs one attempt, however many secrets are accepted. A sender begins a session every ten minutes, so that
//! what was recorded is refused an hour later also by a node that has forgotten the session, or never knew it.

use std::collections::VecDeque;

use hashbrown::HashMap;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::Prk;
use ring::rand::{SecureRandom, SystemRandom};

use crate::cluster::secret::{KeyId, Keys, Ring};

/// 1 had sessions of random bytes alone.
const VERSION: u8 = 2;
const SESSION: std::ops::Range<usize> = 1..17;
const COUNTER: std::ops::Range<usize> = 17..25;
const HEADER: usize = 25;
/// Header and tag.
pub(super) const OVERHEAD: usize = HEADER + 16;
/// The most that UDP over IPv4 carries.
pub(super) const MAX_DATAGRAM: usize = 65_507;
/// A cluster is at most 65 nodes, each with a session every ten minutes: more than begin while one can be replayed.
const MAX_SESSIONS: usize = 1_024;
/// Own sessions that are known as such: those that can be replayed.
const MAX_OWN: usize = 16;
/// A sender's session is no longer.
const RENEWED: u32 = 600;
/// Clocks may differ by so much, beside that: the peer links tell what is wrong with a clock, and so must come about.
const SKEW: u32 = 3_000;

type Session = [u8; 16];
/// Seconds since 1970.
type Seconds = u32;

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// Too short, too long, or of another version.
    Malformed,
    /// Sealed by a secret that this node does not hold, or by the same secret in a cluster of another name.
    Stranger,
    /// Changed on the way, or made by somebody who knows the id of a secret and not the secret.
    Forged,
    /// Seen before, or too old to tell.
    Replayed,
    /// Of a session that began too long ago, or by a clock that is far off.
    Stale,
    /// This node's own, sent to itself: not counted.
    Own,
}

/// The sender's side.
pub(super) struct Sealer {
    session: Session,
    began: Seconds,
    id: KeyId,
    key: LessSafeKey,
    counter: u64,
}

impl Sealer {
    /// Starts a session. `None` where the system has no randomness to give.
    pub(super) fn new(keys: &Keys, now: Seconds) -> Option<Self> {
        let mut session = [0; 16];
        session[..4].copy_from_slice(&keys.id().0);
        session[4..8].copy_from_slice(&now.to_be_bytes());
        SystemRandom::new().fill(&mut session[8..]).ok()?;
        let key = session_key(keys.gossip(), &session)?;
        Some(Self { session, began: now, id: keys.id(), key, counter: 0 })
    }

    pub(super) const fn session(&self) -> Session {
        self.session
    }

    /// Whether another session is due: the secret was exchanged, or the time is over.
    pub(super) fn is_over(&self, keys: &Keys, now: Seconds) -> bool {
        self.id != keys.id() || self.began.abs_diff(now) >= RENEWED
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
#[derive(Default)]
pub(super) struct Opener {
    own: VecDeque<Session>,
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
    /// What comes of this session of the own [`Sealer`] is not for this node.
    pub(super) fn disown(&mut self, session: Session) {
        self.own.truncate(MAX_OWN - 1);
        self.own.push_front(session);
    }

    /// The text of a datagram, in its place.
    pub(super) fn open<'a>(&mut self, datagram: &'a mut [u8], ring: &Ring, now: Seconds) -> Result<&'a [u8], Rejected> {
        let length = datagram.len();
        if !(OVERHEAD..=MAX_DATAGRAM).contains(&length) || datagram[0] != VERSION {
            return Err(Rejected::Malformed);
        }
        let (header, body) = datagram.split_at_mut(HEADER);
        let session: Session = header[SESSION].try_into().map_err(|_| Rejected::Malformed)?;
        let counter = u64::from_be_bytes(header[COUNTER].try_into().map_err(|_| Rejected::Malformed)?);
        if self.own.contains(&session) {
            return Err(Rejected::Own);
        }
        let [a, b, c, d, e, f, g, h, ..] = session;
        // Asked for each datagram, so that a secret that is dropped opens nothing more, known session or not.
        let keys = ring.find(KeyId([a, b, c, d])).ok_or(Rejected::Stranger)?;
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
        if u32::from_be_bytes([e, f, g, h]).abs_diff(now) > RENEWED + SKEW {
            return Err(Rejected::Stale);
        }
        let key = session_key(keys.gossip(), &session).ok_or(Rejected::Forged)?;
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

    const SECRET: &str = "a secret of sixteen";
    const NOW: Seconds = 1_700_000_000;

    fn ring() -> Ring {
        Ring::derive(SECRET, [], "one")
    }

    /// A node of one secret, now.
    struct Receiver(Opener);

    impl Receiver {
        fn open<'a>(&mut self, datagram: &'a mut [u8]) -> Result<&'a [u8], Rejected> {
            self.0.open(datagram, &ring(), NOW)
        }
    }

    fn pair() -> (Sealer, Receiver) {
        (Sealer::new(ring().current(), NOW).unwrap(), Receiver(Opener::default()))
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
        assert!(opener.0.sessions.is_empty(), "a stranger made this node remember something");
    }

    #[test]
    fn another_secret_and_another_cluster_do_not_open() {
        for keys in [Keys::derive("another secret of it", "one"), Keys::derive("a secret of sixteen", "two")] {
            let mut stranger = Sealer::new(&keys, NOW).unwrap();
            let (_, mut opener) = pair();
            let mut datagram = sealed(&mut stranger, b"x");
            assert_eq!(opener.open(&mut datagram.clone()), Err(Rejected::Stranger));
            datagram[1..5].copy_from_slice(&ring().current().id().0);
            assert_eq!(opener.open(&mut datagram), Err(Rejected::Forged), "it names our secret and does not hold it");
        }
    }

    #[test]
    fn a_secret_that_is_accepted_opens_and_one_that_is_dropped_opens_nothing_more() {
        let (old, new) = (Keys::derive(SECRET, "one"), "another secret of it");
        let (mut sealer, mut opener) = (Sealer::new(&old, NOW).unwrap(), Opener::default());
        let both = Ring::derive(new, [SECRET], "one");
        assert!(opener.open(&mut sealed(&mut sealer, b"x"), &both, NOW).is_ok());
        let dropped = Ring::derive(new, [], "one");
        let next = &mut sealed(&mut sealer, b"x");
        assert_eq!(opener.open(next, &dropped, NOW), Err(Rejected::Stranger), "its session was known");
        assert!(sealer.is_over(dropped.current(), NOW), "a node that got another secret seals with that");
    }

    #[test]
    fn what_was_recorded_is_refused_later_also_by_a_node_that_never_saw_it() {
        let (mut sealer, mut opener) = (Sealer::new(ring().current(), NOW).unwrap(), Opener::default());
        let mut datagram = sealed(&mut sealer, b"x");
        let late = NOW + RENEWED + SKEW + 1;
        assert_eq!(opener.open(&mut datagram.clone(), &ring(), late), Err(Rejected::Stale));
        assert_eq!(opener.open(&mut datagram.clone(), &ring(), NOW - RENEWED - SKEW - 1), Err(Rejected::Stale));
        assert!(opener.sessions.is_empty());
        assert!(opener.open(&mut datagram.clone(), &ring(), late - 1).is_ok(), "a clock may be off by 50 minutes");
        assert_eq!(opener.open(&mut datagram, &ring(), late + 9_999), Err(Rejected::Replayed));
        assert!(!sealer.is_over(ring().current(), NOW + RENEWED - 1));
        assert!(sealer.is_over(ring().current(), NOW + RENEWED));
        assert!(sealer.is_over(ring().current(), NOW - RENEWED), "the clock was set back");
    }

    #[test]
    fn a_nodes_own_datagrams_are_not_for_it_also_those_of_its_last_sessions() {
        let mut opener = Opener::default();
        let mut sealers: Vec<_> = (0..=MAX_OWN).map(|_| Sealer::new(ring().current(), NOW).unwrap()).collect();
        sealers.iter().for_each(|sealer| opener.disown(sealer.session()));
        for sealer in &mut sealers[1..] {
            assert_eq!(opener.open(&mut sealed(sealer, b"x"), &ring(), NOW), Err(Rejected::Own));
        }
        assert_eq!(opener.own.len(), MAX_OWN);
    }

    #[test]
    fn the_sessions_remembered_are_bounded_and_the_one_in_use_stays() {
        let (mut used, mut opener) = pair();
        for _ in 0..MAX_SESSIONS + 10 {
            assert!(opener.open(&mut sealed(&mut used, b"x")).is_ok());
            let mut once = Sealer::new(ring().current(), NOW).unwrap();
            assert!(opener.open(&mut sealed(&mut once, b"x")).is_ok());
        }
        assert_eq!(opener.0.sessions.len(), MAX_SESSIONS);
        assert!(opener.0.sessions.contains_key(&used.session()));
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
