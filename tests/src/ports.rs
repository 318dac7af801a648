//! Ports for processes that cannot be asked which one the kernel gave them. Never holds a port open.

use std::net::{SocketAddr, TcpListener, UdpSocket};

/// A loopback address that was free on TCP and on UDP a moment ago.
#[must_use]
pub fn free() -> SocketAddr {
    for _ in 0..100 {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = tcp.local_addr().expect("an address");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free on both TCP and UDP")
}
