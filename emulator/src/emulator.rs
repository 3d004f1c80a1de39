//! A running emulator.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use crate::addresses::Addresses;
use crate::postgres::{Database, Server, StartError, UpstreamError};
use crate::scratch::Scratch;
use crate::state::{State, StateError};

/// Why the emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration contradicts itself.
    #[error("configuration: {0}")]
    Config(#[from] StateError),
    /// A temporary directory could not be created.
    #[error("temporary directory: {0}")]
    Scratch(#[source] io::Error),
    /// Certificates could not be created or stored.
    #[error("certificate authority: {0}")]
    Tls(#[source] io::Error),
    /// The emulator could not listen on an address.
    #[error("cannot listen at {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// PostgreSQL did not start.
    #[error(transparent)]
    Server(#[from] StartError),
    /// The server behind the proxy cannot be used.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The runtime or a thread could not be created.
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
}

/// A running emulator. Dropping it ends it; [`Emulator::stop`] also waits until PostgreSQL and its files are removed.
pub struct Emulator {
    pub(crate) addresses: Arc<Addresses>,
    pub(crate) state: Arc<State>,
    pub(crate) database: Option<Arc<Database>>,
    pub(crate) server: Option<Server>,
    pub(crate) stop_requested: Arc<Notify>,
    pub(crate) _tasks: JoinSet<()>,
    pub(crate) scratch: Scratch,
}

impl Emulator {
    /// Returns the addresses.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Returns the state that the control endpoint changes and reads.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Returns the database, if there is one.
    pub fn database(&self) -> Option<&Database> {
        self.database.as_deref()
    }

    /// Returns a directory that is removed with the emulator.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Waits until the control endpoint receives a request to stop the emulator.
    pub async fn stop_requested(&self) {
        self.stop_requested.notified().await;
    }

    /// Stops everything.
    pub async fn stop(self) {
        let Self { server, database, _tasks: tasks, .. } = self;
        drop((tasks, database));
        if let Some(server) = server {
            server.stop().await;
        }
    }
}

/// A running emulator on its own thread. Dropping it ends it and waits until everything is removed.
pub struct BlockingEmulator {
    pub(crate) addresses: Arc<Addresses>,
    pub(crate) state: Arc<State>,
    pub(crate) database: Option<Arc<Database>>,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) thread: Option<thread::JoinHandle<()>>,
}

impl BlockingEmulator {
    /// Returns the addresses.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Returns the state that the control endpoint changes and reads.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Returns the database, if there is one.
    pub fn database(&self) -> Option<&Database> {
        self.database.as_deref()
    }
}

impl Drop for BlockingEmulator {
    fn drop(&mut self) {
        self.database = None;
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The panic hook has already reported a panic of the thread.
            let _ = thread.join();
        }
    }
}
