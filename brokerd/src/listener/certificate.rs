//! From PEM files to what rustls serves with. Owns which versions, certificates, authorities and tickets a listener
//! has; never shakes hands.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use super::expiry;
use crate::config::{self, Kind};

/// What the operator is told of a certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// `tls:default` and the like.
    pub listener: String,
    /// The file it is from.
    pub file: PathBuf,
    /// Its end in seconds since 1970; 0 if that cannot be read.
    pub expires: i64,
}

/// A listener's TLS.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    pub(super) expires: i64,
    /// Whom the tickets vouch for: a ticket that one set of rules gave out is worth nothing under another.
    trust: Vec<u8>,
    files: Vec<Stamp>,
}

/// A file as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp(PathBuf, Option<(SystemTime, u64)>);

impl Stamp {
    fn of(path: &Path) -> Self {
        let metadata = std::fs::metadata(path).ok();
        Self(path.to_owned(), metadata.and_then(|metadata| Some((metadata.modified().ok()?, metadata.len()))))
    }
}

impl Loaded {
    /// Whether a file is not what it was.
    pub(super) fn is_stale(&self) -> bool {
        self.files.iter().any(|stamp| Stamp::of(&stamp.0) != *stamp)
    }
}

/// Reads the files of a listener. `before` is what it has, if it has: clients of its tickets can go on with them.
///
/// # Errors
/// The key, the file, and what is wrong with it.
pub(super) fn load(
    kind: Kind,
    tls: &config::Tls,
    before: Option<&Loaded>,
) -> Result<Loaded, (&'static str, PathBuf, String)> {
    let named = |key, path: &Path| {
        let path = path.to_owned();
        move |why: String| (key, path, why)
    };
    let paths = [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()];
    // Before they are read: what changes meanwhile is then read again.
    let files = paths.into_iter().flatten().map(|path| Stamp::of(path)).collect();
    let chain = certificates(&tls.certificate).map_err(named("certificate", &tls.certificate))?;
    let expires = chain.first().and_then(|certificate| expiry::not_after(certificate)).unwrap_or(0);
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| error.to_string());
    let key = key.map_err(named("key", &tls.key))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string());
    let builder = builder.map_err(named("certificate", &tls.certificate))?;
    let mut trust = vec![u8::from(tls.require_client_certificate)];
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(path).map_err(named("client_ca", path))? {
                trust.extend_from_slice(&authority);
                roots.add(authority).map_err(|error| error.to_string()).map_err(named("client_ca", path))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier =
                if tls.require_client_certificate { verifier } else { verifier.allow_unauthenticated() }.build();
            let verifier = verifier.map_err(|error| error.to_string()).map_err(named("client_ca", path))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder.with_single_cert(chain, key).map_err(|error| error.to_string());
    let mut config = config.map_err(named("key", &tls.key))?;
    let kept = before.filter(|before| before.trust == trust).map(|before| before.config.ticketer.clone());
    config.ticketer = match kept {
        Some(ticketer) => ticketer,
        None => tickets().map_err(named("certificate", &tls.certificate))?,
    };
    config.session_storage = Arc::new(NoServerSessionStorage {}); // tickets need no memory of ours
    config.send_tls13_tickets = 1; // a device has one connection
    if kind == Kind::Wss {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    Ok(Loaded { config: Arc::new(config), expires, trust, files })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err("holds no certificate".into()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(error.to_string()),
    }
}

/// The keys of session tickets: random, of this listener alone (a listener that asks for certificates must not honour
/// the tickets of one that does not), and rotated every six hours. Keys that a cluster shares would come in here.
fn tickets() -> Result<Arc<dyn ProducesTickets>, String> {
    ring::Ticketer::new().map_err(|error| error.to_string())
}
