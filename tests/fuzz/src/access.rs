//! The ACL file, against a reading of it that is slow and plain, and the password file.

use std::net::IpAddr;

use brokerd::access::Action;
use brokerd::access::fuzz::{Rules, passwords as read_passwords};
use mqtt::topic;

/// Who asks, in all cases.
const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3));

/// First line `client TAB user TAB topic TAB filter`, then the file.
pub(crate) fn acl(bytes: &[u8]) {
    let Some((head, file)) = std::str::from_utf8(bytes).ok().and_then(|text| text.split_once('\n')) else { return };
    let mut words = head.split('\t');
    let mut next = || words.next().unwrap_or_default();
    let (client, user, name, filter) = (next(), next(), next(), next());
    let user = (!user.is_empty()).then_some(user);
    let rules = match Rules::parse(file) {
        Ok(rules) => rules,
        Err(why) => {
            let line = why.strip_prefix("line ").and_then(|rest| rest.split_once(':')?.0.parse::<usize>().ok());
            assert!(line.is_some_and(|line| (1..=file.lines().count()).contains(&line)), "{why}");
            return;
        }
    };
    assert!(rules.count() <= file.lines().count());
    let allows = |action| rules.allows(client, user, IP, action);
    if topic::valid_name(name) {
        let expected = plainly(file, client, user, name);
        if let Some(expected) = expected {
            assert_eq!(allows(Action::Publish(name)), expected, "{client:?} {user:?} {name:?}");
        }
    }
    let is_asked_for = topic::valid_name(name) && topic::valid_filter(filter) && topic::matches(filter, name);
    if is_asked_for && allows(Action::Subscribe(filter)) {
        assert!(allows(Action::Subscribe(name)), "{filter:?} is allowed, of which {name:?} is a part that is not");
    }
}

/// The first rule that fits decides; `None` for files whose words this does not split.
fn plainly(file: &str, client: &str, user: Option<&str>, name: &str) -> Option<bool> {
    if file.contains(['"', '\\']) {
        return None;
    }
    for line in file.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let allows = words.next()? == "allow";
        let concerns = match words.next()? {
            "all" => true,
            "client" => words.next()? == client,
            "user" => Some(words.next()?) == user,
            _ => brokerd::config::Network::parse(words.next()?)?.contains(IP),
        };
        let is_about = matches!(words.next()?, "publish" | "all");
        if concerns && is_about && words.any(|pattern| fits(pattern, client, user, name)) {
            return Some(allows);
        }
    }
    Some(false)
}

/// A pattern with its values pasted in, where they are fit to be pasted, as a filter.
fn fits(pattern: &str, client: &str, user: Option<&str>, name: &str) -> bool {
    let mut levels = Vec::new();
    for (at, level) in pattern.split('/').enumerate() {
        let value = match level {
            "%c" => Some(client),
            "%u" => Some(match user {
                Some(user) => user,
                None => return false,
            }),
            _ => None,
        };
        // CVE-2017-7650, and `$SYS` by the name of a client.
        let is_more = |value: &str| value.contains(['+', '#', '/', '\0']) || (at == 0 && value.starts_with('$'));
        if value.is_some_and(is_more) {
            return false;
        }
        levels.push(value.unwrap_or(level));
    }
    topic::matches(&levels.join("/"), name)
}

/// Every line is a user or a comment, or the file is refused at a line that it has.
pub(crate) fn passwords(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let users = || text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let names: Vec<&str> = users().filter_map(|line| Some(line.split_once(':')?.0)).collect();
    match read_passwords(text, &names) {
        Ok((known, count)) => {
            assert_eq!(count, users().count(), "a line was passed over");
            assert_eq!(known, vec![true; count], "a user was lost");
        }
        Err(why) => {
            let line = why.strip_prefix("line ").and_then(|rest| rest.split_once(':')?.0.parse::<usize>().ok());
            assert!(line.is_some_and(|line| (1..=text.lines().count()).contains(&line)), "{why}");
        }
    }
}
