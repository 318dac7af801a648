//! The configuration, as a file or as `--set` and the environment.

use brokerd::config::{FileText, Sources, load};

/// A secret that must never be shown.
const SECRET: &str = "sesame-open-sesame-Zq9";

/// `@` first: each line is a `--set`, or with `BROKERD_` before it a variable; otherwise all of it is the file.
pub(crate) fn target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if names_a_file(text) {
        return;
    }
    let mut sources = Sources { node_name: Some("fuzz".into()), ..Sources::default() };
    match text.strip_prefix('@') {
        Some(lines) => {
            for line in lines.lines() {
                match line.split_once('=').filter(|(name, _)| name.starts_with("BROKERD_")) {
                    Some((name, value)) => sources.environment.push((name.into(), value.into())),
                    None => sources.set.push(line.to_owned()),
                }
            }
        }
        None => sources.file = Some(FileText { path: "fuzz.toml".into(), text: text.to_owned() }),
    }
    match load(&sources) {
        Ok(config) => {
            assert!(!config.listeners.0.is_empty() || !text.is_empty());
            let shown = format!("{config:?}");
            let is_secret = config.cluster.secret.as_ref().is_some_and(|secret| secret.expose() == SECRET);
            assert!(!is_secret || !shown.contains(SECRET), "the secret is shown: {shown}");
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            for problem in problems {
                let line = problem.to_string();
                assert!(!line.contains(char::is_control), "more than a line, or what a terminal obeys: {line:?}");
            }
        }
    }
}

/// Reading what a fuzzer names would make a run depend on the machine.
fn names_a_file(text: &str) -> bool {
    text.to_lowercase().contains("secret_file")
}
