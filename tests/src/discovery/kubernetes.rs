//! An API that answers for the EndpointSlices of one service as Kubernetes does: over TLS, and only to its token. Owns its
//! socket and its certificate.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What a service account must say.
pub const TOKEN: &str = "the token of the service account";

/// A running API, and the files that a pod would have.
#[derive(Debug)]
pub struct Kubernetes {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    directory: tempfile::TempDir,
    _task: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    items: Vec<Value>,
    is_broken: bool,
    paths: Vec<String>,
}

impl Kubernetes {
    /// Starts one whose service has no endpoints.
    pub async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("brokerd-test").tempdir().expect("a directory");
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
        std::fs::write(directory.path().join("ca.crt"), made.cert.pem()).expect("a file");
        std::fs::write(directory.path().join("token"), format!("{TOKEN}\n")).expect("a file");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate that fits its key");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, state) = (listener.local_addr().expect("an address"), Arc::<Mutex<State>>::default());
        let mut task = JoinSet::new();
        task.spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), state.clone()));
        Self { address, state, directory, _task: task }
    }

    /// For `cluster.kubernetes.api`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The file `token` or `ca.crt`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The endpoints from now on, one slice for each port, the last one not ready.
    pub fn set_nodes(&self, nodes: &[SocketAddr]) {
        let slice = |(at, node): (usize, &SocketAddr)| {
            json!({
                "metadata": { "name": format!("brokerd-{at}") },
                "addressType": if node.is_ipv4() { "IPv4" } else { "IPv6" },
                "endpoints": [{ "addresses": [node.ip().to_string()], "conditions": { "ready": at + 1 < nodes.len() } }],
                "ports": [{ "name": "mqtt", "port": 1883 }, { "name": "gossip", "port": node.port() }],
            })
        };
        self.state.lock().unwrap().items = nodes.iter().enumerate().map(slice).collect();
    }

    /// Answers 503, or answers again.
    pub fn set_broken(&self, is_broken: bool) {
        self.state.lock().unwrap().is_broken = is_broken;
    }

    /// What was asked for.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.state.lock().unwrap().paths.clone()
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, state) = (tls.clone(), state.clone());
        connections.spawn(async move {
            let mut stream = tls.accept(stream).await.ok()?;
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.ok()?);
            }
            let answer = state.lock().unwrap().answer(&String::from_utf8_lossy(&request));
            stream.write_all(answer.as_bytes()).await.ok()?;
            stream.shutdown().await.ok()
        });
        while connections.try_join_next().is_some() {}
    }
}

impl State {
    fn answer(&mut self, request: &str) -> String {
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        let is_ours = request.to_lowercase().contains(&format!("authorization: bearer {TOKEN}\r\n"));
        let is_slices = path.starts_with("/apis/discovery.k8s.io/v1/namespaces/mqtt/endpointslices?")
            && path.contains("labelSelector=kubernetes.io%2Fservice-name%3Dbrokerd");
        self.paths.push(path);
        let status = |code: u16, message: &str| (code, json!({ "kind": "Status", "message": message, "code": code }));
        let (code, body) = match () {
            () if self.is_broken => status(503, "the server is currently unable to handle the request"),
            () if !is_ours => status(401, "Unauthorized"),
            () if !is_slices => status(404, "the server could not find the requested resource"),
            () => (200, json!({ "kind": "EndpointSliceList", "items": self.items })),
        };
        let body = body.to_string();
        format!("HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }
}
