//! What is wrong with this node, as its rooms find it: since when, until it is no longer found. Never looks for anything
//! itself, and keeps no history: the log does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// What a room has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What kind of alarm: `partition` and the like.
    pub name: &'static str,
    /// What it is about.
    pub subject: String,
    /// In words.
    pub what: String,
    /// It is an alarm once it was found for so long.
    pub patience: Duration,
}

/// An alarm that is active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// What kind.
    pub name: &'static str,
    /// What it is about.
    pub subject: String,
    /// In words.
    pub what: String,
    /// Since when it was found, milliseconds since 1970.
    pub since: u64,
}

/// All alarms of the node.
#[derive(Debug, Default)]
pub struct Board(Mutex<BTreeMap<(&'static str, &'static str, String), Entry>>);

#[derive(Debug)]
struct Entry {
    what: String,
    since: Instant,
    since_wall: u64,
    patience: Duration,
    is_active: bool,
}

impl Board {
    /// All that a room finds now. What it found before and does not name is over.
    pub fn report(&self, room: &'static str, found: Vec<Found>, now: Instant) {
        let mut board = self.0.lock();
        board.retain(|(by, name, subject), entry| {
            let stays = *by != room || found.iter().any(|it| (it.name, &it.subject) == (*name, subject));
            if !stays && entry.is_active {
                tracing::info!(alarm = name, subject, "is over");
            }
            stays
        });
        for Found { name, subject, what, patience } in found {
            let entry = board.entry((room, name, subject)).or_insert_with(|| Entry {
                what: String::new(),
                since: now,
                since_wall: wall_millis(),
                patience,
                is_active: false,
            });
            entry.what = what;
            let is_active = now.saturating_duration_since(entry.since) >= entry.patience;
            if is_active && !std::mem::replace(&mut entry.is_active, is_active) {
                tracing::warn!(alarm = name, "{}", entry.what);
            }
        }
    }

    /// Those that are active, by room, name and subject.
    #[must_use]
    pub fn active(&self) -> Vec<Alarm> {
        let board = self.0.lock();
        let active = board.iter().filter(|(_, entry)| entry.is_active);
        let alarm = |((_, name, subject), entry): (&(_, &'static str, String), &Entry)| Alarm {
            name,
            subject: subject.clone(),
            what: entry.what.clone(),
            since: entry.since_wall,
        };
        active.map(alarm).collect()
    }
}

fn wall_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    fn cut(subject: &str) -> Found {
        Found { name: "partition", subject: subject.into(), what: "no link".into(), patience: PATIENCE }
    }
    fn subjects(board: &Board) -> Vec<String> {
        board.active().into_iter().map(|alarm| alarm.subject).collect()
    }

    #[test]
    fn what_is_found_for_long_enough_is_an_alarm_until_it_is_not_found() {
        let (board, now) = (Board::default(), Instant::now());
        board.report("cluster", vec![cut("b")], now);
        assert!(subjects(&board).is_empty(), "at once");
        board.report("cluster", vec![cut("b"), cut("c")], now + PATIENCE);
        assert_eq!(subjects(&board), ["b"], "c is new");
        board.report("cluster", vec![cut("c")], now + PATIENCE * 2);
        assert_eq!(subjects(&board), ["c"], "b is over");
        board.report("cluster", vec![], now + PATIENCE * 3);
        board.report("cluster", vec![cut("c")], now + PATIENCE * 4);
        assert!(subjects(&board).is_empty(), "what comes again begins anew");
    }

    #[test]
    fn a_room_says_nothing_of_what_another_found() {
        let (board, now) = (Board::default(), Instant::now());
        for at in [now, now + PATIENCE] {
            board.report("cluster", vec![cut("b")], at);
            board.report("store", vec![], at);
        }
        assert_eq!(subjects(&board), ["b"]);
    }
}
