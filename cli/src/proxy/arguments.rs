//! The arguments of `pgentra proxy`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use pgentra::RefreshMode;

use super::{address::ListenAddress, guard::AccessOptions, health::HealthOptions};
use crate::{
    options::{ConnectionOptions, CredentialOptions, OutputOptions, ServerArgument},
    text::parse_duration,
};

/// The arguments of the command.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub server: ServerArgument,
    /// Address to listen at: unix:DIRECTORY[:PORT], IP:PORT, or fd:NAME for a socket of systemd; may be repeated
    /// [default: unix:$XDG_RUNTIME_DIR/pgentra/HOST/ and 127.0.0.1:15432]
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub listen: Vec<ListenAddress>,
    #[command(flatten)]
    pub upstream: UpstreamOptions,
    #[command(flatten)]
    pub access: AccessOptions,
    #[command(flatten)]
    pub sessions: SessionOptions,
    #[command(flatten)]
    pub health: HealthOptions,
    #[command(flatten)]
    pub operation: OperationOptions,
    #[command(flatten)]
    pub credential: CredentialOptions,
    #[command(flatten)]
    pub output: OutputOptions,
}

/// The server, and the role on it.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub struct UpstreamOptions {
    /// Host name of the server
    #[arg(short = 'h', long, value_name = "HOST")]
    pub host: Option<String>,
    /// Port of the server [default: 5432]
    #[arg(short, long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Database for clients that name none, or only their own user name, which is libpq's default
    #[arg(short, long, visible_alias = "dbname", value_name = "NAME")]
    pub database: Option<String>,
    /// Role of all clients: a name; @token, the identity's own role; @client, the name that the client sends
    /// [default: PGUSER, else @token]
    #[arg(short = 'U', long, value_name = "ROLE")]
    pub user: Option<String>,
    /// Role for clients that send this user name; may be repeated. Other names are refused
    #[arg(long, value_name = "CLIENT=ROLE", value_delimiter = ',', value_parser = mapping)]
    pub map: Vec<(String, String)>,
    /// TLS to the server: verify-full, or verify-ca for a name that is not in the certificate [default: verify-full]
    #[arg(long, value_name = "MODE")]
    pub sslmode: Option<SslMode>,
    /// PEM file of the certificate authorities of the server [default: the system's, else the bundled ones]
    #[arg(long, value_name = "FILE")]
    pub sslrootcert: Option<String>,
    /// How TLS starts: postgres, or direct for PostgreSQL 17 and later [default: postgres]
    #[arg(long, value_name = "HOW")]
    pub sslnegotiation: Option<SslNegotiation>,
    /// Allow --sslmode require and disable: the token can then reach a false server, or cross the network unencrypted
    #[arg(long)]
    pub allow_insecure_transport: bool,
    /// Whether `host` is from PGENTRA_HOST, which the argument SERVER replaces.
    #[arg(skip)]
    pub is_host_variable: bool,
    /// Whether `port` is from PGENTRA_PORT, which the argument SERVER replaces.
    #[arg(skip)]
    pub is_port_variable: bool,
}

/// How many sessions there are, and how they end.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sessions")]
pub struct SessionOptions {
    /// Sessions at a time; further clients are refused
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
    /// Logins at a time; further clients wait, for at most 30 s
    #[arg(long, value_name = "NUMBER", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_logins: u32,
    /// End a session of this age as soon as it is idle [default: off]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub max_session_age: Option<Duration>,
    /// End a session that was idle for this time [default: off]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub idle_timeout: Option<Duration>,
    /// At the end, wait for this time until the sessions are idle; then end the others
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub drain: Duration,
    /// At the end, accept connections for this time before --drain begins
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    pub shutdown_delay: Duration,
    /// End when there was no session for this time, after the first one [default: off]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub exit_when_idle: Option<Duration>,
}

/// How the program itself runs.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Operation")]
pub struct OperationOptions {
    /// When the token is refreshed: ahead of its end, or lazy, only when a client connects
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,
    /// Threads [default: the number of processors, at most 4]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub threads: Option<u32>,
}

/// How the server's certificate is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SslMode {
    /// Certificate and name
    #[default]
    VerifyFull,
    /// Certificate, with any name
    VerifyCa,
    /// TLS with any certificate
    Require,
    /// No TLS
    Disable,
}

/// How TLS to the server starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SslNegotiation {
    /// With PostgreSQL's request
    #[default]
    Postgres,
    /// At once
    Direct,
}

/// When the token is refreshed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Before it ends
    #[default]
    Ahead,
    /// When a client connects
    Lazy,
}

impl From<Mode> for RefreshMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Ahead => RefreshMode::Ahead,
            Mode::Lazy => RefreshMode::Lazy,
        }
    }
}

fn mapping(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((client, role)) if !client.is_empty() && !role.is_empty() => Ok((client.to_owned(), role.to_owned())),
        _ => Err("expected CLIENT=ROLE".to_owned()),
    }
}

impl UpstreamOptions {
    /// Returns the settings of the connection to the server, as the other commands have them.
    pub fn connection(&self) -> ConnectionOptions {
        let is_name = |user: &&String| !user.starts_with('@');
        ConnectionOptions {
            host: self.host.clone(),
            port: self.port,
            dbname: self.database.clone(),
            user: self.user.as_ref().filter(is_name).cloned(),
            is_host_variable: self.is_host_variable,
            is_port_variable: self.is_port_variable,
            ignores_user: self.user.as_deref() == Some("@token"),
            sslrootcert: self.sslrootcert.clone(),
        }
    }
}
