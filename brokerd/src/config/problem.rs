//! What is wrong with a configuration, where it stands, and what is allowed. Owns the wording; never decides.

use std::fmt;

/// Where a value was given. The order is that of precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nowhere: it is the default of this machine.
    Default,
    /// The file of `--config`.
    File {
        /// As the operator wrote it.
        path: String,
        /// From 1.
        line: usize,
    },
    /// A variable `BROKERD_...`.
    Environment(String),
    /// `--set KEY=VALUE`.
    Set,
    /// Another flag, such as `--seed`.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", on_one_line(path)),
            Self::Environment(name) => f.write_str(&on_one_line(name)),
            Self::Set => f.write_str("--set"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// As in `cluster.seeds`.
    pub key: String,
    /// What was given, unless it may be a secret.
    pub value: Option<String>,
    /// Where it was given.
    pub source: Source,
    /// What is wrong, and what is allowed.
    pub why: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shorten(&self.key))?;
        if let Some(value) = &self.value {
            write!(f, " = {}", shorten(value))?;
        }
        write!(f, " ({}): {}", self.source, on_one_line(&self.why))
    }
}

impl std::error::Error for Problem {}

/// At most 80 characters, on one line, with nothing a terminal would obey.
fn shorten(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text.chars().take(LONGEST).flat_map(printable).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}

/// All of it, with nothing a terminal would obey.
fn on_one_line(text: &str) -> String {
    text.chars().flat_map(printable).collect()
}

fn printable(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_default());
    let plain = (!c.is_control()).then_some(c);
    escaped.into_iter().flatten().chain(plain)
}
