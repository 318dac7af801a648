//! What follows from a record: which sessions there were and how long, who was subscribed to what and when, what was
//! published and when it was acknowledged, which nodes could not reach each other. Knows MQTT; judges nothing.

use std::collections::HashMap;
use std::time::Duration;

use super::Abilities;
use super::record::{At, Event, Inner};

/// A fault that was mended sooner cannot have made a node declare another one down.
const SHORT: Duration = Duration::from_millis(600);

#[derive(Clone, Debug)]
pub(super) struct Sub {
    pub(super) filter: String,
    pub(super) qos: u8,
    pub(super) asked: At,
    pub(super) begun: Option<At>,
    pub(super) left: Option<At>,
    pub(super) ended: Option<At>,
}

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) client: usize,
    pub(super) node: usize,
    pub(super) conns: Vec<usize>,
    pub(super) begun: At,
    /// From here on it need not be there any more.
    pub(super) ended: Option<At>,
    pub(super) is_kept: bool,
    /// It was resumed where nobody could know whether it was there: what it is subscribed to is not known.
    pub(super) is_murky: bool,
    pub(super) subs: Vec<Sub>,
}

#[derive(Clone, Debug)]
pub(super) struct Publication {
    pub(super) number: usize,
    pub(super) conn: usize,
    pub(super) node: usize,
    pub(super) topic: String,
    pub(super) qos: u8,
    pub(super) is_retained: bool,
    pub(super) is_empty: bool,
    pub(super) sent: At,
    pub(super) acknowledged: Option<(At, u8)>,
}

/// Nodes that could not reach each other for long, and until when that may have had consequences.
#[derive(Clone, Copy, Debug)]
struct Rift {
    pair: (usize, usize),
    from: At,
    until: At,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) record: Inner,
    pub(super) sessions: Vec<Session>,
    pub(super) publications: Vec<Publication>,
    /// The session of each connection.
    pub(super) session_of: HashMap<usize, usize>,
    /// CONNACKs: connection, Session Present, and what it had to be where that is sure.
    pub(super) greetings: Vec<(usize, bool, Option<bool>)>,
    pub(super) deaths: Vec<(At, usize)>,
    rifts: Vec<Rift>,
}

impl Facts {
    pub(super) fn of(record: &Inner, abilities: Abilities) -> Self {
        let mut facts = Self { record: record.clone(), ..Self::default() };
        facts.find_rifts();
        let mut current: HashMap<usize, usize> = HashMap::new();
        for (at, (_, event)) in record.events.iter().enumerate() {
            facts.take(at, event, &mut current, abilities);
        }
        facts
    }

    fn find_rifts(&mut self) {
        let mut open: HashMap<(usize, usize), (At, Duration, bool)> = HashMap::new();
        for (at, (time, event)) in self.record.events.iter().enumerate() {
            match event {
                Event::Struck(one, other) => {
                    open.entry((*one.min(other), *one.max(other))).or_insert((at, *time, false));
                }
                Event::Healed => {
                    open.retain(|_, (_, since, is_long)| *is_long || *time - *since > SHORT);
                    open.values_mut().for_each(|(.., is_long)| *is_long = true);
                }
                Event::Settled => {
                    let ended = open.drain().map(|(pair, (from, ..))| Rift { pair, from, until: at });
                    self.rifts.extend(ended);
                }
                _ => {}
            }
        }
        self.rifts.extend(open.drain().map(|(pair, (from, ..))| Rift { pair, from, until: At::MAX }));
    }

    /// Whether two nodes could reach each other, but for moments, all that time.
    pub(super) fn were_together(&self, one: usize, other: usize, from: At, until: At) -> bool {
        let pair = (one.min(other), one.max(other));
        !self.rifts.iter().any(|rift| rift.pair == pair && rift.from <= until && from <= rift.until)
    }

    /// The same of all nodes.
    pub(super) fn was_whole(&self, from: At, until: At) -> bool {
        !self.rifts.iter().any(|rift| rift.from <= until && from <= rift.until)
    }

    fn take(&mut self, at: At, event: &Event, current: &mut HashMap<usize, usize>, abilities: Abilities) {
        match event {
            Event::Connecting(conn) => self.connecting(at, *conn, current, abilities),
            Event::Connected { conn, is_present } => self.connected(at, *conn, *is_present, current, abilities),
            Event::Leaving(conn) | Event::Closed { conn, .. } => {
                if let Some(session) = self.session_of.get(conn).copied() {
                    let session = &mut self.sessions[session];
                    if !session.is_kept && session.conns.last() == Some(conn) {
                        session.ended = session.ended.or(Some(at));
                    }
                }
            }
            Event::Killed(node) => {
                self.deaths.push((at, *node));
                for session in self.sessions.iter_mut().filter(|session| session.node == *node) {
                    session.ended = session.ended.or(Some(at));
                }
            }
            Event::Publishing { conn, number, topic, qos, is_retained } => {
                self.publishing(at, (*conn, *number, *qos), topic, *is_retained, false);
            }
            Event::Clearing { conn, number, topic } => self.publishing(at, (*conn, *number, 1), topic, true, true),
            Event::Acknowledged { number, code } => {
                let acknowledged = self.publications.iter_mut().find(|one| one.number == *number);
                if let Some(publication) = acknowledged {
                    publication.acknowledged = Some((at, *code));
                }
            }
            _ => self.subscriptions(at, event),
        }
    }

    fn publishing(&mut self, at: At, ids: (usize, usize, u8), topic: &str, is_retained: bool, is_empty: bool) {
        let (conn, number, qos) = ids;
        let node = self.record.conns[conn].node;
        let (topic, sent) = (topic.to_owned(), at);
        let publication =
            Publication { number, conn, node, topic, qos, is_retained, is_empty, sent, acknowledged: None };
        self.publications.push(publication);
    }

    fn subscriptions(&mut self, at: At, event: &Event) {
        let (Event::Subscribing { conn, filter, .. }
        | Event::Subscribed { conn, filter, .. }
        | Event::Unsubscribing { conn, filter }
        | Event::Unsubscribed { conn, filter }) = event
        else {
            return;
        };
        let Some(session) = self.session_of.get(conn) else { return };
        let subs = &mut self.sessions[*session].subs;
        let mut same = subs.iter_mut().rev().filter(|sub| sub.filter == *filter && sub.ended.is_none());
        match event {
            Event::Subscribing { qos, .. } => {
                // Replaced without a gap: what the one before is due is due still. At QoS 0 nothing is.
                let (filter, qos) = (filter.clone(), *qos);
                if qos == 0 {
                    same.for_each(|sub| sub.left = sub.left.or(Some(at)));
                }
                subs.push(Sub { filter, qos, asked: at, begun: None, left: None, ended: None });
            }
            Event::Subscribed { code, .. } => {
                if let Some(sub) = same.find(|sub| sub.begun.is_none()) {
                    sub.begun = (*code < 0x80).then_some(at);
                    sub.qos = sub.qos.min(*code);
                }
            }
            Event::Unsubscribing { .. } => same.for_each(|sub| sub.left = sub.left.or(Some(at))),
            _ => same.for_each(|sub| sub.ended = sub.left.map(|_| at)),
        }
    }

    fn connecting(&mut self, at: At, conn: usize, current: &mut HashMap<usize, usize>, abilities: Abilities) {
        let now = self.record.conns[conn].clone();
        let Some(session) = current.get(&now.client).copied() else { return };
        let session = &mut self.sessions[session];
        let is_there = session.node == now.node || abilities.sessions_follow;
        if !(now.is_kept && session.is_kept && is_there) {
            session.ended = session.ended.or(Some(at));
        }
    }

    fn connected(
        &mut self,
        at: At,
        conn: usize,
        is_present: bool,
        current: &mut HashMap<usize, usize>,
        abilities: Abilities,
    ) {
        let now = self.record.conns[conn].clone();
        let before = current.get(&now.client).copied();
        let expected = self.expected(at, conn, before, abilities);
        self.greetings.push((conn, is_present, expected));
        let resumed = before.filter(|before| is_present && self.sessions[*before].ended.is_none());
        let number = if let Some(before) = resumed {
            self.sessions[before].node = now.node;
            before
        } else {
            if let Some(before) = before {
                self.sessions[before].ended = self.sessions[before].ended.or(Some(at));
            }
            self.sessions.push(Session {
                client: now.client,
                node: now.node,
                conns: vec![],
                begun: at,
                ended: None,
                is_kept: now.is_kept,
                is_murky: is_present,
                subs: vec![],
            });
            self.sessions.len() - 1
        };
        self.sessions[number].conns.push(conn);
        self.session_of.insert(conn, number);
        current.insert(now.client, number);
    }

    /// What Session Present has to be.
    fn expected(&self, at: At, conn: usize, before: Option<usize>, abilities: Abilities) -> Option<bool> {
        let now = &self.record.conns[conn];
        let Some(before) = before.map(|before| &self.sessions[before]) else { return Some(false) };
        if !now.is_kept {
            return Some(false);
        }
        if !self.was_whole(before.begun, at) {
            return None;
        }
        if before.ended.is_none() && (before.node == now.node || abilities.sessions_follow) {
            return before.is_kept.then_some(true);
        }
        None
    }
}

/// The filter of a shared subscription without its group; `None` for a plain one.
pub(super) fn shared(filter: &str) -> Option<&str> {
    filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')).map(|(_, filter)| filter)
}

/// MQTT 4.7, without the rule of `$`, which no topic of a story begins with.
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    let filter = shared(filter).unwrap_or(filter);
    let (mut levels, mut names) = (filter.split('/'), topic.split('/'));
    loop {
        match (levels.next(), names.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(name)) if level == name => {}
            _ => return false,
        }
    }
}
