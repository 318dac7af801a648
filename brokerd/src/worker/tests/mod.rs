//! Two workers behind a real socket. This file owns the kit: a node without a cluster and clients that speak bytes.
//! Reads wait for what must come, ten seconds at most; nothing waits for time to pass.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod adopting;
mod behind;
mod bounds;
mod chased;
mod crossing;
mod following;
mod groups;
mod outage;
mod peers;
mod reading;
mod takeover;

#[allow(dead_code, reason = "the session's own tests use all of it")]
#[path = "../../../mqtt/src/session/tests/lines.rs"]
mod lines;
#[allow(dead_code, reason = "the session's own tests use all of it")]
#[path = "../../../mqtt/src/session/tests/packets.rs"]
mod packets;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use mqtt::{Qos, Version};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::shard::{Entry, Shard};
use super::{Parts, Workers};
use crate::access::Access;
use crate::config::{self, Config, Machine, Sources};
use crate::listener::Listeners;
use crate::metrics::Metrics;
use crate::registry::{Clock, Elsewhere, OnlyHere};
use crate::retain::{Limits, Retained};
use crate::router::{Alone, Forward, Index};
use packets::Connect;

const Q0: Qos = Qos::AtMostOnce;
const Q1: Qos = Qos::AtLeastOnce;
const V5: Version = Version::V5;

fn configured(set: &[&str]) -> Config {
    let set = ["listeners.tcp.default.bind=127.0.0.1:0", "node.workers=2"].iter().chain(set);
    let machine = Machine { host_name: "here".into(), root: false };
    let sources = Sources {
        environment: vec![("HOME".into(), "/nowhere".into())],
        machine,
        set: set.map(ToString::to_string).collect(),
        ..Sources::default()
    };
    config::load(&sources).expect("a configuration that is valid")
}

/// The registry of a node that is alone.
fn here() -> Arc<dyn Elsewhere> {
    Arc::new(OnlyHere::new(Arc::new(Clock::new(0, Duration::from_secs(60)))))
}

/// A node of two workers.
struct Node {
    workers: Workers,
    address: SocketAddr,
    metrics: Metrics,
    runtime: Runtime,
    stop: CancellationToken,
    accepting: Option<JoinHandle<()>>,
}

impl Node {
    fn new(set: &[&str]) -> Self {
        Self::beside(set, |_| Arc::new(Alone))
    }

    fn beside(set: &[&str], forward: impl FnOnce(&Workers) -> Arc<dyn Forward>) -> Self {
        Self::with(set, forward, here(), None)
    }

    /// Its sessions are kept.
    fn keeping(store: Arc<store::Store>) -> Self {
        Self::with(&[], |_| Arc::new(Alone), here(), Some(store))
    }

    fn with(
        set: &[&str],
        forward: impl FnOnce(&Workers) -> Arc<dyn Forward>,
        elsewhere: Arc<dyn Elsewhere>,
        store: Option<Arc<store::Store>>,
    ) -> Self {
        let config = configured(set);
        let workers = Workers::new(&config.node);
        let metrics = Metrics::default();
        let parts = Parts {
            index: Arc::new(Index::default()),
            clock: Arc::new(crate::registry::Clock::new(0, Duration::from_secs(60))),
            retained: Arc::new(Retained::new(Limits { max_messages: 1000, max_bytes: 100_000_000 })),
            system: Arc::new(Retained::new(Limits { max_messages: 0, max_bytes: 0 })),
            forward: forward(&workers),
            elsewhere,
            access: Access::load(&config.auth).unwrap(),
            metrics: metrics.clone(),
            origin: 1,
            started: std::time::Instant::now(),
            node: "here".into(),
            store,
        };
        let runtime = Runtime::new().unwrap();
        runtime.block_on(workers.start(&config, parts, Vec::new())).unwrap();
        let listeners = Arc::new(Listeners::bind(&config.listeners, Arc::new(workers.clone())).unwrap());
        let address = listeners.iter().find_map(|listener| listener.address()).unwrap();
        let stop = CancellationToken::new();
        let (ready, listens) = std::sync::mpsc::sync_channel(1);
        let accepting = std::thread::spawn({
            let stop = stop.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    listeners.open().await.unwrap();
                    ready.send(()).unwrap();
                    stop.cancelled().await;
                    listeners.close().await;
                });
            }
        });
        listens.recv().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { workers, address, metrics, runtime, stop, accepting: Some(accepting) }
    }

    /// Runs this on a worker.
    fn ask<T: Send + 'static>(&self, worker: u16, question: impl FnOnce(&mut Shard) -> T + Send + 'static) -> T {
        self.runtime.block_on(self.workers.ask(worker, question)).expect("the worker lives")
    }

    /// Looks at a client's entry; `None` where there is none.
    fn look<T: Send + 'static>(&self, id: &str, look: impl FnOnce(&Entry) -> T + Send + 'static) -> Option<T> {
        let owned = id.to_owned();
        self.ask(self.worker_of(id), move |shard| {
            let slot = shard.slot_of(&owned)?;
            shard.sessions.get(slot as usize).map(|entry| look(entry))
        })
    }

    /// Looks until it is so.
    fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let begin = std::time::Instant::now();
        while !is_so() {
            assert!(begin.elapsed() < Duration::from_secs(10), "in ten seconds: not {what}");
            self.ask(0, |_| ()); // lets the worker work
        }
    }

    fn worker_of(&self, id: &str) -> u16 {
        self.workers.boxes.worker_of(id)
    }

    /// A client id that lives on this worker.
    fn id_on(&self, worker: u16, prefix: &str) -> &'static str {
        let id = (0..).map(|number| format!("{prefix}{number}")).find(|id| self.worker_of(id) == worker).unwrap();
        Box::leak(id.into_boxed_str())
    }

    /// Sessions and connections.
    fn count(&self) -> (u64, u64) {
        let count = self.runtime.block_on(self.workers.count());
        (count.total, count.connected)
    }

    fn metric(&self, metric: crate::metrics::Metric) -> u64 {
        self.metrics.totals()[metric as usize].1
    }

    /// Says CONNECT and expects CONNACK.
    fn client(&self, connect: Connect) -> Client {
        let mut client = self.stranger(connect.version);
        client.send(connect.bytes());
        assert!(client.line().starts_with("CONNACK"), "accepted");
        client
    }

    fn id(&self, id: &'static str) -> Client {
        self.client(Connect { client_id: id, ..Connect::new(V5) })
    }

    /// A socket that has said nothing yet.
    fn stranger(&self, version: Version) -> Client {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.set_nodelay(true).unwrap();
        Client { socket, version, bytes: Vec::new() }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
        self.runtime.block_on(self.workers.stop());
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// A client, as bytes.
struct Client {
    socket: TcpStream,
    version: Version,
    bytes: Vec<u8>,
}

impl Client {
    fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.socket.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// The next packet, as a line; `None` where the server has closed.
    fn next(&mut self) -> Option<String> {
        loop {
            if let Some(length) = whole(&self.bytes) {
                let packet: Vec<u8> = self.bytes.drain(..length).collect();
                return Some(lines::lines(self.version, &packet).remove(0));
            }
            let mut buffer = [0; 65_536];
            match self.socket.read(&mut buffer) {
                Ok(0) => return None,
                Ok(read) => self.bytes.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing more comes: {error}"),
            }
        }
    }

    fn line(&mut self) -> String {
        self.next().expect("a packet, and not the end")
    }

    fn subscribe(&mut self, filter: &str, options: u8) -> &mut Self {
        self.send(packets::subscribe(self.version, 1, 0, &[(filter, options)]));
        let line = self.line();
        assert!(line.starts_with("SUBACK #1"), "{line}");
        self
    }

    /// What came until the answer to a PINGREQ that is sent now.
    fn until_pong(&mut self) -> Vec<String> {
        self.send(packets::pingreq());
        std::iter::from_fn(|| Some(self.line()).filter(|line| line != "PINGRESP")).collect()
    }
}

/// The length of the first packet, if it is whole.
fn whole(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (at, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return (bytes.len() >= 2 + at + length).then_some(2 + at + length);
        }
    }
    None
}
