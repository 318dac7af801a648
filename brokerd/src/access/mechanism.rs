//! The seam for mechanisms of enhanced authentication (MQTT 5.0 section 4.12), such as SCRAM: what a worker and a
//! mechanism say to each other. Never sees a packet, and never says whose turn it is.

use std::pin::Pin;

use super::Principal;

/// One Authentication Method.
pub trait Mechanism: Send + Sync {
    /// Its name, as clients write it in CONNECT.
    fn method(&self) -> &str;

    /// Begins a conversation with one client, at its CONNECT or when it authenticates again.
    fn begin(&self) -> Box<dyn Conversation>;
}

/// A conversation with one client.
pub trait Conversation: Send {
    /// Answers what the client said. Runs on a worker's thread: what takes long is done elsewhere, so many at a time, as
    /// passwords are. Dropped unfinished where the client's time is over.
    fn step<'a>(&'a mut self, data: Option<&'a [u8]>) -> Pin<Box<dyn Future<Output = Step> + Send + 'a>>;
}

/// What a mechanism answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The client is told this, and is to answer.
    Continue(Box<[u8]>),
    /// It has proved who it is.
    Success {
        /// Who. Where there is a password file, a user must be in it: its lines are the users that exist.
        principal: Principal,
        /// The last that it is told.
        data: Option<Box<[u8]>>,
    },
    /// It has not. Why is not said.
    Failure,
}
