//! `POST /{tenant}/oauth2/v2.0/token`: tokens of applications, for themselves or on behalf of a user.
//!
//! A new grant (device code, refresh) needs one arm in [`TokenEndpoint::grant`].

use serde_json::json;

use super::client_request::{ClientRequest, Granted, authenticated, client, invalid_scope, required, resource_scope};
use super::discovery::unknown_tenant;
use super::{Call, Caller, Endpoint, EndpointError, Reply, aadsts, on_behalf_of};
use crate::fault::{Numbers, Shape};
use crate::state::State;

pub(super) struct TokenEndpoint;

const PATH: &str = "/oauth2/v2.0/token";
/// For lifetimes of at least this many seconds, the service sends a refresh time.
const LONG_LIVED_S: i64 = 7_200;

impl Endpoint for TokenEndpoint {
    fn name(&self) -> &'static str {
        "token"
    }

    fn serves(&self, call: &Call) -> bool {
        call.path.ends_with(PATH)
    }

    fn caller(&self, state: &State, call: &Call) -> Caller {
        let basic = call.basic_authorization();
        let client_id = call.form("client_id").map(str::to_owned).or(basic.as_ref().map(|(id, _)| id.clone()));
        let secret = call.form("client_secret").or(call.form("client_assertion")).map(str::to_owned);
        Caller {
            principal: client_id.and_then(|id| client(state, &id)),
            resource: call.form("scope").map(resource_scope).and_then(resource_of).map(str::to_owned),
            secret: secret.or(basic.map(|(_, secret)| secret)),
        }
    }

    fn respond(&self, state: &State, call: &Call, shape: &Shape) -> Reply {
        match self.grant(state, call, shape) {
            Ok(granted) => success(&granted, shape),
            Err(endpoint_error) => self.error_reply(&endpoint_error, call, shape),
        }
    }

    fn error_reply(&self, endpoint_error: &EndpointError, call: &Call, shape: &Shape) -> Reply {
        aadsts::reply(endpoint_error, call, shape)
    }
}

impl TokenEndpoint {
    fn grant(&self, state: &State, call: &Call, shape: &Shape) -> Result<Granted, EndpointError> {
        if call.method != "POST" {
            let text = "The endpoint only accepts POST requests.";
            return Err(EndpointError { status: Some(405), ..aadsts::refuse(900561, text) });
        }
        let tenant = call.path.trim_start_matches('/').strip_suffix(PATH).unwrap_or_default();
        if !state.knows_tenant(tenant) {
            return Err(unknown_tenant(tenant));
        }
        match required(call, "grant_type")? {
            "client_credentials" => client_credentials(state, call, shape),
            on_behalf_of::GRANT_TYPE => on_behalf_of::grant(state, call, shape),
            other => Err(aadsts::refuse(70003, format!("The app requested an unsupported grant type '{other}'."))),
        }
    }
}

fn client_credentials(state: &State, call: &Call, shape: &Shape) -> Result<Granted, EndpointError> {
    let client_request = ClientRequest::read(state, call)?;
    // MSAL for Go sends them for applications too.
    let scope = resource_scope(required(call, "scope")?);
    let resource = resource_of(scope).ok_or_else(|| invalid_scope(scope))?;
    if !state.knows_resource(resource) {
        return Err(aadsts::unknown_resource(resource));
    }
    let request_claims = authenticated(state, call, &client_request, shape)?;
    Ok(Granted { issued: state.issue_to(&client_request.principal, request_claims, resource, shape), scope: None })
}

/// Returns the resource of a scope: `https://host/.default` is for the resource `https://host`,
/// `https://host//.default` for `https://host/`.
fn resource_of(scope: &str) -> Option<&str> {
    scope.strip_suffix("/.default").filter(|resource| !resource.is_empty() && !resource.contains(' '))
}

fn success(granted: &Granted, shape: &Shape) -> Reply {
    let issued = &granted.issued;
    let number = |value: i64| match shape.numbers {
        Some(Numbers::String) => json!(value.to_string()),
        _ => json!(value),
    };
    let mut body = json!({
        "token_type": "Bearer",
        "expires_in": number(issued.expires_in),
        "ext_expires_in": number(issued.expires_in),
        "access_token": issued.access_token,
    });
    let usual_refresh_in = (issued.lifetime >= LONG_LIVED_S).then_some(issued.expires_in / 2);
    if let Some(refresh_in) = shape.refresh_in_s.or(usual_refresh_in).filter(|_| shape.omit_refresh_in != Some(true)) {
        body["refresh_in"] = number(refresh_in);
    }
    if let Some(scope) = &granted.scope {
        body["scope"] = json!(scope);
    }
    shape.remove_omitted(&mut body);
    Reply::json(200, &body)
}
