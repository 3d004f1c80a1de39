//! `pgentra proxy`: logs unchanged programs in through a local port or socket.

mod address;
mod arguments;
mod guard;
mod http;
mod metrics;
mod password;
mod status;
mod systemd;
mod tls;

pub use self::arguments::Arguments;
use crate::failure::{Failure, Result};

/// Runs the command, and returns the exit code.
///
/// # Errors
/// Fails for arguments that contradict each other, and if an address cannot be used.
pub fn run(_arguments: &Arguments) -> Result<u8> {
    Err(Failure::usage("the proxy cannot start", ""))
}
