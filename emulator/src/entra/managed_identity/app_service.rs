//! App Service, Functions and Container Apps: `IDENTITY_ENDPOINT` with `IDENTITY_HEADER`, api-version 2019-08-01.

use serde_json::json;

use super::{caller, error_text, select, success_body};
use crate::config::Identities;
use crate::entra::{Call, Caller, Endpoint, EndpointError, Reply, aadsts};
use crate::fault::Shape;
use crate::ids;
use crate::state::State;

pub(in crate::entra) struct AppService {
    /// The expected value of `X-IDENTITY-HEADER`.
    pub(in crate::entra) header: String,
}

/// The path of the endpoint.
pub(crate) const PATH: &str = "/msi/token";
const SELECTORS: [&str; 4] = ["client_id", "object_id", "principal_id", "mi_res_id"];
const API_VERSION: &str = "2019-08-01";

/// Returns the identities. The default of the endpoint `/{object id}/msi/token` is that identity, because each
/// application on App Service has its own endpoint.
fn identities(state: &State, call: &Call) -> Identities {
    let identities = state.identities(|config| &config.app_service);
    let owner = call.path.trim_end_matches('/').strip_suffix(PATH).unwrap_or_default().trim_start_matches('/');
    match owner {
        "" => identities,
        owner => Identities { default: state.principal(owner).map(|principal| principal.name.clone()), ..identities },
    }
}

impl Endpoint for AppService {
    fn name(&self) -> &'static str {
        "app_service"
    }

    fn serves(&self, call: &Call) -> bool {
        call.path.trim_end_matches('/').ends_with(PATH)
    }

    fn caller(&self, state: &State, call: &Call) -> Caller {
        let secret = call.header("x-identity-header");
        caller(state, call, &identities(state, call), &SELECTORS, secret)
    }

    fn respond(&self, state: &State, call: &Call, shape: &Shape) -> Reply {
        let refuse = |status: u16, description: String| {
            let endpoint_error =
                EndpointError { status: Some(status), description: Some(description), ..EndpointError::default() };
            self.error_reply(&endpoint_error, call, shape)
        };
        if call.method != "GET" {
            return refuse(405, "The method is not allowed.".into());
        }
        if call.header("x-identity-header") != Some(&self.header) {
            return refuse(401, "The X-IDENTITY-HEADER header is missing or wrong.".into());
        }
        if call.query("api-version") != Some(API_VERSION) {
            return refuse(400, "Unsupported api-version.".into());
        }
        let Some(resource) = call.query("resource") else {
            return refuse(400, "The parameter resource is required.".into());
        };
        let Some(principal) = select(state, call, &identities(state, call), &SELECTORS) else {
            return refuse(400, "Unable to load the proper Managed Identity.".into());
        };
        if !state.knows_resource(resource) {
            return self.error_reply(&aadsts::unknown_resource(resource), call, shape);
        }
        let mut body = success_body(&principal, resource, &state.issue(&principal, resource, shape), shape);
        if let Some(fields) = body.as_object_mut() {
            // This source sends only the time of expiry.
            for absent in ["expires_in", "ext_expires_in", "not_before"] {
                fields.remove(absent);
            }
        }
        shape.remove_omitted(&mut body);
        Reply::json(200, &body)
    }

    fn error_reply(&self, endpoint_error: &EndpointError, call: &Call, shape: &Shape) -> Reply {
        let status = endpoint_error.status.unwrap_or(400);
        let usual_text = match status {
            400 => "Unable to load the proper Managed Identity.",
            429 => "Too many requests.",
            _ => "An unexpected error occured while fetching the AAD Token.",
        };
        let text = error_text(endpoint_error, usual_text, call, shape);
        Reply::json(status, &json!({ "statusCode": status, "message": text, "correlationId": ids::random() }))
    }
}
