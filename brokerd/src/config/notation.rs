//! The small notations on top of TOML strings: durations, sizes, addresses, names. Owns their grammar; never knows a key.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const DURATIONS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// `500ms`, `2s`, `1m`: the unit is needed, because seconds and milliseconds are mistaken for each other.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    scale(number, unit, &DURATIONS).map(Duration::from_millis)
}

/// `64KiB`, `1MB`, `4096`.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    if unit.is_empty() { Some(number) } else { scale(number, unit, &SIZES) }
}

/// In the largest unit that divides it.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 { "0s".into() } else { in_largest_unit(millis, &DURATIONS) }
}

/// In the largest binary unit that divides it.
pub(super) fn show_size(bytes: u64) -> String {
    if bytes < 1024 { bytes.to_string() } else { in_largest_unit(bytes, &SIZES[..4]) }
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

fn scale(number: u64, unit: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

fn in_largest_unit(number: u64, units: &[(&str, u64)]) -> String {
    let fits = units.iter().find(|(_, factor)| number.is_multiple_of(*factor));
    fits.map_or_else(|| number.to_string(), |(name, factor)| format!("{}{name}", number / factor))
}

/// A port of this machine that only this machine reaches.
pub(super) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// `localhost` is the one name that needs no resolver.
pub(super) fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(loopback(port.parse().ok()?)),
        None => text.parse().ok(),
    }
}

/// Names become directory names: `.` and `..` would leave the directory.
pub(super) fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(fits) && text != "." && text != ".."
}

/// What the kernel takes as one.
pub(super) fn is_path(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0')
}

/// What a seed may be; the name is resolved at each attempt, not here.
pub(super) fn is_host_and_port(text: &str) -> bool {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return address.port() != 0 && !address.ip().is_unspecified();
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let host_fits = (1..=253).contains(&host.len()) && host.bytes().all(fits);
    host_fits && port.parse::<u16>().is_ok_and(|port| port != 0)
}
