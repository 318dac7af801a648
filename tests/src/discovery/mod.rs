//! What nodes find each other by, of the tests' own or as a child process: a name server, an etcd, an API like that of
//! Kubernetes. Each can be told to be silent or wrong; all are on loopback, at ports of the kernel's choice.

mod etcd;
mod kubernetes;
mod names;

pub use etcd::Etcd;
pub use kubernetes::{Kubernetes, TOKEN};
pub use names::Names;
