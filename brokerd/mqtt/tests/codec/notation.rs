//! Frames as text that a reader can check against the specification.
//!
//! `0A3F` bytes in hex, spaces free; `'text'` a string with its two-byte length; `( )` any bytes with their two-byte
//! length; `< >` any bytes with their length as a Variable Byte Integer. Wrong lengths are written in hex.

/// The bytes that `text` stands for.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let out = group(&mut rest, None);
    assert!(rest.is_empty(), "unbalanced: {text}");
    out
}

fn group(rest: &mut &[u8], end: Option<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((&first, tail)) = rest.split_first() {
        if Some(first) == end {
            *rest = tail;
            return out;
        }
        match first {
            b' ' => *rest = tail,
            b'\'' => {
                let len = tail.iter().position(|&byte| byte == b'\'').expect("closing quote");
                two_byte_length(&mut out, &tail[..len]);
                *rest = &tail[len + 1..];
            }
            b'(' => {
                *rest = tail;
                two_byte_length(&mut out, &group(rest, Some(b')')));
            }
            b'<' => {
                *rest = tail;
                let inner = group(rest, Some(b'>'));
                variable(&mut out, inner.len());
                out.extend(inner);
            }
            _ => {
                let pair = std::str::from_utf8(&rest[..2]).expect("hex");
                out.push(u8::from_str_radix(pair, 16).unwrap_or_else(|_| panic!("hex: {pair}")));
                *rest = &rest[2..];
            }
        }
    }
    assert!(end.is_none(), "a group is not closed");
    out
}

fn two_byte_length(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u16::try_from(bytes.len()).expect("at most 65,535 bytes").to_be_bytes());
    out.extend(bytes);
}

/// Written otherwise than in the codec, so that one mistake cannot hide the other.
pub(crate) fn variable(out: &mut Vec<u8>, value: usize) {
    let width = (1..=4).find(|width| value < 1 << (7 * width)).expect("at most 268,435,455");
    for at in 0..width {
        let more = if at + 1 < width { 0x80 } else { 0 };
        out.push((value >> (7 * at)) as u8 & 0x7F | more);
    }
}

#[test]
fn the_notation_writes_lengths_and_bytes() {
    assert_eq!(bytes("30 <'a/b' 6869>"), b"\x30\x07\x00\x03a/bhi");
    assert_eq!(bytes("(61 00) <<>>"), b"\x00\x02a\x00\x01\x00");
    let mut out = Vec::new();
    variable(&mut out, 321);
    variable(&mut out, 127);
    variable(&mut out, 2_097_152);
    assert_eq!(out, [0xC1, 0x02, 0x7F, 0x80, 0x80, 0x80, 0x01]);
}
