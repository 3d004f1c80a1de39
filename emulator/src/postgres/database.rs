//! The database of an emulator.

use std::sync::Arc;

use super::proxy::Proxy;
use super::upstream::Upstream;

/// The database: the proxy, and the server behind it.
pub struct Database {
    /// The server behind the proxy.
    pub upstream: Arc<Upstream>,
    /// The proxy that clients connect to.
    pub proxy: Proxy,
}
