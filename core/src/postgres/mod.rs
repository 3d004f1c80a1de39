//! What concerns PostgreSQL connections: their settings, and the decision how to log in.

pub mod connection_plan;
pub mod connection_string;
pub mod service_connector;
pub mod service_file;
pub mod settings;
pub mod tls_policy;

pub use self::{
    connection_plan::{ConnectionPlan, ConnectionRequest, Spelling},
    connection_string::Form,
    service_connector::ServiceConnector,
    settings::ConnectionSettings,
    tls_policy::{Host, Server},
};
