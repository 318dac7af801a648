//! The embedded stores keep the contract of all stores.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use store::contract::{CHECKS, Place};
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

#[tokio::test]
async fn memory_keeps_the_contract() {
    for (name, check) in CHECKS {
        println!("{name}");
        check(Box::new(InMemory)).await;
    }
}

#[tokio::test]
async fn disk_keeps_the_contract() {
    for (name, check) in CHECKS {
        println!("{name}");
        check(Box::new(OnDisk(tempfile::tempdir().unwrap()))).await;
    }
}
