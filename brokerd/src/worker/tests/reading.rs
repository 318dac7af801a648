//! Packets and segments: one byte at a time, a thousand at once, larger than any buffer.

use super::packets::*;
use super::*;

#[test]
fn a_packet_that_comes_byte_by_byte_is_the_same() {
    let node = Node::new(&[]);
    let mut client = node.stranger(V5);
    let all = [
        Connect { client_id: "bytes", ..Connect::new(V5) }.bytes(),
        subscribe(V5, 1, 0, &[("t", 0)]),
        publish(V5, Q1, 2, "x"),
    ];
    for byte in all.concat() {
        client.send([byte]);
    }
    let lines = [client.line(), client.line(), client.line(), client.line()];
    assert_eq!(lines[..2], ["CONNACK 0x00", "SUBACK #1 [00]"]);
    assert!(lines[2..].contains(&"PUBACK #2".to_owned()) && lines[2..].contains(&"PUBLISH t=x q0".to_owned()));
}

#[test]
fn what_follows_connect_in_the_same_segment_is_handled_after_it_in_order() {
    let node = Node::new(&[]);
    let mut client = node.stranger(V5);
    let mut bytes = Connect { client_id: "hasty", ..Connect::new(V5) }.bytes();
    bytes.extend(subscribe(V5, 1, 0, &[("t", 0)]));
    for number in 0..1000 {
        bytes.extend(publish(V5, Q0, 0, &number.to_string()));
    }
    bytes.extend(pingreq());
    client.send(bytes);
    assert_eq!((client.line(), client.line()), ("CONNACK 0x00".into(), "SUBACK #1 [00]".into()));
    for number in 0..1000 {
        assert_eq!(client.line(), format!("PUBLISH t={number} q0"));
    }
    assert_eq!(client.line(), "PINGRESP");
}

#[test]
fn a_violation_in_the_same_segment_as_connect_is_told_after_the_connack() {
    let node = Node::new(&[]);
    for id in ["hasty-0", "hasty-1", "hasty-2", "hasty-3"] {
        let mut client = node.stranger(V5);
        client.send([Connect { client_id: id, ..Connect::new(V5) }.bytes(), vec![0xc1, 0]].concat());
        assert_eq!((client.line(), client.line()), ("CONNACK 0x00".into(), "DISCONNECT 0x81".into()));
        assert_eq!(client.next(), None);
    }
}

#[test]
fn a_packet_larger_than_the_read_buffer_is_whole_in_the_end_and_so_is_what_follows() {
    let node = Node::new(&[]);
    let mut client = node.id("large");
    client.subscribe("t", 0);
    let payload: String = ('a'..='z').cycle().take(700_000).collect();
    for _ in 0..3 {
        client.send([publish(V5, Q0, 0, &payload), pingreq(), publish(V5, Q0, 0, "small")].concat());
        let mut lines = vec![client.line(), client.line(), client.line()];
        lines.retain(|line| line != "PINGRESP");
        assert!(lines == [format!("PUBLISH t={payload} q0"), "PUBLISH t=small q0".into()]);
    }
}

#[test]
fn a_packet_over_the_maximum_is_refused_by_its_header() {
    let node = Node::new(&[]);
    let mut client = node.id("too-large");
    client.send([0x30, 0xFF, 0xFF, 0xFF, 0x7F]);
    assert_eq!((client.line(), client.next()), ("DISCONNECT 0x95".into(), None));
}

#[test]
fn nothing_behind_a_disconnect_is_handled() {
    let node = Node::new(&[]);
    let mut watcher = node.id("watcher");
    watcher.subscribe("t", 0);
    let mut client = node.id("leaves");
    client.send([publish(V5, Q0, 0, "before"), disconnect(0, None), publish(V5, Q0, 0, "behind")].concat());
    assert_eq!(client.next(), None);
    node.until("gone", || node.count() == (1, 1));
    assert_eq!(watcher.until_pong(), ["PUBLISH t=before q0"]);
}

#[test]
fn a_violation_is_named_closes_that_connection_and_sends_its_will() {
    let node = Node::new(&[]);
    let mut watcher = node.id("watcher");
    watcher.subscribe("will", 0);
    let connect = Connect { client_id: "breaks", ..Connect::new(V5) };
    let faults = [
        (publish_with(V5, Q0, 0, false, "t", &[35, 0, 99], "x"), "DISCONNECT 0x94"),
        (disconnect(0, Some(5)), "DISCONNECT 0x82"),
        (connect.bytes(), "DISCONNECT 0x82"),
        (vec![0xF1], "DISCONNECT 0x81"),
    ];
    for (fault, line) in faults {
        let mut client = node.client(connect.clone().will(0));
        client.send(&fault);
        assert_eq!((client.line(), client.next()), (line.into(), None), "{fault:02x?}");
        assert_eq!(watcher.line(), "PUBLISH will=w q0");
    }
    assert_eq!(node.metric(crate::metrics::Metric::ProtocolErrors), 4);
}

#[test]
fn a_stranger_whose_first_packet_is_not_connect_is_closed_without_a_word() {
    let node = Node::new(&[]);
    let mut stranger = node.stranger(V5);
    stranger.send(pingreq());
    assert_eq!(stranger.next(), None);
}
