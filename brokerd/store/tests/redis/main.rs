//! `redis` against a real server: the contract of all stores, and what it does when the server does not.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod faults;
mod server;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use server::Server;
use store::contract::{CHECKS, Check, Place};
use store::{Backend, RedisSettings};

/// A prefix of its own.
struct InRedis(RedisSettings);

impl Place for InRedis {
    fn open(&self) -> Pin<Box<dyn Future<Output = Arc<dyn Backend>> + Send + '_>> {
        Box::pin(async { store::redis(&self.0).await.unwrap() })
    }
}

fn settings(server: &Server) -> RedisSettings {
    RedisSettings::new(server.address())
}

#[test]
fn redis_keeps_the_contract() {
    let server = Server::start();
    std::thread::scope(|scope| {
        let start = |(name, check): &'static Check| {
            let place = InRedis(RedisSettings {
                prefix: format!("{{{name}}}:"),
                timeout: std::time::Duration::from_secs(30),
                ..settings(&server)
            });
            let thread = std::thread::Builder::new().name((*name).into());
            thread.spawn_scoped(scope, move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(check(Box::new(place)));
            })
        };
        let threads: Vec<_> = CHECKS.iter().map(start).collect();
        let failed: Vec<&str> = CHECKS
            .iter()
            .zip(threads)
            .filter_map(|((name, _), thread)| thread.unwrap().join().is_err().then_some(*name))
            .collect();
        assert!(failed.is_empty(), "not kept: {failed:?}");
    });
}
