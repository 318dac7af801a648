//! Text that is safe to print, and documents of one value. Never holds a list.

use std::borrow::Cow;
use std::io::Write;

use serde::Serialize;

use crate::failure::Failure;

/// The text without what would command a terminal: client ids and topics are written by strangers.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Control characters, and those that turn the direction of the text around.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Prints one value as a document.
pub(crate) fn json(out: &mut dyn Write, value: &impl Serialize) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    Ok(writeln!(out)?)
}

/// Prints `name : value` lines, the names padded to the longest.
pub(crate) fn pairs<'a>(
    out: &mut dyn Write,
    pairs: impl IntoIterator<Item = (&'a str, String)>,
) -> Result<(), Failure> {
    let pairs: Vec<_> = pairs.into_iter().collect();
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in pairs {
        writeln!(out, "{name:width$} : {}", printable(&value))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_cannot_command_the_terminal() {
        assert_eq!(printable("sensor/é 1"), "sensor/é 1");
        assert_eq!(printable("\u{1b}[2Jx\ny"), "\\u{1b}[2Jx\\u{a}y");
        assert_eq!(printable("a\u{202e}b\u{9b}"), "a\\u{202e}b\\u{9b}");
    }
}
