//! Azure Machine Learning: `MSI_ENDPOINT` with `MSI_SECRET`, App Service's dialect of 2017.

use serde_json::json;

use super::{caller, error_text, select, success_body};
use crate::entra::{Call, Caller, Endpoint, EndpointError, Reply, aadsts};
use crate::fault::{ExpiresOn, Shape};
use crate::state::State;

pub(in crate::entra) struct AzureMl {
    /// The expected value of the header `secret`.
    pub(in crate::entra) secret: String,
}

/// The path of the endpoint.
pub(crate) const PATH: &str = "/MSI/auth";
const SELECTORS: [&str; 1] = ["clientid"];
const API_VERSION: &str = "2017-09-01";

impl Endpoint for AzureMl {
    fn name(&self) -> &'static str {
        "azure_ml"
    }

    fn serves(&self, call: &Call) -> bool {
        call.path.trim_end_matches('/') == PATH
    }

    fn caller(&self, state: &State, call: &Call) -> Caller {
        caller(state, call, &state.identities(|config| &config.azure_ml), &SELECTORS, call.header("secret"))
    }

    fn respond(&self, state: &State, call: &Call, shape: &Shape) -> Reply {
        let refuse = |status: u16, description: &str| {
            let endpoint_error = EndpointError {
                status: Some(status),
                description: Some(description.into()),
                ..EndpointError::default()
            };
            self.error_reply(&endpoint_error, call, shape)
        };
        if call.method != "GET" {
            return refuse(405, "The method is not allowed.");
        }
        if call.header("secret") != Some(&self.secret) {
            return refuse(401, "The secret header is missing or wrong.");
        }
        if call.query("api-version") != Some(API_VERSION) {
            return refuse(400, "Unsupported api-version.");
        }
        let Some(resource) = call.query("resource") else {
            return refuse(400, "The parameter resource is required.");
        };
        let Some(principal) = select(state, call, &state.identities(|config| &config.azure_ml), &SELECTORS) else {
            return refuse(400, "No managed identity was found for specified ClientId.");
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
        let status = endpoint_error.status.unwrap_or(400);
        let text = error_text(endpoint_error, "An error occured while fetching the token.", call, shape);
        Reply::json(status, &json!({ "statusCode": status, "message": text }))
    }
}
