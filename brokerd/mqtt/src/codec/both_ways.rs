//! DISCONNECT and AUTH to a client (5.0): the two packets that both sides send. Never writes half a packet.
//!
//! Our own. mqttbytes has no AUTH, and of DISCONNECT leaves the Property Length out, or the reason code with it: legal,
//! but clients that descend from mqttbytes wait for the missing byte, or fail, and never learn the reason.

use super::wire::{put_binary, put_variable, variable_len};
use crate::topic::MAX_TEXT;
use crate::{ReasonCode, Version};

const AUTHENTICATION_METHOD: u8 = 21;
const AUTHENTICATION_DATA: u8 = 22;
const SERVER_REFERENCE: u8 = 28;
const REASON_STRING: u8 = 31;

/// AUTH (5.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthOut<'a> {
    /// Success, `ContinueAuthentication` or `ReAuthenticate`.
    pub reason: ReasonCode,
    /// Authentication Method, as in CONNECT [MQTT-4.12.0-5].
    pub method: &'a str,
    /// Authentication Data.
    pub data: Option<&'a [u8]>,
}

/// Appends AUTH (3.15). Writes nothing and says `false` where the method or the data are over 65,535 bytes, or the
/// packet is over `limit`, the client's Maximum Packet Size.
pub fn auth(out: &mut Vec<u8>, auth: &AuthOut<'_>, limit: Option<u32>) -> bool {
    if auth.method.len() > MAX_TEXT || auth.data.is_some_and(|data| data.len() > MAX_TEXT) {
        return false;
    }
    let properties = 3 + auth.method.len() + auth.data.map_or(0, |data| 3 + data.len());
    let remaining = 1 + variable_len(properties) + properties;
    if limit.is_some_and(|limit| 1 + variable_len(remaining) + remaining > limit as usize) {
        return false;
    }
    out.push(0xF0);
    put_variable(out, remaining);
    out.push(auth.reason as u8);
    put_variable(out, properties);
    out.push(AUTHENTICATION_METHOD);
    put_binary(out, auth.method.as_bytes());
    if let Some(data) = auth.data {
        out.push(AUTHENTICATION_DATA);
        put_binary(out, data);
    }
    true
}

/// Appends DISCONNECT in 5.0, within `limit`, the client's Maximum Packet Size: the reason string goes first
/// [MQTT-3.14.2-3], and if it is still too long nothing is written and `false` is the answer. So it is in 3.x, where a
/// server has no DISCONNECT. A code that a server has none of there is an unspecified error.
pub fn disconnect(
    out: &mut Vec<u8>,
    version: Version,
    reason: ReasonCode,
    reason_string: Option<&str>,
    limit: Option<u32>,
) -> bool {
    if version != Version::V5 {
        return false;
    }
    let is_too_long = |len: usize| limit.is_some_and(|limit| len > limit as usize);
    let reason_string =
        reason_string.filter(|text| !text.is_empty() && text.len() <= MAX_TEXT && !is_too_long(disconnect_len(text)));
    if is_too_long(disconnect_len("")) {
        return false;
    }
    let properties = reason_string.map_or(0, |text| 3 + text.len());
    out.push(0xE0);
    put_variable(out, 1 + variable_len(properties) + properties);
    out.push(if is_from_server(reason) { reason } else { ReasonCode::UnspecifiedError } as u8);
    put_variable(out, properties);
    if let Some(text) = reason_string {
        out.push(REASON_STRING);
        put_binary(out, text.as_bytes());
    }
    true
}

/// Appends DISCONNECT in 5.0 for a client that is to go elsewhere (0x9C, 0x9D), with the Server Reference (3.14.2.2.5)
/// where there is one. One that is over the client's Maximum Packet Size goes without it [MQTT-3.14.2-2].
pub fn redirect(out: &mut Vec<u8>, reason: ReasonCode, reference: Option<&str>, limit: Option<u32>) -> bool {
    let fits = |text: &&str| !text.is_empty() && text.len() <= MAX_TEXT;
    let Some(reference) = reference.filter(fits) else {
        return disconnect(out, Version::V5, reason, None, limit);
    };
    // A property of one text, as the reason string is.
    if limit.is_some_and(|limit| disconnect_len(reference) > limit as usize) {
        return disconnect(out, Version::V5, reason, None, limit);
    }
    let properties = 3 + reference.len();
    out.push(0xE0);
    put_variable(out, 1 + variable_len(properties) + properties);
    out.push(reason as u8);
    put_variable(out, properties);
    out.push(SERVER_REFERENCE);
    put_binary(out, reference.as_bytes());
    true
}

/// The length of the whole packet; with an empty text, of one without a reason string.
const fn disconnect_len(text: &str) -> usize {
    let properties = if text.is_empty() { 0 } else { 3 + text.len() };
    let remaining = 1 + variable_len(properties) + properties;
    1 + variable_len(remaining) + remaining
}

/// Table 3-10, what a server sends.
const fn is_from_server(reason: ReasonCode) -> bool {
    matches!(reason as u8, 0x00 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B | 0x8D..=0x90 | 0x93..=0xA2)
}
