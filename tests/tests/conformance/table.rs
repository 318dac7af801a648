//! A table of conformance: read, and held against the list of statements and against the sources of the tests it names.
//!
//! Owns the format of the table. Never runs a test: that the tests pass is for the rest of this crate.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::statements::Specification;

/// How many statements of a specification are what.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) statements: usize,
    pub(crate) proven: usize,
    pub(crate) client: usize,
    pub(crate) other: usize,
    pub(crate) shortfalls: usize,
}

/// What is wrong with `text`, the table of `specification`, for the sources under `root`: a sentence each.
pub(crate) fn problems(specification: &Specification, text: &str, root: &Path) -> Vec<String> {
    let rows = rows(text);
    let mut problems = missing_repeated_and_unknown(specification, &rows);
    for row in &rows {
        let found = row_problems(row, root);
        problems.extend(found.into_iter().map(|problem| format!("{}: {problem}", row.id)));
    }
    problems
}

/// What the rows of `text` come to.
pub(crate) fn counts(text: &str) -> Counts {
    let mut counts = Counts::default();
    for row in rows(text) {
        counts.statements += 1;
        match (proof(row.proof), row.who) {
            (Proof { is_short: true, .. }, _) => counts.shortfalls += 1,
            (Proof { tests, .. }, _) if !tests.is_empty() => counts.proven += 1,
            (_, "client") => counts.client += 1,
            _ => counts.other += 1,
        }
    }
    counts
}

struct Row<'a> {
    id: &'a str,
    who: &'a str,
    asks: &'a str,
    proof: &'a str,
    cells: usize,
}

struct Proof<'a> {
    /// `file::name` each.
    tests: Vec<&'a str>,
    /// Known not to hold, or not everywhere.
    is_short: bool,
}

fn rows(text: &str) -> Vec<Row<'_>> {
    text.lines().filter(|line| line.starts_with("| MQTT-")).map(row).collect()
}

fn row(line: &str) -> Row<'_> {
    let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
    let cell = |at: usize| cells.get(at).copied().unwrap_or_default();
    Row { id: cell(0), who: cell(1), asks: cell(2), proof: cell(3), cells: cells.len() }
}

fn proof(cell: &str) -> Proof<'_> {
    let is_text = |part: &&str| part.is_empty() || part.starts_with("- ") || *part == "-";
    let (shortfalls, others): (Vec<&str>, Vec<&str>) =
        cell.split("<br>").map(str::trim).partition(|part| part.starts_with("shortfall: "));
    let tests = others.into_iter().filter(|part| !is_text(part)).map(|part| part.trim_matches('`').trim()).collect();
    Proof { tests, is_short: !shortfalls.is_empty() }
}

fn missing_repeated_and_unknown(specification: &Specification, rows: &[Row<'_>]) -> Vec<String> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        *times.entry(row.id).or_default() += 1;
    }
    let ids = specification.ids();
    let mut problems = Vec::new();
    for id in &ids {
        match times.remove(id.as_str()) {
            None => problems.push(format!("{id}: has no row")),
            Some(1) => {}
            Some(times) => problems.push(format!("{id}: has {times} rows")),
        }
    }
    let unknown = times.into_keys().map(|id| format!("{id}: is no statement of {}", specification.name));
    problems.extend(unknown);
    problems
}

fn row_problems(row: &Row<'_>, root: &Path) -> Vec<String> {
    if row.cells != 4 {
        return vec![format!("has {} cells, not 4", row.cells)];
    }
    let mut problems = Vec::new();
    if !["server", "client", "both", "other"].contains(&row.who) {
        problems.push(format!("concerns `{}`: neither server, client, both nor other", row.who));
    }
    if row.asks.is_empty() {
        problems.push("does not say what it asks".to_owned());
    }
    let proof = proof(row.proof);
    problems.extend(proof.tests.iter().filter_map(|name| unproven(name, root)));
    if proof.tests.is_empty() && !proof.is_short {
        if row.who == "server" || row.who == "both" {
            problems.push("has no proof".to_owned());
        } else if row.proof.trim_start_matches('-').trim().is_empty() {
            problems.push("has neither a proof nor a reason".to_owned());
        }
    }
    problems
}

/// Why `name` (`file::test`) proves nothing.
pub(crate) fn unproven(name: &str, root: &Path) -> Option<String> {
    let Some((file, name)) = name.split_once("::") else {
        return Some(format!("`{name}` is not `file::test`"));
    };
    let Ok(source) = fs::read_to_string(root.join(file)) else {
        return Some(format!("there is no file `{file}`"));
    };
    let why = if file.contains("/codec/data/") { not_in_corpus(&source, name) } else { no_test(&source, name) };
    why.map(|why| format!("`{name}` {why} in `{file}`"))
}

/// Rows of the codec's corpus are one line each, and are named by their second text.
fn not_in_corpus(source: &str, name: &str) -> Option<&'static str> {
    let row = format!("\", \"{name}\", \"");
    match source.matches(&row).count() {
        0 => Some("is no row"),
        1 => None,
        _ => Some("is more than one row"),
    }
}

/// The attributes of a function are the lines above it that begin with `#[`, comments between them or not.
fn no_test(source: &str, name: &str) -> Option<&'static str> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let declares = |line: &str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ").and_then(|rest| rest.strip_prefix(name)).is_some_and(|rest| rest.starts_with('('))
    };
    let Some(at) = lines.iter().position(|line| declares(line)) else {
        return Some("is no function");
    };
    let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    let attributes: Vec<&str> = above.copied().filter(|line| line.starts_with("#[")).collect();
    if attributes.iter().any(|line| line.starts_with("#[ignore")) {
        return Some("is ignored");
    }
    let is_test = |line: &&str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    if attributes.iter().any(is_test) { None } else { Some("is no test") }
}
