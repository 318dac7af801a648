//! mosquitto's programs, as users run them. Owns the processes; a subscriber that is dropped is killed.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::wait::soon;

/// A running `mosquitto_sub`.
#[derive(Debug)]
pub struct Subscriber {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Subscriber {
    /// Starts it and waits for the broker's SUBACK, which `-d` makes it print.
    pub async fn start(broker: SocketAddr, arguments: &[&str]) -> Self {
        // Into a pipe it would say nothing until its buffer is full.
        let mut command = Command::new("stdbuf");
        command
            .args(["-oL", "mosquitto_sub", "-d"])
            .args(["-h", &broker.ip().to_string(), "-p", &broker.port().to_string()])
            .args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        let mut child = command.spawn().expect("mosquitto_sub is installed");
        let stdout = child.stdout.take().expect("a pipe");
        let mut subscriber = Self { _child: child, lines: BufReader::new(stdout).lines() };
        subscriber.line_with("received SUBACK").await;
        subscriber.line_with("Subscribed").await;
        subscriber
    }

    /// The next line of output that holds this text. Its own account of packets is between them.
    pub async fn line_with(&mut self, text: &str) -> String {
        soon(&format!("mosquitto_sub prints `{text}`"), async {
            loop {
                let line = self.lines.next_line().await.expect("a line");
                let line = line.unwrap_or_else(|| panic!("mosquitto_sub ended before it printed `{text}`"));
                if line.contains(text) {
                    return line;
                }
            }
        })
        .await
    }

    /// The next line that is no account of packets: a message.
    pub async fn message(&mut self) -> String {
        soon("mosquitto_sub prints a message", async {
            loop {
                let line = self.lines.next_line().await.expect("a line").expect("mosquitto_sub runs");
                let is_account = ["Client ", "Subscribed "].iter().any(|start| line.starts_with(start));
                if !is_account {
                    return line;
                }
            }
        })
        .await
    }
}

/// Runs `mosquitto_pub` to its end.
pub async fn publish(broker: SocketAddr, arguments: &[&str]) {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", &broker.ip().to_string(), "-p", &broker.port().to_string()]).args(arguments);
    let output = soon("mosquitto_pub ends", command.stdin(Stdio::null()).kill_on_drop(true).output()).await;
    let output = output.expect("mosquitto_pub is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "mosquitto_pub {arguments:?}: {}: {said}", output.status);
}
