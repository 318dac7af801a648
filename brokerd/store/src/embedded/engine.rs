//! What the rules need of an engine: ordered tables, and changes that are made all or not at all. Never what is in them.

use std::ops::{Bound, ControlFlow};

use super::keys::Table;
use crate::error::StoreError;

/// Where to scan.
pub(crate) type Range<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);
/// Is shown rows in the order of their keys until it breaks off.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Ordered tables.
pub(crate) trait Engine: std::fmt::Debug + Send + Sync + 'static {
    /// Changes that are gathered. A later one to the same key wins.
    type Batch: Send;

    fn batch(&self) -> Self::Batch;
    fn put(&self, batch: &mut Self::Batch, table: Table, key: &[u8], value: &[u8]);
    fn remove(&self, batch: &mut Self::Batch, table: Table, key: &[u8]);
    /// Makes them, all or none; `is_durable` is whether a power cut may not undo them once this has answered.
    fn commit(&self, batch: Self::Batch, is_durable: bool) -> Result<(), StoreError>;
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    fn scan(&self, table: Table, range: Range<'_>, visit: Visit<'_>) -> Result<(), StoreError>;
    fn last_key(&self, table: Table) -> Result<Option<Vec<u8>>, StoreError>;
    /// Gives back the space of what was removed, if that is worth it.
    fn tidy(&self);
    fn has_room(&self) -> bool;
    fn disk_bytes(&self) -> u64;
}
