//! The proxy that clients connect to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use pgentra_proxy::Listener;
use pgentra_proxy::tokio_rustls::TlsAcceptor;
use rustls::ServerConfig;

use super::proxy_state::{ProxyControl, ProxyReport, ProxyState};
use super::session::Connections;
use super::upstream::Upstream;
use crate::state::State;

/// The maximum number of connections in any state. Further ones wait in the listener's queue.
const MAX_CONNECTIONS: usize = 1_000;

/// A listening proxy. Dropping it closes the listener and all sessions.
pub struct Proxy {
    listener: Listener,
    connections: Arc<Connections>,
}

impl Proxy {
    /// Listens at `address` (port 0 selects a free one). `tls` offers the protocol [`ALPN`](super::ALPN); the caller
    /// provisions `upstream`.
    ///
    /// # Errors
    /// Fails if it cannot listen at the address.
    pub async fn bind(
        address: SocketAddr,
        tls: Arc<ServerConfig>,
        upstream: Arc<Upstream>,
        state: Arc<State>,
    ) -> io::Result<Self> {
        let proxy_state = ProxyState::default();
        let connections = Arc::new(Connections { tls: TlsAcceptor::from(tls), upstream, state, proxy_state });
        let serving = connections.clone();
        let listener = Listener::bind(address, MAX_CONNECTIONS, move |stream, peer| {
            let connections = serving.clone();
            async move { connections.serve(stream, peer).await }
        });
        Ok(Self { listener: listener.await?, connections })
    }

    /// Returns the address of the listener.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Changes the proxy's behaviour.
    pub fn control(&self, control: ProxyControl) {
        self.connections.proxy_state.apply(control);
    }

    /// Returns the settings and the record of the proxy.
    pub fn report(&self) -> ProxyReport {
        self.connections.proxy_state.report(self.address())
    }
}
