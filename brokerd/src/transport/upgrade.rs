//! From an HTTP request to a WebSocket (RFC 6455, 4.2). Owns the rules for path and subprotocol; never reads by itself.

use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::{HeaderValue, StatusCode};

/// Bytes of a request, headers included.
pub(super) const MOST_REQUEST: usize = 8 * 1024;
/// What MQTT is called [MQTT-6.0.0-4]; the older name for those who know no other.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// What is said to a request.
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    /// Of the request; what is behind it is the WebSocket's. `None`: it is refused.
    pub(super) accepted: Option<usize>,
}

/// Looks at what came; `None` until the request is whole.
pub(super) fn answer(bytes: &[u8], path: &str) -> Option<Answer> {
    match Request::try_parse(bytes) {
        Ok(None) if bytes.len() < MOST_REQUEST => None,
        Ok(None) => Some(refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)),
        Ok(Some((length, _))) if length > MOST_REQUEST => Some(refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)),
        Ok(Some((length, request))) => {
            Some(upgrade(&request, path).map_or_else(refusal, |bytes| Answer { bytes, accepted: Some(length) }))
        }
        Err(_) => Some(refusal(StatusCode::BAD_REQUEST)),
    }
}

fn upgrade(request: &Request, path: &str) -> Result<Vec<u8>, StatusCode> {
    if request.uri().path() != path {
        return Err(StatusCode::NOT_FOUND);
    }
    let mut response = create_response(request).map_err(|_| StatusCode::BAD_REQUEST)?;
    let protocol = offered(request).ok_or(StatusCode::BAD_REQUEST)?;
    response.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(protocol));
    let mut bytes = Vec::new();
    write_response(&mut bytes, &response).map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok(bytes)
}

/// The first of our subprotocols that the client offers, whatever its order.
fn offered(request: &Request) -> Option<&'static str> {
    let offers = request.headers().get_all("Sec-WebSocket-Protocol");
    let is_offered = |ours: &&str| {
        let texts = offers.iter().filter_map(|offer| offer.to_str().ok());
        texts.flat_map(|offer| offer.split(',')).any(|name| name.trim() == *ours)
    };
    SUBPROTOCOLS.into_iter().find(is_offered)
}

fn refusal(status: StatusCode) -> Answer {
    let bytes = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").into_bytes();
    Answer { bytes, accepted: None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const GOOD: &str = "GET /mqtt?a=b HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: other, mqttv3.1, mqtt\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

    fn status(request: &str) -> String {
        let answer = answer(request.as_bytes(), "/mqtt").expect("an answer");
        let line = answer.bytes.split(|byte| *byte == b'\r').next().unwrap();
        String::from_utf8(line[9..12].to_vec()).unwrap()
    }

    #[test]
    fn an_upgrade_agrees_on_mqtt_whatever_else_is_offered_before_it_and_on_no_extension() {
        let answer = answer(GOOD.as_bytes(), "/mqtt").unwrap();
        assert_eq!(answer.accepted, Some(GOOD.len()));
        let text = String::from_utf8(answer.bytes).unwrap().to_lowercase();
        assert!(text.starts_with("http/1.1 101 ") && text.ends_with("\r\n\r\n"), "{text}");
        assert!(text.contains("sec-websocket-protocol: mqtt\r\n"), "[MQTT-6.0.0-4] {text}");
        assert!(!text.contains("extensions"), "{text}");
        for cut in 0..GOOD.len() {
            assert!(super::answer(&GOOD.as_bytes()[..cut], "/mqtt").is_none(), "{cut} bytes are no request");
        }
    }

    #[test]
    fn other_requests_are_refused_with_their_status() {
        for (from, to, expected) in [
            ("/mqtt?", "/?", "404"),
            ("/mqtt?", "/mqtt/?", "404"),
            ("other, mqttv3.1, mqtt", "other, MQTT5", "400"),
            ("Sec-WebSocket-Protocol", "X-Protocol", "400"),
            ("GET", "POST", "400"),
            ("HTTP/1.1", "HTTP/1.0", "400"),
            ("Version: 13", "Version: 8", "400"),
            ("Sec-WebSocket-Key", "X-Key", "400"),
            ("Upgrade: WebSocket", "Upgrade: h2c", "400"),
            ("keep-alive, Upgrade", "keep-alive", "400"),
            ("GET ", "\x10\x0c\0\x04MQTT", "400"),
        ] {
            assert_eq!(status(&GOOD.replacen(from, to, 1)), expected, "{from} as {to}");
        }
        let endless = format!("GET /mqtt HTTP/1.1\r\nX: {}", "x".repeat(MOST_REQUEST));
        assert_eq!(status(&endless), "431");
        let many = format!("GET /mqtt HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
        assert_eq!(status(&many), "400");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic_it_and_none_are_waited_for_without_end(at in 0_usize..300, byte: u8, tail: Vec<u8>) {
            let mut bytes = GOOD.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.extend(tail);
            let _ = answer(&bytes, "/mqtt");
            bytes.resize(MOST_REQUEST, b'x');
            assert!(answer(&bytes, "/mqtt").is_some(), "8 KiB are waited for");
        }
    }
}
