//! The pair of links that this node dials to one peer: it asks for rows, leases and answers on the first, and sends
//! messages on the second. Either ends with the other. One task a peer, which ends when the member is forgotten.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use proto::peer::{Forward, ForwardAck, Link, Members, Probe, Pull, Rows, RowsAck, frame::Body};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::core::{Core, Refusal, Visitor};
use super::forward::settle;
use super::handshake::{self, Dialed, HandshakeError, Reader, Writer};
use super::inbound;
use super::lease::PROBE;
use super::peer::Peer;
use super::queue::Acked;
use super::routes::Head;
use crate::metrics::Metric;
use crate::router::PeerSet;

/// Pauses between attempts.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(1);
/// The longest pause while the peer is not held to be down: a link that is mended before that is used before that.
const PAUSE_BEFORE_DOWN: Duration = Duration::from_millis(200);
/// Questions and pulls that wait to be written.
const OUTBOX: usize = 512;

/// Bytes after which a turn of writing ends.
const TURN_BYTES: usize = 256 << 10;

/// Keeps a pair of links to a peer, until the member is gone.
pub(super) async fn keep(core: Arc<Core>, peer: Arc<Peer>) {
    let mut pause = *PAUSES.start();
    let gone = peer.gone.clone();
    loop {
        let began = Instant::now();
        let ended = tokio::select! {
            () = gone.cancelled() => {
                core.unlinked(&peer, String::new(), false, Instant::now());
                return;
            }
            ended = pair(&core, &peer) => ended,
        };
        let is_refused =
            matches!(&ended, HandshakeError::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused);
        core.unlinked(&peer, format!("the link is closed: {ended}"), is_refused, Instant::now());
        if matches!(&ended, HandshakeError::BadProof) {
            core.parts.tally.add(Metric::PeerRefused, 1);
        }
        tracing::debug!(peer = %peer.name, "the link is closed: {ended}");
        let is_down = peer.standing.lock().down_since.is_some();
        let longest = if is_down { *PAUSES.end() } else { PAUSE_BEFORE_DOWN };
        pause = if began.elapsed() > *PAUSES.end() { *PAUSES.start() } else { (pause * 2).min(longest) };
        tokio::select! {
            () = gone.cancelled() => return,
            () = peer.redial.notified() => pause = *PAUSES.start(),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Asks for the peer's rows, from what is applied or all of them.
pub(super) fn pull(peer: &Peer, snapshot: bool) -> Body {
    let generation = peer.standing.lock().generation;
    let applied = peer.remote.lock().applied();
    Body::Pull(Pull { generation, version: applied.unwrap_or(0), snapshot: snapshot || applied.is_none() })
}

/// Opens a pair and runs it until it ends; why it ended.
async fn pair(core: &Core, peer: &Peer) -> HandshakeError {
    let token = CancellationToken::new();
    *peer.pair.lock() = token.clone();
    let key = core.parts.identity.ring().current().id();
    let run = async {
        let (control, messages) = open(core, peer).await?;
        let (outbox_tx, outbox_rx) = mpsc::channel(OUTBOX);
        outbox_tx.try_send(pull(peer, false)).map_err(io::Error::other)?;
        peer.asks.connect(outbox_tx);
        core.linked(peer);
        let ended: io::Result<()> = tokio::select! {
            ended = read_control(core, peer, control.reader) => ended,
            ended = write_control(core, peer, control.writer, outbox_rx) => ended,
            ended = write_messages(core, peer, messages.writer) => ended,
            ended = watch_messages(messages.reader) => ended,
            () = token.cancelled() => Err(io::ErrorKind::ConnectionAborted.into()),
            () = core.parts.identity.is_superseded(key) => Err(io::Error::other("this node proves itself by another secret now")),
        };
        ended.map_err(HandshakeError::Io)
    };
    match run.await {
        Ok(()) => HandshakeError::Io(io::ErrorKind::ConnectionAborted.into()),
        Err(error) => error,
    }
}

async fn open(core: &Core, peer: &Peer) -> Result<(Dialed, Dialed), HandshakeError> {
    let (address, session) = (peer.standing.lock().address, core.next_session());
    let control = handshake::dial(core, address, Link::Control, session).await?;
    let welcome = &control.welcome;
    if *welcome.node != *peer.name {
        return Err(HandshakeError::Io(io::Error::other(format!("`{}` answers at {address}", welcome.node))));
    }
    let visitor = Visitor {
        name: welcome.node.clone(),
        generation: welcome.generation,
        address,
        version: welcome.version.clone(),
    };
    core.meet(&visitor, Instant::now()).map_err(HandshakeError::Unwanted)?;
    let messages = handshake::dial(core, address, Link::Messages, session).await?;
    if messages.welcome.generation != welcome.generation || messages.welcome.node != welcome.node {
        return Err(HandshakeError::Unwanted(Refusal(Default::default(), "it was restarted meanwhile".to_owned())));
    }
    core.hot.with_queue(peer.slot, |queue| queue.resume(messages.welcome.received));
    Ok((control, messages))
}

/// What the peer answers. A link on which nothing comes for `cluster.peer_timeout` is gone (cluster-traps 12).
async fn read_control(core: &Core, peer: &Peer, mut reader: Reader) -> io::Result<()> {
    loop {
        let frame = tokio::time::timeout(core.parts.settings.peer_timeout, reader.next()).await??;
        let Some(mut frame) = frame else { return Ok(()) };
        let mut has_rows = false;
        loop {
            core.hear(peer, frame.hlc);
            match frame.body.take() {
                Some(Body::Rows(rows)) => {
                    apply(core, peer, rows)?;
                    has_rows = true;
                }
                Some(Body::Head(head)) => lease_answered(core, peer, &head),
                Some(Body::ForwardAck(ack)) => acknowledged(core, peer, &ack),
                Some(Body::Members(members)) => members_told(core, peer, members),
                Some(Body::Response(response)) => peer.asks.answered(response),
                None => {} // of a later version
                Some(_) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "not a frame of the answering side"));
                }
            }
            match reader.take()? {
                Some(next) => frame = next,
                None => break,
            }
        }
        // Once a read turn.
        if has_rows {
            peer.rows_applied.notify_one();
        }
    }
}

pub(super) fn apply(core: &Core, peer: &Peer, rows: Rows) -> io::Result<()> {
    core.parts.tally.add(Metric::RowsReceived, rows.rows.len() as u64);
    let applied = {
        let mut remote = peer.remote.lock();
        let (index, groups, slot) = (&core.parts.index, core.parts.index.groups(), peer.slot);
        let applied = remote.apply(rows, |filter, row| match (row, mqtt::topic::is_shared(filter)) {
            (Some(_), false) => index.add_remote(filter, slot),
            (None, false) => index.remove_remote(filter, slot),
            (Some(weight), true) => groups.set_remote(filter, slot, weight),
            (None, true) => groups.remove_remote(filter, slot),
        });
        if applied.is_err() {
            remote.distrust(); // the next pair asks for all rows
        }
        applied.map(|()| remote.applied())
    };
    match applied {
        Ok(Some(version)) => {
            let until = peer.lease.lock().applied(Some(version));
            synced(core, peer, until);
            Ok(())
        }
        Ok(None) => {
            core.end_lease(peer);
            Ok(())
        }
        Err(bad) => {
            core.end_lease(peer);
            tracing::warn!(peer = %peer.name, "its rows do not fit: {bad}");
            Err(io::Error::new(io::ErrorKind::InvalidData, bad.to_string()))
        }
    }
}

fn synced(core: &Core, peer: &Peer, until: Option<Instant>) {
    let Some(until) = until else { return };
    if !peer.is_returned.load(Ordering::Acquire) {
        core.hot.set_lease(peer.slot, Some(until));
    }
    let is_first = !std::mem::replace(&mut peer.standing.lock().was_synced, true);
    if is_first {
        core.changed.notify_one();
    }
}

pub(super) fn lease_answered(core: &Core, peer: &Peer, answer: &proto::peer::Head) {
    let Some(hash) = answer.hash.first_chunk::<16>() else {
        return;
    };
    if answer.generation != peer.standing.lock().generation {
        return;
    }
    let head = Head { version: answer.version, hash: u128::from_be_bytes(*hash) };
    if core.needs_snapshot(peer, answer.generation, head, Instant::now()) {
        peer.asks.tell(pull(peer, true));
        return;
    }
    let applied = peer.remote.lock().applied();
    let until = peer.lease.lock().answered(answer.id, head.version, applied);
    synced(core, peer, until);
}

fn acknowledged(core: &Core, peer: &Peer, ack: &ForwardAck) {
    let (acked, is_relieved) = core.hot.with_queue(peer.slot, |queue| queue.acked(ack));
    let Acked { settled, doubted } = acked;
    core.parts.tally.add(Metric::MessagesForwardAcked, (settled.len() + doubted.len()) as u64);
    core.orphan(&peer.name, doubted);
    settle(&*core.parts.mailboxes, settled);
    if is_relieved {
        core.parts.mailboxes.uncongested();
    }
}

fn members_told(core: &Core, peer: &Peer, mut members: Members) {
    members.members.truncate(2 * PeerSet::CAPACITY); // no cluster is larger
    peer.standing.lock().list = members.members;
    core.changed.notify_one();
}

/// What this node asks and acknowledges.
async fn write_control(
    core: &Core,
    peer: &Peer,
    mut writer: Writer,
    mut outbox_rx: mpsc::Receiver<Body>,
) -> io::Result<()> {
    let mut probes = tokio::time::interval(PROBE);
    probes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = probes.tick() => {
                let id = peer.lease.lock().ask(Instant::now());
                writer.push(core.parts.clock.now(), Body::Probe(Probe { id, sent_ms: peer.asks.sent_ms() }))?;
            }
            () = peer.rows_applied.notified() => {
                let applied = peer.remote.lock().applied();
                if let Some(version) = applied {
                    writer.push(core.parts.clock.now(), Body::RowsAck(RowsAck { version }))?;
                }
            }
            body = outbox_rx.recv() => {
                let Some(body) = body else { return Ok(()) };
                writer.push(core.parts.clock.now(), body)?;
                while let (true, Ok(body)) = (writer.len() < TURN_BYTES, outbox_rx.try_recv()) {
                    writer.push(core.parts.clock.now(), body)?;
                }
            }
        }
        if !writer.is_empty() {
            writer.flush().await?;
        }
    }
}

async fn write_messages(core: &Core, peer: &Peer, mut writer: Writer) -> io::Result<()> {
    loop {
        let (batch, is_relieved) = core.hot.with_queue(peer.slot, super::queue::Queue::next);
        if is_relieved {
            core.parts.mailboxes.uncongested();
        }
        let Some(batch) = batch else {
            core.hot.queued(peer.slot).notified().await;
            continue;
        };
        let (now, stamp) = (core.time(), core.parts.clock.now());
        let messages = inbound::encode(&batch.messages, now, |flooded| core.names(flooded));
        let forward = Forward { number: batch.number, ack: batch.ack, messages };
        writer.send(stamp, Body::Forward(forward)).await?;
    }
}

/// The peer says nothing on the messages link, but its end is an end.
async fn watch_messages(mut reader: Reader) -> io::Result<()> {
    match reader.next().await? {
        None => Ok(()),
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a frame on the messages link")),
    }
}
