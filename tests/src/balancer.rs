//! A load balancer from Debian's packages in front of two nodes, by the example of its configuration that we ship. Owns
//! its process and directory; a balancer that is dropped is killed. Never asks it anything: tests see what it does
//! and what it logs.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::node::Node;
use crate::ports;
use crate::wait::{SOON, eventually};

/// A listener of a node for what comes from a balancer.
pub const BALANCED: &str = "tcp:balanced";

/// A running HAProxy or nginx.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    child: Child,
    directory: tempfile::TempDir,
}

impl Balancer {
    /// HAProxy by `config/haproxy.cfg`, in front of these.
    pub async fn haproxy(nodes: &[Node]) -> Self {
        Self::haproxy_with(nodes, |config| config).await
    }

    /// The same with checks that only connect, and say LOCAL.
    pub async fn haproxy_without_readyz(nodes: &[Node]) -> Self {
        let change = |config: String| {
            let lines = config.lines().filter(|line| !line.contains("httpchk") && !line.contains("http-check"));
            let plain = |line: &str| match line.trim_start().strip_prefix("server ") {
                Some(_) => line.split(" port ").next().unwrap_or_default().to_owned(),
                None => line.replace(" check ", " check check-send-proxy "),
            };
            lines.map(plain).collect::<Vec<_>>().join("\n") + "\n"
        };
        Self::haproxy_with(nodes, change).await
    }

    async fn haproxy_with(nodes: &[Node], change: impl Fn(String) -> String) -> Self {
        let directory = directory();
        let front = ports::free();
        let config = example("haproxy.cfg", nodes, "bind :1883", &format!("bind {front}"));
        // As the example, only sooner.
        let config = config.replace("inter 2s", "inter 100ms").replace("fastinter 500ms", "fastinter 50ms");
        std::fs::write(directory.path().join("haproxy.cfg"), change(config)).expect("a file");
        Self::start(front, directory, program("haproxy").args(["-db", "-f", "haproxy.cfg"])).await
    }

    /// nginx by `config/nginx-stream.conf`, in front of these, as a part of the smallest whole there is.
    pub async fn nginx(nodes: &[Node]) -> Self {
        let directory = directory();
        let front = ports::free();
        let config = example("nginx-stream.conf", nodes, "listen 1883", &format!("listen {front}"));
        std::fs::write(directory.path().join("nginx-stream.conf"), config).expect("a file");
        // One process, so that none is left when it is killed.
        let whole = "daemon off; master_process off; pid nginx.pid; error_log stderr;\n\
                     events {}\ninclude nginx-stream.conf;\n";
        std::fs::write(directory.path().join("nginx.conf"), stream_module() + whole).expect("a file");
        let prefix = directory.path().to_owned();
        let mut command = program("nginx");
        Self::start(front, directory, command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(prefix)).await
    }

    /// Starts it and waits until it listens.
    async fn start(address: SocketAddr, directory: tempfile::TempDir, command: &mut Command) -> Self {
        let log = File::create(directory.path().join("log")).expect("a file");
        command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.kill_on_drop(true).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}; tests/run installs it"));
        let mut balancer = Self { address, child, directory };
        eventually(SOON, "the balancer listens", async || {
            let ended = balancer.child.try_wait().expect("a child to ask");
            assert!(ended.is_none(), "{command:?} has ended\n{}", balancer.log());
            TcpStream::connect(address).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        balancer
    }

    /// Where clients connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the balancer\n{}---", self.log());
        }
    }
}

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("brokerd-test").tempdir().expect("a directory")
}

/// Debian keeps daemons where the PATH of a user does not look.
fn program(name: &str) -> Command {
    let daemon = Path::new("/usr/sbin").join(name);
    Command::new(if daemon.exists() { daemon } else { PathBuf::from(name) })
}

/// What `config/<name>` says, with other addresses.
fn example(name: &str, nodes: &[Node], front: &str, instead: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(name);
    let mut text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let named = ["server b1 10.0.0.1:1884 port 8081", "server b2 10.0.0.2:1884 port 8081"];
    let is_checked = text.contains(named[0]);
    let servers = if is_checked { named } else { ["server 10.0.0.1:1884", "server 10.0.0.2:1884"] };
    let mut change = |from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 1, "`{from}` in {name}");
        text = text.replace(from, to);
    };
    change(front, instead);
    for (server, node) in servers.into_iter().zip(nodes) {
        let (words, _) = server.split_once("10.0.0.").expect("an address");
        let port = if is_checked { format!(" port {}", node.health().port()) } else { String::new() };
        change(server, &format!("{words}{}{port}", node.listener(BALANCED)));
    }
    text
}

/// Debian's nginx has the module apart; others have it built in.
fn stream_module() -> String {
    let module = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
    if module.exists() { format!("load_module {};\n", module.display()) } else { String::new() }
}
