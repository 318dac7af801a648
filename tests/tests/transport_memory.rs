//! What an idle connection costs the broker, by transport: resident memory of the process, with hundreds of clients.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tests::node::{Node, NodeOptions};
use tests::packet::{Connect, Version};
use tests::wait::soon;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const CLIENTS: usize = 600;
/// Before the measurement, so that what grows once has grown.
const WARM_UP: usize = 200;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

fn client(directory: &Path, version: &'static SupportedProtocolVersion) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(directory.join("server.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth()).into()
}

async fn connect(address: SocketAddr, tls: Option<&TlsConnector>, is_web_socket: bool, id: &str) -> Box<dyn Stream> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut stream: Box<dyn Stream> = match tls {
        Some(tls) => Box::new(tls.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()),
        None => Box::new(stream),
    };
    let mut packet = Connect::new(Version::V311, id).encode();
    let mut skip = 4;
    if is_web_socket {
        let request = b"GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: \
            dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(soon("an upgrade", stream.read_u8()).await.unwrap());
        }
        packet = [&[0x82, 0x80 | u8::try_from(packet.len()).unwrap(), 0, 0, 0, 0], &packet[..]].concat();
        skip += 2;
    }
    stream.write_all(&packet).await.unwrap();
    let mut connack = vec![0; skip];
    soon("a CONNACK", stream.read_exact(&mut connack)).await.unwrap();
    assert_eq!(connack[skip - 4..], [0x20, 2, 0, 0]);
    stream
}

fn resident(node: &Node) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn an_idle_connection_holds_no_buffers_whatever_carries_it() {
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(directory.path().join("server.pem"), made.cert.pem()).unwrap();
    std::fs::write(directory.path().join("server.key"), made.signing_key.serialize_pem()).unwrap();
    for (kind, tls, most) in [
        ("tcp", None, 3_000),
        ("ws", None, 3_500),
        ("tls", Some(&rustls::version::TLS12), 9_000),
        ("tls", Some(&rustls::version::TLS13), 9_000),
        ("wss", Some(&rustls::version::TLS13), 9_500),
    ] {
        let mut options = NodeOptions::alone("n1").set("node.workers", "2");
        options = options.set(&format!("listeners.{kind}.idle.bind"), "127.0.0.1:0");
        if tls.is_some() {
            for (key, file) in [("certificate", "server.pem"), ("key", "server.key")] {
                let file = directory.path().join(file).display().to_string();
                options = options.set(&format!("listeners.{kind}.idle.{key}"), &file);
            }
        }
        let node = Node::start(options).await;
        let id = format!("{kind}:idle");
        let address = node.reported().listeners.iter().find(|(name, _)| *name == id).unwrap().1;
        let connector = tls.map(|version| client(directory.path(), version));
        let mut clients = Vec::new();
        for number in 0..WARM_UP {
            let id = format!("warm-{number}");
            clients.push(connect(address, connector.as_ref(), kind.starts_with("ws"), &id).await);
        }
        let before = resident(&node);
        for number in 0..CLIENTS {
            let id = format!("idle-{number}");
            clients.push(connect(address, connector.as_ref(), kind.starts_with("ws"), &id).await);
        }
        let each = (resident(&node).saturating_sub(before)) / CLIENTS;
        println!("{kind} {:?}: {each} bytes an idle connection", tls.map(|tls| tls.version));
        assert!(each < most, "{kind}: {each} bytes an idle connection, at most {most} were expected");
    }
}
