//! How a filter finds its topics in an ordered set: by leaping to the next topic that can match. Never sees the set.

/// A filter, and the place it leaps to next.
pub(super) struct Seeker<'a> {
    filter: Vec<&'a [u8]>,
    target: Vec<u8>,
}

/// What a filter says of a topic.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// It matches; the next one may too.
    Matches,
    /// It does not, nor does any other before this one.
    Seek(&'a [u8]),
    /// It does not, nor does any behind it.
    NoMore,
}

impl<'a> Seeker<'a> {
    pub(super) fn new(filter: &'a str) -> Self {
        Self { filter: filter.as_bytes().split(|byte| *byte == b'/').collect(), target: Vec::new() }
    }

    /// Judges the next topic. Topics come in the order of `order::by_level`.
    pub(super) fn judge(&mut self, topic: &[u8]) -> Verdict<'_> {
        if topic.starts_with(b"$") && matches!(self.filter.first(), Some(&(b"+" | b"#"))) {
            // [MQTT-4.7.2-1]; `%` is the byte behind `$`.
            return self.leap(b"", b"%");
        }
        // Where the next level begins, and where the last one ends that a `+` stands for: beyond what lies under
        // that one, its next sibling can match.
        let (mut at, mut sibling) = (0, None);
        for i in 0..self.filter.len() {
            let wanted = self.filter[i];
            if wanted == b"#" {
                return Verdict::Matches;
            }
            let Some(rest) = topic.get(at..) else {
                return self.leap_below(topic, wanted);
            };
            let end = at + rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            let level = &topic[at..end];
            if wanted == b"+" {
                sibling = Some(end);
            } else if level < wanted {
                return self.leap(&topic[..at], wanted);
            } else if level > wanted {
                return self.leap_past(topic, sibling);
            }
            at = end + 1;
        }
        if at > topic.len() { Verdict::Matches } else { self.leap_past(topic, sibling) }
    }

    /// The topic is too short: what lies under it may match.
    fn leap_below(&mut self, topic: &[u8], wanted: &[u8]) -> Verdict<'_> {
        self.leap(topic, b"/");
        if wanted != b"+" {
            self.target.extend_from_slice(wanted);
        }
        Verdict::Seek(&self.target)
    }

    /// Past all that lies under a level: NUL is the first byte behind `/`.
    fn leap_past(&mut self, topic: &[u8], end: Option<usize>) -> Verdict<'_> {
        match end {
            Some(end) => self.leap(&topic[..end], b"\0"),
            None => Verdict::NoMore,
        }
    }

    fn leap(&mut self, prefix: &[u8], rest: &[u8]) -> Verdict<'_> {
        self.target.clear();
        self.target.extend_from_slice(prefix);
        self.target.extend_from_slice(rest);
        Verdict::Seek(&self.target)
    }
}
