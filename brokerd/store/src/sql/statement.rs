//! What is said to a server, before it is put into the words of one. Never holds a connection.

/// A table: its name, the columns that tell its rows apart, and the others.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) key: &'static [&'static str],
    pub(crate) rest: &'static [&'static str],
}

/// Entries: `size` counts against bounds, `mid` names a message that is stored once for many.
pub(crate) static QUEUE: Table =
    Table { name: "brokerd_queue", key: &["sid", "seq"], rest: &["qos", "size", "expires_at", "mid", "body"] };
/// Sent and not finished.
pub(crate) static FLIGHT: Table =
    Table { name: "brokerd_flight", key: &["sid", "seq"], rest: &["packet_id", "released"] };
/// QoS 2 packet ids of the client whose PUBREL has not come.
pub(crate) static RECEIVED: Table = Table { name: "brokerd_received", key: &["sid", "packet_id"], rest: &[] };
/// Messages that entries name.
pub(crate) static MESSAGE: Table = Table { name: "brokerd_message", key: &["mid"], rest: &["body"] };
/// Who owns a session; `client` is the hash of `client_id`, which may be longer than an index takes. New rows get
/// their `sid` from the server.
pub(crate) static SESSION: Table =
    Table { name: "brokerd_session", key: &["client"], rest: &["client_id", "epoch", "node"] };
/// The same rows, by number.
pub(crate) static SESSION_BY_SID: Table = Table { name: "brokerd_session", key: &["sid"], rest: &[] };
/// Sessions as saved: in a table of their own, so that saving one does not wait for those who read its epoch.
pub(crate) static RECORD: Table = Table { name: "brokerd_record", key: &["sid"], rest: &["ends_at", "body"] };
/// Sessions that are gone, whose rows are being removed.
pub(crate) static GARBAGE: Table = Table { name: "brokerd_garbage", key: &["sid"], rest: &[] };
/// Retained messages; `topic_hash` for the reason of `client`.
pub(crate) static RETAINED: Table =
    Table { name: "brokerd_retained", key: &["topic_hash"], rest: &["topic", "body", "stamp"] };
/// Delayed messages.
pub(crate) static DELAYED: Table = Table { name: "brokerd_delayed", key: &["mid"], rest: &["body"] };

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Bytes(Vec<u8>),
}

/// The values of one column of many rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Ints(Vec<Option<i64>>),
    Blobs(Vec<Option<Vec<u8>>>),
}

impl Column {
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Ints(values) => values.len(),
            Self::Blobs(values) => values.len(),
        }
    }
}

/// What becomes of a row whose key is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It stays.
    Stays,
    /// The new one takes its place.
    Goes,
    /// The new one takes its place unless its `stamp` is the earlier.
    GoesUnlessLater,
}

/// One thing to do. `{now}` in a text is the server's clock in milliseconds, `?` the next value.
#[derive(Clone, Debug)]
pub(crate) enum Statement {
    Begin {
        is_durable: bool,
    },
    Commit,
    Rollback,
    Text(&'static str, Vec<Value>),
    /// Number, epoch and node of sessions, which nobody may claim before the transaction ends.
    Owners(Vec<i64>),
    /// Number, epoch, node and key of the sessions of these clients, which nobody else may write for or claim before the
    /// transaction ends.
    Clients(Column),
    /// The age of messages begins anew, where it is above so many milliseconds.
    Touch(Column, i64),
    Insert(&'static Table, Known, Vec<Column>),
    /// By key.
    Delete(&'static Table, Vec<Column>),
    /// By session and the first and the last number.
    DeleteRanges(&'static Table, Vec<Column>),
    /// Retained messages by hash, unless their stamp is above the one given.
    DeleteEarlier(Vec<Column>),
}

/// A row as it comes back.
#[derive(Clone, Debug)]
pub(crate) struct Row(pub(crate) Vec<Value>);

impl Row {
    /// 0 where there is none.
    pub(crate) fn int(&self, at: usize) -> u64 {
        self.maybe_int(at).unwrap_or_default()
    }

    pub(crate) fn maybe_int(&self, at: usize) -> Option<u64> {
        match self.0.get(at)? {
            Value::Int(value) => u64::try_from(*value).ok(),
            Value::Bytes(digits) => std::str::from_utf8(digits).ok()?.parse().ok(), // how one server writes numbers
            Value::Null => None,
        }
    }

    pub(crate) fn bytes(&self, at: usize) -> Option<&[u8]> {
        match self.0.get(at)? {
            Value::Bytes(bytes) => Some(bytes),
            Value::Int(_) | Value::Null => None,
        }
    }

    pub(crate) fn text(&self, at: usize) -> Option<Box<str>> {
        std::str::from_utf8(self.bytes(at)?).ok().map(Box::from)
    }
}

/// What a statement came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) rows: Vec<Row>,
    /// Rows that it changed.
    pub(crate) changed: u64,
}

/// A number for a column of 64 bits with a sign. No clock, session or queue comes near the end of it.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn int(value: u64) -> Value {
    Value::Int(signed(value))
}
