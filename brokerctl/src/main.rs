//! The `brokerctl` program. Never does more than lend its streams to the library.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use brokerctl::Streams;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "brokerctl: {error}");
            return ExitCode::FAILURE;
        }
    };
    let stdout = std::io::stdout();
    let is_terminal = stdout.is_terminal();
    // Whole rows are written at once; a line buffer in between would write each of a million lines by itself.
    let mut out = std::io::BufWriter::with_capacity(64 * 1024, stdout.lock());
    let mut streams = Streams { out: &mut out, err: &mut std::io::stderr(), is_terminal };
    ExitCode::from(runtime.block_on(brokerctl::run(std::env::args_os(), &mut streams)))
}
