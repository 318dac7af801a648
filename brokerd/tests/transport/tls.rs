//! TLS: versions, resumption, reload, client certificates, and clients that do not get on with it.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::mqtt::{Client, Version};
use crate::node::{Node, client, issue, soon};

const ALL: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];
const LISTENER: [&str; 3] = [
    "listeners.tls.default.bind=127.0.0.1:0",
    "listeners.tls.default.certificate=DIR/server.pem",
    "listeners.tls.default.key=DIR/server.key",
];

#[tokio::test]
async fn a_session_is_resumed_by_its_ticket() {
    let node = Node::start(&LISTENER).await;
    for (at, version) in ALL.into_iter().enumerate() {
        let config = client(node.directory.path(), "server", &[version]);
        for round in 0..3 {
            let id = format!("r{at}{round}");
            Client::connect(node.tls(&config).await, Version::V5, &id).await.ping().await;
        }
    }
    assert_eq!((node.metric("listener.tls.full"), node.metric("listener.tls.resumed")), (2, 4));
}

#[tokio::test]
async fn a_reload_serves_the_new_certificate_and_keeps_old_connections() {
    let node = Node::start(&LISTENER).await;
    let path = node.directory.path();
    let old = client(path, "server", &ALL);
    let mut stays = Client::connect(node.tls(&old).await, Version::V5, "stays").await;
    std::fs::copy(path.join("server.pem"), path.join("old.pem")).unwrap();
    issue(path, "server");
    let old = client(path, "old", &ALL); // without its tickets
    Client::connect(node.tls(&old).await, Version::V5, "resumes").await.ping().await;
    let listed = node.broker.listeners().reload_certificates().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(listed[0].expires > 1_700_000_000, "{listed:?}");
    let new = client(path, "server", &ALL);
    Client::connect(node.tls(&new).await, Version::V5, "new").await.ping().await;
    let fresh = client(path, "old", &ALL);
    let Err(refused) = node.try_tls("tls:default", &fresh).await else { panic!("the old certificate is served") };
    assert!(refused.to_string().contains("certificate"), "{refused}");
    stays.ping().await;
    // A client with a ticket from before does not see certificates at all.
    Client::connect(node.tls(&old).await, Version::V5, "resumes").await.ping().await;
}

#[tokio::test]
async fn a_wrong_file_changes_no_listener() {
    let mut sets = LISTENER.to_vec();
    let second = LISTENER.map(|set| set.replace("tls.default", "tls.zwei").replace("server", "second"));
    sets.extend(second.iter().map(String::as_str));
    let directory = tempfile::tempdir().unwrap();
    issue(directory.path(), "server");
    issue(directory.path(), "second");
    let broker = Node::try_start(directory.path(), &sets).await.unwrap();
    let node = Node { directory, broker };
    let path = node.directory.path();
    std::fs::copy(path.join("server.pem"), path.join("old.pem")).unwrap();
    issue(path, "server");
    std::fs::write(path.join("second.key"), "no key").unwrap();
    let why = node.broker.listeners().reload_certificates().await.unwrap_err();
    assert!(why.contains("`listeners.tls.zwei.key`") && why.contains("second.key"), "{why}");
    node.tls(&client(path, "old", &ALL)).await;
    issue(path, "second");
    std::fs::copy(path.join("server.key"), path.join("second.key")).unwrap();
    let why = node.broker.listeners().reload_certificates().await.unwrap_err();
    assert!(why.contains("`listeners.tls.zwei.key`"), "a key of another certificate: {why}");
    node.tls(&client(path, "old", &ALL)).await;
}

#[tokio::test]
async fn a_start_names_the_key_of_a_file_that_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let Err(error) = Node::try_start(directory.path(), &LISTENER).await else { panic!("it started") };
    let told = error.to_string();
    assert!(told.contains("`listeners.tls.default.certificate`") && told.contains("server.pem"), "{told}");
}

pub(crate) fn with_certificate(
    node: &Node,
    name: &str,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let path = node.directory.path();
    let pem = |file: String| path.join(file);
    let mut roots = RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_file(pem("server.pem".into())).unwrap()).unwrap();
    let own = rustls::pki_types::CertificateDer::from_pem_file(pem(format!("{name}.pem"))).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_file(pem(format!("{name}.key"))).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_client_auth_cert(vec![own], key).unwrap())
}

#[tokio::test]
async fn a_client_without_a_certificate_of_the_authority_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["server", "known", "stranger"] {
        issue(directory.path(), name);
    }
    let mut sets = LISTENER.to_vec();
    sets.push("listeners.tls.default.client_ca=DIR/known.pem");
    let broker = Node::try_start(directory.path(), &sets).await.unwrap();
    let node = Node { directory, broker };
    Client::connect(node.tls(&with_certificate(&node, "known", &ALL)).await, Version::V5, "known").await.ping().await;
    for refused in [with_certificate(&node, "stranger", &ALL), client(node.directory.path(), "server", &ALL)] {
        // In TLS 1.3 the client is done before the server has looked at its certificate.
        if let Ok(mut stream) = node.try_tls("tls:default", &refused).await {
            let _ = stream.write_all(&Version::V5.connect("nobody")).await;
            let end = soon("an end", stream.read_u8()).await;
            assert!(end.is_err(), "it was let in: {end:?}");
        }
    }
    node.until_metric("listener.tls.failed", 2).await;
}

#[tokio::test]
async fn tickets_of_other_rules_for_client_certificates_are_worth_nothing() {
    let node = Node::start(&LISTENER).await;
    let path = node.directory.path().to_owned();
    issue(&path, "known");
    let config = client(&path, "server", &ALL);
    Client::connect(node.tls(&config).await, Version::V5, "before").await.ping().await;
    node.broker.stop().await;
    let mut sets = LISTENER.to_vec();
    sets.push("listeners.tls.default.client_ca=DIR/known.pem");
    let broker = Node::try_start(&path, &sets).await.unwrap();
    let node = Node { directory: node.directory, broker };
    if let Ok(mut stream) = node.try_tls("tls:default", &config).await {
        let _ = stream.write_all(&Version::V5.connect("nobody")).await;
        assert!(soon("an end", stream.read_u8()).await.is_err(), "a ticket opened the door");
    }
}

#[tokio::test]
async fn clients_that_do_not_finish_the_handshake_are_closed_and_hold_nobody_up_for_long() {
    let mut sets = LISTENER.to_vec();
    sets.extend(["mqtt.connect_timeout=300ms", "listeners.tls.default.max_handshakes=2"]);
    let node = Node::start(&sets).await;
    let address = node.address("tls:default");
    let mut idle = Vec::new();
    for _ in 0..6 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    for mut stream in idle {
        assert_eq!(soon("the end of a silent client", stream.read(&mut [0; 8])).await.unwrap_or(0), 0);
    }
    let config = client(node.directory.path(), "server", &ALL);
    Client::connect(node.tls(&config).await, Version::V311, "real").await.ping().await;
}

#[tokio::test]
async fn plain_mqtt_on_a_tls_listener_is_answered_by_an_alert() {
    let node = Node::start(&LISTENER).await;
    let mut stream = TcpStream::connect(node.address("tls:default")).await.unwrap();
    stream.write_all(&Version::V311.connect("plain")).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon("an end", stream.read_to_end(&mut answer)).await;
    assert_eq!(answer.first(), Some(&21), "an alert of TLS: {answer:?}");
    node.until_metric("listener.tls.failed", 1).await;
}

/// What rustls says first, in records of the given sizes.
fn hello(config: &Arc<ClientConfig>, sizes: &[usize]) -> Vec<u8> {
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut connection = rustls::ClientConnection::new(config.clone(), name).unwrap();
    let mut whole = Vec::new();
    connection.write_tls(&mut whole).unwrap();
    let (mut message, mut records, mut sizes) = (&whole[5..], Vec::new(), sizes.iter().cycle());
    while !message.is_empty() {
        let (part, rest) = message.split_at((*sizes.next().unwrap()).min(message.len()));
        records.extend([22, 3, 1, 0, part.len() as u8]);
        records.extend_from_slice(part);
        message = rest;
    }
    records
}

#[tokio::test]
async fn a_handshake_in_any_number_of_records_and_segments_is_understood() {
    let node = Node::start(&LISTENER).await;
    let config = client(node.directory.path(), "server", &ALL);
    for sizes in [&[1][..], &[3, 100], &[255], &[4, 1]] {
        for segment in [1, 7, 1000] {
            let mut stream = TcpStream::connect(node.address("tls:default")).await.unwrap();
            stream.set_nodelay(true).unwrap();
            for part in hello(&config, sizes).chunks(segment) {
                stream.write_all(part).await.unwrap();
            }
            let first = soon("an answer", stream.read_u8()).await.unwrap();
            assert_eq!(first, 22, "records of {sizes:?} in segments of {segment}");
        }
    }
}

#[tokio::test]
async fn broken_handshakes_end_their_own_connection_alone() {
    let node = Node::start(&LISTENER).await;
    let config = client(node.directory.path(), "server", &ALL);
    let mut stays = Client::connect(node.tls(&config).await, Version::V5, "stays").await;
    let mut random = 1_u64;
    for round in 0..400 {
        let mut bytes = hello(&config, &[if round % 2 == 0 { 255 } else { 31 }]);
        for _ in 0..1 + round % 4 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (random >> 33) as usize % bytes.len();
            bytes[at] = (random >> 25) as u8;
        }
        let mut stream = TcpStream::connect(node.address("tls:default")).await.unwrap();
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = soon("an end", stream.read_to_end(&mut answer)).await;
    }
    stays.ping().await;
    // One that panicked would not be counted.
    node.until_metric("listener.tls.failed", 400).await;
}

/// Carries a client's bytes to the node, one of them changed.
async fn corrupt(near: tokio::io::DuplexStream, far: TcpStream, at: usize) {
    let (mut near_read, mut near_write) = tokio::io::split(near);
    let (mut far_read, mut far_write) = far.into_split();
    let out = async {
        let (mut sent, mut buffer) = (0, vec![0; 4096]);
        while let Ok(read @ 1..) = near_read.read(&mut buffer).await {
            if (sent..sent + read).contains(&at) {
                buffer[at - sent] ^= 0x55;
            }
            sent += read;
            if far_write.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    let back = async {
        let _ = tokio::io::copy(&mut far_read, &mut near_write).await;
    };
    tokio::select! { () = out => {}, () = back => {} }
}

#[tokio::test]
async fn a_byte_that_changes_anywhere_ends_its_own_connection_alone() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["server", "known"] {
        issue(directory.path(), name);
    }
    let mut sets = LISTENER.to_vec();
    // A client's certificate makes its flight three messages long.
    sets.push("listeners.tls.default.client_ca=DIR/known.pem");
    let broker = Node::try_start(directory.path(), &sets).await.unwrap();
    let node = Node { directory, broker };
    let listener = node.broker.listeners().iter().next().unwrap().clone();
    let mut tried = 0;
    for version in ALL {
        let mut config = (*with_certificate(&node, "known", &[version])).clone();
        config.resumption = rustls::client::Resumption::disabled();
        let config = Arc::new(config);
        for at in (0..1400).step_by(9) {
            let stream = TcpStream::connect(node.address("tls:default")).await.unwrap();
            let (near, far) = tokio::io::duplex(64 * 1024);
            let relay = tokio::spawn(corrupt(far, stream, at));
            let connecting = async {
                let mut io = crate::node::secure(Box::new(near), &config).await?;
                io.write_all(&Version::V311.connect("changed")).await?;
                io.write_all(&Version::V311.publish("t", 0, &[1; 500])).await?;
                io.write_all(&[0xe0, 0]).await?;
                io.read_to_end(&mut Vec::new()).await
            };
            // A length that grew is waited for, by both sides: then the client goes.
            let _ = tokio::time::timeout(std::time::Duration::from_millis(150), connecting).await;
            relay.abort();
            tried += 1;
        }
    }
    soon("no connection", async {
        while listener.connections() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    })
    .await;
    let counted: u64 = ["full", "resumed", "failed"].iter().map(|it| node.metric(&format!("listener.tls.{it}"))).sum();
    assert_eq!(counted, tried, "a handshake ended without being counted: it panicked");
    assert!(node.metric("listener.tls.full") > 10, "the end of the stream was never reached");
}

/// A secure client whose records a test can break.
async fn breakable(node: &Node, config: &Arc<ClientConfig>, id: &str) -> tokio_rustls::client::TlsStream<TcpStream> {
    let stream = TcpStream::connect(node.address("tls:default")).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(config.clone()).connect(name, stream).await.unwrap();
    stream.write_all(&Version::V311.connect(id)).await.unwrap();
    assert_eq!(soon("a CONNACK", stream.read_u32()).await.unwrap(), 0x2002_0000);
    stream
}

#[tokio::test]
async fn broken_records_end_their_own_connection_alone() {
    let node = Node::start(&LISTENER).await;
    let listener = node.broker.listeners().iter().next().unwrap().clone();
    for version in ALL {
        let config = client(node.directory.path(), "server", &[version]);
        let mut stays = Client::connect(node.tls(&config).await, Version::V5, "stays").await;
        for garbage in [
            &[
                23, 3, 3, 0, 40, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
                0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0,
            ][..],
            &[23, 3, 3, 0, 0],
            &[23, 3, 3, 0xff, 0xff],
            &[22, 3, 3, 0, 4, 0, 0, 0, 0],
            &[21, 3, 3, 0, 2, 2, 40],
            &[20, 3, 3, 0, 1, 9],
            &[99, 9, 9, 0, 1, 9],
            &[23, 3, 3, 0, 1], // cut off
        ] {
            let mut stream = breakable(&node, &config, "broken").await;
            let tcp = stream.get_mut().0;
            tcp.write_all(garbage).await.unwrap();
            tcp.shutdown().await.unwrap();
            let _ = soon("an end", tcp.read_to_end(&mut Vec::new())).await;
            drop(stream);
            // A connection whose task panicked would stay.
            soon("one connection less", async {
                while listener.connections() > 1 {
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
            })
            .await;
            stays.ping().await;
        }
        drop(stays);
        soon("no connection", async {
            while listener.connections() > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn keys_are_renewed_on_a_connection_in_use() {
    let node = Node::start(&LISTENER).await;
    let config = client(node.directory.path(), "server", &[&rustls::version::TLS13]);
    let mut stream = breakable(&node, &config, "renews").await;
    for _ in 0..20 {
        stream.get_mut().1.refresh_traffic_keys().unwrap();
        stream.write_all(&[0xc0, 0]).await.unwrap();
        assert_eq!(soon("a PINGRESP", stream.read_u16()).await.unwrap(), 0xd000);
    }
}

#[tokio::test]
async fn a_slow_reader_gets_everything_and_in_order() {
    let node = Node::start(&LISTENER).await;
    let config = client(node.directory.path(), "server", &ALL);
    let mut slow = Client::connect(node.tls(&config).await, Version::V311, "slow").await;
    slow.subscribe("flood", 1).await;
    let mut fast = Client::connect(node.tls(&config).await, Version::V311, "fast").await;
    let payload = vec![7; 20_000];
    for number in 0..90_u8 {
        let mut payload = payload.clone();
        payload[0] = number;
        fast.send(&Version::V311.publish("flood", 1, &payload)).await;
        assert_eq!(fast.next().await.0, 0x40);
    }
    for number in 0..90_u8 {
        let (first, body) = slow.next().await;
        assert_eq!((first & 0xf0, body[9], body.len()), (0x30, number, 20_009));
    }
}
