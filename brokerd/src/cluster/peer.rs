//! One other member: everything that is kept of it, each part behind its own lock. Lock order: never hold two.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::asks::Asks;
use super::fence::Fence;
use super::lease::Lease;
use super::received::Received;
use super::remote::Remote;
use super::standing::Standing;
use crate::router::PeerSlot;

/// One other member.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) name: Arc<str>,
    pub(super) slot: PeerSlot,
    pub(super) standing: Mutex<Standing>,
    /// Its rows here.
    pub(super) remote: Mutex<Remote>,
    /// This node's belief that they are all.
    pub(super) lease: Mutex<Lease>,
    /// Its frames of messages here.
    pub(super) received: Mutex<Received>,
    /// Questions to it.
    pub(super) asks: Asks,
    /// The links that it dialed.
    pub(super) fence: Fence,
    /// Frames of it were carried out: wakes what acknowledges them.
    pub(super) carried_out: Notify,
    /// Rows of it were applied: wakes what acknowledges them.
    pub(super) rows_applied: Notify,
    /// Wakes the dialing task from its pause.
    pub(super) redial: Notify,
    /// Ends the pair of links that this node dialed; replaced with each pair.
    pub(super) pair: Mutex<CancellationToken>,
    /// When a frame of it came last, on the clock that messages expire by; 0 is never.
    pub(super) heard: AtomicU64,
    /// Its clock is too far ahead to be believed.
    pub(super) is_ahead: AtomicBool,
    /// What it retains is here too, since it was met.
    pub(super) is_compared: AtomicBool,
    /// A link is open on which that was not looked at yet.
    pub(super) has_new_link: AtomicBool,
    /// A task dials it.
    pub(super) is_dialed: AtomicBool,
    /// It is a new process where all nodes share a store: sessions of the one before may be on their way to other nodes,
    /// which nobody routes to yet. Until none are it is flooded, and what it takes is brought to those too.
    pub(super) is_returned: AtomicBool,
    /// Ends the dialing task: the member left or is forgotten.
    pub(super) gone: CancellationToken,
}

impl Peer {
    pub(super) fn new(name: &str, slot: PeerSlot, standing: Standing) -> Self {
        Self {
            name: name.into(),
            slot,
            standing: Mutex::new(standing),
            remote: Mutex::default(),
            lease: Mutex::default(),
            received: Mutex::default(),
            asks: Asks::default(),
            fence: Fence::default(),
            carried_out: Notify::new(),
            rows_applied: Notify::new(),
            redial: Notify::new(),
            pair: Mutex::default(),
            heard: AtomicU64::new(0),
            is_ahead: AtomicBool::new(false),
            is_compared: AtomicBool::new(false),
            has_new_link: AtomicBool::new(false),
            is_dialed: AtomicBool::new(false),
            is_returned: AtomicBool::new(false),
            gone: CancellationToken::new(),
        }
    }
}
