//! The decoder against mutants of the corpus: no panic, no byte too many, and what it takes holds together.
//!
//! `MQTT_MUTANTS` sets how many, `MQTT_SEED` where they start.

use mqtt::Version;
use mqtt::codec::{Framed, Property, ack, check_forwardable, decode, decode_connect, forwardable, frame};
use mqtt::codec::{PublishOut, Recipient, publish, publish_len};
use mqtt::packet::{Packet, Properties};

use crate::data::every_frame;
use crate::{LIMITS, notation, oracle};

const VERSIONS: [Option<Version>; 4] = [None, Some(Version::V31), Some(Version::V311), Some(Version::V5)];
/// Lengths, flags, identifiers and bytes of UTF-8 at which decoders go wrong.
const INTERESTING: [u8; 16] = [0, 1, 2, 3, 0x0B, 0x10, 0x1F, 0x23, 0x24, 0x26, 0x2B, 0x7F, 0x80, 0xC0, 0xED, 0xFF];

/// xorshift64*: the same mutants on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 32) as usize * bound) >> 32
    }
}

fn mutate(random: &mut Random, frame: &mut Vec<u8>, other: &[u8]) {
    let at = random.below(frame.len().max(1));
    let byte = INTERESTING[random.below(INTERESTING.len())];
    match random.below(8) {
        0 if !frame.is_empty() => frame[at] ^= 1 << random.below(8),
        1 if !frame.is_empty() => frame[at] = byte,
        2 if !frame.is_empty() => frame[at] = random.next() as u8,
        3 => frame.insert(at, byte),
        4 if !frame.is_empty() => drop(frame.remove(at)),
        5 => frame.truncate(at),
        6 => {
            let copy = frame[at..].to_vec();
            frame.extend(copy);
        }
        _ => {
            frame.truncate(at);
            frame.extend(&other[random.below(other.len())..]);
        }
    }
}

/// Gives the body its true length, so that the mutants do not all fail at the header.
fn mend_length(frame: &mut Vec<u8>) {
    let header = 1 + frame.iter().skip(1).take_while(|&&byte| byte >= 0x80).count() + 1;
    if header <= frame.len() {
        let body = frame.split_off(header);
        frame.truncate(1);
        notation::variable(frame, body.len());
        frame.extend(body);
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    taken: usize,
    refused: usize,
    incomplete: usize,
}

fn run(seed: u64, count: usize) -> Counts {
    let corpus = every_frame();
    let mut random = Random(seed);
    let mut counts = Counts::default();
    let mut mutant = Vec::new();
    for _ in 0..count {
        let (version, origin) = &corpus[random.below(corpus.len())];
        let version = if random.below(4) == 0 { VERSIONS[random.below(4)] } else { *version };
        let other = &corpus[random.below(corpus.len())].1;
        mutant.clone_from(origin);
        for _ in 0..=random.below(3) {
            mutate(&mut random, &mut mutant, other);
        }
        if random.below(2) == 0 {
            mend_length(&mut mutant);
        }
        match frame(&mutant, version, &LIMITS) {
            Err(_) => counts.refused += 1,
            Ok(Framed::Incomplete { needed }) => {
                assert!(needed == 0 || needed > mutant.len(), "{needed} of {mutant:02x?}");
                counts.incomplete += 1;
            }
            Ok(Framed::Packet { len }) => {
                assert!((2..=mutant.len()).contains(&len), "{len} of {mutant:02x?}");
                *(if read(version, &mutant[..len]) { &mut counts.taken } else { &mut counts.refused }) += 1;
            }
        }
        // Whole or not, with the wrong length: still no panic.
        let _ = decode(Version::V5, &mutant, &LIMITS);
    }
    counts
}

/// Reads one whole frame and checks what is taken.
fn read(version: Option<Version>, frame: &[u8]) -> bool {
    let (version, packet) = match version {
        None => match decode_connect(frame, &LIMITS) {
            Ok(connect) => (connect.version, Packet::Connect(Box::new(connect))),
            Err(_) => return false,
        },
        Some(version) => match decode(version, frame, &LIMITS) {
            Ok(packet) => (version, packet),
            Err(_) => return false,
        },
    };
    if let Some(difference) = oracle::differs(version, frame, &packet) {
        panic!("{version:?} {frame:02x?}\n{difference}");
    }
    check_properties(&packet);
    if let Some(again) = write(version, frame, &packet) {
        // 3.x may write its length in more bytes than needed; ours is the shortest.
        let mut shortest = frame.to_vec();
        mend_length(&mut shortest);
        assert_eq!(again, shortest, "{version:?} {packet:?}");
    }
    true
}

/// What can be written again byte for byte: PUBLISH with a topic, and acks in their shortest form.
fn write(version: Version, frame: &[u8], packet: &Packet<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match packet {
        Packet::Publish(from) if !from.topic.is_empty() => {
            let to = PublishOut {
                topic: from.topic.as_bytes(),
                properties: from.properties.as_bytes(),
                payload: from.payload,
                qos: from.qos,
                dup: from.dup,
                retain: from.retain,
                packet_id: from.packet_id,
                ..PublishOut::default()
            };
            assert!(publish(&mut out, version, &to));
            assert_eq!(publish_len(version, &to), out.len());
        }
        Packet::Ack(from) => {
            ack(&mut out, Recipient::of(version), from.kind, from.packet_id, from.reason);
            let Ok(Packet::Ack(again)) = decode(version, &out, &LIMITS) else { panic!("{out:02x?}") };
            assert_eq!((again.kind, again.packet_id, again.reason), (from.kind, from.packet_id, from.reason));
            // Longer forms have properties, or spell out what may be left out; 3.1 has a DUP that is not kept.
            return (out.len() == frame.len() && frame[0] & 0b1000 == 0).then_some(out);
        }
        _ => return None,
    }
    Some(out)
}

/// The iterators reach the end of what was checked, and what is forwarded passes the check of a peer.
fn check_properties(packet: &Packet<'_>) {
    let properties = match packet {
        Packet::Connect(connect) => {
            if let Some(will) = &connect.will {
                check_section(will.properties);
                assert!(check_forwardable(&forwardable(will.properties)), "{will:?}");
            }
            connect.properties
        }
        Packet::Publish(publish) => {
            assert!(check_forwardable(&forwardable(publish.properties)), "{publish:?}");
            assert_eq!(publish.forwardable(), forwardable(publish.properties));
            publish.properties
        }
        Packet::Ack(ack) => ack.properties,
        Packet::Subscribe(subscribe) => subscribe.properties,
        Packet::Unsubscribe(unsubscribe) => unsubscribe.properties,
        Packet::PingReq => Properties::default(),
        Packet::Disconnect(disconnect) => disconnect.properties,
        Packet::Auth(auth) => auth.properties,
    };
    check_section(properties);
}

fn check_section(properties: Properties<'_>) {
    let len: usize = properties.iter().map(encoded_len).sum();
    assert_eq!(len, properties.as_bytes().len(), "{properties:?}");
}

fn encoded_len(property: Property<'_>) -> usize {
    1 + match property {
        Property::PayloadFormat(_)
        | Property::RequestProblemInformation(_)
        | Property::RequestResponseInformation(_) => 1,
        Property::ReceiveMaximum(_) | Property::TopicAliasMaximum(_) | Property::TopicAlias(_) => 2,
        Property::MessageExpiry(_)
        | Property::SessionExpiry(_)
        | Property::WillDelay(_)
        | Property::MaximumPacketSize(_) => 4,
        Property::SubscriptionId(id) => {
            let mut out = Vec::new();
            notation::variable(&mut out, id as usize);
            out.len()
        }
        Property::ContentType(text)
        | Property::ResponseTopic(text)
        | Property::AuthenticationMethod(text)
        | Property::ReasonString(text) => 2 + text.len(),
        Property::CorrelationData(data) | Property::AuthenticationData(data) => 2 + data.len(),
        Property::User(name, value) => 4 + name.len() + value.len(),
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn mutants_neither_panic_nor_pass_as_what_mqttbytes_would_not_read() {
    let count = from_environment("MQTT_MUTANTS", 1_000_000) as usize;
    let seed = from_environment("MQTT_SEED", 0x9E37_79B9_7F4A_7C15).max(1);
    let counts = run(seed, count);
    println!("seed {seed}: {counts:?}");
    // Mutants that all fail, or all pass, would prove nothing.
    assert!(counts.taken > count / 50 && counts.refused > count / 4 && counts.incomplete > count / 50, "{counts:?}");
}
