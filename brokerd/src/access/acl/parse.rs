//! The ACL file as text: one rule a line, refused as a whole at the first line that is wrong. Never decides anything.
//!
//! ```text
//! allow|deny  user NAME|client ID|ip CIDR|all  publish|subscribe|all  FILTER...
//! ```
//!
//! Words are parted by blanks; one with blanks in it stands in double quotes, where `\"` and `\\` are a quote and a
//! backslash. A line whose first character is `#` is a comment; anywhere else `#` is the wildcard.

use super::pattern::Pattern;
use super::{Acl, Rule, Who};
use crate::access::file::BadLine;
use crate::config::Network;

const FORM: &str = "a rule is `allow|deny  user NAME|client ID|ip CIDR|all  publish|subscribe|all  FILTER...`";

impl Acl {
    /// Reads a whole file.
    pub(in crate::access) fn parse(text: &str) -> Result<Self, BadLine> {
        let mut acl = Self::default();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            acl.push(rule(line).map_err(|why| BadLine { line: at + 1, why })?);
        }
        Ok(acl)
    }
}

fn rule(line: &str) -> Result<Rule, String> {
    let words = words(line)?;
    let mut words = words.iter().map(String::as_str);
    let mut next = || words.next().ok_or_else(|| format!("is cut short: {FORM}"));
    let allows = match next()? {
        "allow" => true,
        "deny" => false,
        other => return Err(format!("`{other}` is neither allow nor deny: {FORM}")),
    };
    let who = match next()? {
        "all" => Who::All,
        "user" => Who::User(named(next()?)?),
        "client" => Who::Client(named(next()?)?),
        "ip" => {
            let range = next()?;
            let why = || format!("`{range}` is not an address or a range of addresses, as in 10.0.0.0/8");
            Who::Ip(Network::parse(range).ok_or_else(why)?)
        }
        other => return Err(format!("`{other}` is not one of user, client, ip and all: {FORM}")),
    };
    let (publish, subscribe) = match next()? {
        "publish" => (true, false),
        "subscribe" => (false, true),
        "all" => (true, true),
        other => return Err(format!("`{other}` is not one of publish, subscribe and all: {FORM}")),
    };
    let patterns = words.map(Pattern::parse).collect::<Result<Box<[_]>, _>>()?;
    if patterns.is_empty() {
        return Err(format!("has no topic filter: {FORM}"));
    }
    Ok(Rule { allows, who, publish, subscribe, patterns })
}

fn named(name: &str) -> Result<Box<str>, String> {
    if name.is_empty() { Err(format!("the name is empty: {FORM}")) } else { Ok(name.into()) }
}

fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        if word.contains('"') && !rest.starts_with('"') || !(after.is_empty() || after.starts_with(char::is_whitespace))
        {
            return Err("a quote stands in the middle of a word".into());
        }
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

/// Reads up to the closing quote; answers what follows it too.
fn unquote(text: &str) -> Result<(String, &str), String> {
    let mut word = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((word, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, escaped @ ('"' | '\\'))) => word.push(escaped),
                _ => return Err("in quotes, `\\` stands before `\"` or `\\` only".into()),
            },
            _ => word.push(char),
        }
    }
    Err("a quote is not closed".into())
}
