//! What we take, mqttbytes takes with equal fields, but for the exceptions that `oracle` lists.

use mqtt::codec::{decode, decode_connect};
use mqtt::packet::Packet;

use crate::LIMITS;
use crate::data::{CONNECT_VALID, VALID};
use crate::notation::bytes;
use crate::oracle;

#[test]
fn mqttbytes_reads_each_valid_packet_as_we_do() {
    for (versions, clause, what, text) in VALID {
        for &version in *versions {
            let frame = bytes(text);
            let packet = decode(version, &frame, &LIMITS).unwrap();
            assert_eq!(oracle::differs(version, &frame, &packet), None, "{version:?} {clause}: {what}: {text}");
        }
    }
}

#[test]
fn mqttbytes_reads_each_valid_connect_as_we_do() {
    for (clause, what, text, version) in CONNECT_VALID {
        let frame = bytes(text);
        let packet = Packet::Connect(Box::new(decode_connect(&frame, &LIMITS).unwrap()));
        assert_eq!(oracle::differs(*version, &frame, &packet), None, "{clause}: {what}: {text}");
    }
}
