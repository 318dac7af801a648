//! The embedded stores keep the contract of all stores.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use store::contract::{CHECKS, Check, Place};
use store::{Backend, DiskSettings};

struct InMemory;

impl Place for InMemory {
    fn open(&self) -> Pin<Box<dyn Future<Output = Arc<dyn Backend>> + Send + '_>> {
        Box::pin(async { store::memory() })
    }
}

struct OnDisk(tempfile::TempDir);

impl Place for OnDisk {
    fn open(&self) -> Pin<Box<dyn Future<Output = Arc<dyn Backend>> + Send + '_>> {
        let settings = DiskSettings { reserve: 0, ..DiskSettings::new(self.0.path().join("store")) };
        Box::pin(async move { store::disk(&settings).unwrap() })
    }
}

/// All checks side by side: they wait for the disk most of the time.
fn check(make: impl Fn() -> Box<dyn Place> + Sync) {
    std::thread::scope(|scope| {
        let start = |(name, check): &'static Check| {
            let (place, thread) = (make(), std::thread::Builder::new().name((*name).into()));
            thread.spawn_scoped(scope, move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(check(place));
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

#[test]
fn memory_keeps_the_contract() {
    check(|| Box::new(InMemory));
}

#[test]
fn disk_keeps_the_contract() {
    check(|| Box::new(OnDisk(tempfile::tempdir().unwrap())));
}
