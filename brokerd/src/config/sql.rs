//! `[persistence.postgres]` and `[persistence.mysql]`: their keys, which are the same, and the files that
//! `password_file` names. Never connects.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::notation::is_path;
use super::reader::Reader;
use super::{Persistence, Secret, SqlServer, SqlTls, rules};

const ADDRESS: &str = "HOST:PORT, or the path of a Unix socket";
const NAME: &str = "1 to 63 printable ASCII characters";
const TLS: &str = "auto, on or off";

/// `section` is `persistence.postgres` or `persistence.mysql`.
pub(super) fn read(r: &mut Reader, section: &'static str, port: u16) -> SqlServer {
    r.section(section);
    let key = |name: &str| format!("{section}.{name}");
    let path = |text: &str| is_path(text).then(|| PathBuf::from(text));
    let address = |text: &str| is_address(text).then(|| text.to_owned());
    let is_name = |text: &str| (1..=63).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    let name = |text: &str| is_name(text).then(|| text.to_owned());
    let secret = |text: &str| Some(Secret::new(text.to_owned()));
    let tls = |text: &str| match text {
        "auto" => Some(SqlTls::Auto),
        "on" => Some(SqlTls::On),
        "off" => Some(SqlTls::Off),
        _ => None,
    };
    let (shortest, longest) = (Duration::from_millis(100), Duration::from_secs(60));
    SqlServer {
        address: r.text(&key("address"), ADDRESS, address).unwrap_or_else(|| format!("127.0.0.1:{port}")),
        database: r.text(&key("database"), NAME, name).unwrap_or_else(|| "brokerd".into()),
        user: r.text(&key("user"), NAME, name).unwrap_or_else(|| "brokerd".into()),
        password: r.text(&key("password"), "a text", secret),
        password_file: r.text(&key("password_file"), "a path", path),
        tls: r.text(&key("tls"), TLS, tls).unwrap_or(SqlTls::Auto),
        tls_ca: r.text(&key("tls_ca"), "a path", path).unwrap_or_else(|| "/etc/ssl/certs/ca-certificates.crt".into()),
        readers: r.integer(&key("readers"), 3, 1..=64),
        timeout: r.duration(&key("timeout"), Duration::from_secs(5), shortest..=longest),
    }
}

/// A user and a password in it would be shown.
fn is_address(text: &str) -> bool {
    if text.starts_with('/') {
        return text.len() > 1 && is_path(text);
    }
    let is_host = |host: &str| !host.is_empty() && !host.bytes().any(|byte| b"@/?#".contains(&byte));
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    text.is_ascii() && text.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && is_port(port))
}

/// Reads the files with the passwords.
pub(super) fn check(r: &mut Reader, persistence: &mut Persistence) {
    let servers = [("persistence.postgres", &mut persistence.postgres), ("persistence.mysql", &mut persistence.mysql)];
    for (section, server) in servers {
        let key = format!("{section}.password_file");
        let Some(path) = &server.password_file else { continue };
        if r.is_set(&format!("{section}.password")) {
            r.refuse(&key, format!("{section}.password is given too: give one of the two"));
            continue;
        }
        match rules::read_secret(path) {
            Ok(text) => server.password = Some(Secret::new(text)),
            Err(why) => r.refuse(&key, why),
        }
    }
}

impl SqlServer {
    /// Whether connections are encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        match self.tls {
            SqlTls::On => true,
            SqlTls::Off => false,
            SqlTls::Auto => !self.is_here(),
        }
    }

    /// Whether what is said to it does not leave the machine.
    fn is_here(&self) -> bool {
        let host = self.address.rsplit_once(':').map_or(&*self.address, |(host, _)| host);
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        self.address.starts_with('/') || host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_where_the_server_is_and_nothing_else() {
        for good in ["db:5432", "10.0.0.1:3306", "[::1]:5432", "/run/mysqld/mysqld.sock"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", "db", "db:0", "db:x", ":1", "user:word@db:5432", "db:5432/name", "/"] {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn what_leaves_the_machine_is_encrypted_unless_it_is_told_otherwise() {
        let server = |address: &str, tls| SqlServer {
            address: address.into(),
            database: String::new(),
            user: String::new(),
            password: None,
            password_file: None,
            tls,
            tls_ca: PathBuf::new(),
            readers: 1,
            timeout: Duration::ZERO,
        };
        for (address, is_encrypted) in
            [("127.0.0.1:1", false), ("[::1]:1", false), ("localhost:1", false), ("/run/x", false), ("db:1", true)]
        {
            assert_eq!(server(address, SqlTls::Auto).is_encrypted(), is_encrypted, "{address}");
            assert!(server(address, SqlTls::On).is_encrypted() && !server(address, SqlTls::Off).is_encrypted());
        }
    }
}
