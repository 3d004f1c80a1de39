//! The on-behalf-of flow: an application exchanges the token of a user for a token for another resource.

use serde_json::Value;

use super::client_request::{ClientRequest, Granted, authenticated, invalid_scope, required, resource_scope};
use super::{Call, EndpointError, aadsts};
use crate::fault::Shape;
use crate::jwt::Jws;
use crate::principal::{Principal, PrincipalKind};
use crate::state::{State, now_with};

pub(super) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The permission that a middle tier has for its users, if it requests all permissions with consent.
const CONSENTED: &str = "user_impersonation";

pub(super) fn grant(state: &State, call: &Call, shape: &Shape) -> Result<Granted, EndpointError> {
    let client_request = ClientRequest::read(state, call)?;
    if required(call, "requested_token_use")? != "on_behalf_of" {
        let text = "The value of the parameter 'requested_token_use' has to be 'on_behalf_of'.";
        return Err(aadsts::refuse(900144, text));
    }
    let assertion = required(call, "assertion")?;
    let scope = resource_scope(required(call, "scope")?);
    // The scope can include a permission of the resource: `https://host/user_impersonation`.
    let (resource, wanted) = scope
        .rsplit_once('/')
        .filter(|(resource, wanted)| !resource.is_empty() && !wanted.is_empty() && !scope.contains(' '))
        .ok_or_else(|| invalid_scope(scope))?;
    if !state.knows_resource(resource) {
        return Err(aadsts::unknown_resource(resource));
    }
    let request_claims = authenticated(state, call, &client_request, shape)?;
    let user = user(state, assertion, &client_request.principal, now_with(shape))?;
    let wanted = if wanted == ".default" { CONSENTED } else { wanted };
    let issued = state.issue_on_behalf_of(&user, &client_request.principal, request_claims, resource, wanted, shape);
    Ok(Granted { issued, scope: Some(format!("{resource}/{wanted}")) })
}

/// Returns the user of the token, if it is for this application.
fn user(
    state: &State,
    assertion: &str,
    application: &Principal,
    now: i64,
) -> Result<std::sync::Arc<Principal>, EndpointError> {
    let invalid = |why: &str| aadsts::refuse(50013, format!("Assertion failed signature validation. [Reason - {why}]"));
    let jws = Jws::parse(assertion).ok_or_else(|| aadsts::refuse(50027, "JWT token is invalid or malformed."))?;
    if !state.signed_here(assertion) {
        return Err(invalid("The key was not found."));
    }
    let text = |name: &str| jws.claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let seconds = |name: &str| jws.claims.get(name).and_then(Value::as_i64).unwrap_or_default();
    if text("tid") != state.tenant_id() {
        return Err(invalid("The assertion is of another tenant."));
    }
    let audience = text("aud").trim_end_matches('/');
    if audience.strip_prefix("api://").unwrap_or(audience) != application.appid {
        let text = format!(
            "Assertion audience claim '{audience}' does not match the client application '{}' that presents it.",
            application.appid
        );
        return Err(aadsts::refuse(50013, text));
    }
    if now >= seconds("exp") || now < seconds("nbf") {
        let text = format!(
            "Assertion is not within its valid time range. Ensure that the access token is not expired before using it \
             for user assertion, or request a new token. Current time: {}, expiry time of assertion {}.",
            aadsts::timestamp(now),
            aadsts::timestamp(seconds("exp"))
        );
        return Err(aadsts::refuse(500133, text));
    }
    if text("idtyp") == "app" {
        let text =
            format!("Application '{}' is not allowed to make application on-behalf-of calls.", application.appid);
        return Err(aadsts::refuse(7000114, text));
    }
    let is_user = |user: &Principal| matches!(user.kind, PrincipalKind::User | PrincipalKind::Guest);
    let user = state.principal_by_oid(text("oid")).filter(|user| is_user(user)).ok_or_else(|| {
        let text = format!("The user account {{oid}} '{}' does not exist in the directory.", text("oid"));
        aadsts::refuse(50034, text)
    })?;
    let methods = jws.claims.get("amr").and_then(Value::as_array);
    let is_strong = methods.into_iter().flatten().any(|method| method == "mfa");
    if user.requires_mfa && !is_strong {
        return Err(EndpointError { aadsts: Some(50076), ..EndpointError::default() });
    }
    Ok(user)
}
