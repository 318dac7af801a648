//! The links that a peer dialed. On its control link this node answers: rows, leases, acknowledgements, questions. On
//! its messages link this node reads. Never waits for a queue to a peer (cluster-traps 9): a letter box is all that may
//! hold a reader up.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use proto::peer::{Forward, Head, Pull, Request, Response, frame::Body};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::asks::IN_FLIGHT;
use super::core::Core;
use super::handshake::{Admitted, Reader, Writer};
use super::inbound::{self, BadMessage, Here, Incoming};
use super::late::Lateness;
use super::peer::Peer;
use super::retained;
use super::routes::Feed;
use crate::metrics::Metric;
use crate::router::{OnDelivered, Outcome};

/// Answers that wait to be written.
const OUTBOX: usize = IN_FLIGHT + 64;
/// Bytes after which a turn of writing ends, so that a lease answer never waits behind many rows.
const TURN_BYTES: usize = 256 << 10;

/// Serves a link until it ends or a newer one takes its place.
pub(super) async fn serve(core: Arc<Core>, admitted: Admitted) {
    let Admitted { peer, link, generation, key, passage, reader, writer } = admitted;
    let work = async {
        if link == proto::peer::Link::Messages {
            // The writer is kept: dropping it would not close the stream, but nothing is said on it.
            let _writer = writer;
            messages(&core, &peer, generation, reader).await
        } else {
            control(&core, &peer, reader, writer).await
        }
    };
    let ended = tokio::select! {
        ended = work => ended,
        () = passage.token.cancelled() => Err(io::Error::other("a newer link took its place")),
        () = core.parts.identity.is_dropped(key) => Err(io::Error::other("its secret is not accepted any more")),
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %peer.name, ?link, "a link of it ended: {error}");
    }
}

/// What the reading half of a control link leaves for its writing half.
struct Desk {
    feed: Mutex<Option<Feed>>,
    pulled: Notify,
    outbox_tx: mpsc::Sender<Body>,
}

async fn control(core: &Arc<Core>, peer: &Arc<Peer>, reader: Reader, writer: Writer) -> io::Result<()> {
    let (outbox_tx, outbox_rx) = mpsc::channel(OUTBOX);
    let desk = Desk { feed: Mutex::default(), pulled: Notify::new(), outbox_tx };
    tokio::select! {
        ended = read_control(core, peer, reader, &desk) => ended,
        ended = write_control(core, peer, writer, &desk, outbox_rx) => ended,
    }
}

/// A peer that asks nothing for `cluster.peer_timeout` is not there: it asks for its lease ten times a second.
async fn read_control(core: &Arc<Core>, peer: &Arc<Peer>, mut reader: Reader, desk: &Desk) -> io::Result<()> {
    let mut answering = JoinSet::new(); // ends with the link
    let mut lateness = Lateness::new(Instant::now());
    loop {
        let frame = tokio::time::timeout(core.parts.settings.peer_timeout, reader.next()).await??;
        let Some(frame) = frame else { return Ok(()) };
        core.hear(peer, frame.hlc);
        while answering.try_join_next().is_some() {}
        match frame.body {
            Some(Body::Probe(probe)) => {
                lateness.of(probe.sent_ms, Instant::now());
                answer_probe(core, peer, probe.id, desk);
            }
            Some(Body::Pull(pull)) => start_feed(core, peer, &pull, desk),
            Some(Body::RowsAck(ack)) => {
                let version = ack.version.min(core.routes.head().version);
                core.barrier.lock().peer(peer.slot).acked(version);
                core.barrier_moved.notify_one();
            }
            Some(Body::Request(mut request)) => {
                let late = lateness.of(request.sent_ms, Instant::now());
                request.deadline_ms = request.deadline_ms.saturating_sub(late);
                answer_request(core, peer, request, desk, &mut answering);
            }
            None => {} // of a later version
            Some(_) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "not a frame of the asking side"));
            }
        }
    }
}

/// What the peer is told of the version is written down before it can know it (cluster-traps 1): both under the
/// barrier's lock, so that a SUBACK sees either the answer or an answer that has its version. Before the sessions of a store
/// are back no rows are all rows: the answer is of no generation, which says that this node is there and no more.
fn answer_probe(core: &Core, peer: &Peer, id: u64, desk: &Desk) {
    if !core.parts.mailboxes.is_open() {
        desk.outbox_tx.try_send(Body::Head(Head { id, hash: vec![0; 16].into(), ..Head::default() })).ok();
        return;
    }
    let head = {
        let mut barrier = core.barrier.lock();
        let head = core.routes.head();
        barrier.peer(peer.slot).told(head.version, Instant::now());
        head
    };
    let hash = head.hash.to_be_bytes().to_vec().into();
    let answer = Head { id, generation: core.generation(), version: head.version, hash };
    // Without room the peer gets no lease, and floods.
    desk.outbox_tx.try_send(Body::Head(answer)).ok();
}

fn start_feed(core: &Core, peer: &Peer, pull: &Pull, desk: &Desk) {
    let feed = core.routes.feed(pull, core.generation());
    let applied = if let Feed::Live(version) = feed { version } else { 0 };
    core.barrier.lock().peer(peer.slot).restart(applied);
    *desk.feed.lock() = Some(feed);
    desk.pulled.notify_one();
}

fn answer_request(core: &Arc<Core>, peer: &Arc<Peer>, request: Request, desk: &Desk, answering: &mut JoinSet<()>) {
    // A claim that is carried out after its claimant has done without would oust whoever has the client id by then.
    if request.deadline_ms == 0 || answering.len() >= IN_FLIGHT {
        let refused = Response { id: request.id, refused: true, ..Response::default() };
        desk.outbox_tx.try_send(Body::Response(refused)).ok();
        return;
    }
    let (handlers, core, peer) = (core.handlers.read().clone(), core.clone(), peer.clone());
    let outbox_tx = desk.outbox_tx.clone();
    answering.spawn(async move {
        let response = handlers.answer(&core, &peer, request).await;
        outbox_tx.send(Body::Response(response)).await.ok();
    });
}

async fn write_control(
    core: &Core,
    peer: &Peer,
    mut writer: Writer,
    desk: &Desk,
    mut outbox_rx: mpsc::Receiver<Body>,
) -> io::Result<()> {
    let (mut versions_rx, mut list_rx) = (core.routes.watch(), core.list_tx.subscribe());
    list_rx.mark_changed();
    // Acknowledgements of an earlier link may be lost.
    let all = peer.received.lock().all();
    writer.push(core.parts.clock.now(), Body::ForwardAck(all))?;
    loop {
        let stamp = core.parts.clock.now();
        while let Ok(body) = outbox_rx.try_recv() {
            writer.push(stamp, body)?;
        }
        let news = peer.received.lock().news();
        if let Some(ack) = news {
            writer.push(stamp, Body::ForwardAck(ack))?;
        }
        if list_rx.has_changed().unwrap_or(false) {
            let members = list_rx.borrow_and_update().as_ref().clone();
            writer.push(stamp, Body::Members(proto::peer::Members { members }))?;
        }
        versions_rx.mark_unchanged();
        while writer.len() < TURN_BYTES {
            let rows = desk.feed.lock().as_mut().and_then(|feed| core.routes.next(feed));
            let Some(rows) = rows else { break };
            core.parts.tally.add(Metric::RowsSent, rows.rows.len() as u64);
            writer.push(stamp, Body::Rows(rows))?;
        }
        if !writer.is_empty() {
            writer.flush().await?;
            continue;
        }
        tokio::select! {
            body = outbox_rx.recv() => match body {
                Some(body) => writer.push(stamp, body)?,
                None => return Ok(()),
            },
            () = peer.carried_out.notified() => {}
            () = desk.pulled.notified() => {}
            changed = list_rx.changed() => changed.map(|()| list_rx.mark_changed()).map_err(io::Error::other)?,
            changed = versions_rx.changed() => changed.map_err(io::Error::other)?,
        }
    }
}

async fn messages(core: &Core, peer: &Arc<Peer>, generation: u64, mut reader: Reader) -> io::Result<()> {
    while let Some(frame) = reader.next().await? {
        core.hear(peer, frame.hlc);
        let Some(Body::Forward(forward)) = frame.body else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a frame of messages"));
        };
        let workers = u16::try_from(core.parts.mailboxes.workers()).unwrap_or(u16::MAX);
        // The wait comes before the frame is taken: a newer link may take its place meanwhile.
        while (0..workers).any(|worker| core.parts.mailboxes.is_full(worker)) {
            core.parts.mailboxes.drained().await;
        }
        receive(core, peer, generation, &forward);
    }
    Ok(())
}

/// Takes a frame once, and acknowledges it when the workers have carried it out.
fn receive(core: &Core, peer: &Arc<Peer>, generation: u64, forward: &Forward) {
    if !peer.received.lock().take(generation, forward.number, forward.ack) {
        return;
    }
    core.parts.tally.add(Metric::MessagesForwardReceived, forward.messages.len() as u64);
    let now = core.time();
    let mut messages = Vec::with_capacity(forward.messages.len());
    for sent in &forward.messages {
        match inbound::decode(sent, now, core.parts.max_packet_size) {
            Ok(message) if was_seen(core, &message, sent) => {}
            Ok(message) => messages.push(Incoming { message: Arc::new(message), sent }),
            Err(bad) => {
                let is_large = matches!(bad, BadMessage::TooLarge(_));
                let metric = if is_large { Metric::DeliveryDroppedTooLarge } else { Metric::PublishError };
                core.parts.tally.add(metric, 1);
                tracing::debug!(peer = %peer.name, "dropped a message: {bad}");
            }
        }
    }
    let (number, carried_out) = (forward.number, peer.clone());
    let is_wanted = forward.ack;
    let count = forward.messages.len();
    let done = OnDelivered::new(move |outcome| {
        if is_wanted {
            let mut received = carried_out.received.lock();
            if outcome == Outcome::Full {
                received.refuse(generation, number, count);
            }
            received.done(generation, number);
            drop(received);
            carried_out.carried_out.notify_one();
        }
    });
    // Before it is delivered, so that who subscribes after it arrived finds it (cluster-traps 15).
    let retained = messages.iter().filter(|incoming| incoming.message.retain && incoming.sent.stamp != 0);
    let retained = retained.map(|incoming| retained::change(&incoming.message, incoming.sent.stamp));
    core.replica.take(retained, Some(done.clone()));
    let here = Here { index: &core.parts.index, mailboxes: &*core.parts.mailboxes, own: &core.parts.identity.node };
    inbound::deliver(&messages, &here, |names| core.slots(names), &done);
}

/// Whether a will came here before: its node was held to be down, and has sent it too (cluster-traps 13). A copy that is for
/// members of groups alone goes by itself.
fn was_seen(core: &Core, message: &mqtt::Message, sent: &proto::peer::Message) -> bool {
    let is_whole = crate::registry::is_sent_once(message.id) && !sent.only_groups && sent.hops == 0;
    let claims = if is_whole { core.handlers.read().claims.upgrade() } else { None };
    claims.is_some_and(|claims| !crate::registry::Elsewhere::is_first_copy(&*claims, message.id))
}
