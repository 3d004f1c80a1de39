//! An application's request for a token: which application it is, and how it authenticates.
//!
//! A new way of client authentication needs one arm in `authenticate`.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Call, EndpointError, aadsts, client_assertion};
use crate::claims::ClientAuthentication;
use crate::fault::Shape;
use crate::principal::Principal;
use crate::state::{IssuedToken, State, now_with};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A token, and the further values of the response.
pub(super) struct Granted {
    pub(super) issued: IssuedToken,
    /// The scope, which is only sent for users' tokens.
    pub(super) scope: Option<String>,
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
pub(super) fn client(state: &State, client_id: &str) -> Option<Arc<Principal>> {
    state.principal(client_id).filter(|principal| principal.kind.is_app() && principal.appid == client_id)
}

pub(super) fn required<'c>(call: &'c Call, field: &str) -> Result<&'c str, EndpointError> {
    call.form(field).ok_or_else(|| {
        aadsts::refuse(900144, format!("The request body must contain the following parameter: '{field}'."))
    })
}

/// Returns the scope without the scopes that MSAL always adds for an id token and a refresh token.
pub(super) fn resource_scope(scope: &str) -> &str {
    const BESIDES: [&str; 4] = ["openid", "profile", "email", "offline_access"];
    let mut others = scope.split(' ').filter(|part| !BESIDES.contains(part));
    match (others.next(), others.next()) {
        (Some(one), None) => one,
        _ => scope,
    }
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
