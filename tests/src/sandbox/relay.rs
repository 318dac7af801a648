//! A node's front: what its peers dial and gossip with. Passes TCP and UDP on to the node as the links allow. Each node
//! has a loopback address of its own, so that a front knows who comes. Never reads what it passes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::links::{Links, Pair, Way};

/// The address of a node, which it binds and dials from.
pub(super) fn address_of(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 66, 0, u8::try_from(number + 1).expect("a small cluster"))
}

fn number_of(address: SocketAddr) -> Option<usize> {
    let IpAddr::V4(address) = address.ip() else { return None };
    let [127, 66, 0, last] = address.octets() else { return None };
    usize::from(last).checked_sub(1)
}

/// Where the node really is; known once it has bound, and another one after a restart.
#[derive(Clone, Debug)]
pub(super) struct Upstream(watch::Sender<Option<SocketAddr>>);

impl Upstream {
    pub(super) fn set(&self, address: Option<SocketAddr>) {
        self.0.send_replace(address);
    }

    async fn get(&self) -> SocketAddr {
        let mut address = self.0.subscribe();
        let known = address.wait_for(Option::is_some).await.expect("the relay holds the sender");
        known.expect("it was waited for")
    }
}

/// The front of one node.
#[derive(Debug)]
pub(super) struct Relay {
    address: SocketAddr,
    upstream: Upstream,
    _tasks: JoinSet<()>,
}

impl Relay {
    pub(super) async fn open(number: usize, links: Arc<Links>) -> Self {
        let (tcp, udp) = bind().await;
        let address = tcp.local_addr().expect("an address");
        let upstream = Upstream(watch::Sender::new(None));
        let mut tasks = JoinSet::new();
        tasks.spawn(streams(number, tcp, upstream.clone(), links.clone()));
        tasks.spawn(datagrams(number, Arc::new(udp), upstream.clone(), links));
        Self { address, upstream, _tasks: tasks }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn upstream(&self) -> Upstream {
        self.upstream.clone()
    }
}

/// A port that is free for both.
async fn bind() -> (TcpListener, UdpSocket) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("an address")).await {
            return (tcp, udp);
        }
    }
}

async fn streams(number: usize, listener: TcpListener, upstream: Upstream, links: Arc<Links>) {
    let mut passing = JoinSet::new();
    while let Ok((near, from)) = listener.accept().await {
        let Some(from) = number_of(from) else { continue };
        let pair = (from, number);
        let passes = links.pass(pair);
        if links.is_cut(pair) {
            continue; // dropped: closed
        }
        let (upstream, links) = (upstream.clone(), links.clone());
        passing.spawn(async move {
            let _passes = passes;
            tokio::select! {
                () = stream(near, &upstream, pair, &links) => {}
                () = links.is_cut_now(pair) => {}
            }
        });
        while passing.try_join_next().is_some() {}
    }
}

async fn stream(near: TcpStream, upstream: &Upstream, pair: Pair, links: &Links) {
    links.passes(pair).await;
    let Ok(far) = TcpStream::connect(upstream.get().await).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_reads, near_writes), (far_reads, far_writes)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = copy(near_reads, far_writes, pair, links) => {}
        () = copy(far_reads, near_writes, (pair.1, pair.0), links) => {}
    }
}

/// Until either end has ended.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, pair: Pair, links: &Links) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(size @ 1..) = from.read(&mut buffer).await {
        links.passes(pair).await;
        if to.write_all(&buffer[..size]).await.is_err() {
            return;
        }
    }
    links.passes(pair).await; // its end, too, is not seen before
}

/// Each sender gets a socket of its own towards the node, so that the node's answers find back.
async fn datagrams(number: usize, front: Arc<UdpSocket>, upstream: Upstream, links: Arc<Links>) {
    let mut senders: HashMap<(SocketAddr, SocketAddr), Arc<UdpSocket>> = HashMap::new();
    let mut answers = JoinSet::new();
    let mut buffer = vec![0; 65_536];
    while let Ok((size, from)) = front.recv_from(&mut buffer).await {
        let Some(pair) = number_of(from).map(|from| (from, number)) else { continue };
        if !is_heard(&links, pair) {
            continue;
        }
        let Some(back) = back(&mut senders, from, &upstream).await else { continue };
        if Arc::strong_count(&back) == 2 {
            answers.spawn(answer(back.clone(), front.clone(), from, (pair.1, pair.0), links.clone()));
        }
        let _ = back.send(&buffer[..size]).await; // a datagram may be lost
    }
}

/// A datagram is not worth the trouble of a delay.
fn is_heard(links: &Links, pair: Pair) -> bool {
    matches!(links.way(pair), Way::Open | Way::Slow(_))
}

async fn back(
    senders: &mut HashMap<(SocketAddr, SocketAddr), Arc<UdpSocket>>,
    from: SocketAddr,
    upstream: &Upstream,
) -> Option<Arc<UdpSocket>> {
    let to = upstream.get().await;
    if let Some(known) = senders.get(&(from, to)) {
        return Some(known.clone());
    }
    let socket = UdpSocket::bind("127.0.0.1:0").await.ok()?;
    socket.connect(to).await.ok()?;
    Some(senders.entry((from, to)).insert_entry(Arc::new(socket)).get().clone())
}

async fn answer(back: Arc<UdpSocket>, front: Arc<UdpSocket>, to: SocketAddr, pair: Pair, links: Arc<Links>) {
    let mut buffer = vec![0; 65_536];
    loop {
        match back.recv(&mut buffer).await {
            Ok(size) if is_heard(&links, pair) => drop(front.send_to(&buffer[..size], to).await),
            Ok(_) => {}
            Err(_) => tokio::task::yield_now().await, // refused: the node is gone, or not there yet
        }
    }
}
