//! Sockets of systemd's socket activation, and its notifications. Without systemd, nothing happens.

use std::{
    io,
    net::TcpListener,
    os::{
        fd::{FromRawFd, OwnedFd, RawFd},
        unix::net::UnixListener,
    },
    time::Duration,
};

use rustix::net::{AddressFamily, SocketType, sockopt};
use sd_notify::NotifyState;

use crate::failure::{Failure, Result};

/// A listening socket from systemd.
pub struct Activated {
    /// Its `FileDescriptorName=`, by default the name of the unit of type socket.
    pub name: String,
    /// The socket, which does not block.
    pub socket: ActivatedSocket,
}

/// A listening socket by its kind.
pub enum ActivatedSocket {
    /// A TCP socket.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// Takes the sockets that systemd has passed to this process. Call it once, at the start.
///
/// # Errors
/// Fails if a descriptor is not a listening socket of TCP or Unix.
pub fn take_listeners() -> Result<Vec<Activated>> {
    let failed = |error: io::Error| {
        Failure::usage(format!("LISTEN_FDS: {error}"), "Correct the unit of type socket, or unset LISTEN_FDS.")
    };
    let passed: Vec<(RawFd, String)> = sd_notify::listen_fds_with_names().map_err(failed)?.collect();
    passed
        .into_iter()
        .map(|(number, name)| {
            // SAFETY: the variables LISTEN_FDS and LISTEN_PID, which were checked to be for this process, say that this
            // descriptor was passed to it. Nothing else in the process owns it: descriptors that the process opened
            // itself have other numbers, because this one was in use before.
            let socket = unsafe { OwnedFd::from_raw_fd(number) };
            let socket =
                listener(socket).map_err(|error| failed(io::Error::new(error.kind(), format!("{name}: {error}"))))?;
            Ok(Activated { name, socket })
        })
        .collect()
}

fn listener(socket: OwnedFd) -> io::Result<ActivatedSocket> {
    let refused = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    if sockopt::socket_type(&socket)? != SocketType::STREAM || !sockopt::socket_acceptconn(&socket)? {
        return refused("the descriptor is not a listening stream socket (Accept= must be off)");
    }
    Ok(match rustix::net::getsockname(&socket)?.address_family() {
        AddressFamily::INET | AddressFamily::INET6 => {
            let listener = TcpListener::from(socket);
            listener.set_nonblocking(true)?;
            ActivatedSocket::Tcp(listener)
        }
        AddressFamily::UNIX => {
            let listener = UnixListener::from(socket);
            listener.set_nonblocking(true)?;
            ActivatedSocket::Unix(listener)
        }
        _ => return refused("the socket is neither TCP nor Unix"),
    })
}

/// Reports that the proxy accepts connections. `status` is a sentence for `systemctl status`.
pub fn notify_ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Reports that the proxy ends.
pub fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        eprintln!("pgentra: warning: NOTIFY_SOCKET cannot be notified: {error}");
    }
}

/// Reports at half the interval of `WatchdogSec=` that the runtime works. Does not return.
pub async fn keep_watchdog() {
    let Some(interval) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut ticks = tokio::time::interval((interval / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_accepts_listening_sockets_of_both_kinds() {
        let directory = tempfile::tempdir().expect("a directory");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("bound");
        let unix = UnixListener::bind(directory.path().join("s")).expect("bound");
        assert!(matches!(listener(tcp.into()), Ok(ActivatedSocket::Tcp(_))));
        assert!(matches!(listener(unix.into()), Ok(ActivatedSocket::Unix(_))));
        let (connected, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let datagram = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
        let file = tempfile::tempfile().expect("a file");
        for socket in [connected.into(), OwnedFd::from(datagram), file.into()] {
            assert!(listener(socket).is_err());
        }
    }
}
