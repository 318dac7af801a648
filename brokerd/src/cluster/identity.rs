//! Who this node is to its peers: a certificate made at start, and the proof that it holds the cluster secret. The
//! certificate proves nothing: any is accepted, because both sides then prove the secret over this very TLS session.

use std::sync::Arc;

use ring::hmac;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring as provider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};

use super::secret::Keys;

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
    keys: Keys,
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
}

/// The certificate or the TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the TLS identity for peers: {0}")]
pub struct IdentityError(String);

impl Identity {
    pub(super) fn new(node: &str, cluster: &str, secret: &str) -> Result<Self, IdentityError> {
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
            keys: Keys::derive(secret, cluster),
            client: Arc::new(client),
            server: Arc::new(server),
        })
    }

    /// The proof of a node for one TLS session, given that session's exporter.
    pub(super) fn proof(&self, exporter: &[u8; 32], role: Role, node: &str, generation: u64) -> Vec<u8> {
        hmac::sign(self.keys.peer_proof(), &self.statement(exporter, role, node, generation)).as_ref().to_vec()
    }

    /// Whether the other side holds the secret too. Compares in constant time.
    pub(super) fn is_proven(&self, exporter: &[u8; 32], role: Role, node: &str, generation: u64, proof: &[u8]) -> bool {
        hmac::verify(self.keys.peer_proof(), &self.statement(exporter, role, node, generation), proof).is_ok()
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
    use super::*;

    #[test]
    fn a_proof_is_for_one_session_one_role_one_node_and_one_secret() {
        let ours = Identity::new("a", "c", "a secret of 16 bytes").unwrap();
        let proof = ours.proof(&[1; 32], Role::Dialer, "a", 7);
        assert!(ours.is_proven(&[1; 32], Role::Dialer, "a", 7, &proof));
        assert!(!ours.is_proven(&[2; 32], Role::Dialer, "a", 7, &proof));
        assert!(!ours.is_proven(&[1; 32], Role::Acceptor, "a", 7, &proof));
        assert!(!ours.is_proven(&[1; 32], Role::Dialer, "b", 7, &proof));
        assert!(!ours.is_proven(&[1; 32], Role::Dialer, "a", 8, &proof));
        let other = Identity::new("a", "c", "another secret, as long").unwrap();
        assert!(!other.is_proven(&[1; 32], Role::Dialer, "a", 7, &proof));
    }
}
