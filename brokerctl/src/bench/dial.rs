//! Where connections go, where they come from, and what they say first. Owns no connection.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use mqtt::Version;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use socket2::{Domain, Socket, Type};

use super::client::Client;
use super::link::{Link, Tls};
use super::wire;
use crate::failure::Failure;

/// Connections from one address of loopback: the kernel has some 28,000 ports for each.
const PER_ADDRESS: usize = 20_000;

/// How to reach brokers.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    pub(crate) targets: Vec<SocketAddr>,
    /// Addresses of this machine in turn; none: the kernel's choice, and many of loopback for many connections there.
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) version: Version,
    pub(crate) login: Option<(String, Vec<u8>)>,
    pub(crate) tls: Option<Secure>,
}

/// TLS to those brokers.
#[derive(Clone, Debug)]
pub(crate) struct Secure {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

/// What outlives a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Nothing, and nothing is taken up.
    Nothing,
    /// The session.
    Session,
}

impl Dial {
    /// Begins a connection: the socket is on its way, CONNECT is queued.
    pub(crate) fn open(&self, number: usize, id: &str, keep: Keep) -> Result<Client, Failure> {
        let target = self.targets[number % self.targets.len()];
        let to = |error: std::io::Error| Failure::Unreachable(format!("{target}: {}", explain(&error)));
        let socket =
            Socket::new(Domain::for_address(target), Type::STREAM.nonblocking().cloexec(), None).map_err(to)?;
        if let Some(source) = self.source(number, target) {
            socket.bind(&SocketAddr::new(source, 0).into()).map_err(to)?;
        }
        socket.set_tcp_nodelay(true).map_err(to)?;
        match socket.connect(&target.into()) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            connected => connected.map_err(to)?,
        }
        let mut first = Vec::with_capacity(64);
        let login = self.login.as_ref().map(|(name, password)| (name.as_str(), password.as_slice()));
        let (clean, keep) = (keep == Keep::Nothing, keep == Keep::Session);
        wire::connect(&mut first, wire::Connect { version: self.version, id, clean, keep, login });
        let stream = socket.into();
        let link = match &self.tls {
            None => Link::Plain(stream),
            Some(Secure { config, name }) => {
                let session = rustls::ClientConnection::new(Arc::clone(config), name.clone());
                Link::Tls(Box::new(Tls {
                    stream,
                    session: session.map_err(|error| Failure::Failed(error.to_string()))?,
                }))
            }
        };
        Ok(Client::new(link, first))
    }

    fn source(&self, number: usize, target: SocketAddr) -> Option<IpAddr> {
        if !self.sources.is_empty() {
            return Some(self.sources[number / self.targets.len() % self.sources.len()]);
        }
        let IpAddr::V4(address) = target.ip() else { return None };
        (address.is_loopback() && number >= PER_ADDRESS)
            .then(|| IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1 + (number / PER_ADDRESS % 250) as u8)))
    }
}

fn explain(error: &std::io::Error) -> String {
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::ADDRNOTAVAIL) => format!("{error}: out of ports, give more addresses with --source"),
        Some(rustix::io::Errno::MFILE) => format!("{error}: raise `ulimit -n`"),
        _ => error.to_string(),
    }
}

/// `HOST:PORT` as an address.
pub(crate) fn resolve(name: &str) -> Result<SocketAddr, Failure> {
    let mut found = name.to_socket_addrs().map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
    found.next().ok_or_else(|| Failure::Usage(format!("{name}: no address")))
}

/// TLS that trusts these certificates, shows its own if it has one, and resumes nothing unless it `resumes`.
pub(crate) fn secure(ca: &Path, own: Option<(&Path, &Path)>, name: &str, resumes: bool) -> Result<Secure, Failure> {
    let wrong = |path: &Path, why: &dyn std::fmt::Display| Failure::Usage(format!("{}: {why}", path.display()));
    let certificates = |path: &Path| -> Result<Vec<_>, Failure> {
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        read.map_err(|error| wrong(path, &error))
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| wrong(ca, &error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Failure::Failed(error.to_string()))?.with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
            builder.with_client_auth_cert(certificates(chain)?, private).map_err(|error| wrong(chain, &error))?
        }
    };
    if !resumes {
        config.resumption = rustls::client::Resumption::disabled();
    }
    let name = ServerName::try_from(name.to_owned()).map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
    Ok(Secure { config: Arc::new(config), name })
}
