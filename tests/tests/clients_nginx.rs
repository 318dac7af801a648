//! nginx in front of two nodes, as `config/nginx-stream.conf` has it: PROXY protocol version 1, and clients that find a
//! node gone are its health checks.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod balanced;

use balanced::Behind;
use tests::balancer::Balancer;

#[tokio::test]
async fn clients_are_listed_with_their_own_address_on_the_node_that_nginx_chose() {
    let behind = Behind::start().await;
    let nginx = Balancer::nginx(&behind.cluster.nodes).await;
    behind.clients_have_their_own_address(&nginx).await;
}

#[tokio::test]
async fn a_message_goes_in_at_one_node_and_comes_out_at_the_other_through_nginx() {
    let behind = Behind::start().await;
    let nginx = Balancer::nginx(&behind.cluster.nodes).await;
    behind.messages_cross(&nginx).await;
}

#[tokio::test]
async fn when_a_node_is_killed_nginx_sends_new_clients_to_the_other() {
    let mut behind = Behind::start().await;
    let nginx = Balancer::nginx(&behind.cluster.nodes).await;
    behind.survives_a_kill(&nginx, async || ()).await; // it learns from the next client
}
