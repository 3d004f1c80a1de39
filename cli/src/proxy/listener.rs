//! The sockets that clients connect to.

use std::{future::Future, io, sync::Arc, time::Duration};

use pgentra_proxy::{BoxedStream, socket::configure_client};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

use super::{
    address::ListenAddress,
    guard::{Guard, Peer},
    systemd::{Activated, ActivatedSocket},
    unix_socket::UnixSocket,
};
use crate::failure::{Failure, Result};

/// How long accepting pauses after an error. The causes are a lack of file descriptors, or a connection that ended in
/// the queue.
const PAUSE: Duration = Duration::from_millis(50);

/// An open socket.
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A Unix socket of our own.
    Unix(UnixSocket),
    /// A Unix socket of systemd.
    Activated(UnixListener),
}

/// An accepted connection.
pub struct Accepted {
    /// The connection.
    pub stream: BoxedStream,
    /// The other end.
    pub peer: Peer,
}

impl Listener {
    /// Opens the socket of an address, or takes the sockets of systemd with its name.
    ///
    /// # Errors
    /// Fails if the guard does not allow the address, and if it is in use.
    pub async fn open(
        address: &ListenAddress,
        guard: &Guard,
        has_tls: bool,
        activated: &mut Vec<Activated>,
    ) -> Result<Vec<Listener>> {
        match address {
            ListenAddress::Tcp(address) => {
                guard.check_address(*address, has_tls)?;
                let bound = TcpListener::bind(address).await;
                let bound = bound.map_err(|error| Failure::io(format!("cannot listen at {address}"), &error))?;
                Ok(vec![Listener::Tcp(bound)])
            }
            ListenAddress::Unix { directory, port } => Ok(vec![Listener::Unix(UnixSocket::bind(directory, *port)?)]),
            ListenAddress::Descriptor(name) => {
                let (found, others) = std::mem::take(activated).into_iter().partition(|one| one.name == *name);
                *activated = others;
                let found: Vec<Activated> = found;
                if found.is_empty() {
                    return Err(Failure::usage(
                        format!("--listen {address}: systemd has passed no socket of this name"),
                        "Set FileDescriptorName in the socket's unit to this name.",
                    ));
                }
                found.into_iter().map(|one| Listener::activated(one, guard, has_tls)).collect()
            }
        }
    }

    fn activated(activated: Activated, guard: &Guard, has_tls: bool) -> Result<Listener> {
        let unusable =
            |error: io::Error| Failure::io(format!("the socket fd:{} cannot be used", activated.name), &error);
        match activated.socket {
            ActivatedSocket::Tcp(socket) => {
                guard.check_address(socket.local_addr().map_err(&unusable)?, has_tls)?;
                Ok(Listener::Tcp(TcpListener::from_std(socket).map_err(unusable)?))
            }
            ActivatedSocket::Unix(socket) => Ok(Listener::Activated(UnixListener::from_std(socket).map_err(unusable)?)),
        }
    }

    /// Returns the address for the log.
    pub fn describe(&self) -> String {
        match self {
            Listener::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| "a TCP port".to_owned(), |at| at.to_string())
            }
            Listener::Unix(socket) => socket.path().display().to_string(),
            Listener::Activated(listener) => match listener.local_addr() {
                Ok(address) => address.as_pathname().map_or("a Unix socket".into(), |path| path.display().to_string()),
                Err(_) => "a Unix socket".to_owned(),
            },
        }
    }

    /// Accepts connections until this is dropped; the socket is closed then. `serve` is called for each connection and
    /// gets a permit of `openings`, which it keeps until the client's first message was read.
    pub async fn run<S, F>(self, guard: Arc<Guard>, openings: Arc<Semaphore>, serve: S)
    where
        S: Fn(Accepted, OwnedSemaphorePermit) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        loop {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&openings).acquire_owned().await else { return };
            match self.accept(&guard).await {
                Ok(accepted) => drop(tokio::spawn(serve(accepted, permit))),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    async fn accept(&self, guard: &Guard) -> io::Result<Accepted> {
        let unix = match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // The options affect speed and the detection of a lost client only.
                let _ = configure_client(&stream);
                let peer = guard.check_tcp(&stream);
                return Ok(Accepted { stream: Box::new(stream), peer });
            }
            Listener::Unix(socket) => socket.listener(),
            Listener::Activated(listener) => listener,
        };
        let (stream, _) = unix.accept().await?;
        let peer = guard.check_unix(&stream);
        Ok(Accepted { stream: Box::new(stream), peer })
    }
}
