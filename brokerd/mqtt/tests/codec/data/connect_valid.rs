//! Valid CONNECT packets.

use super::ConnectValid;
use mqtt::Version::{V5, V31, V311};

// One line a frame.
#[rustfmt::skip]
pub(crate) const CONNECT_VALID: &[ConnectValid] = &[
    ("3.1 of 3.1", "3.1", "10 <'MQIsdp' 03 02 003C 'c1'>", V31),
    ("3.1 of 3.1", "3.1, an id of 23 characters", "10 <'MQIsdp' 03 00 0000 '12345678901234567890123'>", V31),
    ("3.1 of 3.1", "3.1, 23 characters of two bytes", "10 <'MQIsdp' 03 02 0000 (C3A9C3A9C3A9C3A9C3A9C3A9C3A9C3A9C3A9C3A9C3A9C3A9C3A9C3A9C3A9C3A9C3A9C3A9C3A9C3A9C3A9C3A9C3A9)>", V31),
    ("3.1 of 3.1", "3.1 with will, user name and password", "10 <'MQIsdp' 03 EE 000A 'c' 'w/t' (6279) 'u' 'p'>", V31),
    ("3.1 of 3.1", "3.1 with the user name flag and no user name", "10 <'MQIsdp' 03 82 000A 'c'>", V31),
    ("3.1 of 3.1", "3.1 with both flags and a user name alone", "10 <'MQIsdp' 03 C2 000A 'c' 'u'>", V31),
    ("3.1.2.2", "3.1.1", "10 <'MQTT' 04 02 003C 'c1'>", V311),
    ("3.1.3-7", "3.1.1, empty id with clean session", "10 <'MQTT' 04 02 0000 ''>", V311),
    ("3.1.2.4", "3.1.1, kept session", "10 <'MQTT' 04 00 FFFF 'c1'>", V311),
    ("3.1.3.1", "3.1.1, an id of 24 characters", "10 <'MQTT' 04 02 0000 '123456789012345678901234'>", V311),
    ("3.1.3.1", "3.1.1, an id with slash and wildcard", "10 <'MQTT' 04 02 0000 'a/+#'>", V311),
    ("3.1.2.6", "3.1.1, will of QoS 0", "10 <'MQTT' 04 06 0000 'c' 'w' (01)>", V311),
    ("3.1.2.6", "3.1.1, will of QoS 1, retained", "10 <'MQTT' 04 2E 0000 'c' 'w' (01)>", V311),
    ("3.1.2.6", "3.1.1, will of QoS 2, empty payload", "10 <'MQTT' 04 16 0000 'c' 'w' ()>", V311),
    ("3.1.2.8", "3.1.1, user name alone", "10 <'MQTT' 04 82 0000 'c' 'u'>", V311),
    ("3.1.2.8", "3.1.1, empty user name", "10 <'MQTT' 04 82 0000 'c' ''>", V311),
    ("3.1.2.9", "3.1.1, user name and password", "10 <'MQTT' 04 C2 0000 'c' 'u' 'p'>", V311),
    ("3.1.3-1", "3.1.1, every field", "10 <'MQTT' 04 EE 000A 'c' 'w/t' (6279) 'u' 'p'>", V311),
    ("3.1.3.5", "3.1.1, binary password", "10 <'MQTT' 04 C2 0000 'c' 'u' (FF00)>", V311),
    ("2.2.3", "3.1.1, Remaining Length in two bytes", "10 8E00 'MQTT' 04 02 0000 'c1'", V311),
    ("3.1.2.2", "5.0", "10 <'MQTT' 05 02 003C <> 'c1'>", V5),
    ("3.1.3-6", "5.0, empty id, clean start", "10 <'MQTT' 05 02 0000 <> ''>", V5),
    ("3.1.3-6", "5.0, empty id, no clean start", "10 <'MQTT' 05 00 0000 <> ''>", V5),
    ("3.1.2.9", "5.0, password without a user name", "10 <'MQTT' 05 42 0000 <> 'c' (FF)>", V5),
    ("3.1.2.8", "5.0, user name and password", "10 <'MQTT' 05 C2 0000 <> 'c' 'u' 'p'>", V5),
    ("3.1.2.11.2", "5.0, session expiry", "10 <'MQTT' 05 00 0000 <11 FFFFFFFF> 'c'>", V5),
    ("3.1.2.11.3", "5.0, receive maximum", "10 <'MQTT' 05 00 0000 <21 0001> 'c'>", V5),
    ("3.1.2.11.4", "5.0, maximum packet size", "10 <'MQTT' 05 00 0000 <27 00000080> 'c'>", V5),
    ("3.1.2.11.5", "5.0, topic alias maximum 0", "10 <'MQTT' 05 00 0000 <22 0000> 'c'>", V5),
    ("3.1.2.11.6", "5.0, request response information", "10 <'MQTT' 05 00 0000 <19 01> 'c'>", V5),
    ("3.1.2.11.7", "5.0, no problem information", "10 <'MQTT' 05 00 0000 <17 00> 'c'>", V5),
    ("3.1.2.11.8", "5.0, user properties", "10 <'MQTT' 05 00 0000 <26 'k' 'v' 26 'k' 'v'> 'c'>", V5),
    ("3.1.2.11.9", "5.0, authentication method", "10 <'MQTT' 05 00 0000 <15 'SCRAM'> 'c'>", V5),
    ("3.1.2.11.10", "5.0, authentication data before its method", "10 <'MQTT' 05 00 0000 <16 (00) 15 'M'> 'c'>", V5),
    ("3.1.3.2", "5.0, will without properties", "10 <'MQTT' 05 06 0000 <> 'c' <> 'w' (00)>", V5),
    (
        "3.1.3.2",
        "5.0, will with every property",
        "10 <'MQTT' 05 36 0000 <> 'c' <18 00000005 01 01 02 0000003C 03 'c' 08 'r' 09 (01) 26 'k' 'v'> 'w' 'p'>",
        V5,
    ),
    (
        "3.1.2.11",
        "5.0, everything",
        "10 <'MQTT' 05 F6 001E <11 00000001 21 0014 27 00010000 22 000A 19 00 17 01 26 'k' 'v' 15 'M' 16 (01)> 'c' <> 'w' () 'u' 'p'>",
        V5,
    ),
];
