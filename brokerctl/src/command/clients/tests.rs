//! Golden tests of `brokerctl clients`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::list::render as render_list;

fn rows() -> Vec<ClientRow> {
    let pump = Client {
        client_id: "pump".into(),
        username: Some("ada".into()),
        peername: "127.0.0.1:59441".into(),
        listener: "tcp:default".into(),
        proto_ver: 5,
        clean_start: true,
        keepalive: 60,
        session_expiry_interval: 7200,
        subscriptions: 1,
        inflight: 2,
        awaiting_rel: 3,
        delivered_msgs: 4530,
        enqueued_msgs: 4,
        enqueued_bytes: 400,
        dropped_msgs: 5,
        received_msgs: 6,
        connected: true,
        created_at: 1_684_736_435_155,
        connected_at: 1_684_736_435_155,
        disconnected_at: 0,
        epoch: 9,
        kept: "memory".into(),
        expires_in: None,
    };
    let away = Client {
        client_id: "valve\u{1b}[31m".into(),
        username: None,
        connected: false,
        proto_ver: 4,
        disconnected_at: 1_684_736_436_000,
        ..pump.clone()
    };
    vec![ClientRow::new("n1", pump), ClientRow::new("n2", away)]
}

#[test]
fn the_table_shows_what_an_operator_looks_for() {
    let expected = "\
CLIENTID         USERNAME   PEERNAME         NODE  PROTO_VER  CONNECTED  SUBSCRIPTIONS  INFLIGHT  DELIVERED_MSGS  ENQUEUED_MSGS  DROPPED_MSGS
pump             ada        127.0.0.1:59441  n1    5          true       1              2         4530            4              5
valve\\u{1b}[31m  undefined  127.0.0.1:59441  n2    4          false      1              2         4530            4              5
";
    assert_eq!(render_list(&rows(), Format::Table), expected);
}

#[test]
fn a_list_is_one_json_array_with_the_keys_of_emqx_ctl_in_order() {
    let expected = r#"[
{"clientid":"pump","username":"ada","peername":"127.0.0.1:59441","clean_start":true,"keepalive":60,"session_expiry_interval":7200,"subscriptions":1,"inflight":2,"awaiting_rel":3,"delivered_msgs":4530,"enqueued_msgs":4,"dropped_msgs":5,"connected":true,"created_at":1684736435155,"connected_at":1684736435155,"node":"n1","proto_ver":5,"listener":"tcp:default","received_msgs":6,"enqueued_bytes":400,"epoch":9},
{"clientid":"valve\u001b[31m","username":null,"peername":"127.0.0.1:59441","clean_start":true,"keepalive":60,"session_expiry_interval":7200,"subscriptions":1,"inflight":2,"awaiting_rel":3,"delivered_msgs":4530,"enqueued_msgs":4,"dropped_msgs":5,"connected":false,"created_at":1684736435155,"connected_at":1684736435155,"disconnected_at":1684736436000,"node":"n2","proto_ver":4,"listener":"tcp:default","received_msgs":6,"enqueued_bytes":400,"epoch":9}
]
"#;
    assert_eq!(render_list(&rows(), Format::Json), expected);
    assert_eq!(render_list::<ClientRow>(&[], Format::Json), "[]\n");
}

#[test]
fn show_prints_every_field() {
    let mut out = Vec::new();
    render(&rows()[1], Format::Table, &mut out).unwrap();
    let expected = "\
clientid                : valve\\u{1b}[31m
username                : undefined
peername                : 127.0.0.1:59441
clean_start             : true
keepalive               : 60
session_expiry_interval : 7200
subscriptions           : 1
inflight                : 2
awaiting_rel            : 3
delivered_msgs          : 4530
enqueued_msgs           : 4
dropped_msgs            : 5
connected               : false
created_at              : 2023-05-22T06:20:35.155Z
connected_at            : 2023-05-22T06:20:35.155Z
disconnected_at         : 2023-05-22T06:20:36.000Z
node                    : n2
proto_ver               : 4
listener                : tcp:default
received_msgs           : 6
enqueued_bytes          : 400
epoch                   : 9
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn show_in_json_is_one_object_with_the_fields_of_the_table() {
    let mut out = Vec::new();
    render(&rows()[1], Format::Json, &mut out).unwrap();
    let object: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let names: Vec<_> = rows()[1].fields().into_iter().map(|(name, _)| name).collect();
    assert_eq!(object.as_object().unwrap().len(), names.len());
    for name in names {
        assert!(object.get(name).is_some(), "{name} is missing");
    }
}

#[test]
fn counts_are_by_node_and_in_all() {
    let mut counts = Counts { total: 5, connected: 3, ..Counts::default() };
    counts.nodes.insert("n2".into(), NodeCount { total: 4, connected: 2 });
    counts.nodes.insert("n1".into(), NodeCount { total: 1, connected: 1 });
    let mut out = Vec::new();
    render_counts(&counts, Format::Table, true, &mut out).unwrap();
    let table = "NODE  TOTAL  CONNECTED\nn1    1      1\nn2    4      2\nall   5      3\n";
    assert_eq!(String::from_utf8(std::mem::take(&mut out)).unwrap(), table);
    render_counts(&counts, Format::Json, true, &mut out).unwrap();
    let expected = r#"{
  "total": 5,
  "connected": 3,
  "nodes": {
    "n1": {
      "total": 1,
      "connected": 1
    },
    "n2": {
      "total": 4,
      "connected": 2
    }
  }
}
"#;
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
