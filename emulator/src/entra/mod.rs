//! The HTTP side: what Microsoft Entra and the managed identity endpoints of Azure's hosts answer.
//!
//! An [`Endpoint`] is one dialect: it reads a request, answers it, and knows how its errors look. Listening, recording
//! and faults are the same for all and live in [`server`]. A new endpoint is one file and one line in [`families`].

use std::sync::Arc;

use crate::developer_tools::TOOLS;
use crate::fault::Shape;
use crate::principal::Principal;
use crate::state::State;

mod aadsts;
mod developer_tools;
mod discovery;
mod managed_identity;
mod message;
pub(crate) mod server;
mod token_endpoint;

pub(crate) use managed_identity::app_service::PATH as APP_SERVICE_PATH;
pub(crate) use message::{Call, Reply};

/// One dialect of asking for a token, or for what is needed before.
pub(crate) trait Endpoint: Send + Sync + 'static {
    /// The name in faults, counters and the log.
    fn name(&self) -> &'static str;

    /// Whether a request on this endpoint's listener is for it.
    fn serves(&self, call: &Call) -> bool;

    /// Who asks for what, as far as the request tells; nothing is checked yet.
    fn caller(&self, state: &State, call: &Call) -> Caller;

    /// The answer of a service in good health.
    fn answer(&self, state: &State, call: &Call, shape: &Shape) -> Reply;

    /// An error in this dialect.
    fn failure(&self, failure: &Failure, call: &Call, shape: &Shape) -> Reply;
}

/// Who asks for what.
#[derive(Default)]
pub(crate) struct Caller {
    pub(crate) principal: Option<Arc<Principal>>,
    pub(crate) resource: Option<String>,
    /// What the client proved itself by; faults can echo it.
    pub(crate) secret: Option<String>,
}

/// An error to be put into a dialect's words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure {
    pub(crate) status: Option<u16>,
    pub(crate) aadsts: Option<u32>,
    pub(crate) error: Option<String>,
    pub(crate) description: Option<String>,
}

/// Endpoints that share a listener.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) tls: bool,
    pub(crate) endpoints: Vec<Box<dyn Endpoint>>,
}

/// The listeners of the HTTP side.
pub(crate) fn families(app_service_header: &str) -> Vec<Family> {
    vec![
        Family {
            name: "entra",
            tls: true,
            endpoints: vec![Box::new(token_endpoint::TokenEndpoint), Box::new(discovery::Discovery)],
        },
        Family { name: "imds", tls: false, endpoints: vec![Box::new(managed_identity::imds::Imds)] },
        Family {
            name: "app_service",
            tls: false,
            endpoints: vec![Box::new(managed_identity::app_service::AppService { header: app_service_header.into() })],
        },
        Family {
            name: "developer_tools",
            tls: false,
            endpoints: TOOLS.map(|name| Box::new(developer_tools::DeveloperTool { name }) as Box<dyn Endpoint>).into(),
        },
    ]
}
