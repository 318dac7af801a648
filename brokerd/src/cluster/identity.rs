//! Who this node is to its peers: a certificate made at start, and the proof that it holds the cluster secret. The
//! certificate proves nothing: any is accepted, because both sides then prove the secret over this very TLS session.

use std::sync::Arc;

use ring::hmac;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring as provider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use tokio::sync::watch;

use super::secret::{KeyId, Keys, Ring};

/// Label of the TLS exporter.
const EXPORTER: &[u8] = b"brokerd peer v1";

/// Which side of a connection proves itself: a proof can't be reflected to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Dialer,
    Acceptor,
}

/// This node's TLS configurations and its key.
pub(super) struct Identity {
    pub(super) node: String,
    pub(super) cluster: String,
    /// Changes when the operator exchanges the secret.
    ring: watch::Sender<Ring>,
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
}

/// The certificate or the TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the TLS identity for peers: {0}")]
pub struct IdentityError(String);

impl Identity {
    pub(super) fn new(node: &str, cluster: &str, ring: Ring) -> Result<Self, IdentityError> {
        let wrong = |error: &dyn std::fmt::Display| IdentityError(error.to_string());
        let made = rcgen::generate_simple_self_signed(vec!["brokerd".to_owned()]).map_err(|error| wrong(&error))?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let crypto = Arc::new(provider::default_provider());
        let mut server = ServerConfig::builder_with_provider(crypto.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| wrong(&error))?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .map_err(|error| wrong(&error))?;
        // A resumed session would have another node's proof behind it.
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(crypto.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| wrong(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(crypto)))
            .with_no_client_auth();
        client.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            node: node.to_owned(),
            cluster: cluster.to_owned(),
            ring: watch::Sender::new(ring),
            client: Arc::new(client),
            server: Arc::new(server),
        })
    }

    /// The secrets as they are now.
    pub(super) fn ring(&self) -> Ring {
        self.ring.borrow().clone()
    }

    /// The same, and every change.
    pub(super) fn watch_ring(&self) -> watch::Receiver<Ring> {
        self.ring.subscribe()
    }

    /// Exchanges them: what was proven by one that is gone ends.
    pub(super) fn set_ring(&self, ring: Ring) {
        self.ring.send_replace(ring);
    }

    /// Completes when this node proves itself by another secret than this one.
    pub(super) async fn is_superseded(&self, id: KeyId) {
        self.until(|ring| ring.current().id() != id).await;
    }

    /// Completes when this node no longer believes this secret.
    pub(super) async fn is_dropped(&self, id: KeyId) {
        self.until(|ring| ring.find(id).is_none()).await;
    }

    async fn until(&self, is_so: impl Fn(&Ring) -> bool) {
        let mut ring = self.ring.subscribe();
        while !is_so(&ring.borrow_and_update()) {
            if ring.changed().await.is_err() {
                std::future::pending::<()>().await; // the sender is this identity's own
            }
        }
    }

    /// The proof of a node for one TLS session, by these keys, given that session's exporter.
    pub(super) fn proof(&self, keys: &Keys, exporter: &[u8; 32], role: Role, node: &str, generation: u64) -> Vec<u8> {
        hmac::sign(keys.peer_proof(), &self.statement(exporter, role, node, generation)).as_ref().to_vec()
    }

    /// By which of the secrets that are believed the other side has proven itself. Compares in constant time.
    pub(super) fn proven_by(
        &self,
        exporter: &[u8; 32],
        role: Role,
        node: &str,
        generation: u64,
        proof: &[u8],
    ) -> Option<Keys> {
        let said = self.statement(exporter, role, node, generation);
        let ring = self.ring.borrow();
        ring.iter().find(|keys| hmac::verify(keys.peer_proof(), &said, proof).is_ok()).cloned()
    }

    fn statement(&self, exporter: &[u8; 32], role: Role, node: &str, generation: u64) -> Vec<u8> {
        let mut said = exporter.to_vec();
        said.push(match role {
            Role::Dialer => 1,
            Role::Acceptor => 2,
        });
        for part in [node, &self.cluster] {
            said.extend_from_slice(&(part.len() as u64).to_be_bytes());
            said.extend_from_slice(part.as_bytes());
        }
        said.extend_from_slice(&generation.to_be_bytes());
        said
    }
}

/// The exporter of a TLS session: both sides, and nobody between them, have the same.
pub(super) fn exporter<D>(connection: &rustls::ConnectionCommon<D>) -> Result<[u8; 32], rustls::Error> {
    connection.export_keying_material([0; 32], EXPORTER, None)
}

/// Accepts any certificate whose holder signs the handshake with it.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn a_proof_is_for_one_session_one_role_one_node_and_one_secret() {
        let ours = identity(OLD, &[]);
        let proof = ours.proof(ours.ring().current(), &[1; 32], Role::Dialer, "a", 7);
        assert!(ours.proven_by(&[1; 32], Role::Dialer, "a", 7, &proof).is_some());
        assert!(ours.proven_by(&[2; 32], Role::Dialer, "a", 7, &proof).is_none());
        assert!(ours.proven_by(&[1; 32], Role::Acceptor, "a", 7, &proof).is_none());
        assert!(ours.proven_by(&[1; 32], Role::Dialer, "b", 7, &proof).is_none());
        assert!(ours.proven_by(&[1; 32], Role::Dialer, "a", 8, &proof).is_none());
        assert!(identity(NEW, &[]).proven_by(&[1; 32], Role::Dialer, "a", 7, &proof).is_none());
    }

    const OLD: &str = "a secret of 16 bytes";
    const NEW: &str = "another secret, as long";

    fn identity(secret: &str, accepted: &[&str]) -> Identity {
        Identity::new("a", "c", Ring::derive(secret, accepted.iter().copied(), "c")).unwrap()
    }

    #[test]
    fn a_proof_by_a_secret_that_is_accepted_counts_until_it_is_dropped() {
        let (old, ours) = (identity(OLD, &[]), identity(NEW, &[OLD]));
        let proof = old.proof(old.ring().current(), &[1; 32], Role::Dialer, "a", 7);
        let by = ours.proven_by(&[1; 32], Role::Dialer, "a", 7, &proof).map(|keys| keys.id());
        assert_eq!(by, Some(old.ring().current().id()));
        ours.set_ring(Ring::derive(NEW, [], "c"));
        assert!(ours.proven_by(&[1; 32], Role::Dialer, "a", 7, &proof).is_none());
    }

    #[test]
    fn what_was_proven_by_a_secret_is_told_when_it_is_replaced_and_when_it_is_dropped() {
        let ours = identity(OLD, &[NEW]);
        let old = ours.ring().current().id();
        let (mut superseded, mut dropped) = (Box::pin(ours.is_superseded(old)), Box::pin(ours.is_dropped(old)));
        let mut context = Context::from_waker(Waker::noop());
        assert!(superseded.as_mut().poll(&mut context).is_pending());
        assert!(dropped.as_mut().poll(&mut context).is_pending());
        ours.set_ring(Ring::derive(NEW, [OLD], "c"));
        assert!(superseded.as_mut().poll(&mut context).is_ready());
        assert!(dropped.as_mut().poll(&mut context).is_pending());
        ours.set_ring(Ring::derive(NEW, [], "c"));
        assert!(dropped.as_mut().poll(&mut context).is_ready());
    }
}
