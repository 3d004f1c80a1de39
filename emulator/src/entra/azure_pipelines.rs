//! The federated tokens of Azure Pipelines' tasks: `POST {SYSTEM_OIDCREQUESTURI}?api-version=7.1&serviceConnectionId={id}`.

use serde_json::json;

use super::{Call, Caller, Endpoint, EndpointError, Reply};
use crate::fault::Shape;
use crate::principal::FederatedCredential;
use crate::state::State;

pub(super) struct AzurePipelines;

/// The path on the organization's host.
pub(crate) const PATH: &str = "/contoso/shop/_apis/distributedtask/hubs/build/plans/plan-1/jobs/job-1/oidctoken";

/// The issuer of the organization's tokens.
const ISSUER: &str = "https://vstoken.dev.azure.com/99999999-0000-0000-0000-0000000000d0";

impl Endpoint for AzurePipelines {
    fn name(&self) -> &'static str {
        "azure_pipelines"
    }

    fn serves(&self, call: &Call) -> bool {
        call.path == PATH
    }

    fn caller(&self, _: &State, call: &Call) -> Caller {
        let secret = call.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
        Caller { secret, ..Caller::default() }
    }

    fn respond(&self, state: &State, call: &Call, shape: &Shape) -> Reply {
        let refused = |status: u16, description: String| {
            let endpoint_error =
                EndpointError { status: Some(status), description: Some(description), ..EndpointError::default() };
            self.error_reply(&endpoint_error, call, shape)
        };
        let pipelines = state.azure_pipelines();
        if self.caller(state, call).secret.as_deref() != Some(&pipelines.system_access_token) {
            // Browsers are redirected to a sign-in page, unless the client states that it is not a browser.
            if call.header("x-tfs-fedauthredirect") != Some("Suppress") {
                let reply = refused(302, "Sign in first.".into());
                return reply.with_header("location", "https://spsprodweu1.vssps.visualstudio.com/_signin");
            }
            return refused(401, "The access token is not valid.".into());
        }
        if call.method != "POST" {
            return refused(405, format!("The requested resource does not support http method '{}'.", call.method));
        }
        if !call.query("api-version").is_some_and(|version| version.starts_with("7.")) {
            return refused(400, "No api-version was supplied for the request, or one that is not known.".into());
        }
        let id = call.query("serviceConnectionId").unwrap_or_default();
        let Some(connection) = pipelines.service_connections.iter().find(|connection| connection.id == id) else {
            return refused(404, format!("The service connection {id} was not found, or the pipeline may not use it."));
        };
        let federated = FederatedCredential {
            issuer: connection.issuer.clone().unwrap_or_else(|| ISSUER.into()),
            subject: connection.subject.clone(),
            audience: FederatedCredential::DEFAULT_AUDIENCE.into(),
        };
        Reply::json(200, &json!({ "oidcToken": state.assertion(&federated, shape) }))
    }

    fn error_reply(&self, endpoint_error: &EndpointError, _: &Call, _: &Shape) -> Reply {
        let message = endpoint_error.description.as_deref().unwrap_or("The request was refused.");
        let body =
            json!({"$id": "1", "innerException": null, "message": message, "typeKey": "Exception", "errorCode": 0});
        Reply::json(endpoint_error.status.unwrap_or(500), &body).with_header("x-vss-e2eid", crate::ids::random())
    }
}
