//! Topic aliases towards the client. The server of these tests sets two at most.

use super::packets::*;
use super::*;

/// Connected, and takes so many aliases.
fn taking(maximum: u16) -> Pair {
    let mut pair = Pair::new(Version::V5);
    pair.attach(Connect::kept(Version::V5).property(34, &maximum.to_be_bytes()));
    pair
}

fn to(pair: &mut Pair, topic: &str, payload: &str) -> Vec<String> {
    pair.deliver_message(Q0, Message::new(topic, &[], payload.as_bytes()));
    pair.sent()
}

#[test]
fn the_first_topics_get_aliases_which_then_stand_for_them() {
    let mut pair = taking(9);
    assert_eq!(to(&mut pair, "plant/a", "1"), ["PUBLISH plant/a=1 q0 alias=1"]);
    assert_eq!(to(&mut pair, "plant/b", "2"), ["PUBLISH plant/b=2 q0 alias=2"]);
    assert_eq!(to(&mut pair, "plant/c", "3"), ["PUBLISH plant/c=3 q0"], "our own bound is two");
    assert_eq!(to(&mut pair, "plant/a", "4"), ["PUBLISH =4 q0 alias=1"]);
    assert_eq!(to(&mut pair, "plant/b", "5"), ["PUBLISH =5 q0 alias=2"]);
}

#[test]
fn no_more_are_set_than_the_client_takes() {
    let mut pair = taking(1);
    assert_eq!(to(&mut pair, "plant/a", "1"), ["PUBLISH plant/a=1 q0 alias=1"]);
    assert_eq!(to(&mut pair, "plant/b", "2"), ["PUBLISH plant/b=2 q0"], "[MQTT-3.1.2-26]");
    let mut pair = taking(0);
    assert_eq!(to(&mut pair, "plant/a", "1"), ["PUBLISH plant/a=1 q0"], "[MQTT-3.1.2-27]");
    assert!(pair.session.connection().unwrap().ours.is_none(), "it costs nothing");
}

#[test]
fn version_3_1_1_and_who_asks_for_none_get_names() {
    for mut pair in [Pair::v311(), Pair::v5()] {
        for _ in 0..2 {
            assert_eq!(to(&mut pair, "plant/a", "1"), ["PUBLISH plant/a=1 q0"]);
        }
    }
}

#[test]
fn a_name_that_is_as_short_as_an_alias_or_too_long_to_keep_has_none() {
    let mut pair = taking(2);
    for topic in ["abc", &"x".repeat(1025)] {
        for _ in 0..2 {
            assert_eq!(to(&mut pair, topic, "1"), [format!("PUBLISH {topic}=1 q0")]);
        }
    }
    assert_eq!(to(&mut pair, "abcd", "1"), ["PUBLISH abcd=1 q0 alias=1"]);
}

#[test]
fn a_new_connection_knows_no_alias_and_what_is_sent_again_has_its_name() {
    let mut pair = taking(2);
    pair.deliver_message(Q1, Message::new("plant/a", &[], b"1"));
    pair.deliver_message(Q1, Message::new("plant/a", &[], b"2"));
    assert_eq!(pair.sent(), ["PUBLISH plant/a=1 q1 #1 alias=1", "PUBLISH =2 q1 #2 alias=1"]);
    let _ = pair.lost();
    pair.attach(Connect::kept(Version::V5).property(34, &[0, 2]));
    assert_eq!(pair.sent(), ["PUBLISH plant/a=1 q1 #1 dup alias=1", "PUBLISH =2 q1 #2 dup alias=1"]);
    let _ = pair.lost();
    pair.attach(Connect::kept(Version::V5));
    assert_eq!(pair.sent(), ["PUBLISH plant/a=1 q1 #1 dup", "PUBLISH plant/a=2 q1 #2 dup"]);
}

#[test]
fn an_alias_never_makes_a_packet_too_large_and_may_make_one_fit() {
    let mut pair = Pair::new(Version::V5);
    pair.attach(Connect::kept(Version::V5).property(34, &[0, 2]).maximum_packet_size(20));
    // Two bytes of header, nine of topic, one of property length: eight are left, five with an alias.
    assert_eq!(to(&mut pair, "plant/a", "12345678"), ["PUBLISH plant/a=12345678 q0"], "as if there were none");
    assert_eq!(to(&mut pair, "plant/a", "12345"), ["PUBLISH plant/a=12345 q0 alias=1"]);
    assert_eq!(to(&mut pair, "plant/a", "123456789012"), ["PUBLISH =123456789012 q0 alias=1"]);
    assert_eq!(to(&mut pair, "plant/a", "1234567890123"), Vec::<String>::new());
    assert_eq!(pair.tally().too_large, 1);
    assert_eq!(to(&mut pair, "plant/long/name/here", "1"), Vec::<String>::new());
    assert_eq!(to(&mut pair, "plant/b", "1"), ["PUBLISH plant/b=1 q0 alias=2"], "what was not sent set no alias");
}

#[test]
fn a_hundred_messages_of_one_topic_cost_its_name_once() {
    let bytes = |maximum| {
        let mut pair = taking(maximum);
        for _ in 0..100 {
            pair.deliver_message(Q0, Message::new("plant/hall/3/pump/7/temperature", &[], b"21.5"));
        }
        pair.out.wire.len()
    };
    assert_eq!(bytes(0) - bytes(1), 99 * 31 - 100 * 3, "31 bytes a name, three a property");
}
