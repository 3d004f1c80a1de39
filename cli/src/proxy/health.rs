//! Health.
use std::{future::Future, net::SocketAddr, path::PathBuf, pin::Pin, sync::Arc};

use clap::{Args, ValueEnum};
use pgentra::TokenProvider;

use super::metrics::Metrics;
use crate::failure::Result;

/// Health.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Operation")]
pub struct HealthOptions {
    /// Respond to HTTP requests for /livez, /readyz, /startupz and /metrics at this address; without a value
    /// 127.0.0.1:9090
    #[arg(long, value_name = "IP:PORT", num_args = 0..=1, default_missing_value = "127.0.0.1:9090")]
    pub http: Option<SocketAddr>,
    /// Let POST /quit from loopback end the program, as SIGTERM does
    #[arg(long, requires = "http")]
    pub allow_quit: bool,
    /// Label metrics with the role too
    #[arg(long)]
    pub metrics_roles: bool,
    /// What /readyz needs: a usable token, or a login to the server, at most once a minute
    #[arg(long, value_enum, default_value_t)]
    pub ready_check: ReadyCheck,
    /// Create this file when the proxy is ready, and remove it at the end
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

/// What the proxy needs to be ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReadyCheck {
    /// A usable token
    #[default]
    Token,
    /// A login to the server
    Server,
}

pub struct Health;

pub type TryLogin =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = std::result::Result<(), String>> + Send>> + Send + Sync>;

pub struct ServerHealth {
    pub name: String,
    pub provider: TokenProvider,
    pub is_lazy: bool,
    pub has_place: Box<dyn Fn() -> bool + Send + Sync>,
    pub try_login: TryLogin,
}

impl Health {
    pub fn new(_options: &HealthOptions) -> Arc<Health> {
        Arc::new(Health)
    }

    pub fn add_server(&self, _server: ServerHealth) {}

    pub fn set_listening(&self) {}

    pub fn set_draining(&self) {}

    pub fn note_login(&self, _server: &str, _outcome: std::result::Result<(), &pgentra::Error>) {}

    pub async fn quit(&self) {
        std::future::pending().await
    }
}

pub struct Endpoints;

impl Endpoints {
    pub async fn bind(_options: &HealthOptions) -> Result<Option<Endpoints>> {
        Ok(None)
    }

    pub fn address(&self) -> SocketAddr {
        unimplemented!()
    }

    pub async fn serve(self, _health: Arc<Health>, _metrics: Arc<Metrics>) {}
}
