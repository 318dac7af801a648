#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

const fn message(number: u32) -> Message {
    Message { publisher: 1, number }
}

/// One receiver of `t/#` since 0; message n is sent at 10 n and acknowledged 5 later.
fn history(count: u32) -> History {
    let subscription = Subscription { filter: "t/#".into(), asked: at(0), begun: Some(at(1)), left: None, ended: None };
    let receiver = Receiver { name: "r".into(), subscriptions: vec![subscription], deliveries: vec![] };
    let publications = (1..=count).map(|number| {
        let sent = at(10 * u64::from(number));
        let acknowledged = Some(sent + at(5));
        (message(number), Publication { topic: "t/a".into(), qos: 2, sent, is_resent: false, acknowledged })
    });
    History { publications: publications.collect(), receivers: vec![receiver], ..History::default() }
}

fn comes(history: &mut History, at_millis: u64, number: u32) {
    let delivery =
        Delivery { at: at(at_millis), session: 1, message: message(number), topic: "t/a".into(), qos: 2, dup: false };
    history.receivers[0].deliveries.push(delivery);
}

fn killed(history: &mut History, millis: u64, mended: u64) {
    history.faults.push(Fault { struck: (at(millis), at(millis + 1)), mended: Some(at(mended)) });
}

fn broken(promises: Promises, history: &History) -> Vec<Promise> {
    promises.judge(history).into_iter().map(|broken| broken.promise).collect()
}

fn of_both(history: &History) -> (Vec<Promise>, Vec<Promise>) {
    (broken(Promises::of_one_node(), history), broken(Promises::of_many_nodes(), history))
}

#[test]
fn a_run_in_which_everything_came_once_and_in_order_is_accepted() {
    let mut history = history(3);
    (1..=3).for_each(|number| comes(&mut history, 100, number));
    assert_eq!(of_both(&history), (vec![], vec![]));
}

#[test]
fn an_acknowledged_message_that_never_came_is_refused_also_where_a_node_was_killed() {
    let mut history = history(3);
    comes(&mut history, 100, 1);
    comes(&mut history, 100, 3);
    killed(&mut history, 22, 200);
    assert_eq!(of_both(&history), (vec![Promise::NothingMissing], vec![Promise::NothingMissing]));
}

#[test]
fn what_was_under_way_between_nodes_that_did_not_hear_of_each_other_need_not_come_and_all_else_must() {
    let mut history = history(3);
    history.homes = 2;
    let mut severed = |pair| {
        let pairs = BTreeSet::from([pair]);
        history.severances = vec![Severance { begun: at(20), ended: Some(at(29)), pairs }];
        (broken(Promises::of_one_node(), &history).len(), history.missing().count())
    };
    assert_eq!(severed((1, 0)), (2, 2), "publisher 1 and receiver 0: of three messages the second is excused");
    assert_eq!(severed((0, 1)), (3, 3), "others were severed");
}

#[test]
fn what_was_not_acknowledged_or_came_before_the_subscription_need_not_come() {
    let mut history = history(2);
    history.publications.get_mut(&message(1)).unwrap().acknowledged = None;
    history.receivers[0].subscriptions[0].begun = Some(at(20)); // the second was sent in that moment
    assert_eq!(of_both(&history), (vec![], vec![]));
    history.receivers[0].subscriptions[0].begun = Some(at(19));
    assert_eq!(broken(Promises::of_one_node(), &history), [Promise::NothingMissing]);
}

#[test]
fn a_message_that_came_to_another_receiver_only_is_missing() {
    let mut history = history(1);
    let mut other = history.receivers[0].clone();
    other.name = "other".into();
    comes(&mut history, 100, 1);
    history.receivers.push(other);
    let broken = Promises::of_many_nodes().judge(&history);
    assert!(broken.len() == 1 && broken[0].what.starts_with("other:"), "{broken:?}");
}

#[test]
fn a_second_copy_at_qos_2_is_refused_unless_it_was_under_way_when_one_of_several_nodes_was_killed() {
    let mut history = history(2);
    [1, 2, 1].into_iter().for_each(|number| comes(&mut history, 100, number));
    assert_eq!(of_both(&history), (vec![Promise::OnceAtQos2], vec![Promise::OnceAtQos2]));
    killed(&mut history, 16, 200); // after its acknowledgement
    assert_eq!(of_both(&history).1, [Promise::OnceAtQos2]);
    killed(&mut history, 12, 200);
    assert_eq!(of_both(&history), (vec![Promise::OnceAtQos2], vec![]));
    history.faults = vec![];
    killed(&mut history, 5, 200); // before it was sent
    assert_eq!(of_both(&history).1, [Promise::OnceAtQos2]);
    history.publications.get_mut(&message(1)).unwrap().is_resent = true;
    assert_eq!(of_both(&history), (vec![Promise::OnceAtQos2], vec![]));
}

#[test]
fn at_qos_1_a_second_copy_is_accepted() {
    let mut history = history(1);
    [1, 1].into_iter().for_each(|number| comes(&mut history, 100, number));
    history.receivers[0].deliveries.iter_mut().for_each(|delivery| delivery.qos = 1);
    assert_eq!(of_both(&history), (vec![], vec![]));
}

#[test]
fn a_message_after_a_later_one_of_its_publisher_and_topic_is_refused() {
    let mut history = history(2);
    [2, 1].into_iter().for_each(|number| comes(&mut history, 100, number));
    assert_eq!(of_both(&history), (vec![Promise::Order], vec![Promise::Order]));
    killed(&mut history, 12, 200); // but the first was acknowledged before the second was sent
    assert_eq!(of_both(&history).1, [Promise::Order]);
    history.publications.get_mut(&message(1)).unwrap().acknowledged = Some(at(30));
    assert_eq!(of_both(&history), (vec![Promise::Order], vec![]));
    history.faults[0] = Fault { struck: (at(31), at(32)), mended: Some(at(200)) };
    assert_eq!(of_both(&history).1, [Promise::Order], "nothing was wrong while it was under way");
}

#[test]
fn other_topics_and_publishers_have_no_order_and_a_repetition_has_none() {
    let mut history = history(3);
    history.publications.get_mut(&message(2)).unwrap().topic = "t/b".into();
    [1, 3, 2].into_iter().for_each(|number| comes(&mut history, 100, number));
    history.receivers[0].deliveries[2].topic = "t/b".into();
    assert_eq!(of_both(&history), (vec![], vec![]));
    comes(&mut history, 110, 1);
    history.receivers[0].deliveries.iter_mut().for_each(|delivery| delivery.qos = 1);
    assert_eq!(of_both(&history), (vec![], vec![]));
}

#[test]
fn a_message_that_was_published_after_unsuback_is_refused() {
    let mut history = history(1); // sent at 10
    comes(&mut history, 100, 1);
    let subscription = &mut history.receivers[0].subscriptions[0];
    (subscription.left, subscription.ended) = (Some(at(8)), None);
    assert_eq!(of_both(&history), (vec![], vec![]), "UNSUBACK has not come");
    history.receivers[0].subscriptions[0].ended = Some(at(11));
    assert_eq!(of_both(&history), (vec![], vec![]), "it may have been queued");
    history.receivers[0].subscriptions[0].ended = Some(at(9));
    assert_eq!(of_both(&history).0, [Promise::NothingAfterUnsuback]);
    let again = Subscription { asked: at(99), ended: None, ..history.receivers[0].subscriptions[0].clone() };
    history.receivers[0].subscriptions.push(again);
    assert_eq!(of_both(&history), (vec![], vec![]), "it was asked for again");
}

#[test]
fn what_came_in_no_order_because_it_was_subscribed_to_between_the_publish_and_its_repetition_is_accepted() {
    let mut history = history(2);
    [2, 1].into_iter().for_each(|number| comes(&mut history, 100, number));
    history.receivers[0].subscriptions[0].begun = Some(at(15));
    assert_eq!(of_both(&history).0, [Promise::Order], "it was not repeated");
    history.publications.get_mut(&message(1)).unwrap().is_resent = true;
    assert_eq!(of_both(&history).0, []);
    history.receivers[0].subscriptions[0].begun = Some(at(5));
    assert_eq!(of_both(&history).0, [Promise::Order], "there was a place for it all the time");
}

#[test]
fn what_was_never_subscribed_to_is_refused() {
    let mut history = history(1);
    comes(&mut history, 100, 1);
    history.receivers[0].subscriptions[0].filter = "t/+/x".into();
    assert_eq!(of_both(&history).0, [Promise::NothingAfterUnsuback]);
    for filter in ["#", "t/#", "t/a/#", "+/+", "t/a"] {
        history.receivers[0].subscriptions[0].filter = filter.into();
        assert_eq!(of_both(&history).0, [], "{filter}");
    }
    for filter in ["t", "+", "t/a/+", "t/b", "u/#"] {
        history.receivers[0].subscriptions[0].filter = filter.into();
        assert_eq!(of_both(&history).0, [Promise::NothingAfterUnsuback], "{filter}");
    }
}

#[test]
fn a_session_that_is_gone_or_is_there_against_its_client_s_will_is_refused() {
    let connection = |is_present, expected| Connection { client: "c".into(), node: 1, at: at(1), is_present, expected };
    let mut history = history(0);
    history.connections = vec![connection(true, Some(true)), connection(false, Some(false)), connection(true, None)];
    assert_eq!(of_both(&history), (vec![], vec![]));
    history.connections = vec![connection(false, Some(true)), connection(true, Some(false))];
    assert_eq!(of_both(&history).1, [Promise::SessionPresent; 2]);
}

#[test]
fn a_payload_gives_its_message_back() {
    let message = Message { publisher: 513, number: 70_000 };
    assert_eq!(Message::decode(&[&message.encode()[..], b"more"].concat()), Some(message));
    assert_eq!(Message::decode(b"short"), None);
}
