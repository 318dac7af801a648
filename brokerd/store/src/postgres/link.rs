//! A connection to PostgreSQL: statements are prepared once, and sent one behind the other. Never waits for the answer
//! to one before it sends the next.

use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::words::{self, Parameter, Words};
use crate::sql::server::{Fault, Link};
use crate::sql::statement::{Reply, Row, Statement, Value};

/// Texts that a connection keeps prepared: all that there are are fewer.
const MOST_PREPARED: usize = 256;

pub(crate) struct PostgresLink {
    client: Client,
    prepared: HashMap<String, tokio_postgres::Statement, RandomState>,
}

impl std::fmt::Debug for PostgresLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresLink").finish_non_exhaustive()
    }
}

impl PostgresLink {
    /// The connection is driven until the client is dropped, or the server is gone.
    pub(super) fn new(client: Client, connection: impl Future<Output = Result<(), Error>> + Send + 'static) -> Self {
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PostgreSQL has ended");
            }
        });
        Self { client, prepared: HashMap::default() }
    }

    async fn prepare(&mut self, text: &str) -> Result<tokio_postgres::Statement, Error> {
        if let Some(known) = self.prepared.get(text) {
            return Ok(known.clone());
        }
        let prepared = self.client.prepare(text).await?;
        if self.prepared.len() < MOST_PREPARED {
            self.prepared.insert(text.to_owned(), prepared.clone());
        }
        Ok(prepared)
    }
}

#[async_trait]
impl Link for PostgresLink {
    async fn run(&mut self, statements: &[Statement]) -> Result<Vec<Reply>, Fault> {
        let mut ready = Vec::with_capacity(statements.len());
        for (at, statement) in statements.iter().enumerate() {
            for words in words::of(statement) {
                ready.push((at, self.prepare(&words.text).await.map_err(|error| fault(&error))?, words));
            }
        }
        let asked = ready.iter().map(|(_, prepared, words)| Asking::Yet(Box::pin(ask(&self.client, prepared, words))));
        let answers = InOrder(asked.collect()).await.map_err(|error| fault(&error))?;
        let mut replies = vec![Reply::default(); statements.len()];
        for ((at, ..), answer) in ready.iter().zip(answers) {
            if let Some(reply) = replies.get_mut(*at) {
                *reply = answer;
            }
        }
        Ok(replies)
    }

    fn is_gone(&self) -> bool {
        self.client.is_closed()
    }
}

async fn ask(client: &Client, prepared: &tokio_postgres::Statement, words: &Words) -> Result<Reply, Error> {
    let parameters: Vec<_> = words.parameters.iter().map(Parameter::as_sql).collect();
    if prepared.columns().is_empty() {
        return Ok(Reply { rows: Vec::new(), changed: client.execute(prepared, &parameters).await? });
    }
    let rows = client.query(prepared, &parameters).await?;
    let rows = rows.iter().map(row).collect::<Result<_, _>>()?;
    Ok(Reply { rows, changed: 0 })
}

fn row(row: &tokio_postgres::Row) -> Result<Row, Error> {
    let value = |(at, column): (usize, &tokio_postgres::Column)| {
        let int = |value: Option<i64>| value.map_or(Value::Null, Value::Int);
        Ok(match *column.type_() {
            Type::INT8 => int(row.try_get(at)?),
            Type::INT4 => int(row.try_get::<_, Option<i32>>(at)?.map(i64::from)),
            Type::INT2 => int(row.try_get::<_, Option<i16>>(at)?.map(i64::from)),
            Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(at)?.map_or(Value::Null, Value::Bytes),
            _ => Value::Null, // what a lock answers
        })
    };
    row.columns().iter().enumerate().map(value).collect::<Result<_, _>>().map(Row)
}

/// Classes of codes, or codes: too many connections, no memory; somebody else has the row; it took too long.
const LATER: [&str; 4] = ["53", "40", "55P03", "57014"];

pub(super) fn fault(error: &Error) -> Fault {
    let Some(said) = error.as_db_error() else {
        let source = std::error::Error::source(error);
        let cause = source.map(|cause| format!(": {cause}")).unwrap_or_default();
        let text = format!("{error}{cause}");
        // Else it is what we were told to say: a password that is missing, for one.
        let is_of_the_line = error.is_closed() || source.is_some_and(|source| source.is::<std::io::Error>());
        return if is_of_the_line { Fault::Lost(text) } else { Fault::Failed(text) };
    };
    let code = said.code().code();
    let text = format!("{} ({code})", said.message());
    match code {
        _ if LATER.iter().any(|later| code.starts_with(later)) => Fault::Late(text),
        _ if code.starts_with("57P") => Fault::Lost(text), // it is stopped, or starts
        _ => Fault::Failed(text),
    }
}

enum Asking<'a> {
    Yet(Pin<Box<dyn Future<Output = Result<Reply, Error>> + Send + 'a>>),
    Done(Option<Reply>),
}

/// Sends all when it is polled first, in their order, and ends with the last answer or the first error.
struct InOrder<'a>(Vec<Asking<'a>>);

impl Future for InOrder<'_> {
    type Output = Result<Vec<Reply>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut is_pending = false;
        for asking in &mut self.0 {
            let Asking::Yet(future) = asking else { continue };
            match future.as_mut().poll(context) {
                Poll::Ready(Ok(reply)) => *asking = Asking::Done(Some(reply)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => is_pending = true,
            }
        }
        if is_pending {
            return Poll::Pending;
        }
        let taken = |asking: &mut Asking<'_>| match asking {
            Asking::Done(reply) => reply.take().unwrap_or_default(),
            Asking::Yet(_) => Reply::default(),
        };
        Poll::Ready(Ok(self.0.iter_mut().map(taken).collect()))
    }
}
