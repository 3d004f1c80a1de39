//! The token proxy of a Kubernetes cluster (AKS identity bindings): the token endpoint below another path, behind a
//! certificate and a server name that only the cluster's pods have.

use super::token_endpoint::TokenEndpoint;
use super::{Call, Caller, Endpoint, EndpointError, Reply};
use crate::fault::Shape;
use crate::state::State;

pub(super) struct TokenProxy;

/// The path before the token endpoint's path.
pub(crate) const PATH: &str = "/proxies/emulator";

/// The name in its certificate, which TLS clients must request.
pub(crate) const SERVER_NAME: &str = "token-proxy.aks.emulator";

/// Returns the request as the token endpoint behind the proxy receives it.
fn passed_on(call: &Call) -> Call {
    let path = call.path.strip_prefix(PATH).unwrap_or(&call.path).to_owned();
    Call { path, ..call.clone() }
}

impl Endpoint for TokenProxy {
    fn name(&self) -> &'static str {
        "token_proxy"
    }

    fn serves(&self, call: &Call) -> bool {
        call.path.starts_with(PATH) && TokenEndpoint.serves(&passed_on(call))
    }

    fn caller(&self, state: &State, call: &Call) -> Caller {
        TokenEndpoint.caller(state, &passed_on(call))
    }

    fn respond(&self, state: &State, call: &Call, shape: &Shape) -> Reply {
        TokenEndpoint.respond(state, &passed_on(call), shape)
    }

    fn error_reply(&self, endpoint_error: &EndpointError, call: &Call, shape: &Shape) -> Reply {
        TokenEndpoint.error_reply(endpoint_error, &passed_on(call), shape)
    }
}
