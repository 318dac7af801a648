//! The answers of this node about what it keeps: sessions to be deleted, retained messages, the store. Never decides
//! what is kept.

use std::sync::Arc;
use std::time::Instant;

use mqtt::{Time, topic};
use prost::Message;
use proto::admin as wire;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{ListQuestion, NodeAnswer, PageCursor};
use store::Store;

use super::answer::{refusal, whole};
use super::export::Rest;
use super::import::Import;
use super::page::{BYTES, Wanted};
use crate::retain::{self, Retained};
use crate::worker::Workers;

/// Bytes that a topic takes on the wire besides its own.
const OVERHEAD: usize = 6;

/// The rooms that keep something.
pub struct Keeping {
    /// The sessions.
    pub workers: Workers,
    /// The retained messages.
    pub retained: Arc<Retained>,
    /// What outlives the process, if anything does.
    pub store: Option<Arc<Store>>,
    /// The zero of the clock that messages expire by.
    pub started: Instant,
    /// `node.name`
    pub node: String,
    /// Of an export that is under way.
    pub rest: Rest,
    /// Who takes archives.
    pub import: Arc<dyn Import>,
}

impl Keeping {
    pub(super) async fn reply(&self, question: Question) -> NodeAnswer {
        match question {
            Question::Retainer(_) => whole(Answer::Retainer(self.retainer())),
            Question::Retained(list) => match wanted(&list) {
                Ok(wanted) => self.topics(&list, &wanted),
                Err(why) => refusal(why),
            },
            Question::RetainerClean(list) => match wanted(&list) {
                Ok(wanted) => self.clean(list.only, wanted).await,
                Err(why) => refusal(why),
            },
            Question::SessionDelete(client_id) => whole(Answer::Ordered(self.delete(&client_id).await)),
            Question::Export(export) => self.export(export).await,
            _ => refusal("not a question about what is kept"),
        }
    }

    fn retainer(&self) -> wire::Retainer {
        let (counts, limits) = (self.retained.counts(), self.retained.limits());
        wire::Retainer {
            messages: counts.messages as u64,
            bytes: counts.bytes as u64,
            max_messages: limits.max_messages as u64,
            max_bytes: limits.max_bytes as u64,
            refused: counts.refused,
        }
    }

    fn topics(&self, list: &ListQuestion, wanted: &Wanted) -> NodeAnswer {
        let now = Time(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX));
        let after = wanted.cursor.after.as_deref();
        let retain::Page { messages, mut next } = match &list.only {
            Some(filter) => self.retained.matching(filter, after, wanted.rows, now),
            None => self.retained.all(after, wanted.rows, now),
        };
        let (mut bytes, mut rows) = (0, Vec::new());
        for message in messages {
            bytes += message.topic().len() + OVERHEAD;
            if bytes > BYTES && !rows.is_empty() {
                next = rows.last().cloned();
                break;
            }
            rows.push(message.topic().to_owned());
        }
        let total = if list.total && list.only.is_none() { self.retained.counts().messages as u64 } else { 0 };
        let answer = whole(Answer::Topics(wire::Topics { rows }));
        NodeAnswer { next: cursor(next), total, ..answer }
    }

    async fn clean(&self, filter: Option<String>, wanted: Wanted) -> NodeAnswer {
        let cleaned = match self.workers.clean_retained(filter, wanted.cursor.after, wanted.rows).await {
            Ok(cleaned) => cleaned,
            Err(error) => {
                let error = format!("what is removed now is back when the node starts again: {error}");
                return whole(Answer::Cleaned(wire::Cleaned { messages: 0, error }));
            }
        };
        let answer = wire::Cleaned { messages: cleaned.messages as u64, error: String::new() };
        NodeAnswer { next: cursor(cleaned.next), ..whole(Answer::Cleaned(answer)) }
    }

    async fn delete(&self, client_id: &str) -> wire::Ordered {
        let is_found = self.workers.kick(client_id).await;
        let forgotten = match &self.store {
            Some(store) if is_found => {
                self.workers.hand_changes_over().await;
                store.flush().await
            }
            _ => Ok(()),
        };
        let why = forgotten.err().map(|error| format!("it has ended, and is back when the node starts again: {error}"));
        wire::Ordered { is_found, why: why.unwrap_or_default() }
    }
}

fn wanted(list: &ListQuestion) -> Result<Wanted, &'static str> {
    if list.only.as_deref().is_some_and(|filter| !topic::valid_filter(filter)) {
        return Err("that is not a topic filter");
    }
    Wanted::of(list).ok_or("not a cursor of this node")
}

fn cursor(after: Option<String>) -> Vec<u8> {
    let cursor = after.map(|after| PageCursor { after: Some(after), ..PageCursor::default() });
    cursor.map(|cursor| cursor.encode_to_vec()).unwrap_or_default()
}
