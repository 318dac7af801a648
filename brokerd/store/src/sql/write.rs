//! A plan as statements: what goes first, then what comes. Never one statement a row.

use super::plan::{Change, Plan, stamp_bytes};
use super::statement::{
    Column, DELAYED, FLIGHT, GARBAGE, Known, MESSAGE, QUEUE, RECEIVED, RECORD, RETAINED, SESSION_BY_SID, Statement,
    Table,
};

type Blob = Option<Vec<u8>>;

impl Plan {
    /// In one transaction; `half_age` is when messages that are there already are to be made young again, in
    /// milliseconds. Also says which of the statements writes messages.
    pub(super) fn into_statements(self, half_age: i64) -> (Vec<Statement>, Option<usize>) {
        let mut out = Vec::new();
        self.removals(&mut out);
        let message_at = self.messages(half_age, &mut out);
        self.additions(&mut out);
        (out, message_at)
    }

    fn removals(&self, out: &mut Vec<Statement>) {
        delete(&QUEUE, pairs(going(&self.queue)), out);
        delete(&FLIGHT, pairs(going(&self.flight)), out);
        delete(&RECEIVED, pairs(going(&self.received)), out);
        delete(&DELAYED, vec![blobs(going(&self.delayed).map(|mid| mid.to_vec()))], out);
        if !self.ranges.is_empty() {
            let column = |pick: fn(&(i64, i64, i64)) -> i64| ints(self.ranges.iter().map(pick));
            let ranges = || vec![column(|one| one.0), column(|one| one.1), column(|one| one.2)];
            out.push(Statement::DeleteRanges(&QUEUE, ranges()));
            out.push(Statement::DeleteRanges(&FLIGHT, ranges()));
        }
        drop_sessions(self.dropped.iter().copied(), out);
        let dropped = || self.retained.iter().filter_map(|(hash, change)| Some((hash, change.drop?)));
        if dropped().next().is_some() {
            let hashes = blobs(dropped().map(|(hash, _)| hash.to_vec()));
            out.push(Statement::DeleteEarlier(vec![hashes, blobs(dropped().map(|(_, stamp)| stamp_bytes(stamp)))]));
        }
    }

    /// A message that is there is touched before it is left alone: between the two it cannot be removed as one that
    /// nothing names.
    fn messages(&self, half_age: i64, out: &mut Vec<Statement>) -> Option<usize> {
        if self.messages.is_empty() {
            return None;
        }
        let mids = || blobs(self.messages.keys().map(|mid| mid.to_vec()));
        out.push(Statement::Touch(mids(), half_age));
        out.push(Statement::Insert(&MESSAGE, Known::Stays, vec![mids(), blobs(self.messages.values().cloned())]));
        Some(out.len() - 1)
    }

    fn additions(self, out: &mut Vec<Statement>) {
        let queue: Vec<_> = self.queue.into_iter().filter_map(|(key, change)| Some((key, change.comes?))).collect();
        if !queue.is_empty() {
            let mut columns = pairs(queue.iter().map(|(key, _)| key));
            columns.push(ints(queue.iter().map(|(_, row)| row.qos)));
            columns.push(ints(queue.iter().map(|(_, row)| row.size)));
            columns.push(Column::Ints(queue.iter().map(|(_, row)| row.expires_at).collect()));
            let (mids, bodies): (Vec<Blob>, Vec<Blob>) =
                queue.into_iter().map(|(_, row)| (row.mid, Some(row.body))).unzip();
            columns.extend([Column::Blobs(mids), Column::Blobs(bodies)]);
            insert(&QUEUE, Known::Stays, columns, out);
        }
        let flight = || self.flight.iter().filter_map(|(key, change)| Some((key, change.comes?)));
        let mut columns = pairs(flight().map(|(key, _)| key));
        columns.push(ints(flight().map(|(_, (packet_id, _))| packet_id)));
        columns.push(ints(flight().map(|(_, (_, is_released))| i64::from(is_released))));
        insert(&FLIGHT, Known::Goes, columns, out);
        let received = self.received.iter().filter_map(|(key, change)| change.comes.map(|()| key));
        insert(&RECEIVED, Known::Stays, pairs(received), out);
        let mut columns = vec![ints(self.records.keys().copied())];
        columns.push(Column::Ints(self.records.values().map(|record| record.ends_at).collect()));
        columns.push(blobs(self.records.into_values().map(|record| record.body)));
        insert(&RECORD, Known::Goes, columns, out);
        let retained: Vec<_> = self.retained.into_iter().filter_map(|(hash, one)| Some((hash, one.put?))).collect();
        let mut columns = vec![blobs(retained.iter().map(|(hash, _)| hash.to_vec()))];
        columns.push(blobs(retained.iter().map(|(_, row)| row.topic.as_bytes().to_vec())));
        let stamps = blobs(retained.iter().map(|(_, row)| stamp_bytes(row.stamp)));
        columns.push(blobs(retained.into_iter().map(|(_, row)| row.body)));
        columns.push(stamps);
        insert(&RETAINED, Known::GoesUnlessLater, columns, out);
        let (mids, bodies): (Vec<Blob>, Vec<Blob>) =
            self.delayed.into_iter().filter_map(|(mid, one)| Some((Some(mid.to_vec()), Some(one.comes?)))).unzip();
        insert(&DELAYED, Known::Goes, vec![Column::Blobs(mids), Column::Blobs(bodies)], out);
    }
}

/// They are gone at once; their rows go piece by piece.
pub(super) fn drop_sessions(sids: impl Iterator<Item = i64>, out: &mut Vec<Statement>) {
    let sids = ints(sids);
    if sids.len() == 0 {
        return;
    }
    out.push(Statement::Delete(&SESSION_BY_SID, vec![sids.clone()]));
    out.push(Statement::Delete(&RECORD, vec![sids.clone()]));
    out.push(Statement::Insert(&GARBAGE, Known::Stays, vec![sids]));
}

fn going<K, T>(changes: &std::collections::BTreeMap<K, Change<T>>) -> impl Iterator<Item = &K> + Clone {
    changes.iter().filter(|(_, change)| change.goes).map(|(key, _)| key)
}

fn delete(from: &'static Table, columns: Vec<Column>, out: &mut Vec<Statement>) {
    if columns.first().is_some_and(|column| column.len() > 0) {
        out.push(Statement::Delete(from, columns));
    }
}

fn insert(into: &'static Table, known: Known, columns: Vec<Column>, out: &mut Vec<Statement>) {
    if columns.first().is_some_and(|column| column.len() > 0) {
        out.push(Statement::Insert(into, known, columns));
    }
}

fn pairs<'a>(keys: impl Iterator<Item = &'a (i64, i64)>) -> Vec<Column> {
    let (first, second): (Vec<_>, Vec<_>) = keys.map(|(first, second)| (Some(*first), Some(*second))).unzip();
    vec![Column::Ints(first), Column::Ints(second)]
}

pub(super) fn ints(values: impl Iterator<Item = i64>) -> Column {
    Column::Ints(values.map(Some).collect())
}

pub(super) fn blobs(values: impl Iterator<Item = Vec<u8>>) -> Column {
    Column::Blobs(values.map(Some).collect())
}
