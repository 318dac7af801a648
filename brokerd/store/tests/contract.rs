//! The embedded stores keep the contract of all stores.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use store::contract::{Place, run_side_by_side};
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

#[test]
fn memory_keeps_the_contract() {
    run_side_by_side(|| Box::new(InMemory));
}

#[test]
fn disk_keeps_the_contract() {
    run_side_by_side(|| Box::new(OnDisk(tempfile::tempdir().unwrap())));
}
