//! Service Fabric: `IDENTITY_ENDPOINT` with `IDENTITY_HEADER`, over TLS with a self-signed certificate that callers
//! verify by `IDENTITY_SERVER_THUMBPRINT`.

use serde_json::json;

use super::{caller, error_text, select, success_body};
use crate::entra::{Call, Caller, Endpoint, EndpointError, Reply, aadsts};
use crate::fault::{ExpiresOn, Shape};
use crate::ids;
use crate::state::State;

pub(in crate::entra) struct ServiceFabric {
    /// The expected value of the header `Secret`.
    pub(in crate::entra) header: String,
}

/// The path of the endpoint.
pub(crate) const PATH: &str = "/metadata/identity/oauth2/token";
const API_VERSION: &str = "2019-07-01-preview";

impl Endpoint for ServiceFabric {
    fn name(&self) -> &'static str {
        "service_fabric"
    }

    fn serves(&self, call: &Call) -> bool {
        call.path.trim_end_matches('/') == PATH
    }

    fn caller(&self, state: &State, call: &Call) -> Caller {
        caller(state, call, &state.identities(|config| &config.service_fabric), &[], call.header("secret"))
    }

    fn respond(&self, state: &State, call: &Call, shape: &Shape) -> Reply {
        let refuse = |status: u16, code: &str, description: &str| {
            let (error, description) = (Some(code.into()), Some(description.into()));
            self.error_reply(&EndpointError { status: Some(status), error, description, aadsts: None }, call, shape)
        };
        if call.method != "GET" {
            return refuse(405, "MethodNotAllowed", "The method is not allowed.");
        }
        let Some(secret) = call.header("secret") else {
            return refuse(400, "SecretHeaderNotFound", "Secret is not found in the request headers.");
        };
        if call.query("api-version") != Some(API_VERSION) {
            return refuse(400, "InvalidApiVersion", "The api-version is not supported.");
        }
        let Some(resource) = call.query("resource") else {
            let text = "The parameter 'resource' should not be null or empty string.";
            return refuse(400, "ArgumentNullOrEmpty", text);
        };
        let principal = select(state, call, &state.identities(|config| &config.service_fabric), &[]);
        let Some(principal) = principal.filter(|_| secret == self.header) else {
            return refuse(404, "ManagedIdentityNotFound", "Managed Identity not found for application host.");
        };
        if !state.knows_resource(resource) {
            return self.error_reply(&aadsts::unknown_resource(resource), call, shape);
        }
        let written = Shape { expires_on: shape.expires_on.or(Some(ExpiresOn::Number)), ..shape.clone() };
        let mut body = success_body(&principal, resource, &state.issue(&principal, resource, shape), &written);
        if let Some(fields) = body.as_object_mut() {
            for absent in ["client_id", "expires_in", "ext_expires_in", "not_before"] {
                fields.remove(absent);
            }
        }
        shape.remove_omitted(&mut body);
        Reply::json(200, &body)
    }

    fn error_reply(&self, endpoint_error: &EndpointError, call: &Call, shape: &Shape) -> Reply {
        let text = error_text(endpoint_error, "An error occured while fetching the token.", call, shape);
        let code = endpoint_error.error.as_deref().unwrap_or("InternalServerError");
        let error = json!({ "correlationId": ids::random(), "code": code, "message": text });
        Reply::json(endpoint_error.status.unwrap_or(400), &json!({ "error": error }))
    }
}
