//! Log lines on standard error. Owns the format and the filter; never a metric, and never a decision about what is
//! logged where.

use std::ffi::OsStr;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `log.filter` does not parse; `config::load` refuses it before.
    #[error("log.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// This process has a log already.
    #[error("the log is open already")]
    Twice,
}

/// Opens the log of the process: `filter` is `log.filter`, `verbose` the number of `-v`.
///
/// # Errors
/// The filter does not parse, or the log is open already.
pub fn init(filter: &str, verbose: u8) -> Result<(), Error> {
    let filter = EnvFilter::try_new(directives(&quiet(filter), verbose))?;
    let ansi = colours(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        // On a failed write it would print to standard error again, and panic there.
        .log_internal_errors(false)
        .finish();
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Error::Twice)
}

/// What strangers can make chitchat log is counted by us and not written, unless the operator asks for it.
fn quiet(filter: &str) -> String {
    if filter.contains("chitchat") { filter.to_owned() } else { format!("chitchat=error,{filter}") }
}

/// `-v` raises our own modules, not the libraries below: `-v` over `info` shows what the broker does, not each frame
/// of HTTP/2.
fn directives(filter: &str, verbose: u8) -> String {
    match verbose {
        0 => filter.to_owned(),
        1 => format!("{filter},brokerd=debug"),
        _ => format!("{filter},brokerd=trace"),
    }
}

/// As <https://no-color.org> has it: present and not empty means no colours.
fn colours(terminal: bool, no_color: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_v_raises_our_own_modules_by_one_level() {
        assert_eq!(directives("info", 0), "info");
        assert_eq!(directives("info", 1), "info,brokerd=debug");
        assert_eq!(directives("warn,brokerd=error", 9), "warn,brokerd=error,brokerd=trace");
        let filter = EnvFilter::try_new(directives("warn,brokerd=error", 1)).unwrap();
        assert_eq!(filter.max_level_hint(), Some(tracing_subscriber::filter::LevelFilter::DEBUG), "the flag wins");
    }

    #[test]
    fn colours_need_a_terminal_and_no_objection() {
        assert!(colours(true, None));
        assert!(colours(true, Some(OsStr::new(""))));
        assert!(!colours(true, Some(OsStr::new("1"))));
        assert!(!colours(false, None));
    }
}
