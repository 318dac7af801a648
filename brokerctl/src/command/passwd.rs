//! `brokerctl passwd`: edits a password file, with no broker. Never takes a password from the command line, where every
//! user of the machine can read it.

mod file;
mod input;

use std::path::PathBuf;

use argon2::PasswordHasher;
use argon2::password_hash::phc::PasswordHash;
use serde::Serialize;

use crate::Session;
use crate::args::Format;
use crate::failure::Failure;
use crate::output::{json, printable};

/// MQTT carries no longer name or password.
const LONGEST: usize = 65_535;

/// Add a user to a password file, or change or delete one
///
/// Asks for the password on the terminal. The file is made if it is not there, readable by its owner only; brokerd reads
/// it at its start and at `brokerctl auth reload`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  brokerctl passwd /etc/brokerd/passwords ann
  brokerctl passwd --stdin /etc/brokerd/passwords ann < secret
  brokerctl passwd --delete /etc/brokerd/passwords ann")]
pub(crate) struct Passwd {
    /// The file of `auth.password_file`
    file: PathBuf,
    /// The user name
    user: String,
    /// Read the password from the standard input, one line
    #[arg(long, conflicts_with = "delete")]
    stdin: bool,
    /// Delete the user
    #[arg(long)]
    delete: bool,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    Added,
    Changed,
    Deleted,
}

#[derive(Serialize)]
struct Document<'a> {
    user: &'a str,
    change: Change,
}

impl Passwd {
    pub(crate) fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        check_name(&self.user)?;
        let line = if self.delete { None } else { Some(self.line()?) };
        let change = file::edit(&self.file, &self.user, line.as_deref())?;
        match session.global.output {
            Format::Json => json(session.out, &Document { user: &self.user, change }),
            Format::Table => {
                let done = match change {
                    Change::Added => "added to",
                    Change::Changed => "changed in",
                    Change::Deleted => "deleted from",
                };
                let file = self.file.display().to_string();
                Ok(writeln!(session.out, "{} {done} {}", printable(&self.user), printable(&file))?)
            }
        }
    }

    /// `name:hash`, with the costs that OWASP recommends: 19 MiB, two passes.
    fn line(&self) -> Result<String, Failure> {
        let password = if self.stdin { input::from_stdin()? } else { input::from_terminal(&self.user)? };
        if password.is_empty() || password.len() > LONGEST {
            return Err(Failure::Usage(format!("a password has 1 to {LONGEST} bytes")));
        }
        let hash: Result<PasswordHash, _> = argon2::Argon2::default().hash_password(&password);
        let hash = hash.map_err(|error| Failure::Failed(format!("cannot hash the password: {error}")))?;
        Ok(format!("{}:{hash}", self.user))
    }
}

fn check_name(name: &str) -> Result<(), Failure> {
    let fits = (1..=LONGEST).contains(&name.len()) && !name.contains(|c: char| c == ':' || c.is_control());
    if fits && !name.starts_with('#') {
        return Ok(());
    }
    let why = "is not empty, has no colon and no control character, and does not begin with #";
    Err(Failure::Usage(format!("`{name}`: the name of a user {why}")))
}
