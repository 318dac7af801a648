//! Shared groups between nodes: their weights in the rows, who serves a message, and what a lost peer gives back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mqtt::{Message, MessageId, Qos};

use super::node::{Node, Plan, connect};
use crate::router::{Forward, Outbound, Outcome, PeerSet, Share, Subscriber, Ticket};

const GROUP: &str = "$share/g/t";

impl Node {
    fn join(&self, group: &str, session: u32) {
        let group: Arc<str> = group.into();
        let worker = u16::try_from(session % 2).unwrap();
        let subscriber = Subscriber { session, serial: 1, subscription_id: 0, worker, qos: Qos::AtLeastOnce, flags: 0 };
        self.core.parts.index.groups().subscribe(&group, subscriber, |weight| self.core.group_changed(&group, weight));
    }

    fn disconnect(&self, group: &str, session: u32) {
        let group: Arc<str> = group.into();
        let worker = u16::try_from(session % 2).unwrap();
        let announce = |weight| self.core.group_changed(&group, weight);
        self.core.parts.index.groups().set_online(&group, worker, session, false, announce);
    }

    fn send(&self, to: &Self, sequence: u64, share: Option<Share>) {
        let mut message = Message::new("t", &[], b"payload");
        message.id = MessageId { origin: 1, worker: 0, sequence };
        message.qos = Qos::AtLeastOnce;
        let ticket = Some(Ticket { worker: 0, token: sequence });
        let outbound = Outbound { message: Arc::new(message), ticket, share: share.map(Arc::new), retained_at: 0 };
        self.core.forward(self.slot(to), &mut vec![outbound]);
    }

    fn has_online(&self, at: &Self) -> bool {
        self.core.parts.index.groups().has_online(GROUP, PeerSet::default().with(self.slot(at)), false)
    }
}

fn texts(groups: &[&str]) -> Vec<Arc<str>> {
    groups.iter().map(|group| Arc::from(*group)).collect()
}

#[tokio::test]
async fn a_peer_knows_of_a_group_whether_anybody_in_it_has_a_connection_also_by_a_snapshot() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    b.join(GROUP, 1);
    connect(&[&a, &b]).await;
    a.until("it has the group", || a.has_online(&b)).await;
    b.disconnect(GROUP, 1);
    a.until("the member is away", || !a.has_online(&b)).await;
    assert!(a.core.parts.index.holders(GROUP).1.contains(a.slot(&b)), "it is a member still");
    b.join(GROUP, 2);
    a.until("another is there", || a.has_online(&b)).await;
    b.core.parts.index.groups().unsubscribe(&GROUP.into(), 0, 2, |weight| b.core.group_changed(&GROUP.into(), weight));
    b.core.parts.index.groups().unsubscribe(&GROUP.into(), 1, 1, |weight| b.core.group_changed(&GROUP.into(), weight));
    a.until("the group is gone", || a.core.parts.index.holders(GROUP).1.is_empty()).await;
    assert_eq!(a.core.parts.index.counts().filters, 0);
    let head = a.peer(&b).remote.lock().head();
    assert_eq!(head, b.core.routes.head(), "weights do not disturb the digest");
}

#[tokio::test]
async fn a_peer_serves_the_groups_that_it_is_told_to_and_no_other() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    connect(&[&a, &b]).await;
    b.join(GROUP, 1);
    b.subscribe("t", 2);
    a.send(&b, 1, None);
    a.send(&b, 2, Some(Share { serve: texts(&[GROUP]), ..Share::default() }));
    a.send(&b, 3, Some(Share { serve: texts(&[GROUP]), only_groups: true, ..Share::default() }));
    a.send(&b, 4, Some(Share { serve: texts(&["$share/g/elsewhere"]), only_groups: true, ..Share::default() }));
    a.until("all are acknowledged", || a.settled().len() == 4).await;
    let mut got = b.post.sequences();
    got.sort_unstable();
    assert_eq!(got, [1, 2, 2, 3], "plain; plain and member; member; a group that the topic does not match");
}

#[tokio::test]
async fn of_the_nodes_that_are_flooded_one_serves_a_group_that_nobody_was_told_to_serve() {
    let (a, b, c) = (Node::start("a").await, Node::start("b").await, Node::start("c").await);
    connect(&[&a, &b, &c]).await;
    b.join(GROUP, 1);
    c.join(GROUP, 1);
    let knows = |one: &Node, other: &Node| one.core.parts.index.holders(GROUP).1.contains(one.slot(other));
    b.until("it knows of the other", || knows(&b, &c)).await;
    c.until("it knows of the other", || knows(&c, &b)).await;
    let flooded = PeerSet::default().with(a.slot(&b)).with(a.slot(&c));
    for (sequence, served) in [(1, vec![]), (2, texts(&[GROUP])), (3, vec![])] {
        for to in [&b, &c] {
            a.send(to, sequence, Some(Share { flooded, served: served.clone(), ..Share::default() }));
        }
    }
    a.until("all are acknowledged", || a.settled().len() == 6).await;
    let mut got = [b.post.sequences(), c.post.sequences()].concat();
    got.sort_unstable();
    assert_eq!(got, [1, 3], "each unserved message once, and none that is served");
}

#[tokio::test]
async fn what_a_lost_peer_had_for_a_group_is_given_to_a_worker_and_its_publisher_waits_on() {
    let settings = |settings: &mut crate::config::Cluster| settings.down_after = Duration::from_millis(300);
    let a = Node::start_as("a", Plan { settings, ..Plan::default() }).await;
    let b = Node::start("b").await;
    connect(&[&a, &b]).await;
    b.join(GROUP, 1);
    b.post.holds.store(true, Ordering::SeqCst);
    let share = Share { serve: texts(&[GROUP]), only_groups: true, ..Share::default() };
    a.send(&b, 7, Some(share.clone()));
    b.until("it has it", || b.post.sequences() == [7]).await;
    let slot = a.slot(&b);
    a.post.holds.store(true, Ordering::SeqCst);
    drop(b);
    a.until("a worker here has it", || a.post.sequences() == [7]).await;
    assert_eq!(a.settled(), [], "not before it is carried out");
    a.post.let_go();
    assert_eq!(a.settled(), [(7, Outcome::Done)]);
    assert_eq!(a.count("messages.dropped.peer_down"), 0, "it is not lost");
    let mut late = Message::new("t", &[], b"");
    late.id.sequence = 8;
    a.core.forward(
        slot,
        &mut vec![Outbound { message: Arc::new(late), ticket: None, share: Some(Arc::new(share)), retained_at: 0 }],
    );
    assert_eq!(a.post.sequences(), [7, 8], "what comes later goes the same way");
}
