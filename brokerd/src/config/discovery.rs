//! How nodes find each other: `cluster.discovery`, and the section of each way. Owns these keys with their defaults and
//! checks; resolves nothing, and opens no file.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::notation::{address, is_path};
use super::reader::Reader;

/// Where Kubernetes puts what a pod needs to ask its API.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const NAME: &str = "a name of DNS: 1 to 253 characters of A-Z a-z 0-9 . _ -";
const URL: &str = "http:// or https:// and a host, with a port if it is not 80 or 443";
const PATH: &str = "a path";
/// Endpoints of etcd; a cluster of it has three or five.
const MOST_ENDPOINTS: usize = 16;

/// `cluster.discovery`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// By `cluster.seeds` alone.
    Static,
    /// `[cluster.dns]`
    Dns(Dns),
    /// `[cluster.etcd]`
    Etcd(Etcd),
    /// `[cluster.kubernetes]`
    Kubernetes(Kubernetes),
}

/// `[cluster.dns]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// What is asked for.
    pub name: String,
    /// Of the nodes, where the record has none.
    pub port: u16,
    /// Which record.
    pub record: DnsRecord,
    /// Between two questions.
    pub period: Duration,
    /// Who is asked; default: whom `/etc/resolv.conf` names.
    pub server: Option<SocketAddr>,
}

/// Which record is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsRecord {
    /// A and AAAA.
    A,
    /// SRV.
    Srv,
}

/// `[cluster.etcd]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etcd {
    /// URLs; the first that answers is used.
    pub endpoints: Vec<String>,
    /// Keys are `prefix/cluster/node`.
    pub prefix: String,
    /// A node that is gone is listed for so long.
    pub ttl: Duration,
    /// User and the file of the password.
    pub login: Option<(String, PathBuf)>,
    /// Certificates of the authorities, for `https`.
    pub ca_file: Option<PathBuf>,
}

/// `[cluster.kubernetes]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// Of the service; default: what the service account's directory says.
    pub namespace: Option<String>,
    /// The headless service.
    pub service: String,
    /// The port of the service that nodes gossip at.
    pub port_name: String,
    /// URL of the API.
    pub api: String,
    /// The service account's token; read at every question, because it is replaced.
    pub token_file: PathBuf,
    /// Certificates of the authorities.
    pub ca_file: PathBuf,
    /// Where the default of `namespace` is.
    pub namespace_file: PathBuf,
    /// Between two questions.
    pub period: Duration,
}

/// All of it; what is needed and missing is told by [`check`].
pub(super) fn read(r: &mut Reader) -> Discovery {
    for section in ["cluster.dns", "cluster.etcd", "cluster.kubernetes"] {
        r.section(section);
    }
    let kinds = "static, dns, etcd or kubernetes";
    let kind = |text: &str| ["static", "dns", "etcd", "kubernetes"].into_iter().find(|known| *known == text);
    let kind = r.text("cluster.discovery", kinds, kind).unwrap_or("static");
    let (dns, etcd, kubernetes) = (dns(r), etcd(r), kubernetes(r));
    match kind {
        "dns" => Discovery::Dns(dns),
        "etcd" => Discovery::Etcd(etcd),
        "kubernetes" => Discovery::Kubernetes(kubernetes),
        _ => Discovery::Static,
    }
}

fn period(r: &mut Reader, key: &str) -> Duration {
    r.duration(key, Duration::from_secs(10), Duration::from_millis(100)..=Duration::from_secs(3600))
}

fn dns(r: &mut Reader) -> Dns {
    let name = r.text("cluster.dns.name", NAME, |text| is_dns_name(text).then(|| text.to_owned())).unwrap_or_default();
    let record = |text: &str| match text {
        "a" => Some(Some(DnsRecord::A)),
        "srv" => Some(Some(DnsRecord::Srv)),
        "auto" => Some(None),
        _ => None,
    };
    let record = r.text("cluster.dns.record", "a, srv or auto", record).flatten();
    let server = "an IP address and a port, as in 10.0.0.53:53";
    Dns {
        record: record.unwrap_or(if name.starts_with('_') { DnsRecord::Srv } else { DnsRecord::A }),
        name,
        port: r.integer("cluster.dns.port", 7946, 1..=u16::MAX),
        period: period(r, "cluster.dns.period"),
        server: r.text("cluster.dns.server", server, |text| address(text).filter(|it| it.port() != 0)),
    }
}

fn etcd(r: &mut Reader) -> Etcd {
    let endpoints = "a list of URLs, as in [\"https://10.0.0.1:2379\"]";
    let prefix = "1 to 128 printable ASCII characters, without a space and without / at the end";
    let fits = |text: &str| {
        (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.ends_with('/')
    };
    let user = |text: &str| (!text.is_empty() && text.len() <= 256).then(|| text.to_owned());
    let login = r.text("cluster.etcd.user", "a text of 1 to 256 bytes", user);
    let password = path(r, "cluster.etcd.password_file");
    Etcd {
        endpoints: r.list("cluster.etcd.endpoints", endpoints, |text| is_url(text).then(|| text.to_owned())),
        prefix: r
            .text("cluster.etcd.prefix", prefix, |text| fits(text).then(|| text.to_owned()))
            .unwrap_or_else(|| "/brokerd".into()),
        // Below two seconds etcd makes it longer.
        ttl: r.duration(
            "cluster.etcd.ttl",
            Duration::from_secs(30),
            Duration::from_secs(2)..=Duration::from_secs(3600),
        ),
        login: login.zip(password),
        ca_file: path(r, "cluster.etcd.ca_file"),
    }
}

fn kubernetes(r: &mut Reader) -> Kubernetes {
    let named = |text: &str| is_dns_name(text).then(|| text.to_owned());
    Kubernetes {
        namespace: r.text("cluster.kubernetes.namespace", NAME, named),
        service: r.text("cluster.kubernetes.service", NAME, named).unwrap_or_default(),
        port_name: r.text("cluster.kubernetes.port_name", NAME, named).unwrap_or_else(|| "gossip".into()),
        api: r
            .text("cluster.kubernetes.api", URL, |text| is_url(text).then(|| text.to_owned()))
            .unwrap_or_else(|| "https://kubernetes.default.svc".into()),
        token_file: path(r, "cluster.kubernetes.token_file").unwrap_or_else(|| account("token")),
        ca_file: path(r, "cluster.kubernetes.ca_file").unwrap_or_else(|| account("ca.crt")),
        namespace_file: account("namespace"),
        period: period(r, "cluster.kubernetes.period"),
    }
}

fn account(file: &str) -> PathBuf {
    PathBuf::from(SERVICE_ACCOUNT).join(file)
}

fn path(r: &mut Reader, key: &str) -> Option<PathBuf> {
    r.text(key, PATH, |text| is_path(text).then(|| text.into()))
}

/// What the chosen way needs and does not have.
pub(super) fn check(r: &mut Reader, discovery: &Discovery) {
    let needs = |r: &mut Reader, key: &str, is_missing: bool| {
        if is_missing && !r.is_set(key) {
            r.refuse(key, "is missing, and cluster.discovery needs it");
        }
    };
    match discovery {
        Discovery::Static => {}
        Discovery::Dns(dns) => needs(r, "cluster.dns.name", dns.name.is_empty()),
        Discovery::Etcd(etcd) => {
            needs(r, "cluster.etcd.endpoints", etcd.endpoints.is_empty());
            check_etcd(r, etcd);
        }
        Discovery::Kubernetes(kubernetes) => {
            needs(r, "cluster.kubernetes.service", kubernetes.service.is_empty());
            if is_open(&kubernetes.api) {
                r.refuse("cluster.kubernetes.api", "would send the token in the clear: use https");
            }
        }
    }
}

fn check_etcd(r: &mut Reader, etcd: &Etcd) {
    let endpoints = "cluster.etcd.endpoints";
    let (user, password) = ("cluster.etcd.user", "cluster.etcd.password_file");
    for (one, other) in [(user, password), (password, user)] {
        if r.is_set(one) && !r.is_set(other) {
            r.refuse(one, format!("wants {other} too"));
        }
    }
    if etcd.endpoints.len() > MOST_ENDPOINTS {
        r.refuse(endpoints, format!("has {} URLs, allowed are {MOST_ENDPOINTS}", etcd.endpoints.len()));
    }
    if etcd.login.is_some() && etcd.endpoints.iter().any(|url| is_open(url)) {
        r.refuse(endpoints, "would send the password in the clear: use https");
    }
    if etcd.ca_file.is_none() && etcd.endpoints.iter().any(|url| url.starts_with("https://")) {
        r.refuse(endpoints, "https wants the certificate of the authority in cluster.etcd.ca_file");
    }
}

fn is_dns_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let labels_fit = text.strip_suffix('.').unwrap_or(text).split('.').all(|label| (1..=63).contains(&label.len()));
    (1..=253).contains(&text.len()) && text.bytes().all(fits) && labels_fit
}

/// `scheme://host` or `scheme://host:port`, without a path.
fn is_url(text: &str) -> bool {
    let Some(authority) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else { return false };
    let is_address = authority.parse::<SocketAddr>().is_ok_and(|it| it.port() != 0);
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "443"));
    is_address || (is_dns_name(host) && port.parse::<u16>().is_ok_and(|port| port != 0))
}

/// In the clear, and over a network.
fn is_open(url: &str) -> bool {
    let Some(authority) = url.strip_prefix("http://") else { return false };
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).trim_matches(['[', ']']);
    host != "localhost" && !host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
}
