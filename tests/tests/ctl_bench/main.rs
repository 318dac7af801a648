//! `brokerctl bench` against a real broker: what it counts is what was sent, and a broker that breaks a promise is told on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod broken;
mod connections;
mod messages;
mod offline;

use serde_json::Value;
use tests::ctl::Ctl;
use tests::node::{Node, NodeOptions};

async fn node() -> Node {
    Node::start(NodeOptions::alone("n1")).await
}

/// The report of a run that found nothing wrong.
async fn bench(node: &Node, line: &str) -> Value {
    let (target, pid) = (node.mqtt().to_string(), node.pid().to_string());
    let words = ["--target", &target, "--pid", &pid];
    bench_at(&words, line).await
}

/// The same, with words of its own.
async fn bench_at(words: &[&str], line: &str) -> Value {
    let line: Vec<_> = ["bench"].into_iter().chain(line.split(' ')).chain(words.iter().copied()).collect();
    Ctl::at("unix:/nowhere").run(&line).await.ok()
}

/// Checks figures of a report.
#[track_caller]
fn assert_figures(report: &Value, about: &str, figures: &[(&str, u64)]) {
    for (name, value) in figures {
        assert_eq!(report[*name], *value, "{about}: `{name}` in {report}");
    }
}

/// Checks that figures are there, and above 0.
#[track_caller]
fn assert_measured(report: &Value, about: &str, figures: &[&str]) {
    for name in figures {
        assert!(report[*name].as_f64().is_some_and(|value| value > 0.0), "{about}: `{name}` in {report}");
    }
}
