//! Wills of clients whose node is gone: cluster-traps 13. One node sends each, once, unless the client is back in time.
use mqtt::session::Will;
use mqtt::{Message as MqttMessage, MessageId};

use super::*;
use crate::registry::{is_sent_once, will_id};

const NAMES: [&str; 3] = ["a", "b", "c"];

fn last_will(id: &str, epoch: Epoch, delay: u32) -> LastWill {
    LastWill {
        client_id: id.into(),
        epoch,
        user: Some("ann".into()),
        ip: [127, 0, 0, 1].into(),
        will: Will { message: MqttMessage::new("will", &[], b"gone"), delay, expiry: None },
        session_expiry: 100,
        due_in: None,
    }
}

impl Sim {
    /// A client with a will connects.
    async fn connect(&self, name: &str, id: &str, delay: u32) -> Epoch {
        let epoch = self.claim(name, id).await.epoch;
        self.entrust(name, last_will(id, epoch, delay)).await;
        epoch
    }

    async fn entrust(&self, name: &str, will: LastWill) {
        self.nodes[name].sessions.2.own.lock().insert(will.client_id.clone(), will.clone());
        self.nodes[name].claims.entrust(will).await;
    }

    /// The client is gone for good, and its will with it.
    fn withdraw(&self, name: &str, id: &str, epoch: Epoch) {
        self.nodes[name].sessions.2.own.lock().remove(id);
        self.nodes[name].claims.withdraw(&id.into(), epoch);
    }

    async fn claim_clean(&self, name: &str, id: &str, clean_start: bool) {
        let (client_id, holder): (Arc<str>, _) = (id.into(), Holder::default());
        let claim = Claim {
            client_id: client_id.clone(),
            holder,
            needs_registrar: false,
            is_orphan: false,
            clean_start,
            session_expiry: 60,
            known: Epoch(0),
        };
        let grant = self.nodes[name].claims.claim(claim).await.unwrap();
        self.nodes[name].sessions.0.lock().insert(client_id, grant.epoch);
    }

    fn is_gone(&mut self, name: &str) {
        self.kill(name);
        let rest: Vec<&str> = self.nodes.keys().copied().collect();
        self.all_see(&rest);
    }

    /// The wills that were sent for dead nodes, by their clients.
    fn sent(&self) -> Vec<String> {
        let of_node = |node: &Node| node.sessions.2.sent.lock().iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut sent: Vec<String> = self.nodes.values().flat_map(of_node).collect();
        sent.sort();
        sent
    }

    fn held(&self) -> usize {
        self.nodes.values().map(|node| node.claims.engine.lock().wills.load().0).sum()
    }
}

/// Ids of each registrar among the three, some of each.
fn ids() -> Vec<String> {
    let mut ids: Vec<String> = (0..24).map(|n| format!("pump-{n:02}")).collect();
    ids.extend(NAMES.iter().map(|registrar| id_of(&NAMES, registrar, &NAMES, registrar)));
    ids.sort();
    ids
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn trap_13_the_wills_of_a_dead_node_are_sent_once_each_whoever_the_registrar_was() {
    let mut sim = Sim::of(&NAMES).await;
    for id in ids() {
        sim.connect("a", &id, 0).await;
    }
    assert_eq!((sim.sent(), sim.held()), (vec![], ids().len()), "their node lives");
    sim.is_gone("a");
    sim.settled().await;
    assert_eq!(sim.sent(), ids());
    sim.all_see(&["b"]);
    sim.all_see(&["b", "c"]);
    sim.settled().await;
    assert_eq!((sim.sent().len(), sim.held()), (ids().len(), 0));
}

#[tokio::test(start_paused = true)]
async fn trap_13_a_will_waits_for_its_delay_which_counts_from_the_end_of_the_connection_if_that_is_known() {
    let mut sim = Sim::of(&NAMES).await;
    sim.connect("a", "connected", 20).await;
    let epoch = sim.connect("a", "gone", 20).await;
    let waits = LastWill { due_in: Some(Duration::from_secs(20)), ..last_will("gone", epoch, 20) };
    sim.nodes["a"].claims.will_waits(waits);
    seconds(10).await;
    sim.is_gone("a");
    seconds(9).await;
    assert_eq!(sim.sent(), Vec::<String>::new());
    seconds(2).await;
    assert_eq!(sim.sent(), ["gone"]);
    seconds(10).await;
    assert_eq!(sim.sent(), ["connected", "gone"]);
}

#[tokio::test(start_paused = true)]
async fn trap_13_a_client_that_is_back_anywhere_within_the_delay_cancels_its_will() {
    for node in ["b", "c"] {
        for is_down in [true, false] {
            let mut sim = Sim::of(&NAMES).await;
            for id in ids() {
                sim.connect("a", &id, 20).await;
            }
            if is_down {
                sim.is_gone("a");
            } else {
                sim.cut_off("a");
            }
            for id in ids() {
                sim.claim_clean(node, &id, false).await;
            }
            sim.is_gone_or_was("a");
            seconds(60).await;
            assert_eq!(sim.sent(), Vec::<String>::new(), "back on {node}, a was down: {is_down}");
            assert_eq!(sim.held(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn trap_13_a_client_that_begins_anew_elsewhere_ends_the_session_and_so_the_will_goes_out() {
    let mut sim = Sim::of(&NAMES).await;
    for id in ids() {
        sim.connect("a", &id, 20).await;
    }
    sim.is_gone("a");
    sim.settled().await;
    for id in ids() {
        sim.claim_clean("b", &id, true).await;
    }
    seconds(1).await;
    assert_eq!(sim.sent(), ids());
    seconds(60).await;
    assert_eq!(sim.sent().len(), ids().len());
}

#[tokio::test(start_paused = true)]
async fn trap_13_a_will_that_was_deleted_or_sent_by_its_node_is_nobodys_also_if_the_news_took_several_attempts() {
    let mut sim = Sim::of(&NAMES).await;
    for id in ids() {
        let epoch = sim.connect("a", &id, 0).await;
        sim.withdraw("a", &id, epoch);
    }
    sim.settled().await;
    assert_eq!(sim.held(), 0);
    let epoch = sim.connect("a", "late", 0).await;
    sim.cut_off("a");
    sim.withdraw("a", "late", epoch);
    seconds(3).await;
    sim.net.cut.lock().clear();
    seconds(3).await;
    // What was said before comes after it.
    sim.nodes["a"].claims.entrust(last_will("late", epoch, 0)).await;
    sim.is_gone("a");
    sim.settled().await;
    assert_eq!((sim.sent(), sim.held()), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn trap_13_a_later_connection_without_a_will_is_not_given_the_one_of_the_connection_before() {
    let mut sim = Sim::of(&NAMES).await;
    let first = sim.connect("a", "pump", 0).await;
    let second = sim.connect("a", "pump", 0).await;
    sim.withdraw("a", "pump", first); // it was taken over
    sim.settled().await;
    assert_eq!(sim.held(), 1, "that of the second is held");
    sim.withdraw("a", "pump", second);
    sim.settled().await;
    sim.is_gone("a");
    sim.settled().await;
    assert_eq!(sim.sent(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn wills_follow_the_view_a_joiner_holds_its_part_and_nobody_holds_one_twice() {
    let mut sim = Sim::of(&NAMES).await;
    for id in ids() {
        sim.connect("a", &id, 0).await;
    }
    sim.add("d", Duration::ZERO);
    sim.all_see(&["a", "b", "c", "d"]);
    sim.settled().await;
    assert!(sim.nodes["d"].claims.engine.lock().wills.load().0 > 0, "none fell to the joiner");
    assert_eq!(sim.held(), ids().len());
    sim.is_gone("b");
    sim.settled().await;
    assert_eq!((sim.held(), sim.sent()), (ids().len(), vec![]));
    sim.is_gone("a");
    sim.settled().await;
    assert_eq!(sim.sent(), ids());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_anew_before_it_was_missed_has_lost_its_clients_and_their_wills_are_sent() {
    let mut sim = Sim::of(&NAMES).await;
    for id in ids() {
        sim.connect("a", &id, 0).await;
    }
    sim.kill("a");
    sim.add("a", Duration::ZERO);
    // This one was kept on disk: the session is back, and its will is its node's to send.
    let kept = &ids()[0];
    sim.entrust("a", last_will(kept, Epoch(wall()), 0)).await;
    sim.nodes["a"].claims.on_view(NAMES.map(str::to_owned).to_vec());
    sim.settled().await;
    assert_eq!(sim.sent(), ids()[1..]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_takes_its_wills_along_and_sends_nobodys() {
    let mut sim = Sim::of(&NAMES).await;
    for id in ids() {
        sim.connect("a", &id, 0).await;
        sim.connect("b", &format!("b-{id}"), 0).await;
    }
    sim.nodes["a"].claims.take_wills_along().await;
    sim.nodes["a"].claims.forget_wills();
    sim.nodes["a"].claims.on_view(vec!["a".to_owned()]);
    for name in ["b", "c"] {
        sim.nodes[name].claims.on_view(vec!["b".to_owned(), "c".to_owned()]);
    }
    sim.settled().await;
    assert_eq!(sim.sent(), Vec::<String>::new());
    sim.is_gone("b");
    sim.settled().await;
    assert_eq!(sim.sent().len(), ids().len(), "those of b, which died");
}

#[tokio::test(start_paused = true)]
async fn trap_13_a_second_copy_of_a_will_is_known_as_one_and_counted() {
    let sim = Sim::of(&["a"]).await;
    let claims = &sim.nodes["a"].claims;
    let id = will_id("pump", Epoch(5));
    assert!(is_sent_once(id) && claims.is_first_copy(id) && !claims.is_first_copy(id));
    seconds(599).await;
    assert!(!claims.is_first_copy(id), "remembered for ten minutes");
    assert!(claims.is_first_copy(MessageId { sequence: 6, ..id }), "of another connection");
    assert_eq!(sim.nodes["a"].counters.get(Metric::DroppedRepeated), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_has_a_bound_and_what_finds_no_room_is_counted() {
    let sim = Sim::of(&["a", "b"]).await;
    for n in 0..8 {
        let id = format!("pump-{n}");
        let message = MqttMessage::new("will", &[], &vec![0; 200 << 10]);
        let mut will = last_will(&id, Epoch(wall()), 0);
        will.will.message = message;
        sim.nodes["a"].claims.entrust(will.clone()).await;
        sim.nodes["a"].claims.entrust(will).await; // again: it takes no more room
    }
    let (count, bytes) = sim.nodes["b"].claims.engine.lock().wills.load();
    assert!(count == 5 && bytes <= 1 << 20, "{count} wills of {bytes} bytes");
    assert_eq!(sim.nodes["b"].counters.get(Metric::WillsRefused), 6);
    for n in 0..8 {
        sim.nodes["a"].claims.withdraw(&format!("pump-{n}").into(), Epoch(wall() + 1));
    }
    sim.settled().await;
    assert_eq!(sim.nodes["b"].claims.engine.lock().wills.load(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_will_that_no_client_could_have_is_refused_whole_and_a_clock_that_lies_too() {
    let sim = Sim::of(&["a", "b"]).await;
    let good = wire::to_will(&last_will("pump", Epoch(wall()), 0));
    let changes: [fn(&mut pb::Will); 8] = [
        |will| will.topic = "a/#".into(),
        |will| will.topic.clear(),
        |will| will.properties = vec![0x23, 0, 1],
        |will| will.payload = vec![0; 300 << 10],
        |will| will.qos = 3,
        |will| will.ip = vec![1; 5],
        |will| will.client_id = "x".repeat(65_536),
        |will| will.epoch = wall() + 365 * 86_400_000_000,
    ];
    let send = |wills: Vec<pb::Will>| {
        let entrust = pb::Entrust { wills, ..pb::Entrust::default() };
        let request = pb::Request { hlc: wall(), what: Some(request::What::Entrust(entrust)) };
        sim.nodes["b"].claims.handle("a", request.encode_to_vec().into())
    };
    for (number, change) in changes.iter().enumerate() {
        let mut bad = good.clone();
        change(&mut bad);
        let answer = pb::Reply::decode(send(vec![good.clone(), bad]).await).unwrap();
        assert!(matches!(answer.what, Some(reply::What::Refused(_))), "change {number}");
        assert_eq!(sim.held(), 0, "change {number}");
    }
    let answer = pb::Reply::decode(send(vec![good.clone(); 1_001]).await).unwrap();
    assert!(matches!(answer.what, Some(reply::What::Refused(_))));
    send(vec![good]).await;
    assert_eq!(sim.held(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_will_arrives_as_it_was_entrusted() {
    let mut will = last_will("pump", Epoch(7), 9);
    will.will.expiry = Some(30);
    will.will.message.retain = true;
    will.will.message.qos = mqtt::Qos::ExactlyOnce;
    will.due_in = Some(Duration::from_millis(1_500));
    for (user, ip) in [(None, "::1"), (Some("ann"), "10.0.0.7")] {
        will = LastWill { user: user.map(Into::into), ip: ip.parse().unwrap(), ..will };
        assert_eq!(wire::from_will(wire::to_will(&will)).unwrap(), will);
    }
}

impl Sim {
    fn is_gone_or_was(&mut self, name: &str) {
        if self.nodes.contains_key(name) {
            self.is_gone(name);
        }
    }
}
