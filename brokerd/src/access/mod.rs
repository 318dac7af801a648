//! Who may connect, publish and subscribe. Every path asks here; never touches a socket or a session, and never checks
//! a password on the thread of its caller.
//!
//! [`Access::authenticate`] is where further sources of identity (tokens, databases, certificates) come in: it answers a
//! [`Principal`], and nothing behind it knows how that was found out.

mod acl;
mod file;
#[doc(hidden)]
pub mod fuzz;
mod mechanism;
mod recent;
mod users;
mod verify;

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;

use mqtt::ReasonCode;
use parking_lot::{Mutex, RwLock};

use crate::config;
use acl::{Acl, Subject};
use recent::Recent;
use users::Users;
use verify::Verifier;

pub use file::AccessError;
pub use mechanism::{Conversation, Mechanism, Step};

/// What a client wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Publish to this topic: live, as a will, or delayed.
    Publish(&'a str),
    /// Subscribe with this filter.
    Subscribe(&'a str),
}

/// Who a client proved to be. A session belongs to the principal that began it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Nobody in particular: there is no authenticator, or the listener lets anyone in.
    Anonymous,
    /// A user of the password file, or of a mechanism.
    User(Arc<str>),
}

/// Who a client is, for rules: its principal, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub principal: Principal,
    /// As IPv6, which is one byte less.
    ip: Ipv6Addr,
}

impl Identity {
    /// A client from there.
    #[must_use]
    pub const fn new(principal: Principal, ip: IpAddr) -> Self {
        let ip = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self { principal, ip }
    }

    /// From where it comes; of the last connection, where there is none now. IPv4 also where that came as IPv6.
    #[must_use]
    pub const fn ip(&self) -> IpAddr {
        self.ip.to_canonical()
    }
}

/// What a CONNECT gives as proof.
#[derive(Default)]
pub struct Credentials {
    /// User name.
    pub username: Option<Box<str>>,
    /// Password.
    pub password: Option<Box<[u8]>>,
    /// Whether the listener lets in who gives no user name.
    pub may_be_anonymous: bool,
}

/// Why a CONNECT is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No such user, or not that password: which of the two is not said.
    BadUserNameOrPassword,
    /// No user name where one is needed.
    NotAuthorized,
    /// More passwords are waiting to be checked than `auth.hash_queue` allows.
    Busy,
}

impl Denied {
    /// The code for the CONNACK.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::BadUserNameOrPassword => ReasonCode::BadUserNameOrPassword,
            Self::NotAuthorized => ReasonCode::NotAuthorized,
            Self::Busy => ReasonCode::ServerBusy,
        }
    }
}

/// Users and rules as they are between two reloads.
#[derive(Debug, Default)]
pub struct Rules {
    /// `None` without a password file.
    users: Option<Users>,
    /// `None` without an ACL file.
    acl: Option<Acl>,
}

/// How much was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Lines of the password file.
    pub users: usize,
    /// Lines of the ACL file.
    pub rules: usize,
}

impl Rules {
    fn load(files: &Files) -> Result<Self, AccessError> {
        let users = files.passwords.as_deref().map(|path| file::read_passwords(path, Users::parse));
        let acl = files.acl.as_deref().map(|path| file::read_acl(path, Acl::parse));
        Ok(Self { users: users.transpose()?, acl: acl.transpose()? })
    }

    fn loaded(&self) -> Loaded {
        Loaded { users: self.users.as_ref().map_or(0, Users::len), rules: self.acl.as_ref().map_or(0, Acl::len) }
    }

    /// Decides whether a client may do something: the one place that does.
    #[must_use]
    pub fn authorize(&self, client_id: &str, identity: &Identity, action: Action<'_>) -> bool {
        let action = match action {
            // What is published in the end is what is asked about.
            Action::Publish(topic) => Action::Publish(mqtt::topic::parse_delayed(topic).map_or(topic, |it| it.1)),
            Action::Subscribe(_) => action,
        };
        // Nobody but the broker speaks in `$SYS`.
        if matches!(action, Action::Publish(topic) if topic == "$SYS" || topic.starts_with("$SYS/")) {
            return false;
        }
        let Some(acl) = &self.acl else { return true };
        let user = match &identity.principal {
            Principal::User(name) => Some(&**name),
            Principal::Anonymous => None,
        };
        acl.allows(&Subject { client_id, user, ip: identity.ip() }, action)
    }

    /// Whether a principal still exists. Without a password file, users are a mechanism's, which knows its own.
    #[must_use]
    pub fn knows(&self, principal: &Principal) -> bool {
        match principal {
            Principal::Anonymous => true,
            Principal::User(name) => self.users.as_ref().is_none_or(|users| users.has(name)),
        }
    }

    /// Whether there is anything that [`Self::authorize`] could refuse a subscriber.
    #[must_use]
    pub const fn restricts_subscribers(&self) -> bool {
        self.acl.is_some()
    }
}

/// Where rules come from.
#[derive(Debug)]
struct Files {
    passwords: Option<PathBuf>,
    acl: Option<PathBuf>,
}

/// The node's authenticator and its rules. Cheap to clone.
#[derive(Clone)]
pub struct Access(Arc<Shared>);

struct Shared {
    files: Files,
    rules: RwLock<Arc<Rules>>,
    verifier: Verifier,
    recent: Recent,
    mechanisms: Vec<Arc<dyn Mechanism>>,
    /// One reload at a time, so that the rules in force are those read last.
    reloading: Mutex<()>,
}

impl Access {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// With the key, the file and the line of the first thing that is wrong.
    pub fn load(config: &config::Auth) -> Result<Self, AccessError> {
        Self::load_with(config, Vec::new())
    }

    /// The same, with mechanisms of enhanced authentication.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(config: &config::Auth, mechanisms: Vec<Arc<dyn Mechanism>>) -> Result<Self, AccessError> {
        let files = Files { passwords: config.password_file.clone(), acl: config.acl_file.clone() };
        let rules = RwLock::new(Arc::new(Rules::load(&files)?));
        Ok(Self(Arc::new(Shared {
            files,
            rules,
            verifier: Verifier::new(config.hash_threads, config.hash_queue),
            recent: Recent::new(config.cache_size).ok_or(AccessError::NoRandomness)?,
            mechanisms,
            reloading: Mutex::new(()),
        })))
    }

    /// Reads both files again and swaps the rules, or leaves all as it was. Blocks on the disk. Who asks must then let
    /// the workers take the new rules and look at what lives (`Workers::review` does).
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn reload(&self) -> Result<Loaded, AccessError> {
        let _one_at_a_time = self.0.reloading.lock();
        let rules = Arc::new(Rules::load(&self.0.files)?);
        let loaded = rules.loaded();
        *self.0.rules.write() = rules;
        Ok(loaded)
    }

    /// The rules in force. Workers keep a copy, so that no message takes the lock.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.0.rules.read().clone()
    }

    /// The mechanism of an Authentication Method.
    #[must_use]
    pub fn mechanism(&self, method: &str) -> Option<&Arc<dyn Mechanism>> {
        self.0.mechanisms.iter().find(|mechanism| mechanism.method() == method)
    }

    /// Decides whether a CONNECT is let in, and as whom. User name and password are ignored without an authenticator.
    /// May wait for other clients' passwords to be checked: give it a deadline. A user that does not exist costs what
    /// another one costs.
    ///
    /// # Errors
    /// See [`Denied`].
    pub async fn authenticate(&self, credentials: Credentials) -> Result<Principal, Denied> {
        let rules = self.rules();
        let Some(users) = &rules.users else { return Ok(Principal::Anonymous) };
        let Some(name) = credentials.username else {
            return if credentials.may_be_anonymous { Ok(Principal::Anonymous) } else { Err(Denied::NotAuthorized) };
        };
        let password = credentials.password.ok_or(Denied::BadUserNameOrPassword)?;
        let known = users.find(&name);
        let hash = known.as_ref().map_or_else(|| users.decoy(self.0.recent.number(&name)), |(_, hash)| hash.clone());
        let tag = self.0.recent.tag(&name, &password, &hash);
        if let Some((name, _)) = known.as_ref().filter(|_| self.0.recent.has(&tag)) {
            return Ok(Principal::User(name.clone()));
        }
        let is_right = self.0.verifier.verify(hash, password).await?;
        match known {
            Some((name, _)) if is_right => {
                self.0.recent.note(tag);
                Ok(Principal::User(name))
            }
            _ => Err(Denied::BadUserNameOrPassword),
        }
    }
}

#[cfg(test)]
mod tests;
