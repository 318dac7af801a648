//! Enhanced authentication over a real socket, with a mechanism that only these tests have (MQTT 5.0 section 4.12). The
//! program has none: what it answers is in `protocol_connect`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brokerd::access::{Conversation, Mechanism, Principal, Step};
use tests::in_process::InProcess;
use tests::packet::{self, Connect, DISCONNECT, PublishOut, Version, auth};
use tests::raw::Raw;
use tests::read::{Connack, Packet};

const CONTINUE: u8 = 0x18;
const AGAIN: u8 = 0x19;
const METHOD: &str = "MIRROR";

/// The client gives its name, is asked to mirror it, and is told good-bye. Names that begin with `!` are commands.
struct Mirror;

struct Mirroring {
    name: Option<String>,
}

impl Mechanism for Mirror {
    fn method(&self) -> &str {
        METHOD
    }

    fn begin(&self) -> Box<dyn Conversation> {
        Box::new(Mirroring { name: None })
    }
}

impl Conversation for Mirroring {
    fn step<'a>(&'a mut self, data: Option<&'a [u8]>) -> Pin<Box<dyn Future<Output = Step> + Send + 'a>> {
        Box::pin(async move {
            let said = String::from_utf8_lossy(data.unwrap_or_default()).into_owned();
            let Some(name) = &self.name else {
                self.name = Some(said);
                return Step::Continue(Box::from(*b"mirror"));
            };
            match name.as_str() {
                "!stall" => std::future::pending().await,
                "!endless" => Step::Continue(Box::from(*b"more")),
                name if said == mirrored(name) => Step::Success {
                    principal: Principal::User(name.into()),
                    data: Some(format!("welcome {name}").into_bytes().into()),
                },
                _ => Step::Failure,
            }
        })
    }
}

fn mirrored(name: &str) -> String {
    name.chars().rev().collect()
}

async fn node() -> InProcess {
    InProcess::start(&[], vec![Arc::new(Mirror)]).await
}

/// CONNECT that names the method and the user.
fn connect(client_id: &str, name: &str) -> Connect {
    Connect::v5(client_id).property(packet::authentication(METHOD, name.as_bytes()))
}

/// Sends CONNECT and reads the first AUTH.
async fn asked(node: &InProcess, connect: &Connect) -> Raw {
    let mut client = Raw::open(node.mqtt, Version::V5).await;
    client.send(&connect.encode()).await;
    expect_auth(&mut client, CONTINUE, "mirror").await;
    client
}

#[track_caller]
fn expect_auth<'a>(client: &'a mut Raw, code: u8, data: &'a str) -> impl Future<Output = ()> + 'a {
    let next = client.expect();
    async move {
        let Packet::Auth(found, properties) = next.await else { panic!("not an AUTH") };
        assert_eq!((found, properties.text(0x15), properties.text(0x16)), (code, Some(METHOD), Some(data)));
    }
}

async fn expect_connack(client: &mut Raw) -> Connack {
    match client.expect().await {
        Packet::Connack(connack) => connack,
        other => panic!("a CONNACK was expected, this came: {other:?}"),
    }
}

/// A client that has proved to be `name`.
async fn admitted(node: &InProcess, client_id: &str, name: &str) -> Raw {
    let mut client = asked(node, &connect(client_id, name)).await;
    client.send(&auth(CONTINUE, METHOD, mirrored(name).as_bytes())).await;
    assert_eq!(expect_connack(&mut client).await.code, 0);
    client
}

#[tokio::test]
async fn a_client_that_answers_rightly_is_let_in_and_the_connack_carries_method_and_data() {
    let node = node().await;
    let mut client = asked(&node, &connect("c", "anna")).await;
    client.send(&auth(CONTINUE, METHOD, b"anna")).await;
    let connack = expect_connack(&mut client).await;
    assert_eq!((connack.code, connack.properties.text(0x15)), (0, Some(METHOD)));
    assert_eq!(connack.properties.text(0x16), Some("welcome anna"));
    client.subscribe("t", 1).await;
    client.publish("t", b"x", 1).await;
    assert_eq!(client.receive().await.text(), "x");
    client.disconnect().await;
}

#[tokio::test]
async fn a_client_that_answers_wrongly_is_refused_with_0x87_and_one_of_another_method_with_0x8c() {
    let node = node().await;
    let mut client = asked(&node, &connect("c", "bob")).await;
    client.send(&auth(CONTINUE, METHOD, b"bob?")).await;
    assert_eq!(client.expect_close().await, Some(0x87));
    assert_eq!(client.reason_string.as_deref(), Some("not authorized"));
    let other = Connect::v5("c").property(packet::authentication("mirror", b"bob"));
    let (mut client, connack) = Raw::try_connect(node.mqtt, &other).await;
    assert_eq!((connack.code, connack.properties.get(0x15)), (0x8c, None), "methods are compared as they are");
    assert_eq!(client.expect_close().await, None);
}

#[tokio::test]
async fn whatever_is_not_the_next_auth_ends_the_exchange_with_a_protocol_error() {
    let node = node().await;
    let publish = PublishOut::new("secret", b"x", 0, 0).encode(Version::V5);
    let cases: [(&str, Vec<u8>); 7] = [
        ("another method", auth(CONTINUE, "OTHER", b"anna")),
        ("no method", vec![0xf0, 2, CONTINUE, 0]),
        ("a re-authentication", auth(AGAIN, METHOD, b"anna")),
        ("success, which is the server's to say", auth(0, METHOD, b"anna")),
        ("a PUBLISH", publish),
        ("a PINGREQ", vec![0xc0, 0]),
        ("a second CONNECT", connect("c", "anna").encode()),
    ];
    let mut witness = admitted(&node, "witness", "wit").await;
    witness.subscribe("#", 0).await;
    for (what, bytes) in cases {
        let mut client = asked(&node, &connect("c", "anna")).await;
        client.send(&bytes).await;
        assert_eq!(client.expect_close().await, Some(0x82), "{what}");
    }
    let mut client = asked(&node, &connect("c", "anna")).await;
    client.send(&[0xf0, 2, 0x55, 0]).await;
    assert_eq!(client.expect_close().await, Some(0x81), "a reason code that AUTH does not have");
    witness.expect_silence().await;
}

#[tokio::test]
async fn a_disconnect_during_the_exchange_ends_it_without_a_word() {
    let node = node().await;
    let mut client = asked(&node, &connect("c", "anna")).await;
    client.send(DISCONNECT).await;
    assert_eq!(client.expect_close().await, None);
}

#[tokio::test]
async fn what_was_sent_behind_the_last_auth_waits_for_the_connack() {
    let node = node().await;
    let mut client = asked(&node, &connect("c", "anna")).await;
    let mut bytes = auth(CONTINUE, METHOD, b"anna");
    bytes.extend(packet::subscribe(Version::V5, 7, &[("t", 0)]));
    bytes.extend(PublishOut::new("t", b"early", 0, 0).encode(Version::V5));
    client.send(&bytes).await;
    assert_eq!(expect_connack(&mut client).await.code, 0);
    assert_eq!(client.expect().await, Packet::Suback(7, vec![0]));
    assert_eq!(client.expect_publish().await.text(), "early");
}

#[tokio::test]
async fn the_whole_exchange_has_the_time_of_a_connect() {
    let node = InProcess::start(&["mqtt.connect_timeout=300ms"], vec![Arc::new(Mirror)]).await;
    let begin = Instant::now();
    let mut silent = asked(&node, &connect("c", "anna")).await;
    assert_eq!(silent.expect_close().await, Some(0x87), "the client says no more");
    let mut waiting = asked(&node, &connect("c", "!stall")).await;
    waiting.send(&auth(CONTINUE, METHOD, b"?")).await;
    assert_eq!(waiting.expect_close().await, Some(0x89), "the mechanism does not answer");
    let mut client = admitted(&node, "c", "anna").await;
    client.send(&auth(AGAIN, METHOD, b"anna")).await;
    expect_auth(&mut client, CONTINUE, "mirror").await;
    assert_eq!(client.expect_close().await, Some(0x87), "nor does it when it authenticates again");
    assert!(begin.elapsed() >= Duration::from_millis(900), "each had its 300 ms");
}

#[tokio::test]
async fn an_exchange_without_end_is_ended_after_sixteen_rounds() {
    let node = node().await;
    let mut client = asked(&node, &connect("c", "!endless")).await;
    let mut rounds = 1;
    loop {
        client.send(&auth(CONTINUE, METHOD, b"?")).await;
        match client.expect().await {
            Packet::Auth(CONTINUE, _) => rounds += 1,
            Packet::Connack(connack) => break assert_eq!((rounds, connack.code), (16, 0x87)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(client.expect_close().await, None);
}

#[tokio::test]
async fn a_client_authenticates_again_while_its_messages_flow() {
    let node = node().await;
    let mut client = admitted(&node, "c", "anna").await;
    client.subscribe("t", 1).await;
    for _ in 0..2 {
        client.send(&auth(AGAIN, METHOD, b"anna")).await;
        expect_auth(&mut client, CONTINUE, "mirror").await;
        client.publish("t", b"meanwhile", 1).await;
        assert_eq!(client.receive().await.text(), "meanwhile");
        client.send(&auth(CONTINUE, METHOD, b"anna")).await;
        expect_auth(&mut client, 0, "welcome anna").await;
    }
    client.expect_silence().await;
}

#[tokio::test]
async fn who_fails_to_authenticate_again_or_turns_out_to_be_another_is_sent_away_with_0x87() {
    let node = node().await;
    for (again, answer) in [("anna", "wrong"), ("otto", "otto")] {
        let mut client = admitted(&node, "c", "anna").await;
        client.send(&auth(AGAIN, METHOD, again.as_bytes())).await;
        expect_auth(&mut client, CONTINUE, "mirror").await;
        client.send(&auth(CONTINUE, METHOD, answer.as_bytes())).await;
        assert_eq!(client.expect_close().await, Some(0x87), "{again}");
        assert_eq!(client.reason_string.as_deref(), Some("not authorized"));
    }
}

#[tokio::test]
async fn an_auth_out_of_turn_or_of_another_method_closes_with_0x82() {
    let node = node().await;
    for (what, packet) in [
        ("nothing to continue", auth(CONTINUE, METHOD, b"x")),
        ("another method", auth(AGAIN, "OTHER", b"anna")),
        ("no method", vec![0xf0, 2, AGAIN, 0]),
        ("no body", vec![0xf0, 0]),
        ("twice", [auth(AGAIN, METHOD, b"anna"), auth(AGAIN, METHOD, b"anna")].concat()),
    ] {
        let mut client = admitted(&node, "c", "anna").await;
        client.send(&packet).await;
        let mut reason = None;
        while let Some(packet) = client.next_or_end().await {
            if let Packet::Disconnect(code) = packet {
                reason = Some(code);
            }
        }
        assert_eq!(reason, Some(0x82), "{what}");
    }
    let mut plain = Raw::connect(node.mqtt, &Connect::v5("plain")).await;
    plain.send(&auth(AGAIN, METHOD, b"anna")).await;
    assert_eq!(plain.expect_close().await, Some(0x82), "CONNECT named no method");
    let mut old = Raw::connect(node.mqtt, &Connect::v311("old")).await;
    old.send(&auth(AGAIN, METHOD, b"anna")).await;
    assert_eq!(old.expect_close().await, None, "3.x has no AUTH, and no word for that");
}

#[tokio::test]
async fn the_session_of_one_user_is_not_given_to_another() {
    let node = node().await;
    let mut client = asked(&node, &connect("c", "anna").persistent()).await;
    client.send(&auth(CONTINUE, METHOD, b"anna")).await;
    assert_eq!(expect_connack(&mut client).await.code, 0);
    let mut other = asked(&node, &connect("c", "otto").persistent()).await;
    other.send(&auth(CONTINUE, METHOD, b"otto")).await;
    assert_eq!(other.expect_close().await, Some(0x87));
    client.expect_silence().await;
}

#[tokio::test]
async fn what_a_client_does_not_take_ends_the_exchange_unsent() {
    let node = node().await;
    let small = |size| connect("c", "anna").property(packet::property_four(0x27, size));
    let mut client = Raw::open(node.mqtt, Version::V5).await;
    client.send(&small(20).encode()).await; // its CONNACK fits neither: it cannot be served
    assert_eq!(client.next_or_end().await, None);
    // The CONNACK has 25 bytes, and 40 with the mechanism's last word.
    let mut client = asked(&node, &small(39)).await;
    client.send(&auth(CONTINUE, METHOD, b"anna")).await;
    assert_eq!(client.next_or_end().await, None);
}
