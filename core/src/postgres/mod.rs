//! PostgreSQL connections: their settings, and the decision how to log in.
//!
//! A [`ConnectionRequest`] describes a connection, and a [`ConnectionPlan`] states how it logs in: as which role, with
//! a token or its own password, with which `sslmode`, and with which credential. The request contains a driver's
//! arguments and a connection string, and optionally selects the variables of Azure Service Connector
//! ([`service_connector`]). libpq's `PG*` variables and service files are used as in libpq.
//!
//! ```no_run
//! use pgentra::postgres::{ConnectionPlan, ConnectionRequest, ServiceConnector};
//!
//! # async fn example() -> pgentra::Result<()> {
//! let plan = ConnectionPlan::new(&ConnectionRequest {
//!     service_connector: Some(ServiceConnector::Only),
//!     // The driver verifies certificates by the system's authorities.
//!     verifies_certificates: true,
//!     ..ConnectionRequest::from_process()
//! })?;
//! plan.warnings.iter().for_each(|warning| eprintln!("{warning}"));
//! if plan.uses_entra {
//!     let provider = plan.provider()?.build()?; // one for the whole program
//!     let login = provider.login().await?; // for each new connection
//!     let (host, database) = (plan.settings.get("host"), plan.settings.get("dbname"));
//!     // Connect to `host` and `database` as login.user() with login.password(), over TLS: at least by
//!     // plan.sslmode, which takes the place of the given one.
//!     # let _ = (login, host, database);
//! }
//! # Ok(()) }
//! ```
//!
//! A token is sent over TLS only. For a server that is not local [`ConnectionPlan::sslmode`] is at least `require`, and
//! a request that switches TLS off is refused with
//! [`ErrorKind::InsecureTransport`](crate::ErrorKind::InsecureTransport). Pass that mode to a driver whose default is
//! to fall back to plain text, as `prefer` does.
//!
//! If the server refuses a login, [`login_error::explain_login`] explains what to do. With [`ConnectionPlan::host`] and
//! the environment, it names variables of Service Connector that were not used.

pub(crate) mod connection_plan;
pub mod connection_string;
pub(crate) mod connection_url;
pub mod login_error;
pub mod role_name;
pub(crate) mod service_connector;
mod service_file;
pub(crate) mod settings;
pub mod tls_policy;
pub(crate) mod untrusted;

use std::ffi::OsString;

pub use self::{
    connection_plan::{ConnectionPlan, ConnectionRequest, LIBPQ_VARIABLES, Spelling},
    connection_string::Form,
    service_connector::ServiceConnector,
    settings::ConnectionSettings,
    tls_policy::{Host, Server},
};
use crate::config::Environment;

/// Returns all variables of this process, for a [`ConnectionRequest`]'s `environment`. Variables that are not UTF-8 are
/// left out.
pub fn environment_of_process() -> Environment {
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?.into()));
    std::env::vars_os().filter_map(text).collect()
}
