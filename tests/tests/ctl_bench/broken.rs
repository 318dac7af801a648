//! Brokers that break their promises, by a relay that meddles with what they deliver: the report says how often, and the
//! exit code says that.

use std::net::SocketAddr;

use serde_json::Value;
use tests::ctl::{Answer, Ctl};
use tests::node::{Node, NodeOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{assert_figures, bench, node};

/// What happens to every tenth PUBLISH.
#[derive(Clone, Copy, Debug)]
enum Mischief {
    Lose,
    Repeat,
    /// It goes after the next one.
    Delay,
    /// The connection ends before it.
    Hang,
}

/// A relay before a node; its address.
async fn meddle(node: &Node, mischief: Mischief) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, broker) = (listener.local_addr().unwrap(), node.mqtt());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let node = TcpStream::connect(broker).await.unwrap();
            let ((mut from_client, to_client), (from_node, mut to_node)) = (client.into_split(), node.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_node).await });
            tokio::spawn(pass(from_node, to_client, mischief));
        }
    });
    address
}

async fn pass(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, mischief: Mischief) {
    let (mut number, mut late) = (0, vec![]);
    while let Ok(packet) = packet(&mut from).await {
        let is_publish = packet[0] >> 4 == 3;
        number += u32::from(is_publish);
        let is_chosen = is_publish && number % 10 == 0;
        let out = match mischief {
            Mischief::Lose if is_chosen => vec![],
            Mischief::Repeat if is_chosen => [packet.clone(), packet].concat(),
            Mischief::Delay if is_chosen => {
                late = packet;
                vec![]
            }
            Mischief::Delay if is_publish => [packet, std::mem::take(&mut late)].concat(),
            Mischief::Hang if is_chosen => return,
            _ => packet,
        };
        if to.write_all(&out).await.is_err() {
            return;
        }
    }
}

async fn packet(from: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut packet = vec![from.read_u8().await?];
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let byte = from.read_u8().await?;
        packet.push(byte);
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let start = packet.len();
    packet.resize(start + length, 0);
    from.read_exact(&mut packet[start..]).await?;
    Ok(packet)
}

async fn run(target: SocketAddr, line: &str) -> Answer {
    let target = target.to_string();
    let words = ["bench"].into_iter().chain(line.split(' ')).chain(["--target", &target, "--timeout", "700ms"]);
    Ctl::at("unix:/nowhere").run(&words.collect::<Vec<_>>()).await
}

/// Point to point through a relay: one publisher, 101 messages.
async fn through(mischief: Mischief, qos: u8) -> (Answer, String) {
    let node = node().await;
    let relay = meddle(&node, mischief).await;
    let line = format!("p2p --pairs 1 --qos {qos} --count 101 --rate 1000");
    (run(relay, &line).await, format!("{mischief:?} at QoS {qos}"))
}

#[tokio::test]
async fn a_message_that_never_comes_is_lost() {
    for qos in 0..=2 {
        let (answer, about) = through(Mischief::Lose, qos).await;
        assert_figures(&answer.json, &about, &[("sent", 101), ("delivered", 91), ("lost", 10)]);
        assert_eq!(answer.code, i32::from(qos > 0), "{about}: nothing is promised at QoS 0");
        assert_eq!(answer.stderr.contains("10 lost"), qos > 0, "{about}: {}", answer.stderr);
    }
}

#[tokio::test]
async fn a_message_that_comes_again_is_a_duplicate() {
    for qos in 0..=2 {
        let (answer, about) = through(Mischief::Repeat, qos).await;
        assert_figures(&answer.json, &about, &[("sent", 101), ("delivered", 101), ("lost", 0), ("duplicates", 10)]);
        assert_eq!(answer.code, i32::from(qos != 1), "{about}: at QoS 1 it may come again");
    }
}

#[tokio::test]
async fn a_message_that_comes_after_a_later_one_is_out_of_order() {
    let (answer, about) = through(Mischief::Delay, 0).await;
    assert_figures(&answer.json, &about, &[("delivered", 101), ("lost", 0), ("out_of_order", 10)]);
    assert_eq!(answer.code, 1, "{about}");
}

#[tokio::test]
async fn a_connection_that_breaks_is_counted_with_what_was_lost_by_it() {
    let (answer, about) = through(Mischief::Hang, 1).await;
    assert_figures(&answer.json, &about, &[("delivered", 9), ("lost", 92), ("broken_connections", 1)]);
    assert_eq!(answer.code, 1, "{about}");
}

#[tokio::test]
async fn a_queue_of_one_message_loses_all_others_and_the_drain_says_how_many() {
    let options = NodeOptions::alone("n1").set("persistence.queue_depth", "1");
    let node = Node::start(options).await;
    bench(&node, "offline prepare --sessions 3").await;
    bench(&node, "offline fill --sessions 3 --messages 30 --publishers 1").await;
    let answer = run(node.mqtt(), "offline drain --sessions 3 --messages 30").await;
    assert_figures(&answer.json, "drain", &[("delivered", 3), ("lost", 27)]);
    assert_eq!(answer.code, 1, "{}", answer.stderr);
}

#[tokio::test]
async fn what_cannot_be_measured_is_said_at_once() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let answer = run(nobody, "p2p").await;
    assert_eq!((answer.code, answer.json), (6, Value::Null), "{}", answer.stderr);
    assert!(answer.stderr.contains("refused"), "{}", answer.stderr);
    let node = node().await;
    for (line, code, why) in [
        ("conn --connections 9999999", 2, "raise `ulimit -n`"),
        ("p2p --pid 999999999", 2, "no such process"),
        ("idle", 2, "--pid is needed"),
        ("tls", 2, "--tls-ca is needed"),
        ("pub --size 15", 2, "15 is not in 16"),
        ("p2p --rate 5 --window 5", 2, "cannot be used with"),
    ] {
        let answer = run(node.mqtt(), line).await;
        assert_eq!(answer.code, code, "{line}: {}", answer.stderr);
        assert!(answer.stderr.contains(why), "{line}: {}", answer.stderr);
    }
}
