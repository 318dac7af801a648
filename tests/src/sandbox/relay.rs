//! A node's front: what its peers dial and gossip with. Passes TCP and UDP on to the node, or, while the links are cut,
//! ends every connection and drops every datagram. Never reads what it passes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Whether the links are cut, and how many connections still pass.
#[derive(Debug)]
pub(super) struct Switch {
    is_cut: watch::Sender<bool>,
    passing: Mutex<usize>,
    ended: Condvar,
}

impl Default for Switch {
    fn default() -> Self {
        Self { is_cut: watch::Sender::new(false), passing: Mutex::default(), ended: Condvar::new() }
    }
}

impl Switch {
    /// Nothing passes any more when a cut returns.
    pub(super) fn set(&self, is_cut: bool) {
        self.is_cut.send_replace(is_cut);
        if is_cut {
            tokio::task::block_in_place(|| {
                let passing = self.passing.lock().expect("nobody panicked with it");
                drop(self.ended.wait_while(passing, |passing| *passing > 0).expect("nobody panicked with it"));
            });
        }
    }

    fn is_cut(&self) -> bool {
        *self.is_cut.borrow()
    }

    async fn is_cut_now(&self) {
        let _ = self.is_cut.subscribe().wait_for(|is_cut| *is_cut).await;
    }

    /// Counts one connection for as long as it is held.
    fn pass(self: &Arc<Self>) -> Passing {
        *self.passing.lock().expect("nobody panicked with it") += 1;
        Passing(self.clone())
    }
}

struct Passing(Arc<Switch>);

impl Drop for Passing {
    fn drop(&mut self) {
        *self.0.passing.lock().expect("nobody panicked with it") -= 1;
        self.0.ended.notify_all();
    }
}

/// Where the node really is; known once it has bound.
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
    pub(super) async fn open(switch: Arc<Switch>) -> Self {
        let (tcp, udp) = bind().await;
        let address = tcp.local_addr().expect("an address");
        let upstream = Upstream(watch::Sender::new(None));
        let mut tasks = JoinSet::new();
        tasks.spawn(streams(tcp, upstream.clone(), switch.clone()));
        tasks.spawn(datagrams(Arc::new(udp), upstream.clone(), switch));
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

async fn streams(listener: TcpListener, upstream: Upstream, switch: Arc<Switch>) {
    let mut passing = JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        let passes = switch.pass();
        if switch.is_cut() {
            continue; // dropped: closed
        }
        let (upstream, switch) = (upstream.clone(), switch.clone());
        passing.spawn(async move {
            let _passes = passes;
            let pass = async {
                let Ok(mut far) = TcpStream::connect(upstream.get().await).await else { return };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await; // its end is all there is to know
            };
            tokio::select! {
                () = pass => {}
                () = switch.is_cut_now() => {}
            }
        });
        while passing.try_join_next().is_some() {}
    }
}

/// Each sender gets a socket of its own towards the node, so that the node's answers find back.
async fn datagrams(front: Arc<UdpSocket>, upstream: Upstream, switch: Arc<Switch>) {
    let mut senders: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut answers = JoinSet::new();
    let mut buffer = vec![0; 65_536];
    while let Ok((size, from)) = front.recv_from(&mut buffer).await {
        if switch.is_cut() {
            continue;
        }
        let Some(back) = back(&mut senders, from, &upstream).await else { continue };
        if Arc::strong_count(&back) == 2 {
            answers.spawn(answer(back.clone(), front.clone(), from, switch.clone()));
        }
        let _ = back.send(&buffer[..size]).await; // a datagram may be lost
    }
}

async fn back(
    senders: &mut HashMap<SocketAddr, Arc<UdpSocket>>,
    from: SocketAddr,
    upstream: &Upstream,
) -> Option<Arc<UdpSocket>> {
    if let Some(known) = senders.get(&from) {
        return Some(known.clone());
    }
    let socket = UdpSocket::bind("127.0.0.1:0").await.ok()?;
    socket.connect(upstream.get().await).await.ok()?;
    Some(senders.entry(from).insert_entry(Arc::new(socket)).get().clone())
}

async fn answer(back: Arc<UdpSocket>, front: Arc<UdpSocket>, to: SocketAddr, switch: Arc<Switch>) {
    let mut buffer = vec![0; 65_536];
    loop {
        match back.recv(&mut buffer).await {
            Ok(size) if !switch.is_cut() => drop(front.send_to(&buffer[..size], to).await),
            Ok(_) => {}
            Err(_) => tokio::task::yield_now().await, // refused: the node is gone, or not there yet
        }
    }
}
