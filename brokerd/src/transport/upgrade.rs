//! From an HTTP request to a WebSocket (RFC 6455, 4.2). Owns the rules for path and subprotocol; never reads by itself.

use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::{HeaderValue, StatusCode};

/// Bytes of a request, headers included.
pub(super) const MOST_REQUEST: usize = 8 * 1024;
/// What MQTT is called [MQTT-6.0.0-3], the older name too.
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
        Ok(Some((length, request))) => Some(upgrade(&request, path).map_or_else(refusal, |bytes| Answer {
            bytes,
            accepted: Some(length),
        })),
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

/// The first of our subprotocols in the client's order.
fn offered(request: &Request) -> Option<&'static str> {
    let offers = request.headers().get_all("Sec-WebSocket-Protocol").iter();
    let mut names = offers.filter_map(|offer| offer.to_str().ok()).flat_map(|offer| offer.split(',')).map(str::trim);
    names.find_map(|name| SUBPROTOCOLS.into_iter().find(|ours| *ours == name))
}

fn refusal(status: StatusCode) -> Answer {
    let bytes = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").into_bytes();
    Answer { bytes, accepted: None }
}
