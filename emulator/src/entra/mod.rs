//! The HTTP endpoints of Microsoft Entra and of the managed identity sources.
//!
//! An [`Endpoint`] is one dialect: it reads a request, responds to it, and formats its errors. Listening, recording and
//! faults are the same for all and are in [`server`]. A new endpoint needs one file and one line in [`listeners`].

use std::path::Path;
use std::sync::Arc;

use crate::developer_tools::TOOLS;
use crate::fault::Shape;
use crate::principal::Principal;
use crate::state::State;

mod aadsts;
mod azure_pipelines;
mod client_assertion;
mod client_request;
mod developer_tools;
mod discovery;
mod managed_identity;
mod message;
mod on_behalf_of;
pub(crate) mod server;
mod token_endpoint;
mod token_proxy;

pub(crate) use azure_pipelines::PATH as AZURE_PIPELINES_PATH;
pub(crate) use managed_identity::app_service::PATH as APP_SERVICE_PATH;
pub(crate) use managed_identity::azure_arc::{KEYS as AZURE_ARC_KEYS, PATH as AZURE_ARC_PATH};
pub(crate) use managed_identity::azure_ml::PATH as AZURE_ML_PATH;
pub(crate) use managed_identity::cloud_shell::PATH as CLOUD_SHELL_PATH;
pub(crate) use managed_identity::service_fabric::PATH as SERVICE_FABRIC_PATH;
pub(crate) use message::{Call, Reply};
pub(crate) use token_proxy::{PATH as TOKEN_PROXY_PATH, SERVER_NAME as TOKEN_PROXY_NAME};

/// One dialect of token requests, or of the requests that come before them.
pub(crate) trait Endpoint: Send + Sync + 'static {
    /// Returns the name in faults, counters and the log.
    fn name(&self) -> &'static str;

    /// Returns whether a request on this endpoint's listener is for it.
    fn serves(&self, call: &Call) -> bool;

    /// Returns the principal and the resource of the request. They are not checked yet.
    fn caller(&self, state: &State, call: &Call) -> Caller;

    /// Returns the response if the service works.
    fn respond(&self, state: &State, call: &Call, shape: &Shape) -> Reply;

    /// Returns an error in this dialect.
    fn error_reply(&self, endpoint_error: &EndpointError, call: &Call, shape: &Shape) -> Reply;
}

/// The principal and the resource of a request.
#[derive(Default)]
pub(crate) struct Caller {
    pub(crate) principal: Option<Arc<Principal>>,
    pub(crate) resource: Option<String>,
    /// The client's secret. Faults can repeat it.
    pub(crate) secret: Option<String>,
}

/// An error, to be formatted in a dialect.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndpointError {
    pub(crate) status: Option<u16>,
    pub(crate) aadsts: Option<u32>,
    pub(crate) error: Option<String>,
    pub(crate) description: Option<String>,
}

/// Endpoints that share a listener.
pub(crate) struct Listener {
    pub(crate) name: &'static str,
    pub(crate) tls: Tls,
    pub(crate) endpoints: Vec<Box<dyn Endpoint>>,
}

/// How clients verify a listener.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Not verified: plain HTTP.
    Plain,
    /// By the emulator's certificate authority.
    Authority,
    /// By its own self-signed certificate.
    Own,
}

/// Returns the listeners of the HTTP endpoints. `identity_header` is the secret of all platforms; Arc's keys are
/// written to `arc_keys`.
pub(crate) fn listeners(identity_header: &str, arc_keys: &Path) -> Vec<Listener> {
    use managed_identity::{app_service, azure_arc, azure_ml, cloud_shell, imds, service_fabric};
    vec![
        Listener {
            name: "entra",
            tls: Tls::Authority,
            endpoints: vec![
                Box::new(token_endpoint::TokenEndpoint),
                Box::new(discovery::Discovery),
                Box::new(azure_pipelines::AzurePipelines),
            ],
        },
        Listener { name: "imds", tls: Tls::Plain, endpoints: vec![Box::new(imds::Imds)] },
        Listener {
            name: "app_service",
            tls: Tls::Plain,
            endpoints: vec![Box::new(app_service::AppService { header: identity_header.into() })],
        },
        Listener {
            name: "hosts",
            tls: Tls::Plain,
            endpoints: vec![
                Box::new(azure_arc::AzureArc::new(arc_keys)),
                Box::new(azure_ml::AzureMl { secret: identity_header.into() }),
                Box::new(cloud_shell::CloudShell),
            ],
        },
        Listener {
            name: "service_fabric",
            tls: Tls::Own,
            endpoints: vec![Box::new(service_fabric::ServiceFabric { header: identity_header.into() })],
        },
        Listener { name: "token_proxy", tls: Tls::Own, endpoints: vec![Box::new(token_proxy::TokenProxy)] },
        Listener {
            name: "developer_tools",
            tls: Tls::Plain,
            endpoints: TOOLS.map(|name| Box::new(developer_tools::DeveloperTool { name }) as Box<dyn Endpoint>).into(),
        },
    ]
}
