//! A connection to MySQL: statements go in packets of many, and the server goes from one to the next by itself. Never
//! sends a packet that is larger than need be.

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};

use super::words;
use crate::sql::server::{Fault, Link};
use crate::sql::statement::{Reply, Row, Statement, Value};

/// A packet is sent when it has so many bytes; servers take 16 MiB and more.
const PACKET: usize = 4 << 20;

/// The server is stopped; the connection was closed by it.
const GOING: [u16; 2] = [1053, 1927];
/// Too many connections; somebody else has the row; it took too long.
const LATER: [u16; 7] = [1040, 1203, 1205, 1213, 1226, 1969, 3024];

#[derive(Debug)]
pub(crate) struct MysqlLink(pub(super) Conn);

#[async_trait]
impl Link for MysqlLink {
    async fn run(&mut self, statements: &[Statement]) -> Result<Vec<Reply>, Fault> {
        let mut replies = vec![Reply::default(); statements.len()];
        let (mut packet, mut of) = (Vec::new(), Vec::new());
        for (at, statement) in statements.iter().enumerate() {
            for text in words::of(statement) {
                if !packet.is_empty() {
                    if packet.len() + text.len() > PACKET {
                        self.send(std::mem::take(&mut packet), &std::mem::take(&mut of), &mut replies).await?;
                    } else {
                        packet.push(b';');
                    }
                }
                packet.extend_from_slice(text.as_bytes());
                of.push(at);
            }
        }
        self.send(packet, &of, &mut replies).await?;
        Ok(replies)
    }
}

impl MysqlLink {
    /// `of` says whose the answers are. After an error the server does not go on.
    async fn send(&mut self, packet: Vec<u8>, of: &[usize], replies: &mut [Reply]) -> Result<(), Fault> {
        let mut result = self.0.query_iter(packet).await.map_err(|error| fault(&error))?;
        for at in of {
            let changed = result.affected_rows();
            let rows: Vec<mysql_async::Row> = result.collect().await.map_err(|error| fault(&error))?;
            if let Some(reply) = replies.get_mut(*at) {
                reply.changed += changed;
                reply.rows.extend(rows.into_iter().map(row));
            }
        }
        Ok(())
    }
}

fn row(row: mysql_async::Row) -> Row {
    let value = |value| match value {
        mysql_async::Value::Bytes(bytes) => Value::Bytes(bytes),
        mysql_async::Value::Int(value) => Value::Int(value),
        _ => Value::Null,
    };
    Row(row.unwrap().into_iter().map(value).collect())
}

pub(super) fn fault(error: &Error) -> Fault {
    match error {
        Error::Server(said) if GOING.contains(&said.code) => Fault::Lost(said.to_string()),
        Error::Server(said) if LATER.contains(&said.code) => Fault::Late(said.to_string()),
        Error::Server(said) => Fault::Failed(said.to_string()),
        other => Fault::Lost(other.to_string()),
    }
}
