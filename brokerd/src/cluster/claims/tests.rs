#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use super::*;
use crate::metrics::Metrics;
use crate::registry::OwnedPage;

const TIMEOUT: Duration = Duration::from_millis(500);

/// The sessions of a node: a claim that was granted is a session at once.
#[derive(Default)]
struct Sessions(Mutex<BTreeMap<Arc<str>, Epoch>>);

impl Owners for Sessions {
    fn superseded(&self, client_id: &Arc<str>, epoch: Epoch) {
        self.0.lock().retain(|id, held| id != client_id || *held >= epoch);
    }
    fn owned(&self, cursor: u64, limit: usize) -> Boxed<'_, OwnedPage> {
        let from = usize::try_from(cursor).unwrap();
        let sessions = self.0.lock();
        let page: Vec<_> = sessions
            .iter()
            .skip(from)
            .take(limit)
            .map(|(id, epoch)| (id.clone(), *epoch))
            .collect();
        let next = (from + page.len() < sessions.len()).then_some(cursor + page.len() as u64);
        Box::pin(async move {
            tokio::task::yield_now().await;
            (page, next)
        })
    }
    fn epoch_of(&self, client_id: &Arc<str>) -> Boxed<'_, Option<Epoch>> {
        Box::pin(std::future::ready(self.0.lock().get(client_id).copied()))
    }
}

/// Links between nodes of one process.
#[derive(Default)]
struct Net {
    nodes: Mutex<BTreeMap<String, Arc<Claims>>>,
    /// Directions that swallow what is sent.
    cut: Mutex<HashSet<(String, String)>>,
    /// Sizes of the pages that were announced to each node.
    pages: Mutex<Vec<(String, usize)>>,
}

struct Links {
    net: Arc<Net>,
    from: String,
}

impl Peers for Links {
    fn request(&self, node: &str, body: Bytes, deadline: Duration) -> Boxed<'_, Result<Bytes, AskError>> {
        let to = node.to_owned();
        Box::pin(async move {
            tokio::task::yield_now().await;
            if let Ok(pb::Request {
                what: Some(request::What::Announce(page)),
                ..
            }) = pb::Request::decode(body.clone())
            {
                self.net.pages.lock().push((to.clone(), page.owned.len()));
            }
            let target = self.net.nodes.lock().get(&to).cloned();
            let is_cut = |a: &str, b: &str| self.net.cut.lock().contains(&(a.to_owned(), b.to_owned()));
            let answer = match target {
                Some(target) if !is_cut(&self.from, &to) => {
                    timeout(deadline, target.handle(&self.from, body)).await.ok()
                }
                _ => None,
            };
            tokio::task::yield_now().await;
            match answer.filter(|_| !is_cut(&to, &self.from)) {
                Some(answer) => Ok(answer),
                None => {
                    tokio::time::sleep(deadline).await;
                    Err(AskError::Silent(to))
                }
            }
        })
    }
}

struct Node {
    claims: Arc<Claims>,
    sessions: Arc<Sessions>,
    counters: Arc<Counters>,
    clock: Arc<Clock>,
}

struct Sim {
    net: Arc<Net>,
    nodes: BTreeMap<&'static str, Node>,
}

impl Sim {
    async fn of(names: &[&'static str]) -> Self {
        let mut sim = Self {
            net: Arc::default(),
            nodes: BTreeMap::new(),
        };
        for name in names {
            sim.add(name, Duration::ZERO);
        }
        sim.all_see(names);
        sim.settled().await;
        sim
    }

    /// A node whose clock has heard of a stamp that is so far ahead.
    fn add(&mut self, name: &'static str, ahead: Duration) {
        let high_water = if ahead.is_zero() {
            0
        } else {
            wall() + u64::try_from(ahead.as_micros()).unwrap()
        };
        let clock = Arc::new(Clock::new(high_water, Duration::from_secs(60)));
        let counters = Metrics::default().block();
        let settings = ClaimSettings {
            node: name.to_owned(),
            claim_timeout: TIMEOUT,
            clock: clock.clone(),
            counters: counters.clone(),
        };
        let links = Links {
            net: self.net.clone(),
            from: name.to_owned(),
        };
        let claims = Claims::new(settings, Arc::new(links));
        let sessions = Arc::new(Sessions::default());
        claims.serve(sessions.clone());
        self.net.nodes.lock().insert(name.to_owned(), claims.clone());
        self.nodes.insert(
            name,
            Node {
                claims,
                sessions,
                counters,
                clock,
            },
        );
    }

    fn kill(&mut self, name: &str) {
        self.net.nodes.lock().remove(name);
        self.nodes.remove(name);
    }

    fn all_see(&self, names: &[&str]) {
        for node in self.nodes.values() {
            node.claims.on_view(names.iter().map(ToString::to_string).collect());
        }
    }

    fn cut_off(&self, name: &str) {
        for other in self.nodes.keys().filter(|other| **other != name) {
            let mut cut = self.net.cut.lock();
            cut.insert((name.to_owned(), (*other).to_owned()));
            cut.insert(((*other).to_owned(), name.to_owned()));
        }
    }

    /// Lets all that is under way end: time is paused, and passes only when nothing else can happen.
    async fn settled(&self) {
        tokio::time::sleep(Duration::from_secs(15)).await;
    }

    async fn claim_knowing(&self, name: &str, id: &str, known: Epoch) -> Grant {
        let node = &self.nodes[name];
        let client_id: Arc<str> = Arc::from(id);
        let claim = Claim {
            client_id: client_id.clone(),
            clean_start: false,
            session_expiry: 60,
            known,
        };
        let grant = node.claims.claim(claim).await;
        node.sessions.0.lock().insert(client_id, grant.epoch);
        grant
    }

    async fn claim(&self, name: &str, id: &str) -> Grant {
        self.claim_knowing(name, id, Epoch(0)).await
    }

    fn owners(&self, id: &str) -> Vec<(&str, Epoch)> {
        let held = |(name, node): (&&'static str, &Node)| Some((*name, *node.sessions.0.lock().get(id)?));
        self.nodes.iter().filter_map(held).collect()
    }

    fn row(&self, registrar: &str, id: &str) -> Option<Found> {
        self.nodes[registrar].claims.engine.lock().found(id)
    }

    fn is_complete(&self) -> bool {
        self.nodes.values().all(|node| node.claims.engine.lock().is_complete())
    }

    fn timed_out(&self) -> u64 {
        self.nodes
            .values()
            .map(|node| node.counters.get(Metric::ClaimsTimedOut))
            .sum()
    }
}

fn wall() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// An id whose registrar among `names` is this one, and among `then` that one.
fn id_of(names: &[&str], registrar: &str, then: &[&str], next: &str) -> String {
    let view = |names: &[&str]| view::View::new(names.iter().map(ToString::to_string).collect());
    let (first, second) = (view(names), view(then));
    let is_it = |id: &String| first.registrar(id) == registrar && second.registrar(id) == next;
    (0..).map(|n| format!("id-{n}")).find(is_it).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_claim_names_the_previous_owner_and_the_loser_is_told() {
    let names = ["a", "b", "c"];
    let sim = Sim::of(&names).await;
    for id in (0..50).map(|n| format!("device-{n}")) {
        let first = sim.claim("a", &id).await;
        assert_eq!(first.previous, None);
        let second = sim.claim("b", &id).await;
        assert_eq!(second.previous.as_deref(), Some("a"));
        assert!(second.epoch > first.epoch);
        assert_eq!(sim.owners(&id), [("b", second.epoch)]);
        let again = sim.claim("b", &id).await;
        assert_eq!(again.previous, None, "its own earlier session is no other node's");
    }
    assert_eq!(sim.timed_out(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_claims_of_one_id_from_all_nodes_ends_with_one_owner_the_highest_epoch() {
    let names = ["a", "b", "c", "d", "e"];
    let sim = Arc::new(Sim::of(&names).await);
    for round in 0..20 {
        let id = format!("device-{round}");
        let mut storm = tokio::task::JoinSet::new();
        for turn in 0..25 {
            let (sim, id) = (sim.clone(), id.clone());
            storm.spawn(async move { sim.claim(names[turn % 5], &id).await.epoch });
        }
        let highest = storm.join_all().await.into_iter().max().unwrap();
        sim.settled().await;
        let registrar = sim.nodes["a"].claims.engine.lock().view().registrar(&id).to_owned();
        let row = sim.row(&registrar, &id).unwrap();
        assert_eq!(sim.owners(&id), [(row.owner.as_str(), highest)], "round {round}");
        assert_eq!(row.epoch, highest);
    }
}

#[tokio::test(start_paused = true)]
async fn a_registrar_that_dies_before_owners_announced_leaves_no_silent_empty_session() {
    let (names, rest) = (["a", "b", "c", "d"], ["a", "c", "d"]);
    let mut sim = Sim::of(&names).await;
    let id = id_of(&names, "b", &rest, "c");
    let first = sim.claim("a", &id).await;
    sim.kill("b");
    // c and d know of the death; a, the owner, does not yet, so it announces nothing.
    for name in ["c", "d"] {
        sim.nodes[name]
            .claims
            .on_view(rest.iter().map(ToString::to_string).collect());
    }
    let second = sim.claim("d", &id).await;
    assert_eq!(second.previous.as_deref(), Some("a"));
    assert!(second.epoch > first.epoch);
    assert_eq!(sim.owners(&id), [("d", second.epoch)]);
}

#[tokio::test(start_paused = true)]
async fn owners_announce_the_ids_of_a_registrar_that_died() {
    let (names, rest) = (["a", "b", "c"], ["a", "c"]);
    let mut sim = Sim::of(&names).await;
    let id = id_of(&names, "b", &rest, "c");
    let first = sim.claim("a", &id).await;
    sim.kill("b");
    sim.all_see(&rest);
    sim.settled().await;
    assert_eq!(
        sim.row("c", &id),
        Some(Found {
            owner: "a".to_owned(),
            epoch: first.epoch
        })
    );
    assert!(sim.is_complete());
}

#[tokio::test(start_paused = true)]
async fn a_joiner_gets_its_rows_in_pages_and_the_old_registrars_let_theirs_go() {
    let mut sim = Sim::of(&["a", "b"]).await;
    for n in 0..5_000 {
        sim.claim(if n % 2 == 0 { "a" } else { "b" }, &format!("device-{n}"))
            .await;
    }
    assert_eq!(sim.nodes["a"].claims.rows() + sim.nodes["b"].claims.rows(), 5_000);
    sim.net.pages.lock().clear();
    sim.add("c", Duration::ZERO);
    sim.all_see(&["a", "b", "c"]);
    sim.settled().await;
    assert!(sim.is_complete());
    let rows: Vec<_> = sim.nodes.values().map(|node| node.claims.rows()).collect();
    assert_eq!(rows.iter().sum::<usize>(), 5_000, "{rows:?}");
    assert!((1_400..1_950).contains(&rows[2]), "{rows:?}");
    let pages = sim.net.pages.lock().clone();
    assert!(pages.iter().all(|(_, size)| *size <= 1_000));
    assert_eq!(
        pages
            .iter()
            .filter(|(to, _)| to == "c")
            .map(|(_, size)| size)
            .sum::<usize>(),
        rows[2]
    );
    let to_others: BTreeSet<_> = pages
        .iter()
        .filter(|(to, _)| to != "c")
        .map(|(_, size)| *size)
        .collect();
    assert_eq!(to_others, BTreeSet::from([0]), "ids that did not move were announced");
}

#[tokio::test(start_paused = true)]
async fn a_registrar_that_starts_anew_unnoticed_gets_everything_again() {
    let names = ["a", "b", "c"];
    let mut sim = Sim::of(&names).await;
    let id = id_of(&names, "b", &names, "b");
    let first = sim.claim("a", &id).await;
    sim.kill("b");
    sim.add("b", Duration::ZERO);
    sim.nodes["b"]
        .claims
        .on_view(names.iter().map(ToString::to_string).collect());
    assert!(!sim.nodes["b"].claims.engine.lock().is_complete());
    let second = sim.claim("c", &id).await;
    assert_eq!(second.previous.as_deref(), Some("a"), "found by asking");
    sim.settled().await;
    assert!(sim.is_complete());
    assert!(second.epoch > first.epoch);
    assert_eq!(sim.owners(&id), [("c", second.epoch)]);
}

#[tokio::test(start_paused = true)]
async fn a_registrar_whose_clock_is_behind_grants_above_every_known_epoch() {
    let names = ["a", "b", "c"];
    let mut sim = Sim::of(&["a", "b"]).await;
    sim.add("c", Duration::from_secs(30));
    sim.all_see(&names);
    let ahead = Epoch(wall() + 30_000_000);
    let id = id_of(&names, "b", &names, "b");
    let first = sim.claim_knowing("c", &id, ahead).await;
    assert!(first.epoch > ahead);
    let second = sim.claim("a", &id).await;
    assert!(second.epoch > first.epoch);
    assert_eq!(sim.owners(&id), [("a", second.epoch)]);
}

#[tokio::test(start_paused = true)]
async fn a_grant_below_what_the_loser_holds_is_raised_above_it() {
    let names = ["a", "b", "c"];
    let sim = Sim::of(&names).await;
    let id = id_of(&names, "b", &names, "b");
    sim.claim("c", &id).await;
    // c holds more than the registrar's row says.
    let held = Epoch(wall() + 20_000_000);
    sim.nodes["c"].sessions.0.lock().insert(Arc::from(id.as_str()), held);
    let grant = sim.claim("a", &id).await;
    assert!(grant.epoch > held);
    assert_eq!(sim.owners(&id), [("a", grant.epoch)]);
    assert_eq!(
        sim.row("b", &id),
        Some(Found {
            owner: "a".to_owned(),
            epoch: grant.epoch
        })
    );
}

#[tokio::test(start_paused = true)]
async fn a_clock_a_year_ahead_is_refused_and_poisons_nobody() {
    let names = ["a", "b", "c"];
    let mut sim = Sim::of(&["a", "b"]).await;
    sim.add("c", Duration::from_secs(365 * 86_400));
    sim.all_see(&names);
    let id = id_of(&names, "b", &names, "b");
    sim.claim("c", &id).await;
    sim.settled().await;
    let limit = wall() + 61_000_000;
    for name in ["a", "b"] {
        assert!(
            sim.nodes[name].clock.high_water() < limit,
            "the clock of {name} was poisoned"
        );
    }
    assert_eq!(sim.row("b", &id), None);
    assert_eq!(sim.timed_out(), 1, "c granted for itself, counted");
    // The same stamp inside a request of a sound clock.
    let epoch = wall() + 365 * 86_400_000_000;
    let owned = vec![pb::Owned {
        client_id: id.clone(),
        epoch,
    }];
    for what in [
        request::What::Announce(pb::Announce { owned }),
        request::What::Superseded(pb::Superseded {
            client_id: id.clone(),
            epoch,
        }),
        request::What::Claim(pb::Claim {
            client_id: id.clone(),
            known: epoch,
            ..pb::Claim::default()
        }),
    ] {
        let request = pb::Request {
            hlc: wall(),
            what: Some(what),
        };
        sim.nodes["b"].claims.handle("a", request.encode_to_vec().into()).await;
        assert_eq!(sim.row("b", &id), None);
        assert!(sim.nodes["b"].clock.high_water() < limit);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_registrar_is_done_without_counted_and_told_later() {
    let names = ["a", "b", "c"];
    let sim = Sim::of(&names).await;
    let id = id_of(&names, "b", &names, "b");
    let known = sim.claim("a", &id).await.epoch;
    sim.cut_off("b");
    let start = Instant::now();
    let grant = sim.claim_knowing("a", &id, known).await;
    assert!(start.elapsed() <= TIMEOUT, "{:?}", start.elapsed());
    assert!(grant.epoch > known);
    assert_eq!(sim.timed_out(), 1);
    sim.net.cut.lock().clear();
    sim.settled().await;
    assert_eq!(
        sim.row("b", &id),
        Some(Found {
            owner: "a".to_owned(),
            epoch: grant.epoch
        })
    );
}

#[tokio::test(start_paused = true)]
async fn both_sides_of_a_partition_own_an_id_and_the_higher_epoch_wins_on_heal() {
    let names = ["a", "b", "c"];
    let sim = Sim::of(&names).await;
    let id = id_of(&names, "b", &["a", "b"], "b");
    sim.cut_off("c");
    sim.all_see(&["a", "b"]);
    sim.nodes["c"].claims.on_view(vec!["c".to_owned()]);
    sim.claim("a", &id).await;
    let higher = sim.claim("c", &id).await;
    assert_eq!(sim.owners(&id).len(), 2);
    sim.net.cut.lock().clear();
    sim.all_see(&names);
    sim.settled().await;
    assert_eq!(sim.owners(&id), [("c", higher.epoch)]);
    assert!(sim.is_complete());
}

#[tokio::test(start_paused = true)]
async fn a_loser_that_was_out_of_reach_is_told_when_it_is_back() {
    let names = ["a", "b", "c"];
    let sim = Sim::of(&names).await;
    let id = id_of(&names, "b", &names, "b");
    sim.claim("a", &id).await;
    sim.cut_off("a");
    let start = Instant::now();
    let grant = sim.claim("c", &id).await;
    assert!(start.elapsed() <= TIMEOUT);
    assert_eq!(grant.previous.as_deref(), Some("a"));
    assert_eq!(sim.timed_out(), 0, "the grant is the registrar's");
    assert_eq!(sim.owners(&id).len(), 2);
    sim.net.cut.lock().clear();
    sim.settled().await;
    assert_eq!(sim.owners(&id), [("c", grant.epoch)]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_the_registrar_in_its_own_view_redirects_once() {
    let names = ["a", "b", "c"];
    let sim = Sim::of(&names).await;
    let id = id_of(&["a", "b"], "b", &names, "c");
    sim.nodes["a"].claims.on_view(vec!["a".to_owned(), "b".to_owned()]);
    let grant = sim.claim("a", &id).await;
    assert_eq!(sim.timed_out(), 0);
    assert_eq!(
        sim.row("c", &id),
        Some(Found {
            owner: "a".to_owned(),
            epoch: grant.epoch
        })
    );
    assert_eq!(sim.row("b", &id), None);
}

#[tokio::test(start_paused = true)]
async fn a_release_removes_the_row_at_its_own_epoch_only() {
    let names = ["a", "b", "c"];
    let sim = Sim::of(&names).await;
    for registrar in names {
        let id = id_of(&names, registrar, &names, registrar);
        let grant = sim.claim("a", &id).await;
        let client_id: Arc<str> = Arc::from(id.as_str());
        sim.nodes["a"].claims.release(&client_id, Epoch(grant.epoch.0 - 1));
        sim.settled().await;
        assert!(
            sim.row(registrar, &id).is_some(),
            "released at an epoch that is not its own"
        );
        sim.nodes["a"].claims.release(&client_id, grant.epoch);
        sim.settled().await;
        assert_eq!(sim.row(registrar, &id), None);
    }
}

#[tokio::test(start_paused = true)]
async fn any_bytes_are_answered_and_change_nothing() {
    let sim = Sim::of(&["a", "b"]).await;
    let mut random = 1_u64;
    for length in 0..2_000 {
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random.to_be_bytes()[0]
        };
        let bytes: Vec<u8> = (0..length % 64).map(|_| next()).collect();
        sim.nodes["a"].claims.handle("b", bytes.into()).await;
    }
    let owned = vec![pb::Owned::default(); 1_001];
    let too_many = pb::Request {
        hlc: 0,
        what: Some(request::What::Announce(pb::Announce { owned })),
    };
    let answer = sim.nodes["a"].claims.handle("b", too_many.encode_to_vec().into()).await;
    let answer = pb::Reply::decode(answer).unwrap();
    assert!(matches!(answer.what, Some(reply::What::Refused(_))), "{answer:?}");
    assert_eq!(sim.nodes["a"].claims.rows(), 0);
}
