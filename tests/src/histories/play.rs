//! Plays a story on real nodes, records it, and ends it: everything healed, everybody back, a probe from every node to every
//! topic, and then the promises. The nodes serve many stories, each with names of its own.

mod ending;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::Abilities;
use super::client::{Client, Known, named};
use super::promises::{Broken, Promise};
use super::record::{Conn, Event, Record};
use super::step::{Step, Story};
use super::views::View;
use crate::packet::{Connect, Version};
use crate::sandbox::Sandbox;

/// For whatever is answered at once, on a loaded machine.
const ANSWER: Duration = Duration::from_secs(10);
/// For whatever all nodes have to agree on.
const AGREEMENT: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// Short, so that a story need not wait long for a node to be declared down; but far from what a loaded machine takes for a
/// handshake, and gossip is left slow, so that it does not hold a node to be dead whose links were away for a moment only.
const SETTINGS: &[&str] = &[
    "cluster.peer_timeout=2s",
    "cluster.down_after=2s",
    "cluster.claim_timeout=1s",
    "cluster.gossip_interval=250ms",
    "sys.interval=0s",
];

/// Nodes on which stories are played, one after another.
#[derive(Debug)]
pub struct Theatre {
    sandbox: Sandbox,
    played: usize,
}

/// Plays one story on nodes of its own.
pub async fn replay(story: &Story, abilities: Abilities) -> Vec<Broken> {
    Theatre::open(story.nodes).await.play(story, abilities).await
}

impl Theatre {
    /// Starts the nodes.
    pub async fn open(nodes: usize) -> Self {
        Self { sandbox: Sandbox::start_with(nodes, SETTINGS).await, played: 0 }
    }

    /// What the story broke. If anything, these nodes are not fit for another one.
    pub async fn play(&mut self, story: &Story, abilities: Abilities) -> Vec<Broken> {
        self.played += 1;
        let name = format!("h{}", self.played);
        let mut stage = Stage {
            sandbox: &mut self.sandbox,
            name,
            abilities,
            record: Arc::new(Record::new()),
            clients: HashMap::new(),
            replaced: vec![],
            known: HashMap::new(),
            count: 0,
            deaths: HashMap::new(),
            dead: BTreeSet::new(),
            struck: BTreeSet::new(),
            is_unsettled: false,
            broken: vec![],
        };
        for step in &story.steps {
            stage.carry_out(step).await;
            if !stage.broken.is_empty() {
                break;
            }
        }
        if stage.broken.is_empty() {
            stage.end().await;
        }
        stage.broken
    }
}

struct Stage<'a> {
    sandbox: &'a mut Sandbox,
    name: String,
    abilities: Abilities,
    record: Arc<Record>,
    clients: HashMap<usize, Client>,
    /// Connections whose client has connected again: the broker has to close them.
    replaced: Vec<Client>,
    known: HashMap<usize, Known>,
    count: usize,
    deaths: HashMap<usize, usize>,
    dead: BTreeSet<usize>,
    struck: BTreeSet<(usize, usize)>,
    /// A node died, and not everybody need know.
    is_unsettled: bool,
    broken: Vec<Broken>,
}

impl Stage<'_> {
    async fn carry_out(&mut self, step: &Step) {
        match step {
            Step::Connect { client, node, is_v5, is_kept } => self.connect(*client, *node, *is_v5, *is_kept).await,
            Step::Leave(client) => {
                if let Some(client) = self.clients.remove(client) {
                    client.leave().await;
                }
            }
            Step::Tear(client) => {
                if let Some(client) = self.clients.remove(client) {
                    client.tear();
                }
            }
            Step::Subscribe(client, filter, qos) => self.subscribe(*client, filter, *qos).await,
            Step::Unsubscribe(client, filter) => self.unsubscribe(*client, filter).await,
            Step::Publish { client, topic, qos, is_retained, is_awaited } => {
                let number = self.publish(*client, topic, *qos, *is_retained).await;
                if let (Some(number), true, 1..) = (number, *is_awaited, *qos) {
                    self.acknowledged(*client, number).await;
                }
            }
            Step::Clear(client, topic) => self.clear(*client, topic).await,
            Step::Outlast => self.outlast().await,
            Step::Settle => self.settle().await,
            Step::Restart(node) => self.restart(*node).await,
            _ => self.fault(step),
        }
    }

    fn fault(&mut self, step: &Step) {
        let nodes = self.sandbox.nodes.len();
        match *step {
            Step::Cut(one, other) if one != other && one < nodes && other < nodes => {
                self.strike(one, other);
                self.sandbox.cut_between(one, other);
            }
            Step::Silence(from, to) if from != to && from < nodes && to < nodes => {
                self.strike(from, to);
                self.sandbox.silence(from, to);
            }
            Step::Slow(one, other, by) => self.sandbox.slow_down(one, other, Duration::from_millis(by.min(100))),
            Step::Stall(node) if node < nodes => {
                (0..nodes).filter(|other| *other != node).for_each(|other| self.strike(node, other));
                self.sandbox.stall(node);
            }
            Step::Heal => self.heal(),
            Step::Kill(node) if node < nodes && !self.dead.contains(&node) && self.dead.len() + 1 < nodes => {
                let conns: Vec<_> = self.clients.iter().map(|(client, conn)| (*client, conn.conn)).collect();
                self.record.note(Event::Killed(node));
                self.sandbox.kill(node);
                *self.deaths.entry(node).or_default() += 1;
                self.dead.insert(node);
                self.is_unsettled = true;
                let record = self.record.so_far();
                conns.iter().filter(|(_, conn)| record.conns[*conn].node == node).for_each(|(client, _)| {
                    self.clients.remove(client);
                });
            }
            _ => {}
        }
    }

    fn strike(&mut self, one: usize, other: usize) {
        self.struck.insert((one.min(other), one.max(other)));
        self.record.note(Event::Struck(one, other));
    }

    fn heal(&mut self) {
        self.sandbox.heal();
        // What is dead stays so.
        self.dead.iter().for_each(|node| self.sandbox.isolate(*node));
        self.struck.clear();
        self.record.note(Event::Healed);
    }

    async fn connect(&mut self, client: usize, node: usize, is_v5: bool, is_kept: bool) {
        if node >= self.sandbox.nodes.len() || self.dead.contains(&node) {
            return;
        }
        let version = if is_v5 { Version::V5 } else { Version::V311 };
        let mut connect = Connect::new(version, &format!("{}-c{client}", self.name));
        if is_kept {
            connect = connect.persistent();
        }
        let Ok(stream) = TcpStream::connect(self.sandbox.nodes[node].mqtt).await else {
            return self.unanswered(format!("n{node} does not listen"));
        };
        let life = self.deaths.get(&node).copied().unwrap_or_default();
        let conn = self.record.begin(Conn { client, node, life, is_kept });
        let known = self.known.entry(client).or_default().clone();
        let connected = Client::connect(stream, &connect, conn, known, self.record.clone()).await;
        self.replaced.extend(self.clients.insert(client, connected));
        let is_done = |event: &Event| matches!(event, Event::Connected { conn: found, .. } if *found == conn);
        self.answered(conn, &format!("CONNECT of c{client} to n{node}"), is_done).await;
    }

    async fn subscribe(&mut self, client: usize, filter: &str, qos: u8) {
        let name = named(&self.name, filter);
        let Some(conn) = self.clients.get_mut(&client) else { return };
        let (number, asked) = (conn.conn, filter.to_owned());
        self.record.note(Event::Subscribing { conn: number, filter: asked.clone(), qos });
        let from = self.record.so_far().events.len();
        conn.subscribe(&name, qos).await;
        let done = Self::since(
            from,
            move |event| matches!(event, Event::Subscribed { conn, filter, .. } if *conn == number && *filter == asked),
        );
        self.wait(number, &format!("SUBSCRIBE of c{client} to {filter}"), done).await;
    }

    async fn unsubscribe(&mut self, client: usize, filter: &str) {
        let name = named(&self.name, filter);
        let Some(conn) = self.clients.get_mut(&client) else { return };
        let (number, asked) = (conn.conn, filter.to_owned());
        self.record.note(Event::Unsubscribing { conn: number, filter: asked.clone() });
        let from = self.record.so_far().events.len();
        conn.unsubscribe(&name).await;
        let done = Self::since(
            from,
            move |event| matches!(event, Event::Unsubscribed { conn, filter } if *conn == number && *filter == asked),
        );
        self.wait(number, &format!("UNSUBSCRIBE of c{client} from {filter}"), done).await;
    }

    async fn publish(&mut self, client: usize, topic: &str, qos: u8, is_retained: bool) -> Option<usize> {
        let conn = self.clients.get_mut(&client)?;
        self.count += 1;
        let (number, conn_number) = (self.count, conn.conn);
        let topic = topic.to_owned();
        let name = named(&self.name, &topic);
        self.record.note(Event::Publishing { conn: conn_number, number, topic, qos, is_retained });
        conn.publish(&name, number, qos, is_retained, false).await;
        Some(number)
    }

    async fn clear(&mut self, client: usize, topic: &str) {
        let Some(conn) = self.clients.get_mut(&client) else { return };
        self.count += 1;
        self.record.note(Event::Clearing { conn: conn.conn, number: self.count, topic: topic.into() });
        conn.publish(&named(&self.name, topic), self.count, 1, true, true).await;
    }

    /// As long as a fault may keep it away it is not waited for.
    async fn acknowledged(&mut self, client: usize, number: usize) {
        let Some(conn) = self.clients.get(&client) else { return };
        if self.struck.is_empty() && !self.is_unsettled {
            let is_done =
                |event: &Event| matches!(event, Event::Acknowledged { number: found, .. } if *found == number);
            self.answered(conn.conn, &format!("message {number} of c{client}"), is_done).await;
        }
    }

    async fn answered(&mut self, conn: usize, what: &str, is_done: impl Fn(&Event) -> bool) {
        self.wait(conn, what, Self::since(0, is_done)).await;
    }

    fn since(from: usize, is_done: impl Fn(&Event) -> bool) -> impl Fn(&[(Duration, Event)]) -> bool {
        move |events| events[from..].iter().any(|(_, event)| is_done(event))
    }

    /// The answer, or the end of the connection, which is judged later.
    async fn wait(&mut self, conn: usize, what: &str, is_done: impl Fn(&[(Duration, Event)]) -> bool) {
        let is_closed = |event: &Event| matches!(event, Event::Closed { conn: found, .. } if *found == conn);
        let has_come = self
            .record
            .until(ANSWER, |so_far| is_done(&so_far.events) || so_far.events.iter().any(|(_, event)| is_closed(event)))
            .await;
        if !has_come {
            self.unanswered(format!("{what} had no answer within {ANSWER:?}"));
        }
    }

    fn unanswered(&mut self, what: String) {
        self.broken.push(Broken { promise: Promise::Answered, what });
    }

    async fn restart(&mut self, node: usize) {
        if self.struck.is_empty() && self.dead.remove(&node) {
            self.sandbox.restart(node).await;
        }
    }

    fn living(&self) -> Vec<usize> {
        (0..self.sandbox.nodes.len()).filter(|node| !self.dead.contains(node)).collect()
    }

    async fn views(&self) -> Result<Vec<View>, String> {
        let mut views = vec![];
        for node in self.living() {
            views.push(View::of(&self.sandbox.nodes[node].admin()).await?);
        }
        Ok(views)
    }

    /// Whoever is struck or dead is down in the view of the others, or the time is up: both are good stories.
    async fn outlast(&mut self) {
        let pairs = self.struck.clone();
        self.look(Duration::from_secs(6), |stage, views| {
            let living = stage.living();
            let sees_down = |one: usize, other: usize| {
                let place = living.iter().position(|node| *node == one);
                let member = place.and_then(|place| views[place].members.get(&format!("s{other}")));
                member.is_none_or(|(state, _)| state == "down")
            };
            let is_down = pairs.iter().all(|(one, other)| sees_down(*one, *other) && sees_down(*other, *one));
            let are_dead = stage.dead.iter().all(|dead| living.iter().all(|one| sees_down(*one, *dead)));
            (is_down && are_dead).then_some(()).ok_or_else(String::new)
        })
        .await
        .unwrap_or_default();
    }

    async fn settle(&mut self) {
        self.heal();
        let settled = self.look(AGREEMENT, |stage, views| {
            let living = stage.living();
            // A node whose links were just lost is listed as up until it is called down.
            let reaches = |view: &View, name: &str| {
                view.linked.contains(name) && view.members.get(name).is_some_and(|(state, _)| state == "up")
            };
            let mut pairs =
                views.iter().zip(&living).flat_map(|(view, at)| living.iter().map(move |node| (view, at, node)));
            let is_settled = pairs.all(|(view, at, node)| at == node || reaches(view, &format!("s{node}")));
            is_settled
                .then_some(())
                .ok_or_else(|| format!("{:?}", views.iter().map(|view| &view.members).collect::<Vec<_>>()))
        });
        if let Err(last) = settled.await {
            let what = format!("the living nodes did not see each other up within {AGREEMENT:?}: {last}");
            self.broken.push(Broken { promise: Promise::Routes, what });
        }
        self.is_unsettled = !self.dead.is_empty() && self.is_unsettled;
        self.record.note(Event::Settled);
    }

    /// Looks at what the living nodes show until it is right; the last wrong one if the time is up.
    async fn look(
        &self,
        deadline: Duration,
        judge: impl Fn(&Self, &[View]) -> Result<(), String>,
    ) -> Result<(), String> {
        let until = tokio::time::Instant::now() + deadline;
        loop {
            let seen = match self.views().await {
                Ok(views) => judge(self, &views),
                Err(why) => Err(why),
            };
            match seen {
                Err(last) if tokio::time::Instant::now() >= until => return Err(last),
                Err(_) => tokio::time::sleep(LOOK).await,
                Ok(()) => return Ok(()),
            }
        }
    }
}
