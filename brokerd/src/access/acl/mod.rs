//! The rules of the ACL file, ready to be asked: the first that matches decides, and where none does the answer is no.
//! Never knows who someone is: it is told.

mod parse;
mod pattern;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use hashbrown::HashMap;

use super::Action;
use crate::config::Network;
use pattern::Pattern;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) client_id: &'a str,
    /// `None` is anonymous.
    pub(super) user: Option<&'a str>,
    /// IPv4 as such, not mapped into IPv6.
    pub(super) ip: IpAddr,
}

/// One line.
#[derive(Debug)]
struct Rule {
    allows: bool,
    who: Who,
    publish: bool,
    subscribe: bool,
    patterns: Box<[Pattern]>,
}

#[derive(Debug, PartialEq, Eq)]
enum Who {
    All,
    Client(Box<str>),
    Ip(Network),
    User(Box<str>),
}

/// The whole file. Rules for one user or client are found by that name, so that a file with a line for each of a million
/// users costs a message no more than one with ten lines.
#[derive(Debug, Default)]
pub(super) struct Acl {
    rules: Vec<Rule>,
    by_user: HashMap<Box<str>, Vec<u32>>,
    by_client: HashMap<Box<str>, Vec<u32>>,
    /// Those for all and for addresses.
    others: Vec<u32>,
}

impl Acl {
    fn push(&mut self, rule: Rule) {
        let place = u32::try_from(self.rules.len()).unwrap_or(u32::MAX);
        match &rule.who {
            Who::User(name) => self.by_user.entry(name.clone()).or_default().push(place),
            Who::Client(id) => self.by_client.entry(id.clone()).or_default().push(place),
            Who::All | Who::Ip(_) => self.others.push(place),
        }
        self.rules.push(rule);
    }

    pub(super) fn len(&self) -> usize {
        self.rules.len()
    }

    /// Decides. Publishing asks for one topic. Subscribing asks for all that the filter matches: an `allow` must cover
    /// the whole of it, and a `deny` that touches any of it is one, for deliveries are not asked about one by one.
    pub(super) fn allows(&self, subject: &Subject<'_>, action: Action<'_>) -> bool {
        let deciding = self.concerning(subject).find(|rule| rule.decides(subject, action));
        deciding.is_some_and(|rule| rule.allows)
    }

    /// The rules for this subject, in the order of the file.
    fn concerning<'a>(&'a self, subject: &Subject<'_>) -> impl Iterator<Item = &'a Rule> {
        let of_user = subject.user.and_then(|user| self.by_user.get(user));
        let of_client = self.by_client.get(subject.client_id);
        let mut lists = [of_user, of_client, Some(&self.others)].map(|list| list.map_or(&[][..], Vec::as_slice));
        let ip = subject.ip;
        let in_order = std::iter::from_fn(move || {
            let next = lists.iter_mut().filter(|list| !list.is_empty()).min_by_key(|list| list[0])?;
            let (first, rest) = next.split_first()?;
            *next = rest;
            self.rules.get(*first as usize)
        });
        in_order.filter(move |rule| !matches!(rule.who, Who::Ip(range) if !range.contains(ip)))
    }
}

impl Rule {
    fn decides(&self, subject: &Subject<'_>, action: Action<'_>) -> bool {
        match action {
            Action::Publish(topic) => self.publish && self.patterns.iter().any(|it| it.covers(subject, topic)),
            Action::Subscribe(filter) => {
                let filter = mqtt::topic::parse_share(filter).map_or(filter, |(_, inner)| inner);
                let matches = if self.allows { Pattern::covers } else { Pattern::overlaps };
                self.subscribe && self.patterns.iter().any(|it| matches(it, subject, filter))
            }
        }
    }
}
