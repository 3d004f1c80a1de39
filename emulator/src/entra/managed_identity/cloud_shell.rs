//! Cloud Shell: `MSI_ENDPOINT` without a secret. The token is for the user of the shell.

use serde_json::json;

use super::{error_text, success_body};
use crate::entra::{Call, Caller, Endpoint, EndpointError, Reply, aadsts};
use crate::fault::Shape;
use crate::state::State;

pub(in crate::entra) struct CloudShell;

/// The path of the endpoint.
pub(crate) const PATH: &str = "/oauth2/token";

impl Endpoint for CloudShell {
    fn name(&self) -> &'static str {
        "cloud_shell"
    }

    fn serves(&self, call: &Call) -> bool {
        call.path.trim_end_matches('/') == PATH
    }

    fn caller(&self, state: &State, call: &Call) -> Caller {
        Caller {
            principal: state.config().cloud_shell.and_then(|user| state.principal(&user)),
            resource: call.form("resource").map(str::to_owned),
            secret: None,
        }
    }

    fn respond(&self, state: &State, call: &Call, shape: &Shape) -> Reply {
        let refuse = |status: u16, error: &str, description: &str| {
            let (error, description) = (Some(error.into()), Some(description.into()));
            self.error_reply(&EndpointError { status: Some(status), error, description, aadsts: None }, call, shape)
        };
        if call.method != "POST" {
            return refuse(405, "MethodNotAllowed", "The method is not allowed.");
        }
        if !call.header("metadata").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return refuse(400, "MetadataHeaderMissing", "Required metadata header not specified.");
        }
        let Caller { principal, resource: Some(resource), .. } = self.caller(state, call) else {
            return refuse(400, "ResourceMissing", "The parameter resource is required.");
        };
        let Some(principal) = principal else {
            return refuse(401, "Unauthorized", "Nobody is signed in to this shell.");
        };
        if ["client_id", "object_id", "msi_res_id", "mi_res_id"].iter().any(|name| call.form(name).is_some()) {
            return refuse(400, "BadRequest", "User-assigned identities are not supported.");
        }
        if !state.knows_resource(&resource) {
            return self.error_reply(&aadsts::unknown_resource(&resource), call, shape);
        }
        let mut body = success_body(&principal, &resource, &state.issue(&principal, &resource, shape), shape);
        if let Some(fields) = body.as_object_mut() {
            fields.remove("client_id");
        }
        shape.remove_omitted(&mut body);
        Reply::json(200, &body)
    }

    fn error_reply(&self, endpoint_error: &EndpointError, call: &Call, shape: &Shape) -> Reply {
        let text = error_text(endpoint_error, "Audience is not a supported MSI token audience.", call, shape);
        let code = endpoint_error.error.as_deref().unwrap_or("AudienceNotSupported");
        Reply::json(endpoint_error.status.unwrap_or(400), &json!({ "error": { "code": code, "message": text } }))
    }
}
