//! Statements in MySQL's words: values are numbers and hexadecimal digits in the text, since what is prepared would be
//! prepared anew for each number of rows. Never puts a character of a client's into a text.

use std::fmt::Write as _;

use crate::sql::statement::{Column, Known, Statement, Table, Value};

const NOW: &str = "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)";

/// Rows, and bytes after which there is another statement.
const MOST_ROWS: usize = 1000;
const MOST_BYTES: usize = 1 << 20;
/// Keys that a statement looks for: with more, servers look at all rows.
const MOST_KEYS: usize = 200;

/// Texts to be carried out in their order.
pub(super) fn of(statement: &Statement) -> Vec<String> {
    match statement {
        Statement::Begin { .. } => vec!["START TRANSACTION".into()],
        Statement::Commit => vec!["COMMIT".into()],
        Statement::Rollback => vec!["ROLLBACK".into()],
        Statement::Text(text, values) => vec![filled(text, values)],
        Statement::Owners(sids) => {
            let sids = sids.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
            let select = "SELECT sid, epoch, node FROM brokerd_session WHERE sid IN";
            vec![format!("{select} ({sids}) ORDER BY sid FOR UPDATE")]
        }
        Statement::Clients(clients) => chunks(clients.len(), MOST_KEYS, |rows| {
            let which = in_list("client", clients, rows);
            format!("SELECT sid, epoch, node, client FROM brokerd_session WHERE {which} ORDER BY sid FOR UPDATE")
        }),
        Statement::Touch(mids, millis) => {
            let head =
                format!("UPDATE brokerd_message SET created_at = {NOW} WHERE created_at < {NOW} - {millis} AND ");
            chunks(mids.len(), MOST_KEYS, |rows| format!("{head}{}", in_list("mid", mids, rows)))
        }
        Statement::Insert(table, known, columns) => insert(table, *known, columns),
        Statement::Delete(table, columns) => match (table.key, columns.as_slice()) {
            ([key], [values]) => {
                let head = format!("DELETE FROM {} WHERE ", table.name);
                chunks(values.len(), MOST_KEYS, |rows| format!("{head}{}", in_list(key, values, rows)))
            }
            (key, columns) => delete(table.name, columns, |values| {
                let each = key.iter().zip(values).map(|(name, value)| format!("{name}={value}"));
                each.collect::<Vec<_>>().join(" AND ")
            }),
        },
        Statement::DeleteRanges(table, columns) => delete(table.name, columns, |values| match values {
            [sid, first, last] => format!("sid={sid} AND seq BETWEEN {first} AND {last}"),
            _ => "FALSE".into(),
        }),
        Statement::DeleteEarlier(columns) => delete("brokerd_retained", columns, |values| match values {
            [hash, stamp] => format!("topic_hash={hash} AND stamp<={stamp}"),
            _ => "FALSE".into(),
        }),
    }
}

fn insert(table: &Table, known: Known, columns: &[Column]) -> Vec<String> {
    let ignore = if known == Known::Stays { "IGNORE " } else { "" };
    let names = table.key.iter().chain(table.rest).copied().collect::<Vec<_>>().join(",");
    let head = format!("INSERT {ignore}INTO {} ({names}) VALUES ", table.name);
    // From left to right: `stamp`, the last one, is compared before it changes.
    let renew = |name: &&str| match known {
        Known::GoesUnlessLater => format!("{name}=IF(stamp<=VALUES(stamp),VALUES({name}),{name})"),
        Known::Goes | Known::Stays => format!("{name}=VALUES({name})"),
    };
    let tail = match known {
        Known::Stays => String::new(),
        _ => format!(" ON DUPLICATE KEY UPDATE {}", table.rest.iter().map(renew).collect::<Vec<_>>().join(",")),
    };
    let count = columns.first().map_or(0, Column::len);
    let (mut out, mut text, mut rows) = (Vec::new(), String::new(), 0);
    for row in 0..count {
        text.push_str(if text.is_empty() { &head } else { "," });
        for (n, column) in columns.iter().enumerate() {
            text.push(if n == 0 { '(' } else { ',' });
            put(column, row, &mut text);
        }
        text.push(')');
        rows += 1;
        if rows >= MOST_ROWS || text.len() >= MOST_BYTES || row + 1 == count {
            text.push_str(&tail);
            out.push(std::mem::take(&mut text));
            rows = 0;
        }
    }
    out
}

fn delete(table: &str, columns: &[Column], which: impl Fn(&[String]) -> String) -> Vec<String> {
    let one = |row| {
        let value = |column| {
            let mut text = String::new();
            put(column, row, &mut text);
            text
        };
        which(&columns.iter().map(value).collect::<Vec<_>>())
    };
    let count = columns.first().map_or(0, Column::len);
    chunks(count, MOST_KEYS, |rows| {
        format!("DELETE FROM {table} WHERE {}", rows.map(one).collect::<Vec<_>>().join(" OR "))
    })
}

fn in_list(name: &str, column: &Column, rows: std::ops::Range<usize>) -> String {
    let mut text = format!("{name} IN (");
    for (n, row) in rows.enumerate() {
        if n > 0 {
            text.push(',');
        }
        put(column, row, &mut text);
    }
    text.push(')');
    text
}

fn chunks(count: usize, most: usize, make: impl Fn(std::ops::Range<usize>) -> String) -> Vec<String> {
    (0..count).step_by(most).map(|from| make(from..(from + most).min(count))).collect()
}

fn filled(text: &str, values: &[Value]) -> String {
    let mut parts = text.split('?');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for (part, value) in parts.zip(values) {
        match value {
            Value::Null => out.push_str("NULL"),
            Value::Int(value) => drop(write!(out, "{value}")),
            Value::Bytes(bytes) => put_bytes(bytes, &mut out),
        }
        out.push_str(part);
    }
    out.replace("{now}", NOW)
}

fn put(column: &Column, row: usize, out: &mut String) {
    match column {
        Column::Ints(values) => match values.get(row).copied().flatten() {
            Some(value) => drop(write!(out, "{value}")),
            None => out.push_str("NULL"),
        },
        Column::Blobs(values) => match values.get(row).and_then(Option::as_ref) {
            Some(bytes) => put_bytes(bytes, out),
            None => out.push_str("NULL"),
        },
    }
}

/// As a literal of bytes: it has a type, where `0x` may be a number.
fn put_bytes(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.reserve(bytes.len() * 2 + 3);
    out.push_str("X'");
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out.push('\'');
}
