//! Ring 4: nodes as processes, each in a network namespace of its own, on one bridge whose links can be cut, made lossy or
//! slow. The namespaces have no names and no files: they end with the processes and threads that are in them, however
//! those end. Owns namespaces and links; `Town` has the nodes. Nothing here touches the network of the machine.

mod links;
mod namespace;
mod relay;
mod sights;
mod town;

use std::panic::resume_unwind;
use std::process::{Command, Stdio};

pub use links::{Street, Way, all_pairs, between};
pub use sights::{Known, agree, alarms, one_retained_set, serves};
pub use town::{Making, Town};

/// Runs a test whose thread is in a namespace with a bridge to so many hosts. Who is not root becomes root of a user
/// namespace, in a process of its own. Where neither works the test says that it is skipped.
pub fn with_hosts<F: Future<Output = ()>>(hosts: usize, test: impl FnOnce(Street) -> F + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        again_as_root();
        return;
    }
    if !works(&["--net"]) {
        println!("SKIPPED: no network namespaces, nft or bridges here");
        return;
    }
    let thread = std::thread::spawn(move || {
        // Threads and processes that begin from here are in the same namespace.
        let street = Street::lay(hosts);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(test(street));
    });
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

/// Whether all that is needed may be made.
fn works(how: &[&str]) -> bool {
    let script = "ip link add br0 type bridge; ip link add v0 type veth peer name v1; nft add table bridge faults";
    let mut command = Command::new("unshare");
    command.args(how).args(["sh", "-ec", script]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// This test alone, once more.
fn again_as_root() {
    let how = ["--map-root-user", "--net"];
    let thread = std::thread::current();
    let name = thread.name().filter(|name| *name != "main");
    let Some(name) = name.filter(|_| works(&how)) else {
        println!("SKIPPED: no network namespaces for who is not root here, or no threads of tests");
        return;
    };
    let mut command = Command::new("unshare");
    command.args(how).arg(std::env::current_exe().expect("the path of this executable"));
    let output = command.args([name, "--exact", "--nocapture"]).output().expect("unshare runs");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} failed as root of a user namespace: {}", output.status);
}
