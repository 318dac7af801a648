//! Extreme input, within every single limit or just over one: bounded time and memory, and each its own refusal. The
//! node's memory is what the kernel says it is.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod many;
mod packets;
mod slow;

use tests::node::{Node, NodeOptions};
use tests::packet::Connect;
use tests::raw::Raw;
use tests::wait::{SOON, eventually};

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

    fn grown(&self) -> usize {
        self.node.resident().saturating_sub(self.before)
    }

    /// It comes to hold at most this much more, when the allocator has given back what is free: it takes ten seconds for it.
    async fn wait_until_bounded(&self, most: usize, what: &str) {
        eventually(3 * SOON, what, async || {
            let grown = self.grown();
            if grown <= most { Ok(()) } else { Err(format!("{grown} bytes more, at most {most} were expected")) }
        })
        .await;
    }

    /// It holds at most this much more than it did, and serves.
    async fn assert_bounded(&self, most: usize, what: &str) {
        let grown = self.grown();
        println!("{what}: {grown} bytes more");
        assert!(grown <= most, "{what}: the node has grown by {grown} bytes, at most {most} were expected");
        Raw::connect(self.node.mqtt(), &Connect::v5("witness")).await.fence().await;
    }
}
