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
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Cancels the token at the first signal and exits the process at the second, with 128 + its number as shells
    /// count: who asks twice does not want to wait. Runs as long as the process; the owner of the runtime spawns it.
    pub async fn obey(self, token: CancellationToken) {
        self.obey_or(token, |code| std::process::exit(code)).await;
    }

    async fn obey_or(mut self, token: CancellationToken, exit: impl FnOnce(i32)) {
        let first = self.next().await;
        tracing::info!(signal = first.as_raw_value(), "stopping; a second signal stops at once");
        token.cancel();
        let second = self.next().await;
        exit(128 + second.as_raw_value());
    }

    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    /// One test, because a signal reaches every listener in the process.
    #[tokio::test]
    async fn the_first_signal_cancels_and_the_second_exits_with_its_number() {
        let (token, (code_tx, mut code_rx)) = (CancellationToken::new(), tokio::sync::oneshot::channel());
        let signals = Signals::install().unwrap();
        tokio::spawn(signals.obey_or(token.clone(), |code| code_tx.send(code).unwrap()));
        assert!(!token.is_cancelled());
        kill_process(getpid(), Signal::TERM).unwrap();
        token.cancelled().await;
        assert!(code_rx.try_recv().is_err(), "one signal does not exit");
        kill_process(getpid(), Signal::INT).unwrap();
        assert_eq!(code_rx.await, Ok(128 + 2));
    }
}
