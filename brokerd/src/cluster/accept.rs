//! The peer port. Lets in who proves the cluster secret; bounds what strangers may cost. Never acts on their bytes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::core::Core;
use super::handshake;
use super::quiet::Quiet;
use super::serve;
use crate::metrics::Metric;

/// Handshakes at a time; further connections are closed.
const HANDSHAKES: usize = 128;

/// Accepts until it is dropped; the links end with it.
pub(super) async fn run(core: Arc<Core>, listener: TcpListener) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let mut links = JoinSet::new();
    let quiet = Quiet::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(refused) = links.join_next() => {
                if let Ok(Some(refused)) = refused {
                    core.parts.tally.add(Metric::PeerRefused, 1);
                    if quiet.allows(Instant::now()) {
                        tracing::warn!("closed a connection to the peer port: {refused}");
                    }
                }
                continue;
            }
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                // Out of files, or the like: it passes, or the operator must see it.
                tracing::error!("cannot accept peers: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = handshakes.clone().try_acquire_owned() else {
            core.parts.tally.add(Metric::PeerRefused, 1);
            continue;
        };
        let core = core.clone();
        links.spawn(async move {
            let admitted = Box::pin(handshake::admit(&core, socket)).await;
            drop(permit);
            match admitted {
                Ok(Some(admitted)) => {
                    serve::serve(core, admitted).await;
                    None
                }
                Ok(None) => None,
                Err(error) => Some(error),
            }
        });
    }
}
