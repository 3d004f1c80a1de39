//! `POST /{tenant}/oauth2/v2.0/token`: tokens of applications, for themselves or on behalf of a user.
//!
//! A new grant (device code, refresh) needs one arm in [`TokenEndpoint::grant`]; a new way of client authentication
//! needs one arm in `authenticate`.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::discovery::unknown_tenant;
use super::{Call, Caller, Endpoint, EndpointError, Reply, aadsts, client_assertion, on_behalf_of};
use crate::claims::ClientAuthentication;
use crate::fault::{Numbers, Shape};
use crate::principal::Principal;
use crate::state::{IssuedToken, State, now_with};

pub(super) struct TokenEndpoint;

const PATH: &str = "/oauth2/v2.0/token";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
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
            resource: call.form("scope").and_then(resource_of).map(str::to_owned),
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

/// A token, and the further values of the response.
pub(super) struct Granted {
    pub(super) issued: IssuedToken,
    /// The scope, which is only sent for users' tokens.
    pub(super) scope: Option<String>,
}

fn client_credentials(state: &State, call: &Call, shape: &Shape) -> Result<Granted, EndpointError> {
    let client_request = ClientRequest::read(state, call)?;
    let scope = required(call, "scope")?;
    let resource = resource_of(scope).ok_or_else(|| invalid_scope(scope))?;
    if !state.knows_resource(resource) {
        return Err(aadsts::unknown_resource(resource));
    }
    let request_claims = authenticated(state, call, &client_request, shape)?;
    Ok(Granted { issued: state.issue_to(&client_request.principal, request_claims, resource, shape), scope: None })
}

/// The application that sent the request. It is not authenticated yet.
pub(super) struct ClientRequest {
    pub(super) principal: Arc<Principal>,
    basic_secret: Option<String>,
}

impl ClientRequest {
    pub(super) fn read(state: &State, call: &Call) -> Result<Self, EndpointError> {
        let basic = call.basic_authorization();
        let client_id = match &basic {
            Some((client_id, _)) => client_id,
            None => required(call, "client_id")?,
        };
        let principal = client(state, client_id).ok_or_else(|| {
            let text = format!(
                "Application with identifier '{client_id}' was not found in the directory 'Contoso'. This can happen if \
                 the application has not been installed by the administrator of the tenant or consented to by any user \
                 in the tenant. You may have sent your authentication request to the wrong tenant."
            );
            aadsts::refuse(700016, text)
        })?;
        Ok(Self { principal, basic_secret: basic.map(|(_, secret)| secret) })
    }
}

/// Returns an application, or a user-assigned identity with a federated credential.
fn client(state: &State, client_id: &str) -> Option<Arc<Principal>> {
    state.principal(client_id).filter(|principal| principal.kind.is_app() && principal.appid == client_id)
}

pub(super) fn required<'c>(call: &'c Call, field: &str) -> Result<&'c str, EndpointError> {
    call.form(field).ok_or_else(|| {
        aadsts::refuse(900144, format!("The request body must contain the following parameter: '{field}'."))
    })
}

/// Returns the resource of a scope: `https://host/.default` is for the resource `https://host`,
/// `https://host//.default` for `https://host/`.
fn resource_of(scope: &str) -> Option<&str> {
    scope.strip_suffix("/.default").filter(|resource| !resource.is_empty() && !resource.contains(' '))
}

pub(super) fn invalid_scope(scope: &str) -> EndpointError {
    if scope.contains("://") && !scope.contains(' ') {
        let text = format!(
            "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with \
             /.default suffixed to the resource identifier (application ID URI)."
        );
        aadsts::refuse(1002012, text)
    } else {
        let text = format!(
            "The provided request must include a 'scope' input parameter. The provided value for the input parameter \
             'scope' is not valid. The scope {scope} is not valid."
        );
        aadsts::refuse(70011, text)
    }
}

/// Adds the claims about the request: how the application authenticated, and which capabilities it sent.
pub(super) fn authenticated(
    state: &State,
    call: &Call,
    client_request: &ClientRequest,
    shape: &Shape,
) -> Result<Map<String, Value>, EndpointError> {
    let authentication = authenticate(state, call, client_request, shape)?;
    let mut request_claims = Map::from_iter([("appidacr".to_owned(), authentication.as_appidacr().into())]);
    if let Some(claims) = call.form("claims") {
        let claims: Value = serde_json::from_str(claims)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| aadsts::refuse(9002313, "Invalid request. Request is malformed or invalid."))?;
        let capabilities = claims.pointer("/access_token/xms_cc/values").and_then(Value::as_array);
        let names = |names: &Vec<Value>| names.iter().filter_map(Value::as_str).map(str::to_lowercase).collect();
        request_claims.extend(capabilities.map(names).map(|names: Vec<_>| ("xms_cc".to_owned(), names.into())));
    }
    Ok(request_claims)
}

fn authenticate(
    state: &State,
    call: &Call,
    client_request: &ClientRequest,
    shape: &Shape,
) -> Result<ClientAuthentication, EndpointError> {
    let principal = &*client_request.principal;
    if let Some(assertion) = call.form("client_assertion") {
        if call.form("client_assertion_type") != Some(ASSERTION_TYPE) {
            return Err(aadsts::refuse(
                900144,
                "The request body must contain the following parameter: 'client_assertion_type'.",
            ));
        }
        client_assertion::check(state, call, assertion, principal, now_with(shape))?;
        return Ok(ClientAuthentication::Assertion);
    }
    let secret = call.form("client_secret").or(client_request.basic_secret.as_deref()).ok_or_else(|| {
        aadsts::refuse(
            7000218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        )
    })?;
    if principal.client_secret.as_deref() == Some(secret) {
        return Ok(ClientAuthentication::Secret);
    }
    let text = format!(
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the \
         client secret ID, for a secret added to app '{}'.",
        principal.appid
    );
    Err(aadsts::refuse(7000215, text))
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
