//! A line on the terminal that says how far a run is. Nothing where stderr is no terminal.

use std::io::{IsTerminal, Write};

use super::process::now;

/// Between two drawings.
const INTERVAL: u64 = 200_000_000;
const WIDTH: usize = 30;

/// A progress bar.
#[derive(Debug)]
pub(crate) struct Progress {
    is_terminal: bool,
    drawn: u64,
}

impl Progress {
    /// On stderr, if somebody looks.
    pub(crate) fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), drawn: 0 }
    }

    /// Draws, not too often.
    pub(crate) fn draw(&mut self, what: &str, done: u64, all: u64) {
        if !self.is_terminal || now() < self.drawn + INTERVAL {
            return;
        }
        self.drawn = now();
        let share = (done as f64 / all.max(1) as f64).min(1.0);
        let full = (share * WIDTH as f64) as usize;
        let bar = format!("{}{}", "#".repeat(full), ".".repeat(WIDTH - full));
        let _ = write!(std::io::stderr(), "\r\x1b[K[{bar}] {:3.0} % {what}", share * 100.0);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn > 0 {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
