//! Takes values out of the merged layers, key by key. Owns type and range checks and the list of keys that exist (those
//! that were asked for); never knows what a key means.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::layers::{self, Entries, Entry};
use super::notation;
use super::rows::{self, Row};
use super::value::Value;
use super::{Problem, Source};

/// Numbers that keys have.
pub(super) trait Number: Copy + PartialOrd + Display + TryFrom<u64> + TryInto<u64> {}
impl<T: Copy + PartialOrd + Display + TryFrom<u64> + TryInto<u64>> Number for T {}

/// What is said of a key that another version has.
pub(super) type Reserved = fn(&str) -> Option<&'static str>;

/// Unknown keys that are listed one by one.
const LISTED: usize = 50;
/// A longer key is not a slip of the pen, and the comparison costs its length.
const LONGEST_GUESSED: usize = 100;
/// From 0 to 1; below it a guess confuses.
const ALIKE: f64 = 0.6;

pub(super) struct Reader {
    entries: Entries,
    /// Key to what it allows; a section allows nothing.
    known: BTreeMap<String, String>,
    problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn new(entries: Entries, problems: Vec<Problem>) -> Self {
        Self { entries, known: BTreeMap::new(), problems }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Whether any layer gives the key.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// A table; every other shape is refused.
    pub(super) fn section(&mut self, key: &str) {
        self.known.insert(key.to_owned(), String::new());
        if self.entries.get(key).is_some_and(|entry| entry.value != Value::EmptyTable) {
            self.refuse(key, format!("is a section, and wants keys, as in [{key}]"));
        }
    }

    /// The names in a section of named tables, as in `listeners.tcp`.
    pub(super) fn names(&self, section: &str) -> BTreeSet<String> {
        let inside = |key: &String| {
            let rest = key.strip_prefix(section)?.strip_prefix('.')?;
            Some(rest.split_once('.').map_or(rest, |(name, _)| name).to_owned())
        };
        self.entries.keys().filter_map(inside).collect()
    }

    /// One key by any rule.
    pub(super) fn read<T>(&mut self, key: &str, allowed: &str, take: impl FnOnce(&Entry) -> Option<T>) -> Option<T> {
        self.known.insert(key.to_owned(), allowed.to_owned());
        let taken = take(self.entries.get(key)?);
        if taken.is_none() {
            self.refuse(key, format!("allowed is {allowed}"));
        }
        taken
    }

    pub(super) fn text<T>(&mut self, key: &str, allowed: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.read(key, allowed, |entry| parse(entry.text()?))
    }

    pub(super) fn list<T>(&mut self, key: &str, allowed: &str, parse: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let taken = self.read(key, allowed, |entry| match (&entry.value, &entry.typed) {
            (Value::List(items), _) => {
                items.iter().map(|item| if let Value::Text(text) = item { parse(text) } else { None }).collect()
            }
            (_, Some(typed)) => {
                let plain = entry.text().unwrap_or(typed);
                plain.split(',').map(str::trim).filter(|item| !item.is_empty()).map(parse).collect()
            }
            _ => None,
        });
        taken.unwrap_or_default()
    }

    /// A list of tables, as in `[[rewrite]]`. What is wrong with one is said with its place in the list.
    pub(super) fn tables<T>(
        &mut self,
        key: &str,
        allowed: &str,
        take: impl Fn(&mut Row<'_>) -> Result<T, String>,
    ) -> Vec<T> {
        let rows = self.read(key, allowed, |entry| {
            let Value::List(items) = &entry.value else { return None };
            let row = |item: &Value| if let Value::Table(fields) = item { Some(fields.clone()) } else { None };
            items.iter().map(row).collect::<Option<Vec<_>>>().filter(|rows| rows.len() <= rows::MOST)
        });
        let mut taken = Vec::new();
        for (at, fields) in rows.unwrap_or_default().iter().enumerate() {
            let mut row = Row::new(fields);
            match take(&mut row).and_then(|one| row.finish().map(|()| one)) {
                Ok(one) => taken.push(one),
                Err(why) => self.refuse(key, format!("entry {}: {why}", at + 1)),
            }
        }
        taken
    }

    pub(super) fn boolean(&mut self, key: &str, default: bool) -> bool {
        let taken = self.read(key, "true or false", |entry| match entry.value {
            Value::Boolean(yes) => Some(yes),
            _ => None,
        });
        taken.unwrap_or(default)
    }

    pub(super) fn integer<T: Number>(&mut self, key: &str, default: T, range: RangeInclusive<T>) -> T {
        let allowed = format!("an integer from {} to {}", range.start(), range.end());
        let taken = self.read(key, &allowed, |entry| match entry.value {
            Value::Integer(number) => in_range(u64::try_from(number).ok()?, &range),
            _ => None,
        });
        taken.unwrap_or(default)
    }

    pub(super) fn size<T: Number>(&mut self, key: &str, default: T, range: RangeInclusive<T>) -> T {
        let shown = |bytes: &T| notation::show_size((*bytes).try_into().unwrap_or(u64::MAX));
        let (least, most) = (shown(range.start()), shown(range.end()));
        let allowed = format!("a number of bytes or a size such as 64KiB or 1MB, from {least} to {most}");
        let taken = self.read(key, &allowed, |entry| match entry.value {
            Value::Integer(bytes) => in_range(u64::try_from(bytes).ok()?, &range),
            _ => in_range(notation::parse_size(entry.text()?)?, &range),
        });
        taken.unwrap_or(default)
    }

    pub(super) fn duration(&mut self, key: &str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        let (least, most) = (notation::show_duration(*range.start()), notation::show_duration(*range.end()));
        let allowed = format!("a time with its unit (ms, s, m, h, d), from {least} to {most}");
        let taken = self.text(key, &allowed, |text| notation::parse_duration(text).filter(|it| range.contains(it)));
        taken.unwrap_or(default)
    }

    /// Adds a problem with a key, where its value was given, if it was.
    pub(super) fn refuse(&mut self, key: &str, why: impl Into<String>) {
        let entry = self.entries.get(key);
        let source = entry.map_or(Source::Default, |entry| entry.source.clone());
        let value = entry
            .map(|entry| if is_secret(key, &entry.value) { "(not shown)".into() } else { entry.value.to_string() });
        self.problems.push(Problem { key: key.to_owned(), value, source, why: why.into() });
    }

    /// The last step: what nobody asked for does not exist. Its value is not shown, for it may be a misspelt secret.
    pub(super) fn refuse_unknown(&mut self, environment: &[(OsString, OsString)], reserved: Reserved) {
        let unknown = self.entries.iter().filter(|(key, _)| !self.known.contains_key(*key));
        let mut problems = Vec::new();
        for (key, entry) in unknown.clone().take(LISTED) {
            let why = format!("unknown key{}", self.hint(key, &entry.source, reserved));
            problems.push(Problem { key: key.clone(), value: None, source: entry.source.clone(), why });
        }
        if let Some((key, entry)) = unknown.clone().nth(LISTED) {
            let why = format!("unknown key, and {} more", unknown.count() - LISTED - 1);
            problems.push(Problem { key: key.clone(), value: None, source: entry.source.clone(), why });
        }
        for (name, _) in environment {
            // A section is no setting: `BROKERD_CLUSTER` is someone else's.
            let keys = self.known.iter().filter(|(_, allowed)| !allowed.is_empty());
            if let Some((name, key)) = layers::nearly(name, keys.map(|(key, _)| key.as_str())) {
                let why = format!("levels are parted by two underscores: did you mean {}?", layers::variable_of(key));
                let source = Source::Environment(name.to_owned());
                problems.push(Problem { key: key.to_owned(), value: None, source, why });
            }
        }
        self.problems.append(&mut problems);
    }

    fn hint(&self, key: &str, source: &Source, reserved: Reserved) -> String {
        if let Some(reserved) = reserved(key) {
            return format!(": {reserved}");
        }
        if key.len() > LONGEST_GUESSED {
            return String::new();
        }
        let likeness = |known: &String| (strsim::normalized_damerau_levenshtein(key, known), known.clone());
        let guess = self.known.keys().map(likeness).max_by(|a, b| a.0.total_cmp(&b.0));
        // `seeds` at the top of the file, or under another section.
        let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
        let moved = self.known.keys().find(|known| last(known) == last(key));
        let guess = guess.filter(|(alike, _)| *alike >= ALIKE).map(|(_, known)| known).or_else(|| moved.cloned());
        match (guess, source) {
            (Some(known), Source::Environment(_)) => format!(": did you mean {}?", layers::variable_of(&known)),
            (Some(known), _) => format!(": did you mean {known}?"),
            (None, _) => String::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> &BTreeMap<String, String> {
        &self.known
    }
}

/// An address with an `@` has a password, where it may have none.
fn is_secret(key: &str, value: &Value) -> bool {
    key == "cluster.secret"
        || key == "cluster.accept_secrets"
        || key.ends_with(".password")
        || (key.ends_with(".address") && value.to_string().contains('@'))
}

fn in_range<T: Number>(number: u64, range: &RangeInclusive<T>) -> Option<T> {
    T::try_from(number).ok().filter(|number| range.contains(number))
}
