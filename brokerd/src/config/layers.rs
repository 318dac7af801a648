//! File, environment and flags as one map from key to value, the later layer over the earlier. Owns the syntax of each
//! source; never knows which keys exist.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use toml::de::{DeTable, DeValue};

use super::value::Value;
use super::{FileText, Problem, Source, Sources};

/// Prefix of environment variables.
pub(super) const PREFIX: &str = "BROKERD_";
/// Between levels of a key in an environment variable; a key has two levels or more, so what has none is not ours.
/// Kubernetes sets `BROKERD_PORT` and `BROKERD_SERVICE_HOST` for a service of that name.
pub(super) const LEVEL: &str = "__";
/// No key is deeper: `listeners.tcp.<name>.<key>`. One more, so that what is wrong is shown whole.
const DEEPEST: usize = 5;

/// Lines with slips of syntax that are listed; whoever has more looks at the first.
const LISTED: usize = 50;

/// A value and where it was given.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) value: Value,
    /// The text as typed, for sources that know no types.
    pub(super) typed: Option<String>,
    pub(super) source: Source,
}

impl Entry {
    /// From a source without types: what does not parse as TOML is a string.
    fn typed(text: &str, source: Source) -> Self {
        let value = DeValue::parse(text.trim());
        let value = value.map_or_else(|_| Value::Text(text.to_owned()), |value| Value::from_toml(value.get_ref()));
        Self { value, typed: Some(text.to_owned()), source }
    }

    /// As a string: also of what was typed without quotes and happens to parse as something else.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => self.typed.as_deref(),
        }
    }
}

pub(super) type Entries = BTreeMap<String, Entry>;

/// All layers, the last word on each key.
pub(super) fn merge(sources: &Sources, problems: &mut Vec<Problem>) -> Entries {
    let mut entries = Entries::new();
    if let Some(file) = &sources.file {
        read_file(file, &mut entries, problems);
    }
    for (name, value) in &sources.environment {
        read_variable(name, value, &mut entries, problems);
    }
    for assignment in &sources.set {
        read_assignment(assignment, &mut entries, problems);
    }
    if let Some(name) = &sources.node_name {
        let (value, source) = (Value::Text(name.clone()), Source::Flag("--node-name"));
        entries.insert("node.name".into(), Entry { value, typed: None, source });
    }
    if !sources.seeds.is_empty() {
        let value = Value::List(sources.seeds.iter().cloned().map(Value::Text).collect());
        entries.insert("cluster.seeds".into(), Entry { value, typed: None, source: Source::Flag("--seed") });
    }
    entries
}

fn read_file(file: &FileText, entries: &mut Entries, problems: &mut Vec<Problem>) {
    let lines = Lines::of(file);
    let (table, errors) = DeTable::parse_recoverable(&file.text);
    let mut broken = BTreeSet::new();
    for error in &errors {
        let span = error.span().unwrap_or_default();
        let source = lines.source(span.start);
        // One slip may break the rest of a line in several ways; the first says enough.
        if broken.insert(source.clone()) && broken.len() <= LISTED {
            // The text of the line is not shown, for it may be a secret without its quotes; a key is not one.
            let key = if error.message() == "duplicate key" { file.text.get(span) } else { None };
            let (key, why) = (key.unwrap_or("syntax").to_owned(), error.message().replace('\n', ", "));
            problems.push(Problem { key, value: None, source, why });
        }
    }
    flatten(&mut Vec::new(), table.get_ref(), &lines, entries);
    entries.retain(|_, entry| !broken.contains(&entry.source));
}

fn flatten<'t>(path: &mut Vec<&'t str>, table: &'t DeTable<'_>, lines: &Lines, entries: &mut Entries) {
    for (key, value) in table {
        path.push(key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() && path.len() < DEEPEST => flatten(path, inner, lines, entries),
            leaf => {
                let (value, source) = (Value::from_toml(leaf), lines.source(key.span().start));
                entries.insert(path.join("."), Entry { value, typed: None, source });
            }
        }
        path.pop();
    }
}

fn read_variable(name: &OsStr, value: &OsStr, entries: &mut Entries, problems: &mut Vec<Problem>) {
    let Some(key) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
        return;
    };
    if !key.contains(LEVEL) {
        return;
    }
    let source = Source::Environment(format!("{PREFIX}{key}"));
    let key = key.replace(LEVEL, ".").to_lowercase();
    match value.to_str() {
        Some(text) => {
            entries.insert(key, Entry::typed(text, source));
        }
        None => problems.push(Problem { key, value: None, source, why: "is not UTF-8 text".into() }),
    }
}

fn read_assignment(assignment: &str, entries: &mut Entries, problems: &mut Vec<Problem>) {
    match assignment.split_once('=') {
        Some((key, text)) if !key.trim().is_empty() => {
            entries.insert(key.trim().to_owned(), Entry::typed(text, Source::Set));
        }
        _ => {
            let why = "wants KEY=VALUE, as in --set listeners.tcp.default.bind=127.0.0.1:1884".into();
            problems.push(Problem { key: assignment.to_owned(), value: None, source: Source::Set, why });
        }
    }
}

/// `cluster.seeds` as `BROKERD_CLUSTER__SEEDS`.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', LEVEL).to_uppercase())
}

/// A variable that is almost ours: `BROKERD_CLUSTER_SECRET` for `cluster.secret`. Ignored, it would be a setting lost.
pub(super) fn nearly<'k>(name: &OsString, mut keys: impl Iterator<Item = &'k str>) -> Option<(&str, &'k str)> {
    let name = name.to_str()?;
    let rest = name.strip_prefix(PREFIX).filter(|rest| !rest.contains(LEVEL))?;
    let key = keys.find(|key| key.replace('.', "_").eq_ignore_ascii_case(rest))?;
    Some((name, key))
}

/// Byte offset to line number.
struct Lines {
    path: String,
    ends: Vec<usize>,
}

impl Lines {
    fn of(file: &FileText) -> Self {
        let ends = file.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        Self { path: file.path.display().to_string(), ends }
    }

    fn source(&self, offset: usize) -> Source {
        let line = self.ends.partition_point(|end| *end < offset) + 1;
        Source::File { path: self.path.clone(), line }
    }
}
