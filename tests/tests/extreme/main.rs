//! Extreme input, within every single limit or just over one: bounded time and memory, and each its own refusal. The
//! node's memory is what the kernel says it is.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod many;
mod packets;
mod slow;

use tests::node::{Node, NodeOptions};
use tests::packet::Connect;
use tests::raw::Raw;

const MIB: usize = 1 << 20;

/// A node whose growth is measured: it has served somebody, so that what grows once has grown.
struct Measured {
    node: Node,
    before: usize,
}

impl Measured {
    async fn start(options: NodeOptions) -> Self {
        let node = Node::start(options.set("node.workers", "2")).await;
        for number in 0..4 {
            let mut client = Raw::connect(node.mqtt(), &Connect::v5(&format!("warm{number}"))).await;
            client.subscribe("warm", 1).await;
            client.publish("warm", &[0; 900_000], 1).await;
            client.disconnect().await;
        }
        let before = node.resident();
        Self { node, before }
    }

    /// It holds at most this much more than it did, and serves.
    async fn assert_bounded(&self, most: usize, what: &str) {
        let grown = self.node.resident().saturating_sub(self.before);
        println!("{what}: {grown} bytes more");
        assert!(grown <= most, "{what}: the node has grown by {grown} bytes, at most {most} were expected");
        Raw::connect(self.node.mqtt(), &Connect::v5("witness")).await.fence().await;
    }
}
