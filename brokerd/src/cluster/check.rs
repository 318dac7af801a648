//! What another node sent is checked again before it reaches a client: topics, filters, properties. Never trusts that
//! a peer's software is as careful as ours.

/// A topic name that can be matched and sent to clients (5.0 section 4.7).
pub(super) fn topic(bytes: &[u8]) -> Option<&str> {
    let fits = !bytes.is_empty() && bytes.len() <= usize::from(u16::MAX);
    let is_plain = !bytes.iter().any(|byte| matches!(byte, 0 | b'+' | b'#'));
    if fits && is_plain {
        std::str::from_utf8(bytes).ok()
    } else {
        None
    }
}

/// Whether it is a topic filter (5.0 section 4.7.1).
pub(super) fn is_filter(filter: &str) -> bool {
    if filter.is_empty() || filter.len() > usize::from(u16::MAX) || filter.contains('\0') {
        return false;
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let is_last = levels.peek().is_none();
        let is_good = match level {
            "+" => true,
            "#" => is_last,
            name => !name.contains(['+', '#']),
        };
        if !is_good {
            return false;
        }
    }
    true
}

/// Whether it is a sequence of whole properties that a PUBLISH may forward (5.0 section 3.3.2.3).
pub(super) fn is_publish_properties(mut bytes: &[u8]) -> bool {
    while let Some((id, rest)) = bytes.split_first() {
        let rest = match id {
            0x01 => rest
                .split_first()
                .filter(|(format, _)| **format <= 1)
                .map(|(_, rest)| rest),
            0x03 | 0x08 => text(rest),
            0x09 => binary(rest).map(|(_, rest)| rest),
            0x26 => text(rest).and_then(text),
            _ => None,
        };
        let Some(rest) = rest else { return false };
        bytes = rest;
    }
    true
}

fn binary(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

fn text(bytes: &[u8]) -> Option<&[u8]> {
    let (text, rest) = binary(bytes)?;
    let is_good = std::str::from_utf8(text).is_ok_and(|text| !text.contains('\0'));
    is_good.then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_no_wildcard_and_no_nul_and_is_utf8() {
        assert_eq!(topic("a/é".as_bytes()), Some("a/é"));
        for bad in [&b""[..], b"a/+", b"#", b"a\0", &[0xff], &[b'a'; 65_536]] {
            assert_eq!(topic(bad), None, "{:?}", &bad[..bad.len().min(8)]);
        }
    }

    #[test]
    fn a_filter_has_its_wildcards_alone_in_a_level_and_the_hash_last() {
        for good in ["a", "+", "#", "a/+/b/#", "/", "a//b"] {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["", "a#", "#/a", "a+/b", "a\0"] {
            assert!(!is_filter(bad), "{bad:?}");
        }
    }

    #[test]
    fn properties_are_whole_and_of_those_a_publish_forwards() {
        for good in [&b""[..], &[1, 1], &[3, 0, 1, b'a', 9, 0, 0], &[0x26, 0, 1, b'k', 0, 0]] {
            assert!(is_publish_properties(good), "{good:?}");
        }
        for bad in [
            &[1][..],
            &[1, 2],
            &[3, 0, 2, b'a'],
            &[0x23, 0, 1],
            &[3, 0, 1, 0xff],
            &[0x26, 0, 0],
            &[0x0b, 1],
        ] {
            assert!(!is_publish_properties(bad), "{bad:?}");
        }
    }
}
