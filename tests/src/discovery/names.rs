//! A name server over UDP that knows what a test tells it: A, AAAA and SRV records, and how to fail. Owns its socket.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

/// A running name server.
#[derive(Debug)]
pub struct Names {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    _task: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Zone {
    hosts: BTreeMap<String, Vec<IpAddr>>,
    services: BTreeMap<String, Vec<(String, u16)>>,
    is_broken: bool,
    is_silent: bool,
    asked: u64,
}

impl Names {
    /// Starts one that knows no name.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let (address, zone) = (socket.local_addr().expect("an address"), Arc::<Mutex<Zone>>::default());
        let mut task = JoinSet::new();
        task.spawn(serve(socket, zone.clone()));
        Self { address, zone, _task: task }
    }

    /// For `cluster.dns.server`.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A name has these addresses from now on; none: the name exists, and has none.
    pub fn set_host(&self, name: &str, addresses: &[IpAddr]) {
        self.zone.lock().unwrap().hosts.insert(name.to_owned(), addresses.to_vec());
    }

    /// `service` names these nodes from now on, each by a host of its own.
    pub fn set_service(&self, service: &str, nodes: &[SocketAddr]) {
        let target = |(at, node): (usize, &SocketAddr)| (format!("h{at}.{service}"), node.port());
        let targets: Vec<_> = nodes.iter().enumerate().map(target).collect();
        for ((host, _), node) in targets.iter().zip(nodes) {
            self.set_host(host, &[node.ip()]);
        }
        self.zone.lock().unwrap().services.insert(service.to_owned(), targets);
    }

    /// Forgets all names.
    pub fn clear(&self) {
        let mut zone = self.zone.lock().unwrap();
        zone.hosts.clear();
        zone.services.clear();
    }

    /// Answers SERVFAIL, or answers again.
    pub fn set_broken(&self, is_broken: bool) {
        self.zone.lock().unwrap().is_broken = is_broken;
    }

    /// Answers nothing, or answers again.
    pub fn set_silent(&self, is_silent: bool) {
        self.zone.lock().unwrap().is_silent = is_silent;
    }

    /// How many questions came.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.zone.lock().unwrap().asked
    }
}

async fn serve(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut datagram = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
        let answer = {
            let mut zone = zone.lock().unwrap();
            zone.asked += 1;
            if zone.is_silent { None } else { zone.answer(&datagram[..length]) }
        };
        if let Some(answer) = answer {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

impl Zone {
    /// RFC 1035, 4.1: the header, the question as it came, and the answers, whose owner is a pointer to its name.
    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let (name, end) = read_name(query.get(12..)?)?;
        let question = query.get(12..12 + end + 4)?;
        let record = u16::from_be_bytes([question[end], question[end + 1]]);
        let is_known = self.hosts.contains_key(&name) || self.services.contains_key(&name);
        let data: Vec<Vec<u8>> = match record {
            A | AAAA => self.hosts.get(&name).into_iter().flatten().filter_map(|ip| address(*ip, record)).collect(),
            SRV => self.services.get(&name).into_iter().flatten().map(service).collect(),
            _ => Vec::new(),
        };
        let code = if self.is_broken { SERVFAIL } else { u8::from(!is_known) * NXDOMAIN };
        let data = if code == 0 { data } else { Vec::new() };
        let mut answer = query[..2].to_vec();
        answer.extend([0x81, 0x80 | code, 0, 1]);
        answer.extend((data.len() as u16).to_be_bytes());
        answer.extend([0; 4]);
        answer.extend(question);
        for data in data {
            answer.extend([0xc0, 12]);
            answer.extend(record.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 60]); // IN; to be kept for a minute, which nobody may
            answer.extend((data.len() as u16).to_be_bytes());
            answer.extend(data);
        }
        Some(answer)
    }
}

fn address(ip: IpAddr, record: u16) -> Option<Vec<u8>> {
    match (ip, record) {
        (IpAddr::V4(ip), A) => Some(ip.octets().to_vec()),
        (IpAddr::V6(ip), AAAA) => Some(ip.octets().to_vec()),
        _ => None,
    }
}

fn service((target, port): &(String, u16)) -> Vec<u8> {
    let mut data = vec![0, 0, 0, 0];
    data.extend(port.to_be_bytes());
    for label in target.split('.') {
        data.push(label.len() as u8);
        data.extend(label.as_bytes());
    }
    data.push(0);
    data
}

/// The name and where it ends.
fn read_name(bytes: &[u8]) -> Option<(String, usize)> {
    let (mut at, mut labels) = (0, Vec::new());
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join(".").to_lowercase(), at));
        }
        labels.push(String::from_utf8_lossy(bytes.get(at..at + length)?).into_owned());
        at += length;
    }
}
