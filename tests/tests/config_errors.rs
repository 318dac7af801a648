//! A configuration that cannot work: one clear message that names the key and the value, and an exit code that is not 0.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tests::binaries;
use tests::node::{Node, NodeOptions};
use tests::wait::soon;

/// Runs brokerd with these arguments in a fresh directory. It must end by itself.
async fn run(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binaries::brokerd());
    let data = format!("node.data_dir={}", directory.join("data").display());
    let admin = format!("admin.listen=unix:{}", directory.join("admin.sock").display());
    command.args(["--set", &data, "--set", &admin, "--set", "listeners.tcp.default.bind=127.0.0.1:0"]);
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    let mut command = tokio::process::Command::from(command);
    let what = format!("brokerd {arguments:?} ends by itself");
    soon(&what, command.kill_on_drop(true).output()).await.expect("brokerd runs")
}

/// Fails with one message that holds all of `named`.
async fn assert_says_in(directory: &Path, arguments: &[&str], named: &[&str]) {
    let output = run(directory, arguments).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{arguments:?} is accepted\n{said}");
    assert_eq!(output.status.code().map(|code| code < 100), Some(true), "{}: {said}", output.status);
    for name in named {
        assert!(said.contains(name), "`{name}` is not in the message for {arguments:?}:\n{said}");
    }
    let messages = said.lines().filter(|line| !line.trim().is_empty()).count();
    assert!((1..=3).contains(&messages), "not one clear message, but {messages} lines:\n{said}");
    let is_dump = ["panicked", "stack backtrace", "Error {", "Os {"].iter().any(|sign| said.contains(sign));
    assert!(!is_dump, "an inside view is no message:\n{said}");
}

async fn assert_says(arguments: &[&str], named: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    assert_says_in(directory.path(), arguments, named).await;
}

#[tokio::test]
async fn an_unknown_key_is_named() {
    assert_says(&["--set", "mqtt.max_topic_length=5"], &["mqtt.max_topic_length"]).await;
    assert_says(&["--set", "colour.of.the.shed=green"], &["colour"]).await;
}

#[tokio::test]
async fn an_unknown_key_in_a_file_is_named_with_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("brokerd.toml");
    std::fs::write(&file, "[node]\nnmae = \"n1\"\n").unwrap();
    let file = file.display().to_string();
    assert_says_in(directory.path(), &["--config", &file], &["nmae", &file]).await;
}

#[tokio::test]
async fn a_bad_address_is_named_with_its_key() {
    let set = "listeners.tcp.default.bind=nowhere:99999";
    assert_says(&["--set", set], &["listeners.tcp.default.bind", "nowhere:99999"]).await;
    assert_says(&["--set", "admin.listen=here"], &["admin.listen", "here"]).await;
    let secret = ["--set", "cluster.secret=0123456789abcdef"];
    assert_says(&["--set", "cluster.bind=7946", secret[0], secret[1]], &["cluster.bind", "7946"]).await;
}

#[tokio::test]
async fn a_value_of_the_wrong_kind_is_named_with_its_key() {
    assert_says(&["--set", "node.workers=many"], &["node.workers", "many"]).await;
    assert_says(&["--set", "mqtt.receive_maximum=70000"], &["mqtt.receive_maximum", "70000"]).await;
}

#[tokio::test]
async fn a_secret_that_is_too_short_is_refused_and_not_printed() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), &["--set", "cluster.secret=opensesame"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("cluster.secret") && said.contains("16"), "{said}");
    assert!(!said.contains("opensesame"), "a secret is in the message: {said}");
}

#[tokio::test]
async fn a_taken_port_is_named_with_its_key() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let set = format!("listeners.tcp.default.bind={address}");
    assert_says(&["--set", &set], &["listeners.tcp.default.bind", &address]).await;
    let set = format!("cluster.bind={address}");
    let secret = ["--set", "cluster.secret=0123456789abcdef"];
    assert_says(&["--set", &set, secret[0], secret[1]], &["cluster.bind", &address]).await;
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named() {
    assert_says(&["--config", "/nonexistent/brokerd.toml"], &["/nonexistent/brokerd.toml"]).await;
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().display().to_string();
    assert_says_in(directory.path(), &["--config", &folder], &[&folder]).await;
    let missing = "cluster.secret_file=/nonexistent/secret";
    assert_says(&["--set", missing], &["cluster.secret_file", "/nonexistent/secret"]).await;
}

#[tokio::test]
async fn a_file_that_is_no_toml_is_named_with_the_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("brokerd.toml");
    std::fs::write(&file, "[node]\nname = n1 n2\n").unwrap();
    let output = run(directory.path(), &["--config", &file.display().to_string()]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains(&file.display().to_string()) && said.contains('2'), "{said}");
}

#[tokio::test]
async fn a_live_admin_socket_refuses_the_start() {
    let node = Node::start(NodeOptions::alone("n1")).await;
    let socket = node.admin_socket().display().to_string();
    let set = format!("admin.listen=unix:{socket}");
    assert_says(&["--set", &set], &["admin.listen", &socket]).await;
    node.ctl().run(&["status"]).await.ok();
}

#[tokio::test]
async fn a_dead_admin_socket_is_replaced() {
    let mut node = Node::start(NodeOptions::alone("n1")).await;
    node.restart().await; // killed with -9: its socket file stays
    node.ctl().run(&["status"]).await.ok();
}

#[tokio::test]
async fn a_data_directory_in_use_refuses_the_start() {
    let node = Node::start(NodeOptions::alone("n1")).await;
    let data = node.data_dir().display().to_string();
    let set = format!("node.data_dir={data}");
    assert_says(&["--set", &set], &["node.data_dir", &data]).await;
}

#[tokio::test]
async fn a_check_says_whether_the_configuration_is_good() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), &["--check-config"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_says(&["--check-config", "--set", "node.workers=many"], &["node.workers", "many"]).await;
}

/// Every key of the reference file that takes a 0.
fn keys_that_take_a_zero() -> Vec<(String, &'static str)> {
    let reference = include_str!("../../config/brokerd.toml");
    let (mut section, mut found) = (String::new(), Vec::new());
    for line in reference.lines().map(|line| line.trim_start_matches("# ")) {
        if let Some((name, _)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            section = name.trim_start_matches('[').to_owned();
            continue;
        }
        let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains(' ')) else { continue };
        let key = format!("{section}.{key}");
        let takes = |value: &str| {
            let set = vec![format!("{key}={value}"), "node.name=n1".into(), "node.data_dir=/tmp".into()];
            brokerd::config::load(&brokerd::config::Sources { set, ..Default::default() }).is_ok()
        };
        let zero = ["0", "0s"].into_iter().find(|zero| takes(zero) && !takes("a word"));
        found.extend(zero.map(|zero| (key.clone(), zero)));
    }
    found
}

/// CVE-2026-42209: a 0 in the configuration, and a division by it when the first client came.
#[tokio::test]
async fn a_broker_with_a_zero_wherever_one_is_allowed_serves() {
    let zeros = keys_that_take_a_zero();
    assert!(zeros.len() > 10, "{zeros:?}");
    let mut options = NodeOptions::alone("n1");
    for (key, zero) in &zeros {
        options = options.set(key, zero);
    }
    let node = Node::start(options).await;
    let mut client = tests::raw::Raw::connect(node.mqtt(), &tests::packet::Connect::v5("c")).await;
    client.subscribe("a/b", 0).await;
    client.publish("a/b", b"through", 0).await;
    assert_eq!(client.receive().await.text(), "through", "with {zeros:?}");
}

#[tokio::test]
async fn the_environment_sets_keys_too_and_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(binaries::brokerd());
    command.arg("--check-config").env("BROKERD_NODE__WORKERS", "many").current_dir(directory.path());
    let output = soon("an answer", command.output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("many"), "{said}");
}
