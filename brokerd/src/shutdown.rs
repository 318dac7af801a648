//! SIGINT and SIGTERM as a token. Owns the handlers of these signals; never stops anything itself, except the process
//! at the second signal.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Both signals that ask a process to stop. From `install` on they no longer end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the signals over. Needs a tokio runtime with I/O.
    ///
    /// # Errors
    /// The kernel refuses a handler.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Cancels the token at the first signal and exits the process at the second, with 128 + its number as shells
    /// count: who asks twice does not want to wait. Runs as long as the process; the owner of the runtime spawns it.
    pub async fn obey(mut self, token: CancellationToken) {
        let exit = |code| std::process::exit(code);
        obey(async || self.next().await, &token, exit).await;
    }

    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        }
    }
}

async fn obey(mut next: impl AsyncFnMut() -> SignalKind, token: &CancellationToken, exit: impl FnOnce(i32)) {
    let first = next().await;
    tracing::info!(signal = first.as_raw_value(), "stopping; a second signal stops at once");
    token.cancel();
    let second = next().await;
    exit(128 + second.as_raw_value());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use rustix::process::{getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn a_real_signal_cancels_the_token() {
        let token = CancellationToken::new();
        let task = tokio::spawn(Signals::install().unwrap().obey(token.clone()));
        assert!(!token.is_cancelled());
        kill_process(getpid(), rustix::process::Signal::TERM).unwrap();
        token.cancelled().await;
        assert!(!task.is_finished(), "it waits for a second signal");
        task.abort();
    }

    #[tokio::test]
    async fn the_second_signal_exits_with_its_number() {
        let token = CancellationToken::new();
        let mut signals = [SignalKind::interrupt(), SignalKind::terminate()].into_iter();
        let mut code = None;
        obey(
            async || signals.next().expect("two are enough"),
            &token,
            |it| code = Some(it),
        )
        .await;
        assert!(token.is_cancelled());
        assert_eq!(code, Some(128 + 15));
    }
}
