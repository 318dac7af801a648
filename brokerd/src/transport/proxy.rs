//! The PROXY protocol, versions 1 and 2: who the client behind a load balancer is. Strict and bounded: whoever may send
//! such a header is trusted by address, but its bytes are not. Never decides whom to trust.
//!
//! Clauses are those of the specification of 2020/03/05.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Of version 2, with TLVs: the addresses of Unix sockets and some TLVs fit well.
const MOST_V2: usize = 4096;
/// Of version 1, line end included (2.1).
const MOST_V1: usize = 107;
const PREFIX_V1: &[u8] = b"PROXY ";
const SIGNATURE_V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const HEADER_V2: usize = 16;
/// `PP2_TYPE_SSL`: TLVs in a TLV, behind five bytes.
const TLV_SSL: u8 = 0x20;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// A client, with its address where that is one of IP.
    Client(Option<SocketAddr>),
    /// `LOCAL` or `UNKNOWN`: the load balancer itself, looking whether we are there.
    HealthCheck,
}

/// Not a header that the specification knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a PROXY protocol header: {0}")]
pub struct Malformed(&'static str);

/// The header at the begin of `bytes`, and its length; `None` while it may still become one.
///
/// # Errors
/// If it never will.
pub fn parse(bytes: &[u8]) -> Result<Option<(usize, Header)>, Malformed> {
    let is_begin = |whole: &[u8]| bytes.iter().zip(whole).all(|(a, b)| a == b);
    if is_begin(SIGNATURE_V2) {
        if bytes.len() < HEADER_V2 { Ok(None) } else { parse_v2(bytes) }
    } else if is_begin(PREFIX_V1) {
        if bytes.len() < PREFIX_V1.len() { Ok(None) } else { parse_v1(bytes) }
    } else {
        Err(Malformed("no signature"))
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Option<(usize, Header)>, Malformed> {
    let seen = &bytes[..bytes.len().min(MOST_V1)];
    let Some(end) = seen.iter().position(|byte| *byte == b'\n') else {
        return if seen.len() < MOST_V1 { Ok(None) } else { Err(Malformed("no line end in 107 bytes")) };
    };
    let line = seen[..end].strip_suffix(b"\r").ok_or(Malformed("a line end without its CR"))?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed("not text"))?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(Some((end + 1, Header::HealthCheck))); // 2.1: the rest of the line is ignored
    }
    let words: Vec<&str> = words.collect();
    let [source, destination, source_port, destination_port] = words[..] else {
        return Err(Malformed("not four words behind the family"));
    };
    let address = |text: &str| match family {
        "TCP4" => text.parse().map(IpAddr::V4).ok(),
        "TCP6" => text.parse().map(IpAddr::V6).ok(),
        _ => None,
    };
    let (source, _) = (
        address(source).ok_or(Malformed("source address"))?,
        address(destination).ok_or(Malformed("destination address"))?,
    );
    let (port, _) = (
        port(source_port).ok_or(Malformed("source port"))?,
        port(destination_port).ok_or(Malformed("destination port"))?,
    );
    Ok(Some((end + 1, Header::Client(Some(SocketAddr::new(source, port))))))
}

/// 0 to 65535 in decimal; neither a sign nor heading zeroes (2.1).
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

fn parse_v2(bytes: &[u8]) -> Result<Option<(usize, Header)>, Malformed> {
    let (version, family) = (bytes[12], bytes[13]);
    let length = HEADER_V2 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if version != 0x20 && version != 0x21 {
        return Err(Malformed("version or command"));
    }
    if length > MOST_V2 {
        return Err(Malformed("over 4096 bytes"));
    }
    if bytes.len() < length {
        return Ok(None);
    }
    let body = &bytes[HEADER_V2..length];
    if version == 0x20 {
        return Ok(Some((length, Header::HealthCheck))); // 2.2: LOCAL, whatever else is said
    }
    let header = match family {
        0x00 => Header::HealthCheck, // AF_UNSPEC: UNKNOWN in version 1
        0x11 => {
            let (addresses, rest) = body.split_first_chunk::<12>().ok_or(Malformed("addresses are cut off"))?;
            tlvs(rest)?;
            let [a, b, c, d, _, _, _, _, high, low, ..] = *addresses;
            let ip = Ipv4Addr::new(a, b, c, d).into();
            Header::Client(Some(SocketAddr::new(ip, u16::from_be_bytes([high, low]))))
        }
        0x21 => {
            let (addresses, rest) = body.split_first_chunk::<36>().ok_or(Malformed("addresses are cut off"))?;
            tlvs(rest)?;
            let (ip, rest) = addresses.split_first_chunk::<16>().ok_or(Malformed("addresses are cut off"))?;
            let ip = Ipv6Addr::from(*ip).into();
            Header::Client(Some(SocketAddr::new(ip, u16::from_be_bytes([rest[16], rest[17]]))))
        }
        0x31 => {
            tlvs(body.get(216..).ok_or(Malformed("addresses are cut off"))?)?;
            Header::Client(None)
        }
        _ => return Err(Malformed("family or transport")),
    };
    Ok(Some((length, header)))
}

/// Types and lengths must fill their room exactly; what they say is not used.
fn tlvs(mut bytes: &[u8]) -> Result<(), Malformed> {
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_first_chunk::<3>().ok_or(Malformed("a TLV is cut off"))?;
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        let value = rest.get(..length).ok_or(Malformed("a TLV is longer than the header"))?;
        if head[0] == TLV_SSL {
            let inner = value.get(5..).ok_or(Malformed("the TLV of SSL is cut off"))?;
            if !is_flat(inner) {
                return Err(Malformed("a TLV in the TLV of SSL"));
            }
        }
        bytes = &rest[length..];
    }
    Ok(())
}

/// One level of TLVs, each within the bytes.
fn is_flat(mut bytes: &[u8]) -> bool {
    while let Some((head, rest)) = bytes.split_first_chunk::<3>() {
        let Some(rest) = rest.get(usize::from(u16::from_be_bytes([head[1], head[2]]))..) else {
            return false;
        };
        bytes = rest;
    }
    bytes.is_empty()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn v2(version: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE_V2[..], &[version, family], &length, body].concat()
    }

    fn v4() -> Vec<u8> {
        [&[192, 0, 2, 7, 127, 0, 0, 1][..], &[0xc0, 0x01, 0x07, 0x5b]].concat()
    }

    fn client(text: &str) -> Header {
        Header::Client(Some(text.parse().unwrap()))
    }

    fn good() -> Vec<(Vec<u8>, Header)> {
        let v6: Vec<u8> = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 16], &[0, 9, 0, 1]].concat();
        let with = |tlv: &[u8]| [&v4()[..], tlv].concat();
        vec![
            (b"PROXY TCP4 192.0.2.7 127.0.0.1 49153 1883\r\n".to_vec(), client("192.0.2.7:49153")),
            (b"PROXY TCP6 2001:db8::1 ::1 9 1\r\n".to_vec(), client("[2001:db8::1]:9")),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 0 65535\r\n".to_vec(), client("1.2.3.4:0")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Header::HealthCheck),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), Header::HealthCheck),
            (v2(0x21, 0x11, &v4()), client("192.0.2.7:49153")),
            (v2(0x21, 0x21, &v6), client("[2001:db8::1]:9")),
            (v2(0x21, 0x31, &[0; 216]), Header::Client(None)),
            (v2(0x20, 0x00, b""), Header::HealthCheck),
            (v2(0x20, 0x11, &[1; 7]), Header::HealthCheck),
            (v2(0x21, 0x00, &[9; 3]), Header::HealthCheck),
            (v2(0x21, 0x11, &with(&[0x04, 0, 2, 7, 7])), client("192.0.2.7:49153")),
            (v2(0x21, 0x11, &with(&[0x20, 0, 9, 1, 0, 0, 0, 0, 0x21, 0, 1, 65])), client("192.0.2.7:49153")),
        ]
    }

    #[test]
    fn a_header_is_read_whole_or_waited_for_and_what_is_behind_it_is_left() {
        for (bytes, header) in good() {
            assert_eq!(parse(&bytes), Ok(Some((bytes.len(), header))), "{bytes:?}");
            let behind = [&bytes[..], b"\x10\x0c"].concat();
            assert_eq!(parse(&behind), Ok(Some((bytes.len(), header))), "{bytes:?} with more behind it");
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "the first {cut} bytes of {bytes:?}");
            }
        }
    }

    #[test]
    fn what_the_specification_does_not_know_is_malformed() {
        let with = |tlv: &[u8]| v2(0x21, 0x11, &[&v4()[..], tlv].concat());
        let long = format!("PROXY TCP4 {} 1.2.3.4 1 2\r\n", "1".repeat(100));
        let wrong: Vec<Vec<u8>> = vec![
            b"\x10\x0c\0\x04MQTT".to_vec(),
            b"GET / HTTP/1.1".to_vec(),
            b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n".to_vec(),
            b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3 1 2\r\n".to_vec(),
            b"PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(),
            b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3.4  2\r\n".to_vec(),
            b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(),
            b"PROXY \r\n".to_vec(),
            b"PROXY \xff\r\n".to_vec(),
            [b"PROXY ".as_slice(), &[b'x'; 101]].concat(),
            long.into_bytes(),
            v2(0x11, 0x11, &v4()),
            v2(0x22, 0x11, &v4()),
            v2(0x21, 0x12, &v4()),
            v2(0x21, 0x41, &v4()),
            v2(0x21, 0x11, &v4()[..11]),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x21, 0x31, &[0; 215]),
            v2(0x21, 0x11, &[0; 5000]),
            with(&[0x04]),
            with(&[0x04, 0]),
            with(&[0x04, 0, 3, 1, 2]),
            with(&[0x04, 0xff, 0xff]),
            with(&[0x20, 0, 4, 1, 0, 0, 0]),
            with(&[0x20, 0, 9, 1, 0, 0, 0, 0, 0x21, 0, 9, 65]),
            with(&[0x20, 0, 6, 1, 0, 0, 0, 0, 0x21]),
        ];
        for bytes in wrong {
            assert!(parse(&bytes).is_err(), "{} was taken", bytes.escape_ascii());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic_the_parser_and_none_are_waited_for_without_end(
            which in 0_usize..13, at in 0_usize..64, byte: u8, tail: Vec<u8>
        ) {
            let mut bytes = good()[which].0.clone();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.extend(tail);
            if let Ok(Some((length, _))) = parse(&bytes) {
                assert!(length <= bytes.len());
            }
            bytes.resize(MOST_V2, b'x');
            assert!(parse(&bytes) != Ok(None), "4096 bytes are waited for");
        }
    }
}
