//! Which broker a run is against, and as whom: the flags that every scenario takes. Never connects.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use mqtt::Version;

use super::dial::{Dial, Keep, resolve, secure};
use super::visits::Visits;
use crate::failure::Failure;

/// Connections on their way at a time, unless a scenario says otherwise: less than a listener's backlog.
const WINDOW: usize = 200;

/// Where, and as whom.
#[derive(Args, Clone, Debug)]
pub(crate) struct PlaceArgs {
    /// A broker; several are used in turn
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', default_value = "127.0.0.1:1883")]
    target: Vec<String>,
    /// Where publishers go instead
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub_target: Vec<String>,
    /// Where subscribers go instead
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    sub_target: Vec<String>,
    /// Addresses of this machine to connect from, in turn [default: as many of 127.0.0.x as it takes, on loopback]
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    source: Vec<IpAddr>,
    /// The protocol
    #[arg(long, value_enum, default_value_t = Protocol::V311)]
    mqtt: Protocol,
    /// A process of the broker on this machine, whose CPU time and memory are measured; repeatable
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pid: Vec<u32>,
    /// Threads of the load, where it can be divided; each takes a core when it is busy
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// What client ids and topics begin with [default: bench-PID; bench-offline for the phases of `offline`]
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// User name
    #[arg(long)]
    username: Option<String>,
    /// A file with the password
    #[arg(long, requires = "username", value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// TLS, trusting these certificates (PEM)
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// The name in the broker's certificate [default: the host of the first target]
    #[arg(long, requires = "tls_ca", value_name = "NAME")]
    tls_name: Option<String>,
    /// An own certificate (PEM), where the broker asks for one
    #[arg(long, requires = "tls_ca", requires = "tls_key", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Draws latency by percentile and throughput over time into this file (SVG)
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    #[value(name = "3.1.1", alias = "4")]
    V311,
    #[value(name = "5", alias = "5.0")]
    V5,
}

/// The same, looked up and read.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) publish_to: Dial,
    pub(crate) subscribe_at: Dial,
    /// All targets.
    pub(crate) any: Dial,
    pub(crate) pids: Vec<u32>,
    pub(crate) threads: usize,
    pub(crate) name: String,
    pub(crate) patience: Duration,
}

impl PlaceArgs {
    /// The protocol.
    pub(crate) fn version(&self) -> Version {
        if self.mqtt == Protocol::V5 { Version::V5 } else { Version::V311 }
    }

    /// Looks up addresses and reads files.
    pub(crate) fn open(&self, name: &str, patience: Duration) -> Result<Place, Failure> {
        let resolve = |names: &[String]| names.iter().map(|name| resolve(name)).collect::<Result<Vec<_>, _>>();
        let targets = resolve(&self.target)?;
        let or_all = |given: Vec<_>| if given.is_empty() { targets.clone() } else { given };
        let version = self.version();
        let tls = self.secure(false)?;
        let dial = |targets| Dial { targets, sources: self.source.clone(), version, login: None, tls: tls.clone() };
        let login = self.login()?;
        let dial = |targets| Dial { login: login.clone(), ..dial(targets) };
        Ok(Place {
            publish_to: dial(or_all(resolve(&self.pub_target)?)),
            subscribe_at: dial(or_all(resolve(&self.sub_target)?)),
            any: dial(targets.clone()),
            pids: self.pid.clone(),
            threads: self.threads.into(),
            name: self.name.clone().unwrap_or_else(|| name.to_owned()),
            patience,
        })
    }

    /// TLS, if it was asked for.
    pub(crate) fn secure(&self, resumes: bool) -> Result<Option<super::dial::Secure>, Failure> {
        let Some(ca) = &self.tls_ca else { return Ok(None) };
        let host = self.target.first().and_then(|target| target.rsplit_once(':')).map_or("", |(host, _)| host);
        let name = self.tls_name.as_deref().unwrap_or_else(|| host.trim_matches(['[', ']']));
        let own = self.tls_cert.as_deref().zip(self.tls_key.as_deref());
        secure(ca, own, name, resumes).map(Some)
    }

    fn login(&self) -> Result<Option<(String, Vec<u8>)>, Failure> {
        let Some(name) = &self.username else { return Ok(None) };
        let Some(path) = &self.password_file else { return Ok(Some((name.clone(), vec![]))) };
        let read = std::fs::read(path).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
        let end = read.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
        Ok(Some((name.clone(), read[..end].to_vec())))
    }
}

impl Place {
    /// Connections that stay, opened in a window.
    pub(crate) const fn visits<'a>(&self, dials: &'a [Dial], ids: &'a str, first: usize, count: usize) -> Visits<'a> {
        Visits {
            dials,
            ids,
            keep: Keep::Nothing,
            first,
            base: 0,
            count,
            until: u64::MAX,
            window: WINDOW,
            rate: None,
            leaves: false,
            retries: false,
            patience: self.patience,
        }
    }
}

fn name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if text.is_empty() || text.len() > 100 || !text.chars().all(is_plain) {
        return Err("1 to 100 of A-Z a-z 0-9 - _ . /".into());
    }
    Ok(text.to_owned())
}
