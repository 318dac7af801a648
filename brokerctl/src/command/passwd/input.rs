//! Where a password comes from: a terminal that does not show it, or a line of the standard input. Never keeps it.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use super::LONGEST;
use crate::failure::Failure;

/// Ctrl-C and Ctrl-D, where the terminal does not act on them.
const GIVE_UP: [u8; 2] = [0x03, 0x04];
/// Backspace, as terminals send it.
const ERASE: [u8; 2] = [0x08, 0x7f];

/// All of the standard input, without the end of its line.
pub(super) fn from_stdin() -> Result<Vec<u8>, Failure> {
    let mut password = Vec::new();
    let most = LONGEST as u64 + 3; // with its line end, and one that is too many
    let read = io::stdin().lock().take(most).read_to_end(&mut password);
    read.map_err(|error| Failure::Failed(format!("cannot read the standard input: {error}")))?;
    if password.ends_with(b"\n") {
        password.pop();
        password.pop_if(|byte| *byte == b'\r');
    }
    if password.contains(&b'\n') {
        return Err(Failure::Usage("the standard input has more than one line".into()));
    }
    Ok(password)
}

/// Asks twice.
pub(super) fn from_terminal(user: &str) -> Result<Vec<u8>, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage("the standard input is not a terminal: give the password to --stdin".into()));
    }
    let failed = |error: io::Error| Failure::Failed(format!("cannot read from the terminal: {error}"));
    let mut silent = Silent::new().map_err(failed)?;
    let mut ask =
        |prompt: &str| silent.ask(prompt).map_err(failed)?.ok_or_else(|| Failure::Failed("nothing was changed".into()));
    let password = ask(&format!("Password of {user}: "))?;
    if ask("Again: ")? == password {
        return Ok(password);
    }
    Err(Failure::Failed("the two passwords differ; nothing was changed".into()))
}

/// The terminal, which shows nothing that is typed until this is dropped.
struct Silent {
    terminal: File,
    before: Termios,
}

impl Silent {
    fn new() -> io::Result<Self> {
        let terminal = File::options().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&terminal)?;
        let mut modes = before.clone();
        // Signals too: one that ended us here would leave the terminal mute.
        modes.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&terminal, OptionalActions::Flush, &modes)?;
        Ok(Self { terminal, before })
    }

    /// A line; `None` where the user gives up.
    fn ask(&mut self, prompt: &str) -> io::Result<Option<Vec<u8>>> {
        self.terminal.write_all(prompt.as_bytes())?;
        let (mut line, mut byte) = (Vec::new(), [0]);
        let is_given = loop {
            if self.terminal.read(&mut byte)? == 0 || GIVE_UP.contains(&byte[0]) {
                break false;
            }
            match byte[0] {
                b'\r' | b'\n' => break true,
                erase if ERASE.contains(&erase) => {
                    // The bytes of a character behind its first are 10xxxxxx.
                    while line.pop_if(|last| *last & 0xc0 == 0x80).is_some() {}
                    line.pop();
                }
                _ if line.len() > LONGEST => {} // it is refused for its length
                other => line.push(other),
            }
        };
        self.terminal.write_all(b"\n")?;
        Ok(is_given.then_some(line))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}
