//! The harness of the black-box tests: runs the two binaries, speaks MQTT to them byte by byte, and waits without
//! sleeping blindly. Owns processes and sockets of a test; never links the broker's own codec, so that a mistake there
//! cannot hide itself here.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says so by panicking")]

pub mod balancer;
pub mod binaries;
pub mod broker;
pub mod cluster;
pub mod codes;
pub mod ctl;
pub mod discovery;
pub mod histories;
pub mod history;
pub mod http;
pub mod in_process;
pub mod load;
pub mod malformed;
pub mod mosquitto;
pub mod netns;
pub mod node;
pub mod npm;
pub mod packet;
pub mod paho;
pub mod ports;
pub mod raw;
pub mod read;
pub mod rumqtt;
pub mod sandbox;
pub mod seed;
pub mod startup;
pub mod stores;
pub mod users;
pub mod wait;
