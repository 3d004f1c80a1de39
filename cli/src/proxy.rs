//! Parts of the proxy.
#![allow(dead_code)]

pub mod client_tls;
pub mod guard;
pub mod health;
pub mod metrics;
mod password;
mod private_input;
mod scram;
mod socket_owner;
pub mod systemd;
pub mod unix_socket;
