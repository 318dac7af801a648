//! What every load balancer in front of two nodes must give. Owns the nodes; the tests name the balancer.

use std::net::SocketAddr;

use tests::balancer::{BALANCED, Balancer};
use tests::cluster::Cluster;
use tests::packet::Connect;
use tests::raw::Raw;
use tests::wait::{SOON, eventually};

/// Two nodes of one cluster that listen for a balancer.
pub(crate) struct Behind {
    pub(crate) cluster: Cluster,
}

/// A client, and the name of its node.
pub(crate) struct Placed {
    pub(crate) client: Raw,
    pub(crate) node: String,
}

impl Behind {
    pub(crate) async fn start() -> Self {
        let cluster = Cluster::start_with(2, |options| {
            options
                .set("health.listen", "127.0.0.1:0")
                .set("listeners.tcp.balanced.bind", "127.0.0.1:0")
                .set("listeners.tcp.balanced.proxy_protocol", "true")
                .set("listeners.tcp.balanced.allow_anonymous", "true")
        });
        Self { cluster: cluster.await }
    }

    /// The row of a connected client in `clients list`, asked at that node.
    async fn row(&self, at: usize, client_id: &str) -> serde_json::Value {
        let what = format!("{client_id} is listed once");
        eventually(SOON, &what, async || {
            let rows = self.cluster.nodes[at].ctl().run(&["clients", "list"]).await.ok();
            let rows = rows.as_array().cloned().unwrap_or_default();
            match rows.iter().filter(|row| row["clientid"] == client_id).collect::<Vec<_>>()[..] {
                [row] => Ok(row.clone()),
                _ => Err(format!("{rows:?}")),
            }
        })
        .await
    }

    /// Clients through the balancer until there is one on each node; by name of the node.
    pub(crate) async fn one_on_each(&self, balancer: &Balancer) -> [Placed; 2] {
        let mut placed: Vec<Placed> = vec![];
        for number in 0..10 {
            let client_id = format!("placed{number}");
            let client = Raw::connect(balancer.address(), &Connect::v5(&client_id)).await;
            let node = self.row(0, &client_id).await["node"].as_str().unwrap().to_owned();
            if placed.iter().all(|other| other.node != node) {
                placed.push(Placed { client, node });
            }
            placed.sort_by(|a, b| a.node.cmp(&b.node));
            if let Ok(both) = <[Placed; 2]>::try_from(std::mem::take(&mut placed)).map_err(|few| placed = few) {
                return both;
            }
        }
        panic!("ten clients, and all on {}", placed[0].node);
    }

    pub(crate) async fn clients_have_their_own_address(&self, balancer: &Balancer) {
        let from = SocketAddr::from(([127, 0, 0, 7], 0));
        for number in 0..4 {
            let client_id = format!("far{number}");
            let (client, _) = Raw::connect_from(from, balancer.address(), &Connect::v311(&client_id)).await;
            let row = self.row(1, &client_id).await;
            assert_eq!(row["peername"], client.local_address().to_string(), "{row}");
            assert_eq!(row["listener"], BALANCED, "{row}");
        }
    }

    pub(crate) async fn messages_cross(&self, balancer: &Balancer) {
        let [mut here, mut there] = self.one_on_each(balancer).await;
        there.client.subscribe("balanced", 2).await;
        for qos in 0..=2 {
            here.client.publish("balanced", &[b'0' + qos], qos).await;
            let came = there.client.receive().await;
            assert_eq!((came.text(), came.qos), (&*qos.to_string(), qos));
        }
    }

    /// Kills the first node with a client on it. `is_known` waits until the balancer knows, where it can.
    pub(crate) async fn survives_a_kill(&mut self, balancer: &Balancer, is_known: impl AsyncFnOnce()) {
        let [mut orphan, mut witness] = self.one_on_each(balancer).await;
        assert_eq!((&*orphan.node, &*witness.node), ("n1", "n2"));
        self.cluster.nodes[0].kill9();
        is_known().await;
        assert_eq!(orphan.client.expect_close().await, None, "the client of the node that was killed");
        for number in 0..6 {
            let client_id = format!("new{number}");
            Raw::connect(balancer.address(), &Connect::v311(&client_id)).await.fence().await;
        }
        assert!(witness.client.fence().await.is_empty(), "the client of the other node is still served");
    }
}
