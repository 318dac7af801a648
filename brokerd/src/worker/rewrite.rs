//! Topic rewrite: the rules, and the packets of a client as if it had written the new names. What is rewritten is what
//! is authorised, retained and routed. Never makes a name that the client could not have sent itself.

use std::borrow::Cow;

use mqtt::codec::Limits;
use mqtt::packet::Packet;
use mqtt::topic;
use regex::Regex;

use super::shard::Shard;
use crate::config::{self, RewriteAction};

/// One rule.
struct Rule {
    source: String,
    regex: Regex,
    destination: String,
}

impl Rule {
    /// `None` never comes: the configuration has checked the pattern.
    fn new(rule: &config::Rewrite) -> Option<Self> {
        // `$1a` is group 1 and an a, as EMQX's users know it; the crate would look for a group named 1a.
        let groups = Regex::new(r"\$([0-9]+)").ok()?;
        let destination = groups.replace_all(&rule.destination, "$${${1}}").into_owned();
        Some(Self { source: rule.source.clone(), regex: Regex::new(&rule.regex).ok()?, destination })
    }
}

/// The rules, each list in the order of the configuration.
pub(super) struct Rewrite {
    publish: Vec<Rule>,
    subscribe: Vec<Rule>,
    limits: Limits,
}

/// What `%c` and `%u` stand for.
#[derive(Clone, Copy)]
pub(super) struct Who<'a> {
    pub(super) client_id: &'a str,
    /// As the client gave it.
    pub(super) username: Option<&'a str>,
}

impl Rewrite {
    pub(super) fn new(rules: &[config::Rewrite], limits: Limits) -> Self {
        let of = |wanted: RewriteAction| {
            let concerned = rules.iter().filter(|rule| rule.action == wanted || rule.action == RewriteAction::All);
            concerned.filter_map(Rule::new).collect()
        };
        Self { publish: of(RewriteAction::Publish), subscribe: of(RewriteAction::Subscribe), limits }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.publish.is_empty() && self.subscribe.is_empty()
    }

    /// The new name of a topic; `None` where it keeps its own.
    pub(super) fn name(&self, name: &str, who: Who<'_>) -> Option<String> {
        if name.is_empty() {
            return None; // an alias stands for what was rewritten when it was set
        }
        let new = apply(&self.publish, name, who)?;
        let fits = topic::valid_name(&new)
            && new.len() <= self.limits.max_topic_len
            && topic::levels(&new) <= self.limits.max_topic_levels;
        fits.then_some(new)
    }

    /// The new filter; a shared one keeps its group, and an exclusive one stays exclusive.
    pub(super) fn filter(&self, filter: &str, who: Who<'_>) -> Option<String> {
        let new = match (topic::parse_share(filter), topic::parse_exclusive(filter)) {
            (Some((group, inner)), _) => format!("$share/{group}/{}", apply(&self.subscribe, inner, who)?),
            (None, Some(inner)) => topic::exclusive(&apply(&self.subscribe, inner, who)?),
            (None, None) => apply(&self.subscribe, filter, who)?,
        };
        let fits = topic::valid_filter(&new)
            && new.len() <= self.limits.max_filter_len
            && topic::levels(&new) <= self.limits.max_topic_levels;
        fits.then_some(new)
    }
}

/// By the first rule whose source and pattern both match.
fn apply(rules: &[Rule], text: &str, who: Who<'_>) -> Option<String> {
    let mut matching = rules.iter().filter(|rule| topic::matches(&rule.source, text));
    matching.find_map(|rule| {
        let destination = fill(&rule.destination, who)?;
        let found = rule.regex.captures(text)?;
        let mut new = String::new();
        found.expand(&destination, &mut new);
        Some(new)
    })
}

/// A text with `%c` and `%u` replaced; `None` where there is no such value, or it would be more than a part of a level.
pub(super) fn fill<'t>(text: &'t str, who: Who<'_>) -> Option<Cow<'t, str>> {
    let mut filled = Cow::Borrowed(text);
    for (placeholder, value) in [("%c", Some(who.client_id)), ("%u", who.username)] {
        if text.contains(placeholder) {
            let value = value.filter(|value| !value.contains(['/', '+', '#', '$', '%']))?;
            filled = Cow::Owned(filled.replace(placeholder, value));
        }
    }
    Some(filled)
}

impl Shard {
    /// Hands a packet to its session under the names that the rules give it.
    pub(super) fn packet(&mut self, slot: u32, packet: Packet<'_>) {
        if self.shared.rewrite.is_empty() {
            return self.handle_packet(slot, packet);
        }
        let (shared, client_id) = (self.shared.clone(), self.client_id(slot));
        let username = self.sessions.get(slot as usize).and_then(|entry| entry.username().map(str::to_owned));
        let who = Who { client_id: &client_id, username: username.as_deref() };
        let (rewrite, mut bytes) = (&shared.rewrite, Vec::new());
        match packet {
            Packet::Publish(publish) => match rewrite.name(publish.topic, who) {
                Some(topic) => {
                    self.handle_packet(slot, Packet::Publish(mqtt::packet::Publish { topic: &topic, ..publish }))
                }
                None => self.handle_packet(slot, packet),
            },
            Packet::Subscribe(subscribe) => {
                let renamed = subscribe.renamed(|filter| rewrite.filter(filter, who), &mut bytes);
                self.handle_packet(slot, Packet::Subscribe(renamed));
            }
            Packet::Unsubscribe(unsubscribe) => {
                let renamed = unsubscribe.renamed(|filter| rewrite.filter(filter, who), &mut bytes);
                self.handle_packet(slot, Packet::Unsubscribe(renamed));
            }
            other => self.handle_packet(slot, other),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const LIMITS: Limits = Limits {
        max_packet_size: 1000,
        max_topic_len: 20,
        max_filter_len: 20,
        max_topic_levels: 5,
        max_user_properties: 20,
    };
    const ANN: Who<'static> = Who { client_id: "c1", username: Some("ann") };

    fn rules(rules: &[(RewriteAction, &str, &str, &str)]) -> Rewrite {
        let rule = |(action, source, regex, destination): &(RewriteAction, &str, &str, &str)| config::Rewrite {
            action: *action,
            source: (*source).into(),
            regex: (*regex).into(),
            destination: (*destination).into(),
        };
        Rewrite::new(&rules.iter().map(rule).collect::<Vec<_>>(), LIMITS)
    }

    #[test]
    fn the_first_rule_whose_source_and_pattern_match_decides() {
        let rewrite = rules(&[
            (RewriteAction::All, "y/+/z/#", "^y/(.+)/z/(.+)$", "y/z/$2"),
            (RewriteAction::All, "x/#", "^x/y/(.+)$", "z/y/$1"),
            (RewriteAction::All, "x/#", "^x/(.+)$", "w/$1s"),
        ]);
        for (name, new) in [("y/a/z/b", Some("y/z/b")), ("x/y/2", Some("z/y/2")), ("x/1", Some("w/1s")), ("v/1", None)]
        {
            assert_eq!(rewrite.name(name, ANN).as_deref(), new, "{name}");
        }
        assert_eq!(rewrite.filter("x/y/+", ANN).as_deref(), Some("z/y/+"));
        assert_eq!(rewrite.filter("$share/g/x/y/#", ANN).as_deref(), Some("$share/g/z/y/#"));
        assert_eq!(rewrite.filter("$exclusive/x/y/1", ANN).as_deref(), Some("$exclusive/z/y/1"));
        assert_eq!(rewrite.filter("x/+", ANN), None, "w/+s is no filter");
        assert_eq!(rewrite.name("", ANN), None, "an alias alone");
    }

    #[test]
    fn a_rule_for_one_action_leaves_the_other_alone() {
        let rewrite = rules(&[(RewriteAction::Publish, "a", "^a$", "b"), (RewriteAction::Subscribe, "c", "^c$", "d")]);
        assert_eq!((rewrite.name("a", ANN).as_deref(), rewrite.filter("a", ANN)), (Some("b"), None));
        assert_eq!((rewrite.name("c", ANN), rewrite.filter("c", ANN).as_deref()), (None, Some("d")));
    }

    #[test]
    fn what_would_not_be_a_topic_or_over_a_limit_is_left_as_it_is() {
        for destination in ["a/+", "0123456789/0123456789", "1/2/3/4/5/6", ""] {
            let rewrite = rules(&[(RewriteAction::Publish, "a", "^a$", destination)]);
            assert_eq!(rewrite.name("a", ANN), None, "{destination}");
        }
    }

    #[test]
    fn placeholders_are_parts_of_a_level_and_never_more() {
        let rewrite = rules(&[(RewriteAction::All, "a", "^a$", "%u/%c")]);
        assert_eq!(rewrite.name("a", ANN).as_deref(), Some("ann/c1"));
        for client_id in ["a/b", "+", "#", "$1", "%u"] {
            assert_eq!(rewrite.name("a", Who { client_id, ..ANN }), None, "{client_id}");
        }
        assert_eq!(rewrite.name("a", Who { username: None, ..ANN }), None);
    }
}
