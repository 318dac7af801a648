//! A door for the fuzz targets to the parsers of this room. Nothing of the broker goes through it.

use std::net::IpAddr;

use super::Action;
use super::acl::{Acl, Subject};
use super::users::Users;

/// An ACL file that was read.
#[derive(Debug)]
pub struct Rules(Acl);

impl Rules {
    /// Reads one.
    ///
    /// # Errors
    /// What the operator is told.
    pub fn parse(text: &str) -> Result<Self, String> {
        Acl::parse(text).map(Self).map_err(|bad| bad.to_string())
    }

    /// How many rules it has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Decides.
    #[must_use]
    pub fn allows(&self, client_id: &str, user: Option<&str>, ip: IpAddr, action: Action<'_>) -> bool {
        self.0.allows(&Subject { client_id, user, ip }, action)
    }
}

/// Reads a password file, and says of each of `names` whether it is there, and how many there are in all.
///
/// # Errors
/// What the operator is told.
pub fn passwords(text: &str, names: &[&str]) -> Result<(Vec<bool>, usize), String> {
    let users = Users::parse(text).map_err(|bad| bad.to_string())?;
    let known = names.iter().map(|name| users.find(name).is_some()).collect();
    Ok((known, users.len()))
}
