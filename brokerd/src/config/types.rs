//! The configuration as the rest of the program sees it: resolved and checked. Owns names and shapes; never parses.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Discovery, Listeners};

/// The whole configuration, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[node]`
    pub node: Node,
    /// `[listeners.<kind>.<name>]`
    pub listeners: Listeners,
    /// `[auth]`
    pub auth: Auth,
    /// `[mqtt]`
    pub mqtt: Mqtt,
    /// `[persistence]`
    pub persistence: Persistence,
    /// `[[rewrite]]`
    pub rewrite: Vec<Rewrite>,
    /// `[[auto_subscribe]]`
    pub auto_subscribe: Vec<AutoSubscribe>,
    /// `[[queue_priority]]`
    pub queue_priority: Vec<QueuePriority>,
    /// `[sys]`
    pub sys: Sys,
    /// `[cluster]`
    pub cluster: Cluster,
    /// `[admin]`
    pub admin: Admin,
    /// `[health]`
    pub health: Health,
    /// `[log]`
    pub log: Log,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Name in the cluster: stable and unique. Default: the host name.
    pub name: String,
    /// Where durable things are. Made if missing.
    pub data_dir: PathBuf,
    /// Worker threads; 0 is one a core.
    pub workers: usize,
    /// Bytes of messages that wait in a worker's letter box before those who feed it stop reading.
    pub worker_queue: usize,
    /// What clients that are sent to this node are told: its Server Reference.
    pub server_reference: Option<String>,
    /// Clients a second that a drain sends away.
    pub drain_rate: u32,
    /// How long a drain says that the node is not ready before it stops to accept.
    pub drain_wait: Duration,
}

/// `[health]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Where load balancers and Prometheus ask.
    pub listen: Option<SocketAddr>,
}

/// `[auth]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Users and the hashes of their passwords. Without one there is no authenticator.
    pub password_file: Option<PathBuf>,
    /// Who may publish and subscribe where. Without one, whoever is in may.
    pub acl_file: Option<PathBuf>,
    /// Passwords that are checked at a time; 0 is half of the cores.
    pub hash_threads: usize,
    /// Clients that wait for their password to be checked; the next is told that the server is busy.
    pub hash_queue: usize,
    /// Successful checks that are remembered.
    pub cache_size: usize,
}

/// `[mqtt]`
#[derive(Clone, Debug, PartialEq)]
pub struct Mqtt {
    /// Bytes of a packet, header included.
    pub max_packet_size: u32,
    /// Bytes of a CONNECT, header included: what a connection may make us hold before we know who it is.
    pub max_connect_size: u32,
    /// Bytes of packets that have not come whole, of all connections of the node.
    pub max_partial_bytes: usize,
    /// From accept to a whole CONNECT.
    pub connect_timeout: Duration,
    /// Publications at QoS 1 and 2 that a client may have unacknowledged (Receive Maximum).
    pub receive_maximum: u16,
    /// Publications at QoS 1 and 2 that we have unacknowledged at a client that names no limit.
    pub max_inflight: u16,
    /// Levels of a topic or filter.
    pub max_topic_levels: u16,
    /// User properties of a packet, and of a will.
    pub max_user_properties: usize,
    /// Bytes of a topic name.
    pub max_topic_len: u16,
    /// Bytes of a topic filter.
    pub max_subscription_len: u16,
    /// Bytes of a client id.
    pub max_client_id_len: u16,
    /// Subscriptions of a session.
    pub max_subscriptions: usize,
    /// Topic aliases that a client may use.
    pub topic_alias_maximum: u16,
    /// Topic aliases that the broker sets for a client that takes them.
    pub topic_alias_out: u16,
    /// Seconds; a client that asks more, or for none, is given this. 0 is no limit.
    pub max_keep_alive: u16,
    /// Seconds a session of 3.x with clean session 0 is kept.
    pub session_expiry: u32,
    /// Seconds; a client that asks more is given this. 4294967295 is never.
    pub max_session_expiry: u32,
    /// Bytes waiting in a connection's write buffer above which messages stay in the session's queue.
    pub write_buffer: usize,
    /// The highest QoS that clients may publish at, and are granted.
    pub max_qos: u8,
    /// Whether clients may publish retained messages.
    pub retain_available: bool,
    /// Whether filters may have wildcards.
    pub wildcard_subscription: bool,
    /// Whether subscriptions may have identifiers.
    pub subscription_identifiers: bool,
    /// Messages that the node delays.
    pub max_delayed: usize,
    /// Bytes that the node delays.
    pub max_delayed_bytes: usize,
    /// Response Information of the CONNACK; empty is none.
    pub response_information: String,
    /// What becomes of a 3.x client that publishes what it may not.
    pub deny_action: DenyAction,
    /// Whether `$share/group/filter` may be subscribed to.
    pub shared_subscription: bool,
    /// How a shared group's member is chosen.
    pub shared_strategy: SharedStrategy,
    /// Whether `$exclusive/topic` may be subscribed to.
    pub exclusive_subscription: bool,
}

/// How the member of a shared group that gets a message is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedStrategy {
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
    /// One, until it goes.
    Sticky,
    /// One on the publisher's node where there is one.
    Local,
    /// By the publisher's client id.
    HashClientId,
    /// By the topic.
    HashTopic,
}

/// What becomes of a client that cannot be told that its publication is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyAction {
    /// The message is acknowledged and dropped.
    Ignore,
    /// The connection is closed.
    Disconnect,
}

/// `[persistence]`
#[derive(Clone, Debug, PartialEq)]
pub struct Persistence {
    /// Where sessions that outlive their connection are kept.
    pub backend: Backend,
    /// When what they are promised is kept.
    pub commit: Commit,
    /// Bytes of changes that wait for the store.
    pub pending_bytes: usize,
    /// `[persistence.disk]`
    pub disk: Disk,
    /// `[persistence.redis]`
    pub redis: Redis,
    /// `[persistence.postgres]`
    pub postgres: SqlServer,
    /// `[persistence.mysql]`
    pub mysql: SqlServer,
    /// Messages that a session queues.
    pub queue_depth: usize,
    /// Bytes that a session queues.
    pub queue_bytes: usize,
    /// What goes when the queue is full.
    pub when_full: WhenFull,
    /// Whether QoS 0 is queued for a client that is away.
    pub queue_qos0: bool,
    /// Where what no `[[queue_priority]]` names stands.
    pub default_priority: DefaultPriority,
    /// Sessions without a connection that a node keeps; the next disconnect ends the session instead.
    pub max_offline_sessions: usize,
    /// Retained messages of a node.
    pub max_retained: usize,
    /// Bytes of retained messages of a node.
    pub max_retained_bytes: usize,
}

/// Where sessions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In memory: they end with the process.
    Memory,
    /// In the data directory.
    Disk,
    /// In a Redis server.
    Redis,
    /// In a PostgreSQL server.
    Postgres,
    /// In a MySQL or MariaDB server.
    Mysql,
}

/// When what clients are promised is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// Before the promise, together with what else waits.
    Group,
    /// Before the promise, each turn by itself.
    Every,
    /// After the promise, soon.
    None,
}

/// `[persistence.disk]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that stay free on the file system.
    pub reserve: u64,
    /// Bytes of what was read that are kept in memory.
    pub cache: u64,
    /// Bytes of the journal, which is read again at start.
    pub journal: u64,
}

/// `[persistence.redis]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// Where the server is.
    pub address: String,
    /// Who we are to it.
    pub user: Option<String>,
    /// What proves it.
    pub password: Option<Secret>,
    /// The file that has it.
    pub password_file: Option<PathBuf>,
    /// Number of the database.
    pub database: u32,
    /// What all keys begin with.
    pub prefix: String,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// The certificates that vouch for the server, if not those of the machine.
    pub tls_ca: Option<PathBuf>,
}

/// `[persistence.postgres]` and `[persistence.mysql]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlServer {
    /// Where the server is: host and port, or a Unix socket.
    pub address: String,
    /// The database.
    pub database: String,
    /// Who we are to it.
    pub user: String,
    /// What proves it.
    pub password: Option<Secret>,
    /// The file that has it.
    pub password_file: Option<PathBuf>,
    /// Whether it is encrypted.
    pub tls: SqlTls,
    /// The certificates that vouch for the server.
    pub tls_ca: PathBuf,
    /// Connections for reads.
    pub readers: usize,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

/// Whether a connection to a server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlTls {
    /// Where it leaves the machine.
    Auto,
    /// It is.
    On,
    /// It is not.
    Off,
}

/// Drop policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest queued message goes.
    DropOldest,
    /// The new message goes.
    DropNewest,
}

/// `[[rewrite]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// What it concerns.
    pub action: RewriteAction,
    /// The topics and filters that it concerns, as a filter.
    pub source: String,
    /// What it finds in them.
    pub regex: String,
    /// What they become.
    pub destination: String,
}

/// What a rule of rewriting concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewriteAction {
    /// PUBLISH and wills.
    Publish,
    /// SUBSCRIBE and UNSUBSCRIBE.
    Subscribe,
    /// All of these.
    All,
}

/// `[[queue_priority]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePriority {
    /// A topic filter.
    pub topic: String,
    /// From 1; the higher leaves a queue first.
    pub priority: u8,
}

/// Where what no `[[queue_priority]]` names stands in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultPriority {
    /// Behind all that has a priority.
    Lowest,
    /// Before all that has one.
    Highest,
}

/// `[[auto_subscribe]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutoSubscribe {
    /// The filter; `%c` and `%u` are client id and user name.
    pub topic: String,
    /// Asked for.
    pub qos: u8,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling.
    pub retain_handling: u8,
}

/// `[sys]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sys {
    /// Between two publications of the `$SYS` tree; zero is off.
    pub interval: Duration,
}

/// `[cluster]`
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Clusters of different names do not join.
    pub name: String,
    /// Gossip (UDP) and peers (TCP).
    pub bind: SocketAddr,
    /// What peers dial; default: the bound address.
    pub advertise: Option<SocketAddr>,
    /// `host:port` of any nodes.
    pub seeds: Vec<String>,
    /// What finds peers besides the seeds.
    pub discovery: Discovery,
    /// At least 16 bytes. Without one there is no clustering.
    pub secret: Option<Secret>,
    /// Believed beside it, while one is exchanged for another.
    pub accept_secrets: Vec<Secret>,
    /// The newest version of the peer protocol that this node speaks.
    pub protocol: u32,
    /// The longest a SUBACK waits for peers.
    pub subscribe_timeout: Duration,
    /// The longest a CONNECT waits for the registrar of its client id.
    pub claim_timeout: Duration,
    /// After this long without an answer from any seed the node serves alone.
    pub join_timeout: Duration,
    /// A stream without a frame for this long is gone.
    pub peer_timeout: Duration,
    /// A stream gone for this long makes its node down, whatever gossip says.
    pub down_after: Duration,
    /// How long rows of a node that is down are kept, masked.
    pub route_grace: Duration,
    /// How long the deletion of a retained message is remembered.
    pub tombstone_ttl: Duration,
    /// Between two rounds of gossip.
    pub gossip_interval: Duration,
    /// A peer whose clock is further ahead is not believed.
    pub max_clock_skew: Duration,
    /// Bytes queued for one peer.
    pub peer_queue: usize,
    /// Bytes of wills that are held for the clients of other nodes.
    pub max_wills_bytes: usize,
}

/// A secret that does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }
    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where brokerctl connects.
    pub listen: Endpoint,
}

/// An address of the management API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `auto`: a Unix socket in the user's runtime directory, where brokerctl looks too.
    Auto,
    /// `unix:PATH`
    Unix(PathBuf),
    /// `HOST:PORT`; loopback only.
    Tcp(SocketAddr),
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A filter as in `info` or `brokerd=debug`.
    pub filter: String,
}
