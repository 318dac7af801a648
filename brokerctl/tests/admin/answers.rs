//! What comes back, from which nodes, and with which exit code.

use std::collections::BTreeSet;

use serde_json::json;

use crate::stub::{Cluster, Peer, Ran, run_at};

#[track_caller]
fn assert_code(ran: &Ran, code: u8) {
    assert_eq!(ran.code, code, "{ran:?}");
}

#[tokio::test]
async fn an_answer_covers_every_member_that_is_up() {
    let cluster = Cluster::of(3, vec![("b", Peer::Answers(2)), ("c", Peer::Down)]).await;
    let ran = cluster.run("-o json clients count").await;
    assert_code(&ran, 0);
    let nodes = json!({"a": {"total": 3, "connected": 2}, "b": {"total": 2, "connected": 1}});
    assert_eq!(ran.json(), json!({"total": 5, "connected": 3, "nodes": nodes}));
    let ran = cluster.run("broker stats -o json").await;
    assert_eq!(ran.json()["sessions.count"], 5);
    assert_eq!(ran.json()["subscriptions.count"], 5);
    assert_eq!(ran.json()["retained.count"], 6);
    let ran = cluster.run("broker metrics -o json --node b").await;
    assert_eq!(ran.json(), json!({"messages.received": 10}));
}

#[tokio::test]
async fn members_that_are_down_are_listed_and_not_asked() {
    let cluster = Cluster::of(1, vec![("b", Peer::Down)]).await;
    let ran = cluster.run("-o json cluster status").await;
    assert_code(&ran, 0);
    let ran = ran.json();
    let nodes = ran["nodes"].as_array().unwrap();
    let states: Vec<_> = nodes.iter().map(|node| (node["name"].as_str(), node["state"].as_str())).collect();
    assert_eq!(states, [(Some("a"), Some("up")), (Some("b"), Some("down"))]);
    assert_code(&cluster.run("clients list").await, 0);
}

#[tokio::test]
async fn a_member_that_is_up_and_silent_is_named_and_the_others_are_printed() {
    let cluster = Cluster::of(2, vec![("b", Peer::Silent), ("c", Peer::Answers(1))]).await;
    for line in ["clients list", "clients count", "subscriptions list", "topics list", "listeners", "broker stats"] {
        let ran = cluster.run(&format!("-o json {line}")).await;
        assert_code(&ran, 3);
        assert!(ran.err.contains("`b`"), "`{line}` does not name the silent node: {ran:?}");
        assert!(!ran.err.contains("`c`"), "{ran:?}");
        ran.json();
    }
    let ran = cluster.run("clients list").await;
    assert!(ran.out.contains("a-00001") && ran.out.contains("c-00000"), "{ran:?}");
}

#[tokio::test]
async fn a_member_that_went_down_meanwhile_is_not_missed_unless_it_was_asked_for() {
    let cluster = Cluster::of(1, vec![("b", Peer::WentDown)]).await;
    assert_code(&cluster.run("clients list").await, 0);
    assert_code(&cluster.run("clients list --node b").await, 3);
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    struct Head;
    impl std::io::Write for Head {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let cluster = Cluster::of(5, vec![]).await;
    for format in ["table", "json"] {
        let args = ["brokerctl", "--endpoint", &cluster.endpoint, "-o", format, "clients", "list"].map(Into::into);
        let mut err = Vec::new();
        let mut streams = brokerctl::Streams { out: &mut Head, err: &mut err, is_terminal: false };
        let code = brokerctl::run(args, &mut streams).await;
        assert_eq!((code, String::from_utf8_lossy(&err).as_ref()), (0, ""), "{format}");
    }
}

#[tokio::test]
async fn a_member_that_hangs_is_missed_before_brokerctl_gives_up() {
    let cluster = Cluster::of(1, vec![("b", Peer::Hangs)]).await;
    let ran = cluster.run("--timeout 500ms -o json clients list").await;
    assert_code(&ran, 3);
    assert_eq!(ran.json().as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn what_is_not_there_is_4_but_3_where_a_silent_member_may_have_it() {
    let whole = Cluster::of(1, vec![("b", Peer::Answers(1))]).await;
    let torn = Cluster::of(1, vec![("b", Peer::Silent)]).await;
    for line in ["clients show x", "clients kick x", "subscriptions show x", "topics show x"] {
        let ran = whole.run(line).await;
        assert_code(&ran, 4);
        assert!(ran.out.is_empty() && ran.err.contains("`x`"), "{ran:?}");
        assert_code(&torn.run(line).await, 3);
    }
    assert_code(&whole.run("clients list --node x").await, 4);
}

#[tokio::test]
async fn one_client_is_found_and_kicked_on_whatever_node() {
    let cluster = Cluster::of(1, vec![("b", Peer::Answers(2))]).await;
    let ran = cluster.run("-o json clients show b-00001").await;
    assert_code(&ran, 0);
    assert_eq!((&ran.json()["clientid"], &ran.json()["node"]), (&json!("b-00001"), &json!("b")));
    let ran = cluster.run("clients kick b-00001").await;
    assert_code(&ran, 0);
    assert_eq!(ran.out, "kicked b-00001 on b\n");
    let ran = cluster.run("-o json subscriptions show b-00001").await;
    assert_eq!(ran.json()[0]["topic"], "b-00001/#");
    let ran = cluster.run("-o json topics show b-00001/#").await;
    assert_eq!(ran.json(), json!([{"topic": "b-00001/#", "node": "b"}]));
}

#[tokio::test]
async fn a_client_without_subscriptions_is_not_a_client_that_is_missing() {
    let cluster = Cluster::of(1, vec![]).await;
    let ran = cluster.run("-o json subscriptions show a-00000").await;
    assert_code(&ran, 0);
    assert_eq!(ran.json(), json!([]));
}

#[tokio::test]
async fn lists_of_many_pages_hold_every_row_once() {
    let cluster = Cluster::of(1203, vec![("b", Peer::Answers(1100))]).await;
    for (line, key) in [("clients list", "clientid"), ("subscriptions list", "topic"), ("topics list", "topic")] {
        let ran = cluster.run(&format!("-o json {line}")).await;
        assert_code(&ran, 0);
        let document = ran.json();
        let rows = document.as_array().unwrap();
        let distinct: BTreeSet<_> = rows.iter().map(|row| row[key].as_str().unwrap()).collect();
        assert_eq!((rows.len(), distinct.len()), (2303, 2303), "{line}");
        let table = cluster.run(line).await;
        assert_eq!((table.out.lines().count(), table.err.as_str()), (2304, ""), "{line}: one header and every row");
        assert!(table.out.lines().skip(1).is_sorted(), "{line} is not in order");
    }
}

#[tokio::test]
async fn a_list_too_long_to_be_sorted_is_whole_all_the_same() {
    let cluster = Cluster::of(6000, vec![("b", Peer::Answers(5000))]).await;
    for line in ["topics list", "topics list --limit 10500"] {
        let ran = cluster.run(&format!("-o json {line}")).await;
        assert_code(&ran, 0);
        let document = ran.json();
        let distinct: BTreeSet<_> =
            document.as_array().unwrap().iter().map(|row| row["topic"].as_str().unwrap()).collect();
        let (rows, hint) =
            if line.contains("limit") { (10_500, "500 more: --limit 0 lists all\n") } else { (11_000, "") };
        assert_eq!((distinct.len(), ran.err.as_str()), (rows, hint), "{line}");
    }
}

#[tokio::test]
async fn a_limited_list_is_sorted_and_says_how_many_more_there_are() {
    let cluster = Cluster::of(1203, vec![("b", Peer::Answers(1100))]).await;
    for line in ["clients list", "subscriptions list", "topics list"] {
        let ran = cluster.run(&format!("--limit 3 --no-headers {line}")).await;
        assert_code(&ran, 0);
        let lines: Vec<_> = ran.out.lines().collect();
        assert_eq!(lines.len(), 3, "{ran:?}");
        assert!(lines.is_sorted() && lines[0].starts_with("a-00000"), "{lines:?}");
        assert!(ran.err.starts_with("2300 more"), "{ran:?}");
    }
}

#[tokio::test]
async fn a_terminal_gets_a_hundred_rows_and_a_hint() {
    let cluster = Cluster::of(150, vec![]).await;
    let ran = run_at(&cluster.endpoint, "clients list", true).await;
    assert_eq!(ran.out.lines().count(), 101);
    assert_eq!(ran.err, "50 more: --limit 0 lists all\n");
    let ran = run_at(&cluster.endpoint, "clients list --limit 0", true).await;
    assert_eq!((ran.out.lines().count(), ran.err.as_str()), (151, ""));
}

#[tokio::test]
async fn nothing_to_list_is_no_failure() {
    let cluster = Cluster::of(0, vec![]).await;
    let ran = cluster.run("clients list").await;
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", "No clients.\n"));
    assert_eq!(cluster.run("-o json clients list").await.out, "[]\n");
}

#[tokio::test]
async fn a_node_narrows_the_answer() {
    let cluster = Cluster::of(3, vec![("b", Peer::Answers(2)), ("c", Peer::Down)]).await;
    let ran = cluster.run("-o json clients count --node b").await;
    assert_eq!(ran.json()["total"], 2);
    let ran = cluster.run("status --node b").await;
    assert_eq!(ran.out, "Node 'b' 0.1.0 is started\n");
    assert_eq!(cluster.run("status").await.out, "Node 'a' 0.1.0 is started\n");
    let ran = cluster.run("clients count --node c").await;
    assert_code(&ran, 6);
    assert!(ran.err.contains("`c` is not up"), "{ran:?}");
}

#[tokio::test]
async fn listeners_are_listed_with_and_without_the_word_list() {
    let cluster = Cluster::of(0, vec![("b", Peer::Answers(0))]).await;
    let ran = cluster.run("-o json listeners").await;
    assert_eq!(ran.json().as_array().map(Vec::len), Some(2));
    assert_eq!(cluster.run("-o json listeners list --node a").await.json()[0]["id"], "tcp:default");
}

#[tokio::test]
async fn a_listener_is_told_what_to_do_on_one_node_in_the_words_of_emqx_ctl() {
    let cluster = Cluster::of(0, vec![("b", Peer::Answers(0))]).await;
    for (line, out) in [
        ("listeners stop tcp:default", "Stop tcp:default listener successfully.\n"),
        ("listeners restart tcp:default", "Restarted tcp:default listener successfully.\n"),
        ("listeners drain tcp:default --node b", "Drained tcp:default listener successfully.\n"),
    ] {
        let ran = cluster.run(line).await;
        assert_code(&ran, 0);
        assert_eq!(ran.out, out, "{line}");
    }
    let ran = cluster.run("listeners start tcp:default").await;
    assert_code(&ran, 1);
    assert!(ran.err.contains("Failed to start tcp:default listener: already_started"), "{ran:?}");
    let ran = cluster.run("listeners stop ssl:x").await;
    assert_code(&ran, 4);
    assert!(ran.err.contains("Invalid listener: tls:x"), "{ran:?}");
}

#[tokio::test]
async fn reloading_tls_shows_the_ends_and_names_the_node_that_kept_its_own() {
    let cluster = Cluster::of(0, vec![("b", Peer::Answers(0))]).await;
    let ran = cluster.run("-o json tls reload --node a").await;
    assert_code(&ran, 0);
    assert_eq!(ran.json()[0]["expires"], "2000-03-01T00:00:00.000Z");
    let ran = cluster.run("tls reload").await;
    assert_code(&ran, 1);
    assert!(ran.err.contains("b keeps its certificates") && ran.err.contains("is another's"), "{ran:?}");
    assert_eq!(cluster.run("-o json tls list").await.json().as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn joining_says_why_it_failed_and_shows_the_members_when_it_did_not() {
    let cluster = Cluster::of(0, vec![("b", Peer::Answers(0))]).await;
    let ran = cluster.run("cluster join 127.0.0.1:1").await;
    assert_code(&ran, 1);
    assert!(ran.err.contains("seed `127.0.0.1:1` is unreachable: connection refused"), "{ran:?}");
    let ran = cluster.run("-o json cluster join 127.0.0.1:2").await;
    assert_code(&ran, 0);
    assert_eq!(ran.json()["nodes"].as_array().map(Vec::len), Some(2));
    assert_code(&cluster.run("cluster leave").await, 0);
    assert_code(&cluster.run("cluster leave --node b").await, 2);
}

#[tokio::test]
async fn keygen_needs_no_broker_and_never_repeats() {
    let first = run_at("unix:/nonexistent", "cluster keygen", false).await;
    assert_code(&first, 0);
    assert_eq!(first.out.trim_end().len(), 64);
    assert_ne!(run_at("unix:/nonexistent", "cluster keygen", false).await.out, first.out);
}

#[tokio::test]
async fn usage_is_2() {
    for line in ["", "clients", "nosuch", "clients list --limit x", "-o xml status", "clients show"] {
        let ran = run_at("unix:/nonexistent", line, false).await;
        assert_code(&ran, 2);
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{ran:?}");
    }
}

#[tokio::test]
async fn users_and_rules_are_reloaded_on_every_node_and_each_says_what_came_of_it() {
    let cluster = Cluster::of(1, vec![("b", Peer::Answers(1))]).await;
    let ran = cluster.run("auth reload").await;
    assert_code(&ran, 0);
    let line = "2 users, 3 rules; 1 sessions and 4 subscriptions ended";
    assert_eq!(ran.out, format!("a: {line}\nb: {line}\n"));
    let ran = cluster.run("-o json auth reload --node b").await;
    assert_eq!(ran.json()["b"]["subscriptions.revoked"], 4);
}

#[tokio::test]
async fn a_node_that_finds_a_mistake_in_its_files_fails_the_reload_with_the_line() {
    let cluster = Cluster::of(1, vec![("bad", Peer::Answers(1))]).await;
    let ran = cluster.run("auth reload").await;
    assert_code(&ran, 1);
    assert!(
        ran.out.starts_with("a: ") && ran.err.contains("`bad`: `auth.acl_file` = `/x`: line 3: rubbish"),
        "{ran:?}"
    );
}
