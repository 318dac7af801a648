//! Packets that a broker must refuse, with the reason it must give: the acceptance list of the codec as it is seen from
//! outside. Owns bytes; never sends them.

use crate::packet::{
    self, Connect, Version, acknowledge, binary, frame, property_byte, property_four, property_text, property_two,
    string, user_property, with_length,
};

/// A packet to be refused.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is wrong with it.
    pub what: String,
    /// Protocol of the connection.
    pub version: Version,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Reasons that are right; none: the connection just closes.
    pub reasons: Vec<u8>,
}

const MALFORMED: u8 = 0x81;
const PROTOCOL: u8 = 0x82;
/// The specification calls some faults by the one name and some servers by the other; both close.
const EITHER: &[u8] = &[MALFORMED, PROTOCOL];

#[derive(Debug)]
struct Table {
    version: Version,
    cases: Vec<Case>,
}

impl Table {
    const fn of(version: Version) -> Self {
        Self { version, cases: vec![] }
    }

    /// Adds one. Versions before 5.0 close without a reason.
    fn add(&mut self, what: &str, bytes: Vec<u8>, reasons: &[u8]) {
        let reasons = if self.version.has_properties() { reasons.to_vec() } else { vec![] };
        self.cases.push(Case { what: format!("{:?}: {what}", self.version), version: self.version, bytes, reasons });
    }

    /// Adds one to be refused with exactly this CONNACK code, in any version.
    fn refused(&mut self, what: &str, bytes: Vec<u8>, code: u8) {
        let what = format!("{:?}: {what}", self.version);
        self.cases.push(Case { what, version: self.version, bytes, reasons: vec![code] });
    }

    /// A packet with the (empty) properties that the version has after `before`.
    fn body(&self, before: &[u8], after: &[u8]) -> Vec<u8> {
        let properties: &[u8] = if self.version.has_properties() { &[0] } else { &[] };
        [before, properties, after].concat()
    }
}

/// Packets that a connected client must not send.
#[must_use]
pub fn after_connect() -> Vec<Case> {
    let mut cases = vec![];
    for version in [Version::V311, Version::V5] {
        let mut table = Table::of(version);
        headers(&mut table);
        publish(&mut table);
        acknowledgements(&mut table);
        subscribe(&mut table);
        strings(&mut table);
        if version.has_properties() {
            publish_properties(&mut table);
            other_properties(&mut table);
            reason_codes(&mut table);
        }
        cases.extend(table.cases);
    }
    cases
}

fn headers(table: &mut Table) {
    table.add("type 0", vec![0x00, 0], EITHER);
    let auth = if table.version.has_properties() { EITHER } else { &[] };
    table.add("AUTH without a method agreed", vec![0xf0, 0], auth);
    for (what, first) in [("CONNACK", 0x20), ("SUBACK", 0x90), ("UNSUBACK", 0xb0), ("PINGRESP", 0xd0)] {
        let body: &[u8] = if first == 0xd0 { &[] } else { &[0, 1, 0] };
        table.add(&format!("{what} from a client"), frame(first, body), EITHER);
    }
    table.add("PINGREQ with flags", vec![0xc1, 0], EITHER);
    table.add("PINGREQ with a body", vec![0xc0, 1, 0], EITHER);
    table.add("DISCONNECT with flags", vec![0xe1, 0], EITHER);
    table.add("a remaining length of five bytes", vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01], EITHER);
    let id_only = table.body(&[0, 1], &[]);
    table.add("SUBSCRIBE with flags 0", frame(0x80, &[&id_only[..], &string("a"), &[0]].concat()), EITHER);
    table.add("UNSUBSCRIBE with flags 0", frame(0xa0, &[&id_only[..], &string("a")].concat()), EITHER);
    table.add("PUBREL with flags 0", acknowledge(0x60, 1), EITHER);
    for first in [0x41, 0x51, 0x71] {
        table.add(&format!("acknowledgement {first:#04x} with flags"), acknowledge(first, 1), EITHER);
    }
    if table.version.has_properties() {
        table.add("a remaining length longer than needed", vec![0xc0, 0x80, 0x00], EITHER);
    } else {
        table.add("DISCONNECT of 3.1.1 with a body", vec![0xe0, 1, 0], &[]);
    }
}

fn publish(table: &mut Table) {
    let body = |topic: &str, id: &[u8]| table.body(&[&string(topic)[..], id].concat(), b"x");
    let name: &[u8] = &[0x90, MALFORMED, PROTOCOL];
    let cases = [
        ("PUBLISH at QoS 3", frame(0x36, &body("a", &[0, 1])), EITHER),
        ("PUBLISH with DUP at QoS 0", frame(0x38, &body("a", &[])), EITHER),
        ("PUBLISH at QoS 1 with packet id 0", frame(0x32, &body("a", &[0, 0])), EITHER),
        ("PUBLISH at QoS 2 with packet id 0", frame(0x34, &body("a", &[0, 0])), EITHER),
        ("PUBLISH without its packet id", frame(0x32, &string("a")), EITHER),
        ("PUBLISH with an empty topic", frame(0x30, &body("", &[])), EITHER),
        ("PUBLISH to `a/+`", frame(0x30, &body("a/+", &[])), name),
        ("PUBLISH to `#`", frame(0x30, &body("#", &[])), name),
        ("PUBLISH to `a#b`", frame(0x30, &body("a#b", &[])), name),
        ("PUBLISH whose topic runs past the end", frame(0x30, &[0, 9, b'a']), EITHER),
        ("PUBLISH without a body", frame(0x30, &[]), EITHER),
    ];
    for (what, bytes, reasons) in cases {
        table.add(what, bytes, reasons);
    }
}

fn acknowledgements(table: &mut Table) {
    for (name, first) in [("PUBACK", 0x40), ("PUBREC", 0x50), ("PUBREL", 0x62), ("PUBCOMP", 0x70)] {
        table.add(&format!("{name} with packet id 0"), acknowledge(first, 0), EITHER);
        table.add(&format!("{name} of one byte"), frame(first, &[1]), EITHER);
        table.add(&format!("{name} without a body"), frame(first, &[]), EITHER);
        let trailing: &[u8] = if table.version.has_properties() { &[0, 1, 0, 0, 7] } else { &[0, 1, 0] };
        table.add(&format!("{name} with bytes after its end"), frame(first, trailing), EITHER);
    }
}

fn subscribe(table: &mut Table) {
    let with_id = |id: u8, after: &[u8]| table.body(&[0, id], after);
    let one = |filter: &str, options: u8| frame(0x82, &with_id(1, &[&string(filter)[..], &[options]].concat()));
    let mut cases = vec![
        ("SUBSCRIBE with packet id 0".to_owned(), frame(0x82, &with_id(0, &[0, 1, b'a', 0])), EITHER),
        ("SUBSCRIBE without a filter".to_owned(), frame(0x82, &with_id(1, &[])), EITHER),
        ("SUBSCRIBE without its options".to_owned(), frame(0x82, &with_id(1, &string("a"))), EITHER),
        ("SUBSCRIBE at QoS 3".to_owned(), one("a", 3), EITHER),
        ("SUBSCRIBE with reserved option bits".to_owned(), one("a", 0xc0), EITHER),
        ("UNSUBSCRIBE with packet id 0".to_owned(), frame(0xa2, &with_id(0, &string("a"))), EITHER),
        ("UNSUBSCRIBE without a filter".to_owned(), frame(0xa2, &with_id(1, &[])), EITHER),
        ("UNSUBSCRIBE with bytes after its end".to_owned(), frame(0xa2, &with_id(1, &[0, 1, b'a', 9])), EITHER),
    ];
    let filter_reasons: &[u8] = &[0x8f, MALFORMED, PROTOCOL];
    for filter in ["", "a/#/b", "a#", "a+/b", "#/a", "+a"] {
        cases.push((format!("SUBSCRIBE to `{filter}`"), one(filter, 0), filter_reasons));
        let bytes = frame(0xa2, &with_id(1, &string(filter)));
        cases.push((format!("UNSUBSCRIBE from `{filter}`"), bytes, filter_reasons));
    }
    if table.version.has_properties() {
        cases.push(("SUBSCRIBE with retain handling 3".to_owned(), one("a", 0x30), EITHER));
        cases.push(("SUBSCRIBE with No Local to a shared filter".to_owned(), one("$share/g/a", 4), EITHER));
        for filter in ["$share//x", "$share/g/", "$share/g+/x", "$share/g"] {
            cases.push((format!("SUBSCRIBE to `{filter}`"), one(filter, 0), filter_reasons));
        }
    } else {
        cases.push(("SUBSCRIBE of 3.1.1 with options of 5.0".to_owned(), one("a", 0x10), EITHER));
    }
    for (what, bytes, reasons) in cases {
        table.add(&what, bytes, reasons);
    }
}

fn strings(table: &mut Table) {
    let bad: [(&str, &[u8]); 5] = [
        ("U+0000", b"a\0b"),
        ("a surrogate", b"\xed\xa0\x80"),
        ("a byte that is no UTF-8", b"\xff"),
        ("an overlong form", b"\xc0\x80"),
        ("a sequence that is cut off", b"a\xe2\x82"),
    ];
    for (name, bytes) in bad {
        let topic = binary(bytes);
        let name_reasons: &[u8] = &[MALFORMED, PROTOCOL, 0x90];
        let filter_reasons: &[u8] = &[MALFORMED, PROTOCOL, 0x8f];
        table.add(&format!("PUBLISH to a topic with {name}"), frame(0x30, &table.body(&topic, b"x")), name_reasons);
        let body = table.body(&[0, 1], &[&topic[..], &[0]].concat());
        table.add(&format!("SUBSCRIBE to a filter with {name}"), frame(0x82, &body), filter_reasons);
    }
}

fn publish_properties(table: &mut Table) {
    let publish = |properties: &[u8]| frame(0x30, &[&string("a")[..], &with_length(properties), b"x"].concat());
    let twice = |property: Vec<u8>| publish(&property.repeat(2));
    let cases: Vec<(&str, Vec<u8>, &[u8])> = vec![
        ("payload format 2", publish(&property_byte(0x01, 2)), EITHER),
        ("payload format twice", twice(property_byte(0x01, 1)), EITHER),
        ("message expiry twice", twice(property_four(0x02, 9)), EITHER),
        ("content type twice", twice(property_text(0x03, "t")), EITHER),
        ("response topic twice", twice(property_text(0x08, "t")), EITHER),
        ("correlation data twice", twice(property_text(0x09, "t")), EITHER),
        ("topic alias twice", twice(property_two(0x23, 1)), EITHER),
        ("topic alias 0", publish(&property_two(0x23, 0)), &[0x94, PROTOCOL]),
        ("topic alias above the maximum", publish(&property_two(0x23, u16::MAX)), &[0x94]),
        ("response topic with a wildcard", publish(&property_text(0x08, "a/+")), &[PROTOCOL, MALFORMED, 0x90]),
        ("a subscription identifier from a client", publish(&[0x0b, 1]), EITHER),
        ("a property of CONNECT", publish(&property_four(0x11, 1)), EITHER),
        ("an unknown property", publish(&[0x7f, 1]), EITHER),
        ("a property cut off by its section", publish(&[0x02, 0, 0]), EITHER),
        ("a user property with U+0000", publish(&user_property("a\0", "b")), EITHER),
        ("a property length that runs past the packet", frame(0x30, &[0, 1, b'a', 9, 1, 1]), EITHER),
        ("a property length longer than needed", frame(0x30, &[0, 1, b'a', 0x80, 0x00, b'x']), EITHER),
        ("no property length", frame(0x30, &string("a")), EITHER),
    ];
    for (what, bytes, reasons) in cases {
        table.add(&format!("PUBLISH with {what}"), bytes, reasons);
    }
    let unknown_alias = [&string("")[..], &with_length(&property_two(0x23, 3))].concat();
    table.add("PUBLISH with an alias never set", frame(0x30, &unknown_alias), EITHER);
}

fn other_properties(table: &mut Table) {
    let subscribe =
        |properties: &[u8]| frame(0x82, &[&[0, 1][..], &with_length(properties), &[0, 1, b'a', 0]].concat());
    table.add("SUBSCRIBE with subscription identifier 0", subscribe(&[0x0b, 0]), EITHER);
    table.add("SUBSCRIBE with two subscription identifiers", subscribe(&[0x0b, 1, 0x0b, 2]), EITHER);
    table.add("SUBSCRIBE with a property of PUBLISH", subscribe(&property_byte(0x01, 1)), EITHER);
    let disconnect = |properties: &[u8]| frame(0xe0, &[&[0][..], &with_length(properties)].concat());
    table.add("DISCONNECT with session expiry twice", disconnect(&property_four(0x11, 0).repeat(2)), EITHER);
    table.add("DISCONNECT with a server reference", disconnect(&property_text(0x1c, "b")), EITHER);
    table.add("PUBACK with a property of PUBLISH", frame(0x40, &[0, 1, 0, 2, 1, 1]), EITHER);
    table.add("AUTH with a method never agreed", auth(0x18), &[PROTOCOL, 0x8c]);
}

fn auth(code: u8) -> Vec<u8> {
    frame(0xf0, &[&[code][..], &with_length(&property_text(0x15, "m"))].concat())
}

fn reason_codes(table: &mut Table) {
    for (name, first, code) in
        [("PUBACK", 0x40, 0x92), ("PUBREC", 0x50, 0x01), ("PUBREL", 0x62, 0x10), ("PUBCOMP", 0x70, 0x80)]
    {
        table.add(&format!("{name} with code {code:#04x}"), frame(first, &[0, 1, code]), EITHER);
    }
    table.add("DISCONNECT with a code only servers send", frame(0xe0, &[0x8e]), EITHER);
    table.add("DISCONNECT with an unknown code", frame(0xe0, &[0x01]), EITHER);
}

/// First packets that are refused.
#[must_use]
pub fn connect() -> Vec<Case> {
    let mut cases = vec![];
    for version in [Version::V311, Version::V5] {
        let mut table = Table::of(version);
        connect_flags(&mut table);
        connect_strings(&mut table);
        if version.has_properties() {
            connect_properties(&mut table);
        } else {
            table.refused("CONNECT of 3.1.1, no client id, kept session", Connect::v311("").persistent().encode(), 2);
        }
        cases.extend(table.cases);
    }
    cases
}

/// CONNECT with other flags than its fields need.
fn with_flags(version: Version, flags: u8, payload: &[u8]) -> Vec<u8> {
    let level = if version.has_properties() { 5 } else { 4 };
    let properties: &[u8] = if version.has_properties() { &[0] } else { &[] };
    frame(0x10, &[&string("MQTT")[..], &[level, flags, 0, 0], properties, payload].concat())
}

fn connect_flags(table: &mut Table) {
    let version = table.version;
    let id = string("bad");
    let mut named = Connect::new(version, "bad").encode();
    // The version is not known yet: there is no form to answer in.
    let flagged = [&[0x12], &named[1..]].concat();
    let what = format!("{version:?}: CONNECT with flags in its header");
    table.cases.push(Case { what, version, bytes: flagged, reasons: vec![] });
    table.add("CONNECT with the reserved flag", with_flags(version, 0x03, &id), EITHER);
    table.add("CONNECT with will QoS but no will", with_flags(version, 0x0a, &id), EITHER);
    table.add("CONNECT with will retain but no will", with_flags(version, 0x22, &id), EITHER);
    let properties: &[u8] = if version.has_properties() { &[0] } else { &[] };
    let will = [&id[..], properties, &string("t"), &string("m")].concat();
    table.add("CONNECT with will QoS 3", with_flags(version, 0x1e, &will), EITHER);
    table.add("CONNECT without the will its flags announce", with_flags(version, 0x06, &id), EITHER);
    table.add("CONNECT without the user name its flags announce", with_flags(version, 0x82, &id), EITHER);
    table.add("CONNECT with bytes after its end", with_flags(version, 0x02, &[&id[..], &[7]].concat()), EITHER);
    table.add("CONNECT that ends before its client id", with_flags(version, 0x02, &[]), EITHER);
    if !version.has_properties() {
        let payload = [&id[..], &string("secret")].concat();
        table.add("CONNECT of 3.1.1 with a password but no user name", with_flags(version, 0x42, &payload), EITHER);
    }
    named[5] = b'X'; // MXTT
    table.cases.push(Case {
        what: format!("{version:?}: CONNECT of another protocol"),
        version,
        bytes: named,
        reasons: vec![],
    });
}

fn connect_strings(table: &mut Table) {
    let version = table.version;
    table.add("CONNECT with U+0000 in its client id", with_flags(version, 2, &binary(b"a\0b")), &[MALFORMED, 0x85]);
    table.add(
        "CONNECT with a client id that is no UTF-8",
        with_flags(version, 2, &binary(b"\xff")),
        &[MALFORMED, 0x85],
    );
    for topic in ["", "a/#", "+"] {
        let connect = Connect::new(version, "bad").will(packet::Will::new(topic, "m"));
        let reasons: &[u8] = &[MALFORMED, PROTOCOL, 0x90];
        table.add(&format!("CONNECT with a will to `{topic}`"), connect.encode(), reasons);
    }
}

fn connect_properties(table: &mut Table) {
    let with = |property: Vec<u8>| Connect::v5("bad").property(property).encode();
    let twice = |property: Vec<u8>| with(property.repeat(2));
    let cases = [
        ("receive maximum 0", with(property_two(0x21, 0))),
        ("maximum packet size 0", with(property_four(0x27, 0))),
        ("request problem information 2", with(property_byte(0x17, 2))),
        ("request response information 2", with(property_byte(0x19, 2))),
        ("session expiry twice", twice(property_four(0x11, 1))),
        ("receive maximum twice", twice(property_two(0x21, 1))),
        ("maximum packet size twice", twice(property_four(0x27, 999))),
        ("topic alias maximum twice", twice(property_two(0x22, 1))),
        ("request problem information twice", twice(property_byte(0x17, 1))),
        ("authentication data but no method", with(property_text(0x16, "d"))),
        ("a property of PUBLISH", with(property_two(0x23, 1))),
        ("an unknown property", with(vec![0x7e, 0])),
        ("a property cut off by its section", with(vec![0x11, 0])),
    ];
    for (what, bytes) in cases {
        table.add(&format!("CONNECT with {what}"), bytes, EITHER);
    }
    let mut will = packet::Will::new("t", "m");
    will.properties = property_four(0x18, 1).repeat(2);
    table.add("CONNECT with will delay twice", Connect::v5("bad").will(will).encode(), EITHER);
}
