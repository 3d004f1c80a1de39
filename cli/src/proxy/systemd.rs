//! Sockets that systemd has opened, and messages to it.

use std::os::fd::OwnedFd;

use crate::failure::{Failure, Result};

/// Returns the sockets that systemd has passed under this name. Each is returned once.
///
/// # Errors
/// Fails if there is none of this name.
pub fn sockets(name: &str) -> Result<Vec<OwnedFd>> {
    Err(Failure::usage(format!("--listen fd:{name}: systemd has passed no socket of this name"), ""))
}

/// Tells systemd that the proxy is ready.
pub fn ready() {}

/// Tells systemd that the proxy is at its end.
pub fn stopping() {}

/// Tells systemd regularly that the proxy runs, if it asks for that. Never returns.
pub async fn watchdog() {
    std::future::pending().await
}
