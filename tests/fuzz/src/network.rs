//! What stands in front of MQTT on a connection: PROXY header, upgrade request, WebSocket frames.

use brokerd::transport::fuzz;
use brokerd::transport::proxy::{Header, parse};

/// More is never waited for: the longest header of version 2.
const MOST_HEADER: usize = 4096;
/// More is never waited for.
const MOST_REQUEST: usize = 8 * 1024;
/// Bytes of a message, small enough to be reached.
const MOST_MESSAGE: u64 = 2000;
/// Pongs and a good-bye that may wait: 512 bytes, and one frame more.
const MOST_CONTROL: usize = 512 + 127 + 4;

/// A header is whole, malformed, or to be waited for; what is behind it does not matter, and it is not seen too early.
pub(crate) fn proxy(bytes: &[u8]) {
    let parsed = parse(bytes);
    match parsed {
        Ok(Some((length, header))) => {
            assert!((1..=bytes.len()).contains(&length));
            assert!(length <= MOST_HEADER);
            assert_eq!(parse(&bytes[..length]), parsed, "what is behind the header changes it");
            for cut in 0..length {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "cut at {cut} of {length}");
            }
            if let Header::Client(Some(address)) = header {
                assert!(bytes.starts_with(b"PROXY TCP") || bytes[12] == 0x21, "{address} out of nothing");
            }
        }
        Ok(None) => {
            let mut longer = bytes.to_vec();
            longer.resize(MOST_HEADER.max(bytes.len()), b'x');
            assert_ne!(parse(&longer), Ok(None), "waited for without end");
        }
        Err(_) => {
            let longer = [bytes, b"\r\n"].concat();
            assert!(parse(&longer).is_err(), "what never will be a header has become one");
        }
    }
}

/// An answer is one of HTTP, and comes before 8 KiB.
pub(crate) fn upgrade(bytes: &[u8]) {
    match fuzz::upgrade(bytes, "/mqtt") {
        None => {
            assert!(bytes.len() < MOST_REQUEST, "waited for without end");
        }
        Some((answer, accepted)) => {
            let answer = std::str::from_utf8(&answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 ") && answer.ends_with("\r\n\r\n"), "{answer}");
            assert_eq!(answer.matches("\r\n\r\n").count(), 1, "a header ends the answer early: {answer}");
            assert_eq!(accepted.is_some(), answer.starts_with("HTTP/1.1 101 "), "{answer}");
            assert!(accepted.is_none_or(|length| length <= bytes.len() && bytes[..length].ends_with(b"\n")));
        }
    }
}

/// The first byte seeds the cuts: however the frames are cut, the stream and the answers are the same.
pub(crate) fn web_socket(bytes: &[u8]) {
    let Some((&seed, frames)) = bytes.split_first() else { return };
    let whole = fuzz::web_socket(frames, std::iter::repeat(usize::MAX), MOST_MESSAGE);
    let cuts = (0..).map(|at: usize| 1 + (usize::from(seed).wrapping_mul(at + 1) >> 3) % 23);
    let pieces = fuzz::web_socket(frames, cuts, MOST_MESSAGE);
    assert_eq!((pieces.broken, pieces.has_ended), (whole.broken, whole.has_ended));
    assert_eq!(pieces.control, whole.control);
    if whole.broken.is_none() {
        assert_eq!(pieces.stream, whole.stream, "what MQTT sees depends on the cuts");
    }
    assert!(whole.stream.len() < frames.len().max(1), "more comes out than went in");
    assert!(whole.control.len() <= MOST_CONTROL, "{} bytes of control frames wait", whole.control.len());
}
