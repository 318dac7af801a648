//! Text as a sequence of levels. Never allocates.

/// The text up to the first `/`.
pub(super) fn first_level(text: &str) -> &str {
    text.split_once('/').map_or(text, |(level, _)| level)
}

/// Whether the levels of `text` begin with all of `levels`.
pub(super) fn begins_with(text: &str, levels: &str) -> bool {
    text.strip_prefix(levels).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// How many bytes of text two sequences have in common in whole levels, given that their first level is the same.
pub(super) fn common_levels(left: &str, right: &str) -> usize {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let same = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    let ends = |text: &[u8]| text.get(same).is_none_or(|byte| *byte == b'/');
    if ends(left) && ends(right) {
        return same;
    }
    left[..same].iter().rposition(|byte| *byte == b'/').unwrap_or(0)
}
