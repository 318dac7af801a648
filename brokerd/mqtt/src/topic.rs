//! Topic names and filters as text: their form (section 4.7), shared subscriptions, and the plain definition of
//! matching. Never stores a filter; the trie does, and is tested against `matches`.

/// The longest UTF-8 string that MQTT can carry (section 1.5.4).
pub const MAX_TEXT: usize = 65_535;

const SHARE: &str = "$share/";
const EXCLUSIVE: &str = "$exclusive/";
const DELAYED: &str = "$delayed/";

/// Whether `name` may be published to: not empty, no wildcard, no NUL, at most 65,535 bytes [MQTT-3.3.2-2, 4.7.3].
#[must_use]
pub fn valid_name(name: &str) -> bool {
    let scan = scan(name.as_bytes());
    !name.is_empty() && name.len() <= MAX_TEXT && !scan.nul && !scan.wildcard
}

/// Whether `filter` may be subscribed to: as a name, but with `#` alone in the last level and `+` alone in its level
/// [MQTT-4.7.1-1, 4.7.1-2]; after `$share/`, a group and a filter [MQTT-4.8.2-1, 4.8.2-2].
#[must_use]
pub fn valid_filter(filter: &str) -> bool {
    if filter.len() > MAX_TEXT {
        return false;
    }
    if filter.starts_with(SHARE) { parse_share(filter).is_some() } else { valid_plain_filter(filter) }
}

fn valid_plain_filter(filter: &str) -> bool {
    let scan = scan(filter.as_bytes());
    if filter.is_empty() || scan.nul {
        return false;
    }
    if !scan.wildcard {
        return true;
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let well_placed = match level {
            "#" => levels.peek().is_none(),
            "+" => true,
            _ => !level.contains(['#', '+']),
        };
        if !well_placed {
            return false;
        }
    }
    true
}

/// The group and the filter of a valid `$share/group/filter`; `None` for any other filter.
#[must_use]
pub fn parse_share(filter: &str) -> Option<(&str, &str)> {
    let (group, inner) = filter.strip_prefix(SHARE)?.split_once('/')?;
    let group_scan = scan(group.as_bytes());
    let valid = !group.is_empty() && !group_scan.wildcard && !group_scan.nul && valid_plain_filter(inner);
    valid.then_some((group, inner))
}

/// Whether `filter` is of an exclusive subscription, well-formed or not.
#[must_use]
pub fn is_exclusive(filter: &str) -> bool {
    filter.starts_with(EXCLUSIVE)
}

/// The filter of a valid `$exclusive/filter`; `None` for any other one, and where that filter would be shared or
/// exclusive again.
#[must_use]
pub fn parse_exclusive(filter: &str) -> Option<&str> {
    let inner = filter.strip_prefix(EXCLUSIVE)?;
    (!is_shared(inner) && !is_exclusive(inner) && valid_plain_filter(inner)).then_some(inner)
}

/// The exclusive form of a filter.
#[must_use]
pub fn exclusive(filter: &str) -> String {
    format!("{EXCLUSIVE}{filter}")
}

/// Whether a publication to `name` is to be delayed, well-formed or not.
#[must_use]
pub fn is_delayed(name: &str) -> bool {
    name.starts_with(DELAYED)
}

/// The number and the topic of a valid `$delayed/number/topic`; `None` for any other name, and where that topic would
/// be delayed again.
#[must_use]
pub fn parse_delayed(name: &str) -> Option<(u64, &str)> {
    let (number, inner) = name.strip_prefix(DELAYED)?.split_once('/')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let valid = is_number && valid_name(inner) && !is_delayed(inner);
    Some((number.parse().ok().filter(|_| valid)?, inner))
}

/// Whether a valid filter is of a shared subscription.
#[must_use]
pub fn is_shared(filter: &str) -> bool {
    filter.starts_with(SHARE)
}

/// How many levels a name or a filter has: one more than it has separators.
#[must_use]
pub fn levels(text: &str) -> usize {
    scan(text.as_bytes()).separators + 1
}

/// Whether `filter`, without `$share/group/`, matches `topic`. A level at a time, no index: the oracle for the trie.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    // [MQTT-4.7.2-1]: a wildcard in the first level does not match what begins with `$`.
    if topic.starts_with('$') && filter.starts_with(['#', '+']) {
        return false;
    }
    let mut names = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, names.next()) {
            // 4.7.1.2: `a/#` matches its parent `a` too.
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (_, Some(name)) if wanted == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

/// What one pass over a string finds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scan {
    /// U+0000 is in it.
    pub(crate) nul: bool,
    /// `+` or `#` is in it.
    pub(crate) wildcard: bool,
    /// How often `/` is in it.
    pub(crate) separators: usize,
}

/// Eight bytes at a time: topics are short and this runs for each PUBLISH.
pub(crate) fn scan(bytes: &[u8]) -> Scan {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut found = Found::default();
    for &word in words {
        found.add(u64::from_le_bytes(word));
    }
    if !rest.is_empty() {
        // The filling is none of the bytes that are looked for.
        let mut last = [b'a'; 8];
        last[..rest.len()].copy_from_slice(rest);
        found.add(u64::from_le_bytes(last));
    }
    Scan { nul: found.nul != 0, wildcard: found.wildcard != 0, separators: found.separators as usize }
}

#[derive(Default)]
struct Found {
    nul: u64,
    wildcard: u64,
    separators: u32,
}

impl Found {
    fn add(&mut self, word: u64) {
        self.nul |= zero_bytes(word);
        // `#` and `+` differ in bit 3 alone; no third byte becomes `+` when it is set.
        self.wildcard |= zero_bytes((word | repeat(0x08)) ^ repeat(b'+'));
        self.separators += zero_bytes(word ^ repeat(b'/')).count_ones();
    }
}

const fn repeat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// 0x80 in each byte of `word` that is zero, and nothing elsewhere: no carry leaves a byte.
const fn zero_bytes(word: u64) -> u64 {
    let low = repeat(0x7F);
    !(((word & low) + low) | word | low)
}

#[cfg(test)]
mod tests;
