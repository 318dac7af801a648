//! Shared subscriptions over two workers.

use std::collections::BTreeMap;

use super::packets::*;
use super::*;
use crate::metrics::Metric;

const Q2: Qos = Qos::ExactlyOnce;

/// A client whose session is kept.
fn kept(node: &Node, id: &'static str) -> Client {
    node.client(Connect { client_id: id, ..Connect::kept(V5) })
}

/// What has come to a client of its messages; those of QoS 1 are not acknowledged.
fn payloads(client: &mut Client) -> Vec<String> {
    let lines = client.until_pong();
    lines.iter().filter_map(|line| line.strip_prefix("PUBLISH t=")?.split(' ').next().map(str::to_owned)).collect()
}

fn send(publisher: &mut Client, qos: Qos, payloads: impl IntoIterator<Item = u32>) {
    for number in payloads {
        let id = if qos == Q0 { 0 } else { number as u16 + 1 };
        publisher.send(publish(publisher.version, qos, id, &number.to_string()));
    }
    publisher.until_pong();
}

fn numbers(to: u32) -> Vec<String> {
    (0..to).map(|number| number.to_string()).collect()
}

#[test]
fn four_members_on_two_workers_have_a_quarter_each_of_what_two_publishers_send() {
    let node = Node::new(&["persistence.queue_depth=100000", "mqtt.write_buffer=16MB"]);
    let names = [(0, "a"), (0, "b"), (1, "c"), (1, "d")];
    let mut members = names.map(|(worker, name)| node.id(node.id_on(worker, name)));
    for member in &mut members {
        member.subscribe("$share/g/t", 0);
    }
    let mut publishers = [0, 1].map(|worker| node.id(node.id_on(worker, "publisher")));
    for turn in 0..50 {
        for (part, publisher) in (0..).zip(&mut publishers) {
            send(publisher, Q0, (0..100).map(|number| turn * 200 + part * 100 + number));
        }
    }
    let mut seen = BTreeMap::<String, usize>::new();
    for member in &mut members {
        let got = payloads(member);
        assert!((2_250..=2_750).contains(&got.len()), "{} of 10,000", got.len());
        got.into_iter().for_each(|payload| *seen.entry(payload).or_default() += 1);
    }
    assert_eq!(seen.len(), 10_000, "none is lost");
    assert!(seen.values().all(|times| *times == 1), "each came once");
}

#[test]
fn every_group_and_every_plain_subscriber_gets_its_copy_at_its_own_qos() {
    let node = Node::new(&[]);
    let mut both = node.id(node.id_on(1, "both"));
    for (id, filter, qos) in [(1, "t", 0), (2, "$share/g/t", 1), (3, "$share/h/t", 2), (4, "$share/g/+", 1)] {
        both.send(subscribe(V5, 1, id, &[(filter, qos)])).line();
    }
    let mut publisher = node.id(node.id_on(0, "publisher"));
    publisher.send(publish(V5, Q2, 1, "x")).until_pong();
    let mut lines = both.until_pong();
    lines.sort_unstable();
    let found: Vec<(bool, bool, bool)> =
        lines.iter().map(|l| (l.contains("q0"), l.contains("q1"), l.contains("q2"))).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for id in ["id=1", "id=2", "id=3", "id=4"] {
        assert_eq!(lines.iter().filter(|line| line.contains(id)).count(), 1, "{id}: {lines:?}");
    }
    assert_eq!(found.iter().filter(|(q0, ..)| *q0).count(), 1, "{lines:?}");
    assert_eq!(found.iter().filter(|(_, q1, _)| *q1).count(), 2, "{lines:?}");
    assert_eq!(found.iter().filter(|(.., q2)| *q2).count(), 1, "{lines:?}");
}

#[test]
fn a_shared_subscription_gets_nothing_retained_and_ends_with_its_unsubscribe() {
    let node = Node::new(&[]);
    let mut publisher = node.id(node.id_on(0, "publisher"));
    let mut retained = publish(V5, Q0, 0, "kept");
    retained[0] |= 1;
    publisher.send(retained).until_pong();
    let mut member = node.id(node.id_on(1, "member"));
    member.subscribe("$share/g/t", 0);
    assert_eq!(member.until_pong(), Vec::<String>::new());
    member.send(unsubscribe(V5, 2, &["t", "$share/g/t"]));
    assert_eq!(member.line(), "UNSUBACK #2 [11, 00]");
    send(&mut publisher, Q0, 0..5);
    assert_eq!(member.until_pong(), Vec::<String>::new());
    assert_eq!(node.metric(Metric::DroppedNoSubscribers), 6);
}

#[test]
fn where_the_configuration_says_no_the_subscription_is_refused() {
    let node = Node::new(&["mqtt.shared_subscription=false"]);
    let mut client = node.id("a");
    client.send(subscribe(V5, 1, 0, &[("$share/g/t", 1)]));
    assert_eq!(client.line(), "SUBACK #1 [9e]");
}

#[test]
fn who_has_a_connection_gets_the_messages_and_where_all_are_away_one_queues_them() {
    let node = Node::new(&[]);
    let (away, here) = (node.id_on(0, "away"), node.id_on(1, "here"));
    let mut publisher = node.id(node.id_on(0, "publisher"));
    for id in [away, here] {
        kept(&node, id).subscribe("$share/g/t", 1);
    }
    node.until("both away", || node.count().1 == 1);
    let mut member = kept(&node, here);
    send(&mut publisher, Q1, 0..20);
    assert_eq!(payloads(&mut member), numbers(20));
    for number in 1..=20 {
        member.send(puback(number));
    }
    member.until_pong();
    drop(member);
    node.until("both away", || node.count().1 == 1);
    send(&mut publisher, Q1, 0..20);
    let mut all: Vec<u32> =
        [away, here].iter().flat_map(|id| payloads(&mut kept(&node, id))).map(|p| p.parse().unwrap()).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, (0..20).collect::<Vec<_>>(), "each is queued for somebody");
}

#[test]
fn what_a_member_that_goes_has_not_acknowledged_at_qos_1_goes_to_another() {
    for is_kept in [false, true] {
        let node = Node::new(&["mqtt.max_inflight=5"]);
        let id = node.id_on(1, "leaver");
        let mut leaver = if is_kept { kept(&node, id) } else { node.id(id) };
        leaver.subscribe("$share/g/t", 1);
        let mut publisher = node.id(node.id_on(0, "publisher"));
        send(&mut publisher, Q1, 0..20);
        assert_eq!(payloads(&mut leaver), numbers(5), "5 in flight, 15 queued");
        let mut other = node.id(node.id_on(0, "other"));
        other.subscribe("$share/g/t", 1);
        drop(leaver);
        let mut got = Vec::new();
        node.until("all of it with the other", || {
            for line in other.until_pong() {
                let (payload, id) = line["PUBLISH t=".len()..].split_once(" q1 #").unwrap();
                other.send(puback(id.split(' ').next().unwrap().parse().unwrap()));
                got.push(payload.to_owned());
            }
            got.len() >= 20
        });
        assert_eq!(got, numbers(20), "in their order");
        assert_eq!(node.metric(Metric::SharedRedispatched), 20);
        if is_kept {
            assert_eq!(payloads(&mut kept(&node, id)), Vec::<String>::new(), "it is not sent twice");
        }
    }
}

#[test]
fn what_was_sent_at_qos_2_stays_with_its_member_and_what_was_not_goes() {
    let node = Node::new(&["mqtt.max_inflight=5"]);
    let id = node.id_on(1, "leaver");
    let mut leaver = kept(&node, id);
    leaver.subscribe("$share/g/t", 2);
    let mut publisher = node.id(node.id_on(0, "publisher"));
    send(&mut publisher, Q2, 0..8);
    assert_eq!(payloads(&mut leaver), numbers(5));
    let mut other = node.id(node.id_on(0, "other"));
    other.subscribe("$share/g/t", 2);
    drop(leaver);
    let mut got = Vec::new();
    node.until("the rest with the other", || {
        got.append(&mut payloads(&mut other));
        got.len() >= 3
    });
    assert_eq!(got, ["5", "6", "7"]);
    assert_eq!(payloads(&mut kept(&node, id)), numbers(5), "exactly once is one member's to finish");
}

#[test]
fn who_unsubscribes_keeps_what_it_was_sent_and_leaves_what_was_queued() {
    let node = Node::new(&["mqtt.max_inflight=5"]);
    let mut leaver = node.id(node.id_on(1, "leaver"));
    leaver.subscribe("$share/g/t", 1);
    let mut publisher = node.id(node.id_on(0, "publisher"));
    send(&mut publisher, Q1, 0..8);
    assert_eq!(payloads(&mut leaver), numbers(5));
    let mut other = node.id(node.id_on(0, "other"));
    other.subscribe("$share/g/t", 1);
    leaver.send(unsubscribe(V5, 2, &["$share/g/t"]));
    assert_eq!(leaver.line(), "UNSUBACK #2 [00]");
    for number in 1..=5 {
        leaver.send(puback(number));
    }
    assert_eq!(leaver.until_pong(), Vec::<String>::new());
    assert_eq!(payloads(&mut other), ["5", "6", "7"]);
}
