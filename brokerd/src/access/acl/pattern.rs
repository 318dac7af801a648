//! The topic filters of rules, against the topics and filters of clients. Owns what `%c` and `%u` stand for; never pastes
//! them into text: a value is one level, compared as it is.

use super::Subject;

/// A topic filter whose levels may be `%c` or `%u`.
#[derive(Debug)]
pub(super) struct Pattern {
    levels: Box<[Level]>,
    has_values: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Level {
    /// `+`
    Any,
    /// `%c`
    ClientId,
    Literal(Box<str>),
    /// `#`
    Rest,
    /// `%u`
    User,
}

impl Pattern {
    /// Reads one. What looks like a placeholder of another broker, or is part of a level, is refused: as a literal it
    /// would silently match nothing.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !mqtt::topic::valid_filter(text) {
            return Err(format!("`{text}` is not a topic filter"));
        }
        if text.starts_with("$share/") {
            return Err(format!("`{text}`: a shared subscription is judged by its filter: leave `$share/group/` out"));
        }
        let level = |level: &str| match level {
            "+" => Ok(Level::Any),
            "#" => Ok(Level::Rest),
            "%c" => Ok(Level::ClientId),
            "%u" => Ok(Level::User),
            _ if ["%c", "%u", "${"].iter().any(|part| level.contains(part)) => {
                Err(format!("`{text}`: client id and user name are `%c` and `%u`, each a level of its own"))
            }
            _ => Ok(Level::Literal(level.into())),
        };
        let levels = text.split('/').map(level).collect::<Result<Box<[_]>, _>>()?;
        let has_values = levels.iter().any(|level| matches!(level, Level::ClientId | Level::User));
        Ok(Self { levels, has_values })
    }

    /// Whether every topic that `filter` matches is matched by this too. A topic name is a filter that matches itself.
    pub(super) fn covers(&self, subject: &Subject<'_>, filter: &str) -> bool {
        // [MQTT-4.7.2-1]: a wildcard in the first level does not match what begins with `$`.
        if !self.is_usable(subject) || (filter.starts_with('$') && self.begins_with_wildcard()) {
            return false;
        }
        let mut asked = filter.split('/');
        for (at, level) in self.levels.iter().enumerate() {
            match (level, asked.next()) {
                (Level::Rest, _) => return true, // also the parent: `a/#` matches `a` [MQTT-4.7.1-2]
                // All topics are also those of one level or more.
                (Level::Any, Some("#")) => return at == 0 && self.levels[1..] == [Level::Rest],
                (Level::Any, Some(_)) => {}
                (level, Some(asked)) if level.value(subject) == Some(asked) => {}
                _ => return false,
            }
        }
        asked.next().is_none()
    }

    /// Whether there is a topic that both match.
    pub(super) fn overlaps(&self, subject: &Subject<'_>, filter: &str) -> bool {
        let asks_for_all = filter.starts_with(['+', '#']);
        let is_system = |level: &Level| level.value(subject).is_some_and(|value| value.starts_with('$'));
        let apart = (filter.starts_with('$') && self.begins_with_wildcard())
            || (asks_for_all && self.levels.first().is_some_and(is_system));
        if !self.is_usable(subject) || apart {
            return false;
        }
        let mut asked = filter.split('/');
        for level in &self.levels {
            match (level, asked.next()) {
                (Level::Rest, _) | (_, Some("#")) => return true,
                (Level::Any, Some(_)) | (_, Some("+")) => {}
                (level, Some(asked)) if level.value(subject) == Some(asked) => {}
                _ => return false,
            }
        }
        asked.next().is_none_or(|level| level == "#")
    }

    fn begins_with_wildcard(&self) -> bool {
        matches!(self.levels.first(), Some(Level::Any | Level::Rest))
    }

    /// Whether the values that this pattern needs are there and are single levels that mean nothing else: a client that
    /// calls itself `#` must not be given everything (CVE-2017-7650), nor one called `$SYS` the broker's own topics.
    fn is_usable(&self, subject: &Subject<'_>) -> bool {
        if !self.has_values {
            return true;
        }
        self.levels.iter().enumerate().all(|(at, level)| match level {
            Level::ClientId | Level::User => level.value(subject).is_some_and(|value| {
                let means_more = value.contains(['+', '#', '/', '\0']) || (at == 0 && value.starts_with('$'));
                !means_more
            }),
            Level::Any | Level::Literal(_) | Level::Rest => true,
        })
    }
}

impl Level {
    /// The text that it stands for; `None` for wildcards, and for `%u` of someone without a name.
    fn value<'a>(&'a self, subject: &Subject<'a>) -> Option<&'a str> {
        match self {
            Self::Literal(text) => Some(text),
            Self::ClientId => Some(subject.client_id),
            Self::User => subject.user,
            Self::Any | Self::Rest => None,
        }
    }
}
