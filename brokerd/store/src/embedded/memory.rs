//! Tables in memory. Never outlive the process.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use parking_lot::RwLock;

use super::engine::{Engine, Range, Visit};
use super::keys::{TABLES, Table};
use crate::error::StoreError;

type Rows = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// The tables, each with a lock that is held for a look-up, a page or a commit.
#[derive(Debug, Default)]
pub(super) struct Memory([RwLock<Rows>; TABLES.len()]);

impl Memory {
    fn rows(&self, table: Table) -> &RwLock<Rows> {
        &self.0[table as usize]
    }
}

impl Engine for Memory {
    type Batch = Vec<(Table, Box<[u8]>, Option<Box<[u8]>>)>;

    fn batch(&self) -> Self::Batch {
        Vec::new()
    }

    fn put(&self, batch: &mut Self::Batch, table: Table, key: &[u8], value: &[u8]) {
        batch.push((table, key.into(), Some(value.into())));
    }

    fn remove(&self, batch: &mut Self::Batch, table: Table, key: &[u8]) {
        batch.push((table, key.into(), None));
    }

    fn commit(&self, batch: Self::Batch, _: bool) -> Result<(), StoreError> {
        for (table, key, value) in batch {
            let mut rows = self.rows(table).write();
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.rows(table).read().get(key).map(|value| value.to_vec()))
    }

    fn scan(&self, table: Table, range: Range<'_>, visit: Visit<'_>) -> Result<(), StoreError> {
        if is_empty(range) {
            return Ok(());
        }
        for (key, value) in self.rows(table).read().range::<[u8], _>(range) {
            if visit(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn last_key(&self, table: Table) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.rows(table).read().last_key_value().map(|(key, _)| key.to_vec()))
    }

    fn tidy(&self) {}

    fn has_room(&self) -> bool {
        true
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

/// Such a range makes a `BTreeMap` panic.
pub(super) fn is_empty(range: Range<'_>) -> bool {
    match range {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to) | Bound::Included(to)) => from >= to,
        _ => false,
    }
}
