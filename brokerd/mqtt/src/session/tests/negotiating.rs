//! CONNECT to CONNACK: the terms.

use super::packets::*;
use super::*;

fn settle(connect: &Connect, server: &ServerLimits) -> Result<Negotiated, ReasonCode> {
    let bytes = connect.bytes();
    negotiate(&codec::decode_connect(&bytes, &DECODE).unwrap(), server, || "made-up".into())
}

#[test]
fn connack_says_what_differs_from_the_defaults() {
    let connect = Connect { client_id: "", keep_alive: 90, ..Connect::new(Version::V5).expiry(5000) };
    let server = ServerLimits { max_keep_alive: 60, ..server() };
    let terms = settle(&connect, &server).unwrap();
    let connack = terms.connack(true);
    assert_eq!(connack.assigned_client_id, Some("made-up"));
    assert_eq!(connack.server_keep_alive, Some(60));
    assert_eq!(connack.session_expiry, Some(1000));
    assert_eq!(connack.receive_maximum, Some(4));
    assert_eq!(connack.topic_alias_maximum, Some(2));
    assert_eq!(connack.shared_available, None, "it is, and that is the default");
    assert!(connack.session_present);
}

#[test]
fn connack_leaves_out_what_is_as_asked() {
    let connect = Connect { keep_alive: 50, ..Connect::kept(Version::V5) };
    let server = ServerLimits { max_keep_alive: 60, receive_maximum: u16::MAX, topic_alias_maximum: 0, ..server() };
    let terms = settle(&connect, &server).unwrap();
    let connack = terms.connack(false);
    assert_eq!((connack.assigned_client_id, connack.server_keep_alive), (None, None));
    assert_eq!((connack.session_expiry, connack.receive_maximum, connack.topic_alias_maximum), (None, None, None));
}

#[test]
fn a_keep_alive_that_cannot_be_told_is_not_lowered() {
    let server = ServerLimits { max_keep_alive: 60, ..server() };
    for (version, asked, granted) in
        [(Version::V5, 600, 60), (Version::V5, 0, 60), (Version::V311, 600, 600), (Version::V311, 0, 0)]
    {
        let connect = Connect { keep_alive: asked, ..Connect::new(version) };
        assert_eq!(settle(&connect, &server).unwrap().keep_alive, granted, "{version:?} {asked} [MQTT-3.1.2-22]");
    }
}

#[test]
fn the_window_is_the_smaller_of_both_and_never_0() {
    for (maximum, window) in [(1, 1), (3, 3), (9, 3)] {
        let terms = settle(&Connect::new(Version::V5).receive_maximum(maximum), &server()).unwrap();
        assert_eq!(terms.window, window);
    }
    assert_eq!(settle(&Connect::new(Version::V311), &server()).unwrap().window, 3);
}

#[test]
fn the_connack_carries_the_authentication_method_and_its_last_data() {
    let connect = Connect::new(Version::V5).property(21, &[0, 1, b'm']);
    let mut terms = settle(&connect, &server()).unwrap();
    assert_eq!(
        (terms.connack(false).authentication_method, terms.connack(false).authentication_data),
        (Some("m"), None)
    );
    terms.authentication_data = Some(Box::from(*b"bye"));
    assert_eq!(terms.connack(false).authentication_data, Some(&b"bye"[..]));
    assert_eq!(settle(&Connect::new(Version::V5), &server()).unwrap().connack(false).authentication_method, None);
}

#[test]
fn a_client_id_that_is_too_long_is_refused() {
    let server = ServerLimits { max_client_id_len: 5, ..server() };
    assert_eq!(settle(&Connect::new(Version::V5), &server), Err(ReasonCode::ClientIdentifierNotValid));
}

#[test]
fn version_3_1_1_with_a_clean_session_may_leave_its_id_out() {
    let connect = Connect { client_id: "", clean: true, ..Connect::new(Version::V311) };
    let terms = settle(&connect, &server()).unwrap();
    assert_eq!((&*terms.client_id, terms.is_assigned, terms.our_alias_maximum), ("made-up", true, 0));
}

#[test]
fn connack_states_what_the_server_leaves_out_and_nothing_of_what_it_has() {
    let states = |terms: &Negotiated| {
        let connack = terms.connack(false);
        let booleans = [connack.retain_available, connack.wildcard_available, connack.subscription_ids_available];
        (connack.maximum_qos, booleans)
    };
    let all = settle(&Connect::new(Version::V5), &server()).unwrap();
    assert_eq!(states(&all), (None, [None; 3]));
    let capabilities = Capabilities { max_qos: Q1, retain: false, wildcards: false, subscription_ids: false };
    let few = ServerLimits { capabilities, ..server() };
    let terms = settle(&Connect::new(Version::V5), &few).unwrap();
    assert_eq!(states(&terms), (Some(Q1), [Some(false); 3]));
    let terms = settle(&Connect::new(Version::V311), &few).unwrap();
    assert_eq!(states(&terms), (None, [None; 3]), "3.x has no word for it");
}

#[test]
fn a_will_that_could_not_be_published_is_refused_at_connect() {
    let with_will = |capabilities, retain| {
        let mut connect = Connect::new(Version::V5).will(0);
        if let Some(will) = &mut connect.will {
            will.2 = retain;
        }
        settle(&connect, &ServerLimits { capabilities, ..server() }).map(|terms| terms.will_qos())
    };
    let low = Capabilities { max_qos: Q0, ..Capabilities::default() };
    assert_eq!(with_will(low, false), Err(ReasonCode::QosNotSupported), "[MQTT-3.2.2-12]");
    let forgetful = Capabilities { retain: false, ..Capabilities::default() };
    assert_eq!(with_will(forgetful, true), Err(ReasonCode::RetainNotSupported), "[MQTT-3.2.2-13]");
    assert_eq!(with_will(forgetful, false), Ok(Some(Q1)));
}

#[test]
fn response_information_is_for_those_who_ask() {
    let server = ServerLimits { response_information: Some("reply/".into()), ..server() };
    let given = |connect: Connect| settle(&connect, &server).unwrap().response_information;
    assert_eq!(given(Connect::new(Version::V5).property(25, &[1])).as_deref(), Some("reply/"));
    assert_eq!(given(Connect::new(Version::V5)), None);
    assert_eq!(given(Connect::new(Version::V311)), None);
}
