//! `[persistence.redis]`: its keys, and the file that `password_file` names. Never connects.

use std::path::PathBuf;
use std::time::Duration;

use super::notation::is_path;
use super::reader::Reader;
use super::{Redis, Secret, rules};

const ADDRESS: &str =
    "redis://HOST:PORT, rediss://HOST:PORT (with TLS) or unix:///PATH, without user, password and database";
const PREFIX: &str = "1 to 64 printable ASCII characters";

pub(super) fn read(r: &mut Reader) -> Redis {
    r.section("persistence.redis");
    let path = |text: &str| is_path(text).then(|| PathBuf::from(text));
    let address = |text: &str| is_address(text).then(|| text.to_owned());
    let user = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let secret = |text: &str| Some(Secret::new(text.to_owned()));
    let is_prefix = |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    let prefix = |text: &str| is_prefix(text).then(|| text.to_owned());
    let default = "redis://127.0.0.1:6379";
    Redis {
        address: r.text("persistence.redis.address", ADDRESS, address).unwrap_or_else(|| default.into()),
        user: r.text("persistence.redis.user", "a text", user),
        password: r.text("persistence.redis.password", "a text", secret),
        password_file: r.text("persistence.redis.password_file", "a path", path),
        database: r.integer("persistence.redis.database", 0, 0..=65_535),
        prefix: r.text("persistence.redis.prefix", PREFIX, prefix).unwrap_or_else(|| "{brokerd}:".into()),
        timeout: r.duration(
            "persistence.redis.timeout",
            Duration::from_secs(2),
            Duration::from_millis(100)..=Duration::from_secs(60),
        ),
        tls_ca: r.text("persistence.redis.tls_ca", "a path", path),
    }
}

/// What the address may say is its own key's; of a user and a password it would be shown.
fn is_address(text: &str) -> bool {
    let plain = !text.bytes().any(|byte| b"@?#".contains(&byte) || !byte.is_ascii_graphic());
    let tcp = text.strip_prefix("redis://").or_else(|| text.strip_prefix("rediss://"));
    let is_tcp = tcp.is_some_and(|rest| !rest.is_empty() && !rest.contains('/'));
    let is_unix = text.strip_prefix("unix://").is_some_and(|path| path.starts_with('/') && path.len() > 1);
    plain && (is_tcp || is_unix)
}

/// Reads the file with the password.
pub(super) fn check(r: &mut Reader, redis: &mut Redis) {
    let key = "persistence.redis.password_file";
    let Some(path) = &redis.password_file else { return };
    if r.is_set("persistence.redis.password") {
        return r.refuse(key, "persistence.redis.password is given too: give one of the two");
    }
    match rules::read_secret(path) {
        Ok(text) => redis.password = Some(Secret::new(text)),
        Err(why) => r.refuse(key, why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_where_the_server_is_and_nothing_else() {
        for good in ["redis://a:1", "rediss://[::1]:6380", "redis://a", "unix:///run/redis/redis.sock"] {
            assert!(is_address(good), "{good}");
        }
        for bad in
            ["a:1", "redis://", "redis://u:p@a:1", "redis://a:1/3", "rediss://a:1#insecure", "unix://x", "unix:///"]
        {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
