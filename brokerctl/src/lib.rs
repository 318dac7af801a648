//! Administers brokerd over gRPC, with the words of `emqx_ctl`. Data goes to stdout, everything else to stderr. Never
//! reads a broker's files, but for its token and the password file that `passwd` is given.

mod api;
mod args;
mod bench;
mod command;
mod failure;
mod list;
mod moving;
mod output;
mod table;
mod time;

use std::ffi::OsString;
use std::io::Write;

use clap::Parser;

use args::{Args, Global};
use failure::Failure;

/// Where a run writes.
pub struct Streams<'a> {
    /// Data.
    pub out: &'a mut dyn Write,
    /// Messages.
    pub err: &'a mut dyn Write,
    /// Whether `out` is a terminal: lists are then cut at 100 rows.
    pub is_terminal: bool,
}

/// One run: what was asked for everywhere, and where to write.
struct Session<'a> {
    global: Global,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    is_terminal: bool,
}

/// Runs one command line, the program's name first, and answers the exit code: 0 ok, 1 failed, 2 usage, 3 a member that
/// is up did not answer, 4 not found, 5 unauthorised, 6 unreachable or too slow.
pub async fn run(args: impl IntoIterator<Item = OsString>, streams: &mut Streams<'_>) -> u8 {
    let Args { global, command } = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            let (to, code) = if error.use_stderr() { (&mut *streams.err, 2) } else { (&mut *streams.out, 0) };
            let _ = write!(to, "{}", error.render()).and_then(|()| to.flush());
            return code;
        }
    };
    let is_terminal = streams.is_terminal;
    let mut session = Session { global, out: &mut *streams.out, err: &mut *streams.err, is_terminal };
    let done = command.run(&mut session).await;
    let flushed = session.out.flush().map_err(Failure::from);
    match done.and(flushed) {
        Ok(()) => 0,
        Err(failure) => {
            let message = failure.to_string();
            if !message.is_empty() {
                let _ = writeln!(streams.err, "brokerctl: {message}");
            }
            failure.code()
        }
    }
}
