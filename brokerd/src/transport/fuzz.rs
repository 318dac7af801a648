//! A door for the fuzz targets to the framing of this room. Nothing of the broker goes through it.

use super::upgrade;
use super::web_socket::WebSocket;

/// What came of a stream of WebSocket frames.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The stream that MQTT sees.
    pub stream: Vec<u8>,
    /// The status code that the connection was closed with.
    pub broken: Option<u16>,
    /// The control frames that would be sent.
    pub control: Vec<u8>,
    /// Whether nothing more is read.
    pub has_ended: bool,
}

/// Decodes the bytes in pieces that end where `cuts` says, each up to the next. A message is at most `most` bytes.
#[must_use]
pub fn web_socket(bytes: &[u8], cuts: impl Iterator<Item = usize>, most: u64) -> Decoded {
    let mut socket = WebSocket::new(Vec::new(), most);
    let (mut decoded, mut rest) = (Decoded::default(), bytes);
    for cut in cuts {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at(cut.clamp(1, rest.len()));
        let mut piece = piece.to_vec();
        match socket.decode(&mut piece) {
            Ok(count) => decoded.stream.extend_from_slice(&piece[..count]),
            Err(broken) => {
                decoded.broken = Some(broken as u16);
                break;
            }
        }
        rest = behind;
    }
    decoded.control = socket.control().to_vec();
    decoded.has_ended = socket.has_ended;
    decoded
}

/// The answer to an upgrade request, and where the WebSocket begins if it is accepted; `None` while more must come.
#[must_use]
pub fn upgrade(bytes: &[u8], path: &str) -> Option<(Vec<u8>, Option<usize>)> {
    upgrade::answer(bytes, path).map(|answer| (answer.bytes, answer.accepted))
}
