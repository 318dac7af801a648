//! Who may connect, publish and subscribe. Every path asks here; never touches a socket or a session.

use mqtt::ReasonCode;
use mqtt::packet::Connect;

use crate::listener::Connected;

/// What a client wants to do.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// Publish to this topic: live, as a will, or delayed.
    Publish(&'a str),
    /// Subscribe with this filter.
    Subscribe(&'a str),
}

/// The node's rules. In this version a listener has no authenticator: whoever can connect may do everything, and
/// the configuration refuses such a listener on an address that is not loopback unless `allow_anonymous` says so.
#[derive(Clone, Debug, Default)]
pub struct Access;

impl Access {
    /// Decides whether a CONNECT is let in. User name and password are ignored without an authenticator.
    ///
    /// # Errors
    /// The code for the CONNACK.
    pub fn authenticate(&self, _listener: &Connected, _connect: &Connect<'_>) -> Result<(), ReasonCode> {
        Ok(())
    }

    /// Decides whether a client may do something.
    #[must_use]
    pub fn authorize(&self, _client_id: &str, action: Action<'_>) -> bool {
        match action {
            // Nobody but the broker speaks in `$SYS`.
            Action::Publish(topic) => !topic.starts_with("$SYS/"),
            Action::Subscribe(_) => true,
        }
    }
}
