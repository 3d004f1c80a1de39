//! The options that several commands have.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// The server, for commands with a positional argument for it.
#[derive(Args, Clone, Debug, Default)]
pub struct ServerArgument {
    /// HOST[:PORT], a postgresql:// URL or a connection string of libpq. Without it, --host, PGHOST or PGSERVICE
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}

/// The settings of the connection, as in psql.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionOptions {
    /// Host name of the server, or the directory of its socket
    #[arg(short = 'h', long, value_name = "HOST")]
    pub host: Option<String>,
    /// Port of the server [default: 5432]
    #[arg(short, long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Database [default: postgres]
    #[arg(short, long, value_name = "NAME")]
    pub dbname: Option<String>,
    /// Role to log in as. Without it: PGUSER, the token, a management token
    #[arg(short = 'U', long, value_name = "ROLE")]
    pub user: Option<String>,
    /// Whether `host` is from PGENTRA_HOST, which the argument SERVER replaces.
    #[arg(skip)]
    pub is_host_variable: bool,
    /// Whether `port` is from PGENTRA_PORT, which the argument SERVER replaces.
    #[arg(skip)]
    pub is_port_variable: bool,
    /// Whether the role is the token's, also if PGUSER is set.
    #[arg(skip)]
    pub ignores_user: bool,
    /// The certificate authorities of the server, for commands with an option for them.
    #[arg(skip)]
    pub sslrootcert: Option<String>,
}

/// How the token is obtained.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Credential")]
pub struct CredentialOptions {
    /// Credential, such as managed_identity or ManagedIdentityCredential [default: the default chain]
    #[arg(long, value_name = "NAME")]
    pub credential: Option<String>,
    /// Client id of a user-assigned managed identity or of a workload identity
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// Tenant, for credentials that can use several
    #[arg(long, value_name = "ID")]
    pub tenant_id: Option<String>,
    /// Scope of the token [default: that of the server's cloud]
    #[arg(long, value_name = "URI")]
    pub scope: Option<String>,
    /// public, us_government or china [default: by the server's host name]
    #[arg(long, value_name = "NAME")]
    pub cloud: Option<String>,
    /// PEM file of certificate authorities to trust for token requests, in addition to the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Longest wait for a token, in seconds [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<f64>,
    /// Do not look up the role name with a management token
    #[arg(long)]
    pub no_management_lookup: bool,
    /// Configuration: TOML, or JSON if the name ends in .json
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What is printed.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct OutputOptions {
    /// Print one JSON object on standard output, and errors as JSON
    #[arg(long)]
    pub json: bool,
    /// Log nothing
    #[arg(short, long)]
    pub quiet: bool,
    /// Log every token request
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t)]
    pub log: LogFormat,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text for each event.
    #[default]
    Text,
    /// One JSON object for each event.
    Json,
}
