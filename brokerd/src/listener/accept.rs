//! Accepts connections of one listener, no faster than it may. Owns the rate; never waits for a client.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::bind::Listening;
use super::{Clients, Connected, Listener};
use crate::transport::StdSocket;

/// Accepts for ever. What the rate or `max_connections` do not allow waits in the kernel's backlog, or is closed.
pub(super) async fn accept(socket: &Listening, listener: &Arc<Listener>, clients: &dyn Clients) {
    let mut rate = Rate::new(listener.config.max_connect_rate);
    loop {
        rate.take().await;
        match next(socket).await {
            Ok((socket, peer)) => {
                let most = listener.config.max_connections;
                if most != 0 && listener.connections() >= most {
                    listener.refused.fetch_add(1, Ordering::Relaxed);
                    continue; // dropped: closed
                }
                listener.accepted.fetch_add(1, Ordering::Relaxed);
                clients.accept(socket, Connected::new(peer, listener.clone()));
            }
            Err(error) => {
                // Out of files or memory: what waits in the backlog waits on; a client that went away is no fault.
                tracing::warn!(listener = listener.id(), %error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn next(socket: &Listening) -> io::Result<(StdSocket, SocketAddr)> {
    match socket {
        Listening::Tcp(socket) => {
            let (stream, peer) = socket.accept().await?;
            let _ = stream.set_nodelay(true);
            Ok((StdSocket::Tcp(stream.into_std()?), peer))
        }
        Listening::Unix(socket, _) => {
            let (stream, _) = socket.accept().await?;
            Ok((StdSocket::Unix(stream.into_std()?), SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)))
        }
    }
}

/// A token bucket that holds a second's worth.
struct Rate {
    per_second: u32,
    tokens: f64,
    filled: Instant,
}

impl Rate {
    fn new(per_second: u32) -> Self {
        Self { per_second, tokens: f64::from(per_second), filled: Instant::now() }
    }

    async fn take(&mut self) {
        if self.per_second == 0 {
            return;
        }
        let per_second = f64::from(self.per_second);
        loop {
            let now = Instant::now();
            self.tokens = (self.tokens + (now - self.filled).as_secs_f64() * per_second).min(per_second);
            self.filled = now;
            if self.tokens >= 1.0 {
                self.tokens -= 1.0;
                return;
            }
            // The timer ticks in milliseconds: less would be no wait at all.
            let missing = ((1.0 - self.tokens) / per_second).max(0.001);
            tokio::time::sleep(Duration::from_secs_f64(missing)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_gives_one_seconds_worth_at_once_and_then_that_much_a_second() {
        let mut rate = Rate::new(10);
        let start = Instant::now();
        for _ in 0..10 {
            rate.take().await;
        }
        assert!(start.elapsed() < Duration::from_millis(1), "the burst waited {:?}", start.elapsed());
        for _ in 0..10 {
            rate.take().await;
        }
        let took = start.elapsed().as_millis();
        assert!((990..1_100).contains(&took), "ten more took {took} ms");
    }
}
