//! Questions that were held up on their way.

use std::sync::Arc;

use bytes::Bytes;
use proto::peer::{Link, Probe, Request, frame::Body};

use super::super::Answer;
use super::super::handshake;
use super::node::Node;
use crate::registry::Boxed;

struct Echo;

impl Answer for Echo {
    fn answer(&self, question: Bytes) -> Boxed<'_, Bytes> {
        Box::pin(std::future::ready(question))
    }
}

#[tokio::test]
async fn trap_12_a_question_that_comes_after_its_deadline_is_not_carried_out() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    a.core.handlers.write().admin = Some(Arc::new(Echo));
    let mut link = handshake::dial(&b.core, a.address, Link::Control, 1).await.unwrap();
    let stamp = b.core.parts.clock.now();
    link.writer.push(stamp, Body::Probe(Probe { id: 1, sent_ms: 60_000 })).unwrap();
    // One has been on its way for ten seconds longer than the probe, and one as long as that.
    for (id, sent_ms) in [(1, 50_000), (2, 60_000)] {
        let request = Request { id, kind: 1, deadline_ms: 5_000, body: Bytes::from_static(b"who"), sent_ms };
        link.writer.push(stamp, Body::Request(request)).unwrap();
    }
    link.writer.flush().await.unwrap();
    let mut answers = Vec::new();
    while answers.len() < 2 {
        let frame = link.reader.next().await.unwrap().unwrap();
        if let Some(Body::Response(response)) = frame.body {
            answers.push((response.id, response.refused));
        }
    }
    answers.sort_unstable();
    assert_eq!(answers, [(1, true), (2, false)]);
}
