//! What a group of batches comes to.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use mqtt::{Message, PacketId, Qos};

use super::plan::{Owner, Owners, Plan, hash};
use super::settings::ServerSettings;
use crate::op::{Body, Entry, Op};
use crate::record::{Sid, Stamp};

const SID: Sid = Sid(7);

fn enqueue(seq: u64) -> Op {
    let body = Body::Inline(Arc::new(Message::new("a", &[], b"x")));
    let (subscription_ids, qos) = (Box::default(), Qos::AtLeastOnce);
    let entry = Entry { qos, retain: false, subscription_ids, shared: None, expires_at: None, body };
    Op::Enqueue { sid: SID, epoch: 3, seq, entry }
}

fn ack(seq: u64) -> Op {
    Op::Ack { sid: SID, epoch: 3, seq }
}

fn plan(ops: &[Op]) -> Plan {
    let mut owners: Owners = [(SID, Owner { epoch: 3, is_ours: true })].into_iter().collect();
    let mut plan = Plan::default();
    assert!(plan.add(ops, &mut owners).fenced.is_empty());
    plan
}

/// Whether an entry goes, and whether it comes.
fn fate(plan: &Plan, seq: i64) -> (bool, bool) {
    plan.queue.get(&(7, seq)).map_or((false, false), |change| (change.goes, change.comes.is_some()))
}

#[test]
fn what_comes_later_in_a_batch_wins() {
    assert_eq!(fate(&plan(&[enqueue(1)]), 1), (false, true));
    assert_eq!(fate(&plan(&[enqueue(1), ack(1)]), 1), (true, false));
    assert_eq!(fate(&plan(&[enqueue(1), ack(1), enqueue(1)]), 1), (true, true));
    let range = Op::AckRange { sid: SID, epoch: 3, first: 1, last: 5 };
    let all = plan(&[enqueue(2), enqueue(6), range, enqueue(7)]);
    assert_eq!([2, 6, 7].map(|seq| fate(&all, seq)), [(true, false), (false, true), (false, true)]);
    assert_eq!(all.ranges.iter().copied().collect::<Vec<_>>(), [(7, 1, 5)]);
    let released = Op::Released { sid: SID, epoch: 3, seq: 1, packet_id: PacketId::new(9).unwrap() };
    let released = plan(&[enqueue(1), released]);
    assert_eq!(fate(&released, 1), (true, false));
    assert_eq!(released.flight[&(7, 1)].comes, Some((9, true)));
}

#[test]
fn a_session_that_is_dropped_takes_nothing_more() {
    let mut owners: Owners = [(SID, Owner { epoch: 3, is_ours: true })].into_iter().collect();
    let mut plan = Plan::default();
    let outcome = plan.add(&[Op::DropSession { sid: SID, epoch: 3 }, enqueue(1)], &mut owners);
    assert_eq!(outcome.fenced, [SID]);
    assert!(plan.queue.is_empty() && plan.dropped.contains(&7));
}

#[test]
fn the_later_stamp_decides_within_a_batch() {
    let put =
        |hlc| Op::PutRetained { topic: "t".into(), stamp: Stamp { hlc, node: 1 }, message: None, expires_at: None };
    let forget = |hlc| Op::DropRetained { topic: "t".into(), stamp: Stamp { hlc, node: 1 } };
    let fate = |ops: &[Op]| {
        let change = plan(ops).retained.remove(&hash("t")).unwrap();
        (change.drop.map(|stamp| stamp.hlc), change.put.map(|row| row.stamp.hlc))
    };
    assert_eq!(fate(&[put(2), put(1)]), (None, Some(2)));
    assert_eq!(fate(&[put(1), forget(2)]), (Some(2), None));
    assert_eq!(fate(&[put(3), forget(2)]), (Some(2), Some(3)));
    assert_eq!(fate(&[forget(2), put(1)]), (Some(2), Some(1)));
}

#[test]
fn addresses_have_a_port_or_the_usual_one_and_passwords_are_not_shown() {
    let target = |text: &str| {
        let settings = ServerSettings::new(text.into());
        let (host, port) = settings.target(1);
        (host.to_owned(), port)
    };
    assert_eq!(target("db:5"), ("db".into(), 5));
    assert_eq!(target("[::1]:5"), ("::1".into(), 5));
    assert_eq!(target("::1"), ("::1".into(), 1));
    assert_eq!(target("/run/x:y"), ("/run/x:y".into(), 1));
    let settings = ServerSettings { password: "open sesame".into(), ..ServerSettings::new("db".into()) };
    assert!(!format!("{settings:?}").contains("sesame"));
}
