//! A node in this process, its certificates, and the clients that tests need: rustls and WebSocket over a plain stream.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use brokerd::broker::Broker;
use brokerd::config::{self, Bind, Machine, Sources};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// No test waits longer for what should come.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

pub(crate) struct Node {
    pub(crate) directory: TempDir,
    pub(crate) broker: Broker,
}

impl Node {
    /// A node whose listeners are `sets`; `DIR` in them is its directory, where [`issue`] has put certificates.
    pub(crate) async fn start(sets: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        issue(directory.path(), "server");
        let broker = Self::try_start(directory.path(), sets).await.unwrap();
        Self { directory, broker }
    }

    pub(crate) async fn try_start(directory: &Path, sets: &[&str]) -> anyhow::Result<Broker> {
        let at = directory.display().to_string();
        let mut set: Vec<String> = sets.iter().map(|set| set.replace("DIR", &at)).collect();
        set.push(format!("node.data_dir={at}/data"));
        set.push(format!("admin.listen=unix:{at}/admin.sock"));
        set.push("node.workers=3".into());
        let machine = Machine { host_name: "n1".into(), root: false };
        let config = config::load(&Sources { set, machine, ..Sources::default() });
        let config = config.unwrap_or_else(|problems| panic!("{problems:?}"));
        Broker::start(&config, |_| {}).await
    }

    pub(crate) fn address(&self, id: &str) -> SocketAddr {
        let mut listeners = self.broker.listeners().iter();
        let listener = listeners.find(|listener| listener.id() == id).unwrap_or_else(|| panic!("no {id}"));
        match &listener.config.bind {
            Bind::Address(address) => *address,
            Bind::Path { .. } => panic!("{id} has no address"),
        }
    }

    /// A counter, by name.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let totals = self.broker.metrics();
        totals.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no counter {name}")).1
    }

    /// Waits until a counter has got there: it may move after the client has seen the end.
    pub(crate) async fn until_metric(&self, name: &str, expected: u64) {
        let counted = tokio::time::timeout(SOON, async {
            while self.metric(name) < expected {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        let _ = counted.await;
        assert_eq!(self.metric(name), expected, "{name}");
    }

    pub(crate) async fn tls(&self, config: &Arc<ClientConfig>) -> Io {
        self.try_tls("tls:default", config).await.unwrap()
    }

    pub(crate) async fn try_tls(&self, id: &str, config: &Arc<ClientConfig>) -> std::io::Result<Io> {
        let stream = TcpStream::connect(self.address(id)).await?;
        secure(Box::new(stream), config).await
    }
}

/// The two keys of a TLS listener `name`.
pub(crate) fn tls_sets(kind: &str, name: &str) -> Vec<String> {
    let key = format!("listeners.{kind}.{name}");
    vec![
        format!("{key}.bind=127.0.0.1:0"),
        format!("{key}.certificate=DIR/{name}.pem"),
        format!("{key}.key=DIR/{name}.key"),
    ]
}

/// Writes `<name>.pem` and `<name>.key`: a certificate for localhost that vouches for itself.
pub(crate) fn issue(directory: &Path, name: &str) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    std::fs::write(directory.join(format!("{name}.pem")), made.cert.pem()).unwrap();
    std::fs::write(directory.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    made
}

/// A client that trusts `<name>.pem` alone.
pub(crate) fn client(
    directory: &Path,
    name: &str,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let pem = rustls::pki_types::CertificateDer::from_pem_file(directory.join(format!("{name}.pem"))).unwrap();
    roots.add(pem).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Any stream of bytes.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
pub(crate) type Io = Box<dyn Stream>;

pub(crate) async fn secure(stream: Io, config: &Arc<ClientConfig>) -> std::io::Result<Io> {
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(config.clone()).connect(name, stream).await?;
    Ok(Box::new(stream))
}

pub(crate) async fn unix(path: &Path) -> Io {
    Box::new(UnixStream::connect(path).await.unwrap())
}

/// Upgrades a stream to WebSocket; what is written then goes out in masked binary frames, cut as they are written.
pub(crate) async fn web_socket(mut stream: Io) -> Io {
    stream.write_all(&request("/mqtt", Some("mqtt"))).await.unwrap();
    let answer = http_answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.to_lowercase().contains("\r\nsec-websocket-protocol: mqtt\r\n"), "{answer}");
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "RFC 6455, 1.3: {answer}");
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(carry(far, stream));
    Box::new(near)
}

pub(crate) fn request(path: &str, subprotocol: Option<&str>) -> Vec<u8> {
    let subprotocol = subprotocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{subprotocol}\r\n"
    )
    .into_bytes()
}

pub(crate) async fn http_answer(stream: &mut Io) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let Ok(byte) = soon("an answer of HTTP", stream.read_u8()).await else { break };
        answer.push(byte);
    }
    String::from_utf8(answer).unwrap()
}

/// A masked frame of a client.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0xab, 0x00, 0xff];
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=65_535 => frame.extend([&[0xfe][..], &(length as u16).to_be_bytes()].concat()),
        length => frame.extend([&[0xff][..], &(length as u64).to_be_bytes()].concat()),
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The next frame of a server: its first byte and payload; `None` at the end.
pub(crate) async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<(u8, Vec<u8>)> {
    let first = stream.read_u8().await.ok()?;
    let length = match stream.read_u8().await.ok()? {
        126 => u64::from(stream.read_u16().await.ok()?),
        127 => stream.read_u64().await.ok()?,
        length => {
            assert!(length < 126, "a server does not mask");
            u64::from(length)
        }
    };
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await.ok()?;
    Some((first, payload))
}

async fn carry(near: tokio::io::DuplexStream, far: Io) {
    let (mut near_read, mut near_write) = tokio::io::split(near);
    let (mut far_read, mut far_write) = tokio::io::split(far);
    let out = async {
        let mut buffer = vec![0; 200_000];
        loop {
            let read = near_read.read(&mut buffer).await.unwrap_or(0);
            if read == 0 || far_write.write_all(&frame(0x82, &buffer[..read])).await.is_err() {
                return;
            }
            let _ = far_write.flush().await;
        }
    };
    let back = async {
        while let Some((first, payload)) = read_frame(&mut far_read).await {
            if first != 0x82 || near_write.write_all(&payload).await.is_err() {
                return;
            }
        }
    };
    tokio::select! { () = out => {}, () = back => {} }
}
