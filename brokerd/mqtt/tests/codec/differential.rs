//! What we take, two other codecs take with equal fields, but for the exceptions that `oracle` and `third` list.

use mqtt::Version;
use mqtt::codec::{decode, decode_connect};
use mqtt::packet::Packet;

use crate::LIMITS;
use crate::data::{CONNECT_INVALID, CONNECT_VALID, INVALID_V3, INVALID_V5, VALID};
use crate::notation::bytes;
use crate::{oracle, third};

/// Every valid packet of the corpus through one of the others; answers each difference as a line.
fn differences(differs: fn(Version, &[u8], &Packet<'_>) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    for (versions, clause, what, text) in VALID {
        for &version in *versions {
            let frame = bytes(text);
            let packet = decode(version, &frame, &LIMITS).unwrap();
            let difference = differs(version, &frame, &packet);
            found.extend(difference.map(|difference| format!("{version:?} {clause}: {what}: {text}\n{difference}")));
        }
    }
    for (clause, what, text, version) in CONNECT_VALID {
        let frame = bytes(text);
        let packet = Packet::Connect(Box::new(decode_connect(&frame, &LIMITS).unwrap()));
        let difference = differs(*version, &frame, &packet);
        found.extend(difference.map(|difference| format!("{clause}: {what}: {text}\n{difference}")));
    }
    found
}

#[test]
fn mqttbytes_reads_each_valid_packet_as_we_do() {
    let differences = differences(oracle::differs);
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

#[test]
fn mqtt_proto_reads_each_valid_packet_as_we_do() {
    let differences = differences(third::differs);
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

/// The other way round each row of the corpus names the clause by which we are right.
#[test]
fn what_mqtt_proto_takes_and_we_refuse_is_in_the_corpus_with_its_clause() {
    let mut taken = Vec::new();
    for (versions, clause, what, text, _) in INVALID_V3.iter().chain(INVALID_V5) {
        for &version in *versions {
            assert!(decode(version, &bytes(text), &LIMITS).is_err(), "{clause}: {what}");
            if third::takes(version, &bytes(text)) {
                taken.push(format!("{version:?} {clause}: {what}"));
            }
        }
    }
    for (clause, what, text, _, _) in CONNECT_INVALID {
        let takes = [Version::V311, Version::V5].into_iter().any(|version| third::takes(version, &bytes(text)));
        taken.extend(takes.then(|| format!("{clause}: {what}")));
    }
    assert_eq!(taken.len(), 93, "{}", taken.join("\n"));
}
