//! WebSocket beyond what well-behaved clients do.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::mqtt::Version;
use crate::node::{Io, Node, frame, http_answer, read_frame, request, soon};

async fn node() -> Node {
    Node::start(&["listeners.ws.default.bind=127.0.0.1:0", "mqtt.connect_timeout=2s"]).await
}

async fn dial(node: &Node) -> Io {
    Box::new(TcpStream::connect(node.address("ws:default")).await.unwrap())
}

async fn upgraded(node: &Node) -> Io {
    let mut stream = dial(node).await;
    stream.write_all(&request("/mqtt", Some("mqtt"))).await.unwrap();
    assert!(http_answer(&mut stream).await.starts_with("HTTP/1.1 101 "));
    stream
}

async fn connected(node: &Node, id: &str) -> Io {
    let mut stream = upgraded(node).await;
    stream.write_all(&frame(0x82, &Version::V311.connect(id))).await.unwrap();
    assert_eq!(next(&mut stream).await, Some((0x82, vec![0x20, 2, 0, 0])));
    stream
}

async fn next(stream: &mut Io) -> Option<(u8, Vec<u8>)> {
    soon("a frame", read_frame(stream)).await
}

#[tokio::test]
async fn requests_that_are_no_upgrade_to_mqtt_are_refused_by_status() {
    let node = node().await;
    for (request, status) in [
        (request("/other", Some("mqtt")), "404"),
        (request("/mqtt", None), "400"),
        (request("/mqtt", Some("chat")), "400"),
        (b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0".to_vec(), "400"),
        ([b"GET /mqtt HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 9000]].concat(), "431"),
    ] {
        let mut stream = dial(&node).await;
        stream.write_all(&request).await.unwrap();
        let answer = http_answer(&mut stream).await;
        assert_eq!(answer.get(9..12), Some(status), "{answer}");
        assert_eq!(soon("an end", stream.read(&mut [0; 8])).await.unwrap_or(0), 0);
    }
    node.until_metric("listener.websocket.refused", 5).await;
    let mut old = dial(&node).await;
    old.write_all(&request("/mqtt", Some("mqttv3.1"))).await.unwrap();
    assert!(http_answer(&mut old).await.contains("mqttv3.1"));
}

#[tokio::test]
async fn packets_may_be_cut_and_joined_by_frames_and_pings_come_between() {
    let node = node().await;
    let mut stream = connected(&node, "cut").await;
    let subscribe = Version::V311.subscribe("t", 0);
    stream.write_all(&frame(0x02, &subscribe[..3])).await.unwrap();
    stream.write_all(&frame(0x89, b"still there?")).await.unwrap();
    assert_eq!(next(&mut stream).await, Some((0x8a, b"still there?".to_vec())));
    stream.write_all(&frame(0x00, &[])).await.unwrap();
    stream.write_all(&frame(0x80, &subscribe[3..])).await.unwrap();
    assert_eq!(next(&mut stream).await, Some((0x82, vec![0x90, 3, 0, 7, 0])));
    let both = [Version::V311.publish("t", 0, b"1"), Version::V311.publish("t", 0, b"2"), vec![0xc0, 0]].concat();
    stream.write_all(&frame(0x82, &both)).await.unwrap();
    let mut came = Vec::new();
    while came.len() < both.len() {
        let (first, payload) = next(&mut stream).await.unwrap();
        assert_eq!(first, 0x82);
        came.extend(payload);
    }
    let pings = came.windows(2).filter(|it| it == b"\xd0\0").count();
    assert_eq!((pings, came.len()), (1, both.len()), "{came:?}");
}

#[tokio::test]
async fn frames_behind_the_request_are_not_lost() {
    let node = node().await;
    let mut stream = dial(&node).await;
    let hasty = [request("/mqtt", Some("mqtt")), frame(0x82, &Version::V311.connect("hasty"))].concat();
    stream.write_all(&hasty).await.unwrap();
    assert!(http_answer(&mut stream).await.starts_with("HTTP/1.1 101 "));
    assert_eq!(next(&mut stream).await, Some((0x82, vec![0x20, 2, 0, 0])));
}

#[tokio::test]
async fn what_breaks_the_framing_is_told_why_and_closed() {
    let node = node().await;
    for (at, (bytes, code)) in [
        (frame(0x81, b"text"), 1003_u16),
        (vec![0x82, 2, 0xc0, 0], 1002),
        (frame(0xc2, &[0xc0, 0]), 1002),
        (frame(0x80, &[0xc0, 0]), 1002),
        (vec![0x82, 0xff, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 1, 2, 3, 4], 1009),
    ]
    .into_iter()
    .enumerate()
    {
        for is_client in [false, true] {
            let id = format!("broken-{at}");
            let mut stream = if is_client { connected(&node, &id).await } else { upgraded(&node).await };
            stream.write_all(&bytes).await.unwrap();
            assert_eq!(next(&mut stream).await, Some((0x88, code.to_be_bytes().to_vec())), "{bytes:?}");
            assert_eq!(next(&mut stream).await, None);
        }
    }
}

#[tokio::test]
async fn a_close_is_answered_and_a_disconnect_is_followed_by_one() {
    let node = node().await;
    let mut stream = connected(&node, "closes").await;
    stream.write_all(&frame(0x88, &1001_u16.to_be_bytes())).await.unwrap();
    assert_eq!(next(&mut stream).await, Some((0x88, 1001_u16.to_be_bytes().to_vec())));
    assert_eq!(next(&mut stream).await, None);
    let mut stream = connected(&node, "leaves").await;
    stream.write_all(&frame(0x82, &[0xe0, 0])).await.unwrap();
    assert_eq!(next(&mut stream).await, Some((0x88, 1000_u16.to_be_bytes().to_vec())));
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn a_request_that_never_ends_is_closed_in_time() {
    let node = Node::start(&["listeners.ws.default.bind=127.0.0.1:0", "mqtt.connect_timeout=200ms"]).await;
    let mut stream = dial(&node).await;
    stream.write_all(b"GET /mqtt HTTP/1.1\r\n").await.unwrap();
    assert_eq!(soon("an end", stream.read(&mut [0; 8])).await.unwrap_or(0), 0);
}
