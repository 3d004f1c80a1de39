//! The instance metadata service of virtual machines, scale sets and AKS nodes.

use serde_json::json;

use super::{caller, error_text, select, success_body};
use crate::entra::{Call, Caller, Endpoint, EndpointError, Reply, aadsts};
use crate::fault::Shape;
use crate::state::State;

pub(in crate::entra) struct Imds;

const PATH: &str = "/metadata/identity/oauth2/token";
const SELECTORS: [&str; 4] = ["client_id", "object_id", "msi_res_id", "principal_id"];

impl Endpoint for Imds {
    fn name(&self) -> &'static str {
        "imds"
    }

    fn serves(&self, call: &Call) -> bool {
        call.path.trim_end_matches('/') == PATH
    }

    fn caller(&self, state: &State, call: &Call) -> Caller {
        caller(state, call, &state.identities(|config| &config.imds), &SELECTORS, None)
    }

    fn respond(&self, state: &State, call: &Call, shape: &Shape) -> Reply {
        let refuse = |error: &str, description: &str| {
            let (error, description) = (Some(error.into()), Some(description.into()));
            self.error_reply(&EndpointError { status: Some(400), error, description, aadsts: None }, call, shape)
        };
        if !call.header("metadata").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return refuse("bad_request_102", "Required metadata header not specified");
        }
        if call.method != "GET" {
            let endpoint_error = EndpointError {
                status: Some(405),
                error: Some("method_not_allowed".into()),
                ..EndpointError::default()
            };
            return self.error_reply(&endpoint_error, call, shape);
        }
        let Some(api_version) = call.query("api-version") else {
            return refuse("bad_request", "'api-version' query parameter is missing");
        };
        // Versions are dates, so their text order is their time order.
        if api_version < "2018-02-01" {
            return refuse("bad_request", "The requested api-version is not supported");
        }
        let Some(resource) = call.query("resource") else {
            return refuse("invalid_request", "Required query variable 'resource' is missing");
        };
        let Some(principal) = select(state, call, &state.identities(|config| &config.imds), &SELECTORS) else {
            return refuse("invalid_request", "Identity not found");
        };
        if !state.knows_resource(resource) {
            let endpoint_error =
                EndpointError { error: Some("invalid_resource".into()), ..aadsts::unknown_resource(resource) };
            return self.error_reply(&endpoint_error, call, shape);
        }
        let mut body = success_body(&principal, resource, &state.issue(&principal, resource, shape), shape);
        shape.remove_omitted(&mut body);
        Reply::json(200, &body)
    }

    fn error_reply(&self, endpoint_error: &EndpointError, call: &Call, shape: &Shape) -> Reply {
        let status = endpoint_error.status.unwrap_or(400);
        let (usual_error, usual_text) = match status {
            400 => ("invalid_request", "Identity not found"),
            404 => ("not_found", "IMDS endpoint is updating"),
            410 => ("gone", "IMDS is going through updates"),
            429 => ("too_many_requests", "Too many requests"),
            500.. => ("unknown", "Failed to retrieve token from the Active directory. For details see logs."),
            _ => ("invalid_request", "The request was refused."),
        };
        let text = error_text(endpoint_error, usual_text, call, shape);
        Reply::json(
            status,
            &json!({
                "error": endpoint_error.error.as_deref().unwrap_or(usual_error),
                "error_description": text,
            }),
        )
    }
}
