//! The PostgreSQL part: a real server, and a proxy that requires an access token for every login.
//!
//! ```text
//! client --TLS--> Proxy (token, role, label) --> Upstream (the role's own session) --> PostgreSQL
//! ```
//!
//! - [`Server`] is a temporary PostgreSQL server, on a Unix socket only. It is removed however the emulator ends.
//! - [`Upstream`] is a connection to that server or to an existing one. It creates the roles, reads their labels, and
//!   opens sessions as them.
//! - [`Proxy`] listens for clients. It handles the start of each session with `pgentra_proxy`, verifies the token and
//!   then forwards bytes.
//! - [`login_error`] is the table of its login errors; [`ProxyControl`] changes its behaviour, and [`ProxyReport`]
//!   contains its record.
//!
//! # Differences from Azure in SQL
//! - A real `SECURITY LABEL` needs a provider written in C. Labels have Azure's text and are shown in `pg_seclabels`;
//!   the proxy reads them from `pgaadauth.labels`. `SECURITY LABEL FOR "pgaadauth"` fails with "not loaded". Call
//!   `pgaadauth_create_principal_with_oid`, or configure the principal's role in the emulator's configuration.
//! - `pgaadauth_create_principal`, `pgaadauth_create_principal_with_oid` and `pgaadauth_list_principals` are in
//!   `pg_catalog` of the database `postgres`, for members of `azure_pg_admin`, as on Azure. A name is looked up among
//!   the emulator's principals. `isMfa` is kept in the label and otherwise ignored. There is no synchronisation of
//!   group members into roles. From version 16 on, `azure_pg_admin` has the `ADMIN` option on every role that is
//!   created, so that all administrators can alter and drop it.
//! - A role without a label cannot log in: the proxy accepts only tokens, so the role's own password is refused
//!   (28P01).
//! - The superuser is `azuresu`, and `azure_pg_admin` owns the database `postgres`, as on Azure. Text sorts by bytes
//!   (`C`), while Azure's default is `en_US.utf8`. Azure's extensions and parameters are not available.
//!
//! # An existing server (`--upstream`)
//! The server must be version 13 or newer, and the URL's user a superuser. The objects that are created there are not
//! removed: the schema `pgaadauth`, the three functions (all in the database `postgres`, whatever database the URL
//! contains), `azure_pg_admin`, and the roles. A role that the emulator creates gets a random password, which is stored
//! in `pgaadauth.labels` and with which its sessions log in as that role: `session_user` and `current_user` are the
//! role, its settings apply, and `RESET SESSION AUTHORIZATION` does not switch to another role. An existing role gets a
//! label but keeps its own password, so its server has to trust connections from the emulator. A superuser cannot get a
//! label. Without `sslmode` the connection to the upstream server is not encrypted; `sslmode=require` verifies its
//! certificate.

mod database;
pub mod login_error;
mod password;
mod proxy;
mod proxy_state;
mod server;
mod session;
mod upstream;

pub use database::Database;
pub use pgentra_proxy::ALPN;
pub use proxy::Proxy;
pub use proxy_state::{
    DropStage, LoginOutcome, LoginRecord, ProxyControl, ProxyCounters, ProxyFaults, ProxyReport, TokenPrincipal,
};
pub use server::{Server, StartError};
pub use upstream::{Upstream, UpstreamError};
