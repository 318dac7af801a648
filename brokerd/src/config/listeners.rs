//! `[listeners.<kind>.<name>]`: shapes, keys, defaults, and the rules among the keys of one listener. Never opens a
//! file that they name.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::network::Network;
use super::notation::{address, is_name, is_path, loopback};
use super::reader::Reader;

/// A count that fits every table, and whose product with the size of a row is far from overflow.
const BILLION: usize = 1_000_000_000;
/// Each is a task; a larger number is a generator that ran away.
const MOST_LISTENERS: usize = 64;
const LARGEST_PACKET: u32 = 268_435_460;

const ADDRESS: &str = "an IP address (or localhost) and a port, as in 127.0.0.1:1883; port 0 lets the kernel choose";
const NAME: &str = "1 to 64 characters of A-Z a-z 0-9 . _ @ -";
const SOCKET: &str = "an absolute path of at most 107 bytes";

/// What a listener speaks below MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing.
    Tcp,
    /// TLS.
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket in TLS.
    Wss,
    /// Nothing, on a Unix socket.
    Unix,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 5] = [Self::Tcp, Self::Tls, Self::Ws, Self::Wss, Self::Unix];

    /// As in `listeners.tcp`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Unix => "unix",
        }
    }

    const fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    const fn has_web_socket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// What others take for the listener called `default`.
    const fn port(self) -> u16 {
        match self {
            Self::Tcp | Self::Unix => 1883,
            Self::Tls => 8883,
            Self::Ws => 8083,
            Self::Wss => 8084,
        }
    }
}

/// `[listeners]`, by kind and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listeners(pub BTreeMap<(Kind, String), Listener>);

impl Listeners {
    /// One of them.
    #[must_use]
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Listener> {
        self.0.get(&(kind, name.to_owned()))
    }

    /// Each with its key, as in `listeners.tcp.default`.
    pub fn iter(&self) -> impl Iterator<Item = (String, &Listener)> {
        self.0.iter().map(|((kind, name), listener)| (format!("listeners.{}.{name}", kind.name()), listener))
    }
}

/// `[listeners.<kind>.<name>]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub bind: Bind,
    /// Connections at a time; 0 is no limit.
    pub max_connections: usize,
    /// Connections accepted in a second; 0 is no limit. What comes faster waits in the backlog.
    pub max_connect_rate: u32,
    /// Of the listen queue.
    pub backlog: u32,
    /// Bytes of a packet; `None` is `mqtt.max_packet_size`.
    pub max_packet_size: Option<u32>,
    /// Whether clients without credentials may come from other machines.
    pub allow_anonymous: bool,
    /// Whether every connection begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Who may send one; empty is this machine.
    pub proxy_protocol_from: Vec<Network>,
    /// Of a kind with TLS.
    pub tls: Option<Tls>,
    /// Of a kind with WebSocket: the path of the request.
    pub path: Option<String>,
}

impl Listener {
    /// Whether clients of other machines can come in: by themselves, or through a load balancer.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match &self.bind {
            Bind::Address(address) => !address.ip().is_loopback() || self.proxy_protocol,
            Bind::Path { .. } => self.proxy_protocol,
        }
    }
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// Port 0 lets the kernel choose.
    Address(SocketAddr),
    /// A Unix socket.
    Path {
        /// Absolute.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
    },
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Path { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Of a listener with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
    /// PEM file of the authorities that client certificates are verified against.
    pub client_ca: Option<PathBuf>,
    /// Whether a client without a certificate is refused.
    pub require_client_certificate: bool,
    /// Handshakes at a time.
    pub max_handshakes: usize,
}

/// Reads all; where there is none, the default one.
pub(super) fn read(r: &mut Reader) -> Listeners {
    let mut names: Vec<(Kind, String)> = Vec::new();
    for kind in Kind::ALL {
        let section = format!("listeners.{}", kind.name());
        r.section(&section);
        names.extend(r.names(&section).into_iter().map(|name| (kind, name)));
    }
    if names.is_empty() {
        names.push((Kind::Tcp, "default".into()));
    }
    if names.len() > MOST_LISTENERS {
        r.refuse("listeners", format!("has {} listeners, allowed are {MOST_LISTENERS}", names.len()));
    }
    let mut all = BTreeMap::new();
    for (kind, name) in names.into_iter().take(MOST_LISTENERS) {
        let listener = listener(r, kind, &name);
        all.insert((kind, name), listener);
    }
    Listeners(all)
}

fn listener(r: &mut Reader, kind: Kind, name: &str) -> Listener {
    let section = format!("listeners.{}.{name}", kind.name());
    r.section(&section);
    if !is_name(name) {
        r.refuse(&section, format!("a listener's name is {NAME}"));
    }
    let key = |key: &str| format!("{section}.{key}");
    let limit = r.size(&key("max_packet_size"), LARGEST_PACKET, 256..=LARGEST_PACKET);
    Listener {
        kind,
        name: name.to_owned(),
        bind: if kind == Kind::Unix { socket(r, &section) } else { bind(r, kind, name, &section) },
        max_connections: r.integer(&key("max_connections"), 0, 0..=BILLION),
        max_connect_rate: r.integer(&key("max_connect_rate"), 0, 0..=1_000_000),
        backlog: r.integer(&key("backlog"), 4096, 1..=65_535),
        max_packet_size: r.is_set(&key("max_packet_size")).then_some(limit),
        allow_anonymous: r.boolean(&key("allow_anonymous"), false),
        proxy_protocol: r.boolean(&key("proxy_protocol"), false),
        proxy_protocol_from: networks(r, kind, &key("proxy_protocol_from")),
        tls: kind.has_tls().then(|| tls(r, &section)),
        path: kind.has_web_socket().then(|| path(r, &key("path"))),
    }
}

fn bind(r: &mut Reader, kind: Kind, name: &str, section: &str) -> Bind {
    let key = format!("{section}.bind");
    let bind = r.text(&key, ADDRESS, address);
    if bind.is_none() && name != "default" && !r.is_set(&key) {
        r.refuse(&key, format!("is missing: {ADDRESS}"));
    }
    Bind::Address(bind.unwrap_or(loopback(kind.port())))
}

fn socket(r: &mut Reader, section: &str) -> Bind {
    let key = format!("{section}.socket");
    // The kernel's sockaddr_un holds 108 bytes, with the final zero.
    let fits = |text: &str| is_path(text) && text.starts_with('/') && text.len() <= 107;
    let path = r.text(&key, SOCKET, |text| fits(text).then(|| PathBuf::from(text)));
    if path.is_none() && !r.is_set(&key) {
        r.refuse(&key, format!("is missing: {SOCKET}"));
    }
    let octal = |text: &str| u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777 && text.len() <= 4);
    let mode = r.text(&format!("{section}.mode"), "permission bits in octal, in quotes, as in \"0660\"", octal);
    Bind::Path { path: path.unwrap_or_default(), mode: mode.unwrap_or(0o660) }
}

fn networks(r: &mut Reader, kind: Kind, key: &str) -> Vec<Network> {
    if kind == Kind::Unix {
        return Vec::new(); // who may write to the socket is trusted
    }
    r.list(key, "a list of networks, as in [\"10.0.0.0/8\", \"192.0.2.7\", \"fd00::/8\"]", Network::parse)
}

fn tls(r: &mut Reader, section: &str) -> Tls {
    let mut file = |name: &str, is_needed: bool| {
        let key = format!("{section}.{name}");
        let path = r.text(&key, "a path", |text| is_path(text).then(|| PathBuf::from(text)));
        if is_needed && path.is_none() && !r.is_set(&key) {
            r.refuse(&key, "is missing: a path");
        }
        path
    };
    let (certificate, key) = (file("certificate", true), file("key", true));
    let client_ca = file("client_ca", false);
    let require = format!("{section}.require_client_certificate");
    let require_client_certificate = r.boolean(&require, client_ca.is_some());
    if require_client_certificate && client_ca.is_none() {
        r.refuse(&require, format!("wants {section}.client_ca, which certificates are verified against"));
    }
    Tls {
        certificate: certificate.unwrap_or_default(),
        key: key.unwrap_or_default(),
        client_ca,
        require_client_certificate,
        max_handshakes: r.integer(&format!("{section}.max_handshakes"), 256, 1..=1_000_000),
    }
}

fn path(r: &mut Reader, key: &str) -> String {
    let fits = |text: &str| {
        text.starts_with('/') && text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?')
    };
    let path = r.text(key, "a path of a URL, as in /mqtt", |text| fits(text).then(|| text.to_owned()));
    path.unwrap_or_else(|| "/mqtt".into())
}

/// The rules among the keys of one listener, and against `mqtt.max_packet_size`.
pub(super) fn check(r: &mut Reader, listeners: &Listeners, max_packet_size: u32) {
    for (key, listener) in listeners.iter() {
        if listener.max_packet_size.is_some_and(|limit| limit > max_packet_size) {
            r.refuse(&format!("{key}.max_packet_size"), format!("is over mqtt.max_packet_size = {max_packet_size}"));
        }
        let from = format!("{key}.proxy_protocol_from");
        if !listener.proxy_protocol && !listener.proxy_protocol_from.is_empty() {
            r.refuse(&from, format!("means nothing without {key}.proxy_protocol = true"));
        }
        let is_remote = matches!(listener.bind, Bind::Address(address) if !address.ip().is_loopback());
        if listener.proxy_protocol && listener.proxy_protocol_from.is_empty() && is_remote && !r.is_set(&from) {
            let why = "lets anyone who can reach it claim any address: name the load balancers in";
            r.refuse(&format!("{key}.proxy_protocol"), format!("{why} {from}"));
        }
    }
}
