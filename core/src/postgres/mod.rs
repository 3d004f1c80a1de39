//! What concerns PostgreSQL connections: their settings, and the decision how to log in.

pub mod connection_plan;
pub mod connection_string;
pub mod service_connector;
pub mod service_file;
pub mod settings;
pub mod tls_policy;

use std::ffi::OsString;

pub use self::{
    connection_plan::{ConnectionPlan, ConnectionRequest, Spelling},
    connection_string::Form,
    service_connector::ServiceConnector,
    settings::ConnectionSettings,
    tls_policy::{Host, Server},
};
use crate::config::Environment;

/// All variables of this process, for a [`ConnectionRequest`]'s `environment`. Variables that are not UTF-8 are left out.
pub fn environment_of_process() -> Environment {
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?.into()));
    std::env::vars_os().filter_map(text).collect()
}
