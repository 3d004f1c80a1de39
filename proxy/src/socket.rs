//! Options of TCP sockets: connections to machines that have vanished end.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// After this time without a byte, the other end is probed.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);

/// The time between probes, and how many may stay without a response.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// How long bytes may stay unacknowledged by a server.
#[cfg(any(target_os = "linux", target_os = "android"))]
const USER_TIMEOUT: Duration = Duration::from_secs(120);

/// Sets the options of a client's connection: bytes are sent at once, and after a minute without bytes the client is
/// probed. A client whose machine has vanished is found within two minutes.
///
/// The socket option `TCP_USER_TIMEOUT` is not set. Linux also ends the connection of a client that is alive but reads
/// nothing for this time, such as `pg_dump` in a pipe that waits.
///
/// # Errors
/// Fails if the system refuses an option. The connection can be used nevertheless.
pub fn configure_client(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(stream).set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES))
}

/// Sets the options of a server's connection: those of [`configure_client`], and on Linux `TCP_USER_TIMEOUT` of 120 s, so
/// that a query to a server that has vanished fails after this time, and not after a quarter of an hour.
///
/// # Errors
/// Fails if the system refuses an option. The connection can be used nevertheless.
pub fn configure_server(stream: &TcpStream) -> io::Result<()> {
    configure_client(stream)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    SockRef::from(stream).set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}
