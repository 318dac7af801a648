//! One request over HTTP/1.1, with or without TLS, for the ways of discovery that are services. Each on a connection of
//! its own: they are seconds apart. Never follows a redirect, and bounds what it reads.

use std::path::Path;
use std::sync::Arc;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::shown;

/// A thousand endpoints with all that Kubernetes says of each are about one.
const LARGEST_ANSWER: usize = 4 << 20;
/// A password, a token, a bundle of certificates.
const LARGEST_FILE: u64 = 1 << 20;

/// What is asked.
pub(super) struct Question<'a> {
    /// `scheme://host:port`
    pub(super) base: &'a str,
    /// Certificates of the authorities, where it is `https`.
    pub(super) ca_file: Option<&'a Path>,
    pub(super) path: &'a str,
    /// For the header `Authorization`.
    pub(super) authorization: Option<String>,
    /// POST with this; without it GET.
    pub(super) body: Option<Value>,
}

/// The answer's JSON, or what is wrong. `wait` it with a deadline.
pub(super) async fn ask(question: Question<'_>) -> Result<Value, String> {
    let uri: Uri = question.base.parse().map_err(|error| format!("is no URL: {error}"))?;
    let is_secure = uri.scheme_str() == Some("https");
    let authority = uri.authority().ok_or("is no URL")?.clone();
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let port = authority.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    let request = request(&question, authority.as_str())?;
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|error| format!("cannot connect: {error}"))?;
    if !is_secure {
        return exchange(stream, request).await;
    }
    let config = trust(question.ca_file.ok_or("https wants the certificate of the authority")?).await?;
    let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| format!("TLS: {error}"))?;
    exchange(stream, request).await
}

fn request(question: &Question<'_>, authority: &str) -> Result<Request<Full<Bytes>>, String> {
    let wrong = |what: &str| format!("the {what} has characters that HTTP does not take");
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = question.path.parse().map_err(|_| wrong("path"))?;
    let mut set = |name: HeaderName, value: &str, what: &str| {
        let value = HeaderValue::from_str(value).map_err(|_| wrong(what))?;
        request.headers_mut().insert(name, value);
        Ok::<(), String>(())
    };
    set(header::HOST, authority, "host")?;
    set(header::ACCEPT, "application/json", "type")?;
    if let Some(authorization) = &question.authorization {
        set(header::AUTHORIZATION, authorization, "token")?;
    }
    if let Some(body) = &question.body {
        set(header::CONTENT_TYPE, "application/json", "type")?;
        *request.method_mut() = Method::POST;
        *request.body_mut() = Full::new(Bytes::from(body.to_string()));
    }
    Ok(request)
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Value, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| format!("the connection broke: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let mut driver = JoinSet::new(); // ends with this exchange, whatever its outcome
    driver.spawn(connection);
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
    let body = body.map_err(|error| format!("its answer: {error}"))?.to_bytes();
    let answer: Result<Value, _> = serde_json::from_slice(&body);
    if status.is_success() {
        return answer.map_err(|error| format!("its answer is not JSON: {error}"));
    }
    // Both etcd and Kubernetes say in `message` what is wrong.
    let message = answer.ok().and_then(|answer| answer["message"].as_str().map(shown));
    Err(format!("{status}{}", message.map(|message| format!(": {message}")).unwrap_or_default()))
}

async fn trust(ca_file: &Path) -> Result<Arc<ClientConfig>, String> {
    let pem = read(ca_file).await?;
    let unfit = |why: &str| format!("{} has no certificate that serves: {why}", ca_file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| unfit(&error.to_string()))?;
        roots.add(certificate).map_err(|error| unfit(&error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unfit("it is empty"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// A small file, without the line end. Read where it is needed: those who rotate them replace them.
pub(super) async fn read(path: &Path) -> Result<String, String> {
    let named = |why: String| format!("{} cannot be read: {why}", path.display());
    let owned = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        use std::io::Read;
        // Before the open, because opening a pipe waits for its writer.
        if !std::fs::metadata(&owned)?.is_file() {
            return Err(std::io::Error::other("it is not a regular file"));
        }
        let mut text = String::new();
        std::fs::File::open(&owned)?.take(LARGEST_FILE).read_to_string(&mut text)?;
        Ok(text)
    });
    let read = reading.await.map_err(|error| named(error.to_string()))?;
    let mut text = read.map_err(|error| named(error.to_string()))?;
    text.truncate(text.trim_end().len());
    Ok(text)
}
