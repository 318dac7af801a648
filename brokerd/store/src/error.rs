//! What can be wrong with a store, and the state it is in. Never says what the client is told: the broker does.

/// Whether the store takes writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It does.
    #[default]
    Ok,
    /// There is no room: what makes it smaller is taken, what makes it larger is refused.
    Full,
    /// It does not answer, or must not be trusted; the reason.
    Down(String),
}

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A claim that is not above the epoch in the store.
    #[error("the session was claimed at epoch {stored}")]
    Fenced {
        /// The epoch to go above.
        stored: u64,
    },
    /// The queue in front of the store is full.
    #[error("the queue to the store is full")]
    Full,
    /// The store failed for now: what became of a change is not known. The same may be tried again.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// The store failed for good: nothing more is read or written until it is opened again.
    #[error("the store is down: {0}")]
    Down(String),
    /// Another process has the directory.
    #[error("`{0}` is in use by another process")]
    Locked(String),
    /// The directory cannot be written.
    #[error("`{0}` cannot be written: {1}")]
    ReadOnly(String, String),
    /// The store's files cannot be opened.
    #[error("`{0}` cannot be opened: {1}")]
    Open(String, String),
}
