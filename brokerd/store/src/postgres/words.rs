//! Statements in PostgreSQL's words: columns of many rows go as arrays, so that the text is the same for any number of
//! them, and is prepared once. Never puts a value into a text.

use std::fmt::Write as _;

use tokio_postgres::types::ToSql;

use crate::sql::statement::{Column, Known, Statement, Table, Value};

const NOW: &str = "(extract(epoch from clock_timestamp()) * 1000)::bigint";

/// A text and what goes with it.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) text: String,
    pub(super) parameters: Vec<Parameter>,
}

#[derive(Debug)]
pub(super) enum Parameter {
    Int(i64),
    Bytes(Vec<u8>),
    Null(Option<i64>),
    Ints(Vec<Option<i64>>),
    Blobs(Vec<Option<Vec<u8>>>),
}

impl Parameter {
    pub(super) fn as_sql(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Int(value) => value,
            Self::Bytes(value) => value,
            Self::Null(value) => value,
            Self::Ints(values) => values,
            Self::Blobs(values) => values,
        }
    }

    const fn array(&self) -> &'static str {
        if matches!(self, Self::Ints(_)) { "bigint[]" } else { "bytea[]" }
    }
}

/// Texts to be carried out in their order.
pub(super) fn of(statement: &Statement) -> Vec<Words> {
    let plain = |text: &str| vec![Words { text: text.to_owned(), parameters: Vec::new() }];
    match statement {
        Statement::Begin { is_durable: true } => plain("BEGIN"),
        Statement::Begin { is_durable: false } => {
            [plain("BEGIN"), plain("SET LOCAL synchronous_commit TO off")].into_iter().flatten().collect()
        }
        Statement::Commit => plain("COMMIT"),
        Statement::Rollback => plain("ROLLBACK"),
        Statement::Text(text, values) => {
            vec![Words { text: numbered(text), parameters: values.iter().map(one).collect() }]
        }
        Statement::Owners(sids) => {
            let sids = Parameter::Ints(sids.iter().copied().map(Some).collect());
            let text =
                "SELECT sid, epoch, node FROM brokerd_session WHERE sid = ANY($1::bigint[]) ORDER BY sid FOR UPDATE";
            vec![Words { text: text.to_owned(), parameters: vec![sids] }]
        }
        Statement::Clients(clients) => {
            let text = "SELECT sid, epoch, node, client FROM brokerd_session WHERE client = ANY($1::bytea[]) \
                        ORDER BY sid FOR UPDATE";
            vec![Words { text: text.to_owned(), parameters: vec![many(clients)] }]
        }
        Statement::Touch(mids, millis) => {
            let text = format!(
                "UPDATE brokerd_message SET created_at = {NOW} WHERE mid = ANY($1::bytea[]) AND created_at < {NOW} - $2"
            );
            vec![Words { text, parameters: vec![many(mids), Parameter::Int(*millis)] }]
        }
        Statement::Insert(table, known, columns) => vec![insert(table, *known, columns)],
        Statement::Delete(table, columns) => {
            let on = |n: usize, key: &str| format!("t.{key} = k.c{n}");
            vec![delete(table.name, columns, &pairs(table.key, on))]
        }
        Statement::DeleteRanges(table, columns) => {
            vec![delete(table.name, columns, "t.sid = k.c0 AND t.seq BETWEEN k.c1 AND k.c2")]
        }
        Statement::DeleteEarlier(columns) => {
            vec![delete("brokerd_retained", columns, "t.topic_hash = k.c0 AND t.stamp <= k.c1")]
        }
    }
}

fn insert(table: &Table, known: Known, columns: &[Column]) -> Words {
    let parameters: Vec<Parameter> = columns.iter().map(many).collect();
    let names = table.key.iter().chain(table.rest).copied().collect::<Vec<_>>().join(", ");
    let mut text = format!("INSERT INTO {} ({names}) SELECT * FROM {}", table.name, unnest(&parameters));
    let renew = || table.rest.iter().map(|name| format!("{name} = excluded.{name}")).collect::<Vec<_>>().join(", ");
    let key = table.key.join(", ");
    let _ = match known {
        Known::Stays => write!(text, " ON CONFLICT DO NOTHING"),
        Known::Goes => write!(text, " ON CONFLICT ({key}) DO UPDATE SET {}", renew()),
        Known::GoesUnlessLater => {
            let name = table.name;
            write!(text, " ON CONFLICT ({key}) DO UPDATE SET {} WHERE {name}.stamp <= excluded.stamp", renew())
        }
    };
    Words { text, parameters }
}

fn delete(table: &str, columns: &[Column], on: &str) -> Words {
    let parameters: Vec<Parameter> = columns.iter().map(many).collect();
    let names = (0..columns.len()).map(|n| format!("c{n}")).collect::<Vec<_>>().join(", ");
    let text = format!("DELETE FROM {table} t USING {} AS k ({names}) WHERE {on}", unnest(&parameters));
    Words { text, parameters }
}

fn unnest(parameters: &[Parameter]) -> String {
    let arrays = parameters.iter().enumerate().map(|(n, one)| format!("${}::{}", n + 1, one.array()));
    format!("unnest({})", arrays.collect::<Vec<_>>().join(", "))
}

fn pairs(key: &[&str], on: impl Fn(usize, &str) -> String) -> String {
    key.iter().enumerate().map(|(n, name)| on(n, name)).collect::<Vec<_>>().join(" AND ")
}

/// `?` becomes `$1`, `$2` and so on.
fn numbered(text: &str) -> String {
    let mut parts = text.split('?');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for (n, part) in parts.enumerate() {
        let _ = write!(out, "${}{part}", n + 1);
    }
    out.replace("{now}", NOW)
}

fn one(value: &Value) -> Parameter {
    match value {
        Value::Null => Parameter::Null(None),
        Value::Int(value) => Parameter::Int(*value),
        Value::Bytes(bytes) => Parameter::Bytes(bytes.clone()),
    }
}

fn many(column: &Column) -> Parameter {
    match column {
        Column::Ints(values) => Parameter::Ints(values.clone()),
        Column::Blobs(values) => Parameter::Blobs(values.clone()),
    }
}
