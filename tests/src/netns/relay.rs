//! A relay before a node, which its `cluster.advertise` points to: everything comes later by a while, in its order, and as
//! much at a time as ever. For kernels without `tc netem`. Never reads what it passes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Pieces that are under way at most on one connection; more is not read.
const UNDER_WAY: usize = 1024;

/// Passes on for as long as it is held.
#[derive(Debug)]
pub(super) struct Relay(#[expect(dead_code, reason = "its drop ends the tasks")] JoinSet<()>);

impl Relay {
    pub(super) async fn open(at: SocketAddr, to: SocketAddr, delay: Duration) -> Self {
        let tcp = TcpListener::bind(at).await.expect("a port of the street");
        let udp = Arc::new(UdpSocket::bind(at).await.expect("a port of the street"));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = tcp.accept().await {
                connections.spawn(connection(near, to, delay));
                while connections.try_join_next().is_some() {}
            }
        });
        tasks.spawn(datagrams(udp, to, delay));
        Self(tasks)
    }
}

async fn connection(near: TcpStream, to: SocketAddr, delay: Duration) {
    let Ok(far) = TcpStream::connect(to).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_reads, near_writes), (far_reads, far_writes)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = late(near_reads, far_writes, delay) => {}
        () = late(far_reads, near_writes, delay) => {}
    }
}

/// Until either end has ended.
async fn late(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, delay: Duration) {
    let (piece_tx, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let read = async move {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(size @ 1..) = from.read(&mut buffer).await {
            if piece_tx.send((Instant::now() + delay, buffer[..size].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = pieces.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}

/// Each sender gets a socket of its own towards the node, so that the node's answers find back.
async fn datagrams(front: Arc<UdpSocket>, to: SocketAddr, delay: Duration) {
    let mut senders: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; 65_536];
    while let Ok((size, from)) = front.recv_from(&mut buffer).await {
        if let std::collections::hash_map::Entry::Vacant(entry) = senders.entry(from) {
            let back = UdpSocket::bind("0.0.0.0:0").await.expect("a port of the street");
            back.connect(to).await.expect("a host of the street");
            let back = entry.insert(Arc::new(back)).clone();
            tasks.spawn(answers(back, front.clone(), from, delay));
        }
        let (back, datagram) = (senders[&from].clone(), buffer[..size].to_vec());
        tasks.spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = back.send(&datagram).await; // a datagram may be lost
        });
        while tasks.try_join_next().is_some() {}
    }
}

async fn answers(back: Arc<UdpSocket>, front: Arc<UdpSocket>, to: SocketAddr, delay: Duration) {
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok(size) = back.recv(&mut buffer).await else {
            tokio::task::yield_now().await; // refused: the node is not there
            continue;
        };
        let (front, datagram) = (front.clone(), buffer[..size].to_vec());
        tasks.spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = front.send_to(&datagram, to).await;
        });
        while tasks.try_join_next().is_some() {}
    }
}
