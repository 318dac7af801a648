//! The end of a story: what must hold once everything is healed. Owns the order in which that is asked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::super::client::{Client, named};
use super::super::facts::{Facts, Session};
use super::super::promises::{Broken, Expected, Promise, Shelf, disagreement, due, of_retained, untold, wrong};
use super::super::record::{Conn, Event, Record};
use super::super::views::View;
use super::{AGREEMENT, ANSWER, LOOK, Stage};
use crate::packet::Connect;

const TOPICS: [&str; 4] = ["a", "a/b", "a/c", "b"];
/// Numbers of clients that no story names.
const PROBE: usize = 100;

impl Stage<'_> {
    pub(super) async fn end(&mut self) {
        self.heal();
        for node in self.dead.clone() {
            self.restart(node).await;
        }
        self.settle().await;
        self.is_unsettled = false;
        self.come_back().await;
        self.probe().await;
        self.until_nothing_is_due().await;
        self.fence().await;
        let facts = self.facts();
        self.broken.extend(wrong(&facts));
        self.agree(&facts).await;
        self.compare_retained(&facts).await;
        if self.broken.is_empty() {
            self.clean_up(&facts).await;
        }
    }

    fn facts(&self) -> Facts {
        Facts::of(&self.record.so_far(), self.abilities)
    }

    /// Whoever has a kept session and no connection comes for what waits there.
    async fn come_back(&mut self) {
        let waiting = self.facts().sessions.into_iter().filter(|session| session.ended.is_none() && session.is_kept);
        for session in waiting {
            if !self.clients.contains_key(&session.client) {
                self.connect(session.client, session.node, true, true).await;
            }
        }
    }

    async fn probe(&mut self) {
        for node in 0..self.sandbox.nodes.len() {
            self.connect(PROBE + node, node, true, false).await;
            for topic in TOPICS {
                self.publish(PROBE + node, topic, 1, false).await;
            }
        }
    }

    async fn until_nothing_is_due(&mut self) {
        let abilities = self.abilities;
        let is_over = self.record.until(ANSWER, |so_far| due(&Facts::of(so_far, abilities)).is_empty()).await;
        if !is_over {
            self.broken.extend(due(&self.facts()));
        }
    }

    /// What is on its way to anybody has come.
    async fn fence(&mut self) {
        let from = self.record.so_far().events.len();
        for client in self.clients.values() {
            client.ping().await;
        }
        let open: Vec<usize> = self.clients.values().map(|client| client.conn).collect();
        let is_over = |event: &Event, conn: usize| {
            matches!(event, Event::Fenced(found) if *found == conn)
                || matches!(event, Event::Closed { conn: found, .. } if *found == conn)
        };
        let have_come = self
            .record
            .until(ANSWER, |so_far| {
                open.iter().all(|conn| {
                    let mut events = so_far.events.iter().enumerate();
                    events.any(|(at, (_, event))| {
                        is_over(event, *conn) && (at >= from || matches!(event, Event::Closed { .. }))
                    })
                })
            })
            .await;
        if !have_come {
            self.unanswered("a PINGREQ had no answer".into());
        }
    }

    async fn agree(&mut self, facts: &Facts) {
        let expected = self.expected(facts);
        let (ours, group) = (format!("{}/", self.name), format!("/{}/", self.name));
        let is_ours =
            |filter: &String| filter.starts_with(&ours) || filter.starts_with("$share/") && filter.contains(&group);
        let id = format!("{}-", self.name);
        let agreed = self.look(AGREEMENT, |_, views| {
            let all_rows: Vec<usize> = views.iter().map(|view| view.filters.len()).collect();
            let named = views.iter().map(|view| View {
                filters: view.filters.iter().filter(|filter| is_ours(filter)).cloned().collect(),
                sessions: view.sessions.iter().filter(|session| session.starts_with(&id)).cloned().collect(),
                ..view.clone()
            });
            disagreement(&expected, &named.collect::<Vec<_>>(), &all_rows).map_or(Ok(()), Err)
        });
        if let Err(what) = agreed.await {
            self.broken.push(Broken { promise: Promise::Routes, what });
        }
    }

    /// `None` for the filters of a node with a session of which nobody knows what it was subscribed to.
    fn expected(&self, facts: &Facts) -> Vec<Expected> {
        let here = |node: usize| facts.sessions.iter().filter(move |one| one.node == node && one.ended.is_none());
        let filters = |node: usize| -> Option<BTreeSet<String>> {
            let is_known = here(node).all(|session| !session.is_murky) && untold(facts, node).is_empty();
            let live = |session: &Session| -> Vec<String> {
                let subs = session.subs.iter().filter(|sub| sub.begun.is_some() && sub.ended.is_none());
                subs.map(|sub| named(&self.name, &sub.filter)).collect()
            };
            is_known.then(|| here(node).flat_map(live).collect())
        };
        let ids = |node: usize| here(node).map(|session| format!("{}-c{}", self.name, session.client)).collect();
        let stray = |node| untold(facts, node).into_iter().map(|client| format!("{}-c{client}", self.name)).collect();
        let nodes = 0..self.sandbox.nodes.len();
        nodes.map(|node| Expected { filters: filters(node), sessions: ids(node), stray: stray(node) }).collect()
    }

    async fn compare_retained(&mut self, facts: &Facts) {
        let until = tokio::time::Instant::now() + AGREEMENT;
        loop {
            let mut shelves = vec![];
            for node in 0..self.sandbox.nodes.len() {
                shelves.push(self.shelf(facts, node).await);
            }
            let found = of_retained(facts, &shelves);
            if found.is_empty() || tokio::time::Instant::now() >= until {
                return self.broken.extend(found);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What a new subscriber of this node gets: it comes at the pace of its acknowledgements, so until twice in a row
    /// nothing came before the answer to a PINGREQ.
    async fn shelf(&mut self, facts: &Facts, node: usize) -> Shelf {
        let record = Arc::new(Record::new());
        let mut shelf = Shelf::new();
        let Ok(stream) = TcpStream::connect(self.sandbox.nodes[node].mqtt).await else { return shelf };
        let conn = record.begin(Conn { client: 0, node, life: 0, is_kept: false });
        let connect = Connect::v5(&format!("{}-looks{node}", self.name));
        let mut client = Client::connect(stream, &connect, conn, <_>::default(), record.clone()).await;
        client.subscribe(&named(&self.name, "#"), 1).await;
        let is_begun = |event: &Event| matches!(event, Event::Subscribed { .. });
        record.until(ANSWER, |so_far| so_far.events.iter().any(|(_, event)| is_begun(event))).await;
        let (mut fences, mut seen, mut silences) = (0, 0, 0);
        while silences < 2 {
            client.ping().await;
            fences += 1;
            let count = |events: &[(Duration, Event)]| {
                events.iter().filter(|(_, event)| matches!(event, Event::Fenced(_))).count()
            };
            if !record.until(ANSWER, |so_far| count(&so_far.events) >= fences).await {
                self.unanswered(format!("a look at what n{node} retains had no answer"));
                return shelf;
            }
            let came = record.so_far().events.iter().filter(|(_, event)| matches!(event, Event::Came { .. })).count();
            silences = if came == seen { silences + 1 } else { 0 };
            seen = came;
        }
        for (_, event) in &record.so_far().events {
            if let Event::Came { number, is_retained: true, .. } = event
                && let Some(publication) = facts.publications.iter().find(|one| one.number == *number)
            {
                shelf.insert(publication.topic.clone(), *number);
            }
        }
        client.leave().await;
        shelf
    }

    /// So that the next story finds nodes that keep nothing.
    async fn clean_up(&mut self, facts: &Facts) {
        for topic in TOPICS {
            self.clear(PROBE, topic).await;
        }
        let last = self.count;
        self.acknowledged(PROBE, last).await;
        for session in facts.sessions.iter().filter(|session| session.ended.is_none()) {
            self.connect(session.client, session.node, true, false).await;
            if let Some(client) = self.clients.remove(&session.client) {
                client.leave().await;
            }
        }
    }
}
