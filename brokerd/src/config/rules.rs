//! Rules between keys, and the cluster secret. Owns what makes a set of valid values wrong together; never a single
//! key's range.

use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::notation::is_path;
use super::reader::Reader;
use super::{Bind, Config, Discovery, Endpoint, Secret, discovery};

/// Of `cluster.secret`, for an attacker may try it offline against one sealed datagram.
const SHORTEST_SECRET: usize = 16;
/// Two are enough for an exchange; one more lets a second begin before the first has ended.
const MOST_ACCEPTED: usize = 3;
/// One that answers is enough to join; all are asked at every attempt.
const MOST_SEEDS: usize = 64;
const NO_SECRET: &str = "there is no clustering without a secret: set cluster.secret_file or cluster.secret to what \
                         `brokerctl cluster keygen` prints";
/// A secret file is a line; what is larger is another file.
const LARGEST_SECRET_FILE: u64 = 64 * 1024;

/// Checks, and fills in what one key decides for another.
pub(super) fn check(reader: &mut Reader, config: &mut Config) {
    secret(reader, config);
    super::redis::check(reader, &mut config.persistence.redis);
    super::sql::check(reader, &mut config.persistence);
    listeners(reader, config);
    cluster(reader, config);
    addresses(reader, config);
    session_expiry(reader, config);
}

fn secret(r: &mut Reader, config: &mut Config) {
    let path = |text: &str| is_path(text).then(|| PathBuf::from(text));
    let file = r.text("cluster.secret_file", "a path", path);
    if r.is_set("cluster.secret") && r.is_set("cluster.secret_file") {
        r.refuse("cluster.secret_file", "cluster.secret is given too: give one of the two");
        return;
    }
    let mut key = "cluster.secret";
    if let Some(path) = file {
        key = "cluster.secret_file";
        match read_secret(&path) {
            Ok(text) => {
                // One a line, so that all are exchanged by one replacement of the file.
                let mut lines = text.lines().map(|line| Secret::new(line.to_owned()));
                config.cluster.secret = Some(lines.next().unwrap_or_else(|| Secret::new(text.clone())));
                config.cluster.accept_secrets.extend(lines);
            }
            Err(why) => r.refuse(key, why),
        }
    }
    accepted(r, config, key);
    let Some(secret) = &config.cluster.secret else { return };
    refuse_short(r, key, secret);
}

/// Those that are believed beside it, which come from the same file or from a key of their own.
fn accepted(r: &mut Reader, config: &Config, key: &str) {
    let accepted = &config.cluster.accept_secrets;
    let key = if r.is_set("cluster.accept_secrets") { "cluster.accept_secrets" } else { key };
    if accepted.len() > MOST_ACCEPTED {
        let why = "secrets are accepted beside the first, allowed are 3: drop those that no node uses";
        r.refuse(key, format!("{} {why}", accepted.len()));
    }
    if config.cluster.secret.is_none() && !accepted.is_empty() {
        r.refuse(key, NO_SECRET);
    }
    if let Some(short) = accepted.iter().find(|secret| secret.expose().len() < SHORTEST_SECRET) {
        refuse_short(r, key, short);
    }
}

fn refuse_short(r: &mut Reader, key: &str, secret: &Secret) {
    let length = secret.expose().len();
    if length < SHORTEST_SECRET {
        let why = "bytes, allowed is 16 or more; `brokerctl cluster keygen` makes one";
        r.refuse(key, format!("the secret has {length} {why}"));
    }
}

pub(super) fn read_secret(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    // Before the open, because opening a pipe waits for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is not a regular file".into());
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode();
    if mode & 0o006 != 0 {
        let mode = mode & 0o777;
        return Err(format!("every user of this machine may read or write it (mode {mode:04o}): chmod o-rw it"));
    }
    let mut text = String::new();
    file.take(LARGEST_SECRET_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LARGEST_SECRET_FILE {
        return Err("is over 64 KiB: this is not a secret".into());
    }
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}

fn listeners(r: &mut Reader, config: &Config) {
    super::listeners::check(r, &config.listeners, config.mqtt.max_packet_size);
    if config.auth.password_file.is_some() || r.is_set("auth.password_file") {
        return;
    }
    for (key, listener) in config.listeners.iter() {
        if listener.is_open() && !listener.allow_anonymous {
            let why = "lets anyone who can reach it connect, for there is no auth.password_file: name one, bind to a \
                       loopback address without proxy_protocol, or set";
            let bind = if listener.proxy_protocol { "proxy_protocol" } else { "bind" };
            r.refuse(&format!("{key}.{bind}"), format!("{why} {key}.allow_anonymous = true"));
        }
    }
}

fn cluster(r: &mut Reader, config: &Config) {
    let cluster = &config.cluster;
    let has_secret = r.is_set("cluster.secret") || r.is_set("cluster.secret_file");
    if !cluster.seeds.is_empty() && !has_secret {
        r.refuse("cluster.seeds", NO_SECRET);
    }
    if cluster.discovery != Discovery::Static && !has_secret {
        r.refuse("cluster.discovery", NO_SECRET);
    }
    discovery::check(r, &cluster.discovery);
    if cluster.seeds.len() > MOST_SEEDS {
        r.refuse("cluster.seeds", format!("has {} addresses, allowed are {MOST_SEEDS}", cluster.seeds.len()));
    }
    if has_secret && cluster.bind.ip().is_unspecified() && cluster.advertise.is_none() {
        r.refuse("cluster.bind", "peers cannot dial every address: set cluster.advertise to the one they reach");
    }
}

/// Two TCP listeners on one address; the kernel would refuse the second, but later and with no key name.
fn addresses(r: &mut Reader, config: &Config) {
    let mut taken: Vec<(SocketAddr, String)> = Vec::new();
    if config.cluster.secret.is_some() {
        taken.push((config.cluster.bind, "cluster.bind".into()));
    }
    if let Endpoint::Tcp(address) = config.admin.listen {
        taken.push((address, "admin.listen".into()));
    }
    let mut sockets: Vec<(&Path, String)> = Vec::new();
    for (key, listener) in config.listeners.iter() {
        match &listener.bind {
            Bind::Address(address) => taken.push((*address, format!("{key}.bind"))),
            Bind::Path { path, .. } => {
                if let Some((_, other)) = sockets.iter().find(|(taken, _)| taken == path) {
                    let why = format!("is also the socket of {other}: give each its own");
                    r.refuse(&format!("{key}.socket"), why);
                }
                sockets.push((path, format!("{key}.socket")));
            }
        }
    }
    for (at, (address, key)) in taken.iter().enumerate() {
        let other = taken[..at].iter().find(|(other, _)| other == address && address.port() != 0);
        if let Some((_, other)) = other {
            // A value of the operator is named rather than a default.
            let (key, other) = if r.is_set(key) { (key, other) } else { (other, key) };
            r.refuse(key, format!("{address} is also the address of {other}: give each its own"));
        }
    }
}

/// A limit below the default of what it limits lowers the default; two values of the operator must agree.
fn session_expiry(r: &mut Reader, config: &mut Config) {
    let mqtt = &mut config.mqtt;
    if mqtt.session_expiry <= mqtt.max_session_expiry {
        return;
    }
    if r.is_set("mqtt.session_expiry") {
        let most = mqtt.max_session_expiry;
        r.refuse("mqtt.session_expiry", format!("is over mqtt.max_session_expiry = {most}"));
    } else {
        mqtt.session_expiry = mqtt.max_session_expiry;
    }
}
