//! The listener: accepts connections and ends them.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

/// How long accepting pauses after an error. The causes are a lack of file descriptors, or a connection that ended in
/// the queue.
const PAUSE: Duration = Duration::from_millis(50);

/// A listening socket, each of whose connections is a task. Dropping it closes the socket and ends all tasks.
pub struct Listener {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Listener {
    /// Listens at `address` (port 0 selects a free one), and calls `serve` for each connection. At most
    /// `max_connections` are served at once; further ones wait in the system's queue.
    ///
    /// # Errors
    /// Fails if it cannot listen at the address.
    pub async fn bind<S, F>(address: SocketAddr, max_connections: usize, serve: S) -> io::Result<Self>
    where
        S: Fn(TcpStream, SocketAddr) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { address, task: tokio::spawn(accept(listener, max_connections, serve)) })
    }

    /// Returns the address, with the port that was selected.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the socket, ends all connections and waits until that is done.
    pub async fn shutdown(mut self) {
        self.task.abort();
        // The error says that the task was aborted.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept<S, F>(listener: TcpListener, max_connections: usize, serve: S)
where
    S: Fn(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(max_connections));
    // The set aborts its tasks when this task is aborted.
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                // This only affects the speed.
                let _ = stream.set_nodelay(true);
                let connection = serve(stream, peer);
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(_) => sleep(PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
}
