//! `POST /{tenant}/oauth2/v2.0/token`: client credentials by secret or by assertion.
//!
//! A further grant (on behalf of, device code, refresh) is one arm of [`TokenEndpoint::grant`]; a further way for a
//! client to prove itself (certificate assertions) is one arm of [`authenticate`].

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::discovery::unknown_tenant;
use super::{Call, Caller, Endpoint, Failure, Reply, aadsts};
use crate::fault::{Numbers, Shape};
use crate::jwt::Jws;
use crate::principal::{FederatedCredential, Principal};
use crate::state::{IssuedToken, State, now_with};

pub(super) struct TokenEndpoint;

const PATH: &str = "/oauth2/v2.0/token";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// From this remaining life on the service tells when to refresh.
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

    fn answer(&self, state: &State, call: &Call, shape: &Shape) -> Reply {
        match self.grant(state, call, shape) {
            Ok(issued) => success(&issued, shape),
            Err(failure) => self.failure(&failure, call, shape),
        }
    }

    fn failure(&self, failure: &Failure, call: &Call, shape: &Shape) -> Reply {
        aadsts::reply(failure, call, shape)
    }
}

impl TokenEndpoint {
    fn grant(&self, state: &State, call: &Call, shape: &Shape) -> Result<IssuedToken, Failure> {
        if call.method != "POST" {
            let text = "The endpoint only accepts POST requests.";
            return Err(Failure { status: Some(405), ..aadsts::refuse(900561, text) });
        }
        let tenant = call.path.trim_start_matches('/').strip_suffix(PATH).unwrap_or_default();
        if !state.knows_tenant(tenant) {
            return Err(unknown_tenant(tenant));
        }
        match required(call, "grant_type")? {
            "client_credentials" => client_credentials(state, call, shape),
            other => Err(aadsts::refuse(70003, format!("The app requested an unsupported grant type '{other}'."))),
        }
    }
}

fn client_credentials(state: &State, call: &Call, shape: &Shape) -> Result<IssuedToken, Failure> {
    let basic = call.basic_authorization();
    let client_id = match &basic {
        Some((client_id, _)) => client_id,
        None => required(call, "client_id")?,
    };
    let principal = client(state, client_id).ok_or_else(|| {
        let text = format!(
            "Application with identifier '{client_id}' was not found in the directory 'Contoso'. This can happen if the \
             application has not been installed by the administrator of the tenant or consented to by any user in the \
             tenant. You may have sent your authentication request to the wrong tenant."
        );
        aadsts::refuse(700016, text)
    })?;
    let scope = required(call, "scope")?;
    let resource = resource_of(scope).ok_or_else(|| invalid_scope(scope))?;
    if !state.knows_resource(resource) {
        return Err(aadsts::unknown_resource(resource));
    }
    authenticate(state, call, &principal, basic.map(|(_, secret)| secret), shape)?;
    Ok(state.issue(&principal, resource, shape))
}

/// Applications, and user-assigned identities by federated credential.
fn client(state: &State, client_id: &str) -> Option<Arc<Principal>> {
    state.principal(client_id).filter(|principal| principal.kind.is_app() && principal.appid == client_id)
}

fn required<'c>(call: &'c Call, field: &str) -> Result<&'c str, Failure> {
    call.form(field).ok_or_else(|| {
        aadsts::refuse(900144, format!("The request body must contain the following parameter: '{field}'."))
    })
}

/// `https://host/.default` is for the resource `https://host`, `https://host//.default` for `https://host/`.
fn resource_of(scope: &str) -> Option<&str> {
    scope.strip_suffix("/.default").filter(|resource| !resource.is_empty() && !resource.contains(' '))
}

fn invalid_scope(scope: &str) -> Failure {
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

fn authenticate(
    state: &State,
    call: &Call,
    principal: &Principal,
    basic_secret: Option<String>,
    shape: &Shape,
) -> Result<(), Failure> {
    if let Some(assertion) = call.form("client_assertion") {
        if call.form("client_assertion_type") != Some(ASSERTION_TYPE) {
            return Err(aadsts::refuse(
                900144,
                "The request body must contain the following parameter: 'client_assertion_type'.",
            ));
        }
        return federated_assertion(state, assertion, principal, now_with(shape));
    }
    let secret = call.form("client_secret").map(str::to_owned).or(basic_secret).ok_or_else(|| {
        aadsts::refuse(
            7000218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        )
    })?;
    if principal.client_secret.as_ref() == Some(&secret) {
        return Ok(());
    }
    let text = format!(
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the \
         client secret ID, for a secret added to app '{}'.",
        principal.appid
    );
    Err(aadsts::refuse(7000215, text))
}

/// Workload identity: a token of another issuer. Its signature is checked only where the emulator is that issuer, since
/// nobody else's keys are at hand.
fn federated_assertion(state: &State, assertion: &str, principal: &Principal, now: i64) -> Result<(), Failure> {
    let jws = Jws::parse(assertion).ok_or_else(|| aadsts::refuse(50027, "JWT token is invalid or malformed."))?;
    let seconds = |name: &str| jws.claims.get(name).and_then(Value::as_i64);
    let (not_before, expires_on) = (seconds("nbf").or(seconds("iat")).unwrap_or(0), seconds("exp").unwrap_or(0));
    // Entra allows assertions five minutes of clock difference.
    if now + 300 < not_before || now - 300 > expires_on {
        let text = format!(
            "Client assertion is not within its valid time range. Current time: {}, assertion valid from {}, expiry time of \
             assertion {}.",
            aadsts::timestamp(now),
            aadsts::timestamp(not_before),
            aadsts::timestamp(expires_on)
        );
        return Err(aadsts::refuse(700024, text));
    }
    let forged = jws.header.get("kid").and_then(Value::as_str).is_some_and(|kid| state.has_key(kid))
        && !state.signed_here(assertion);
    if forged || jws.header.get("alg").and_then(Value::as_str) == Some("none") {
        return Err(aadsts::refuse(700027, "Client assertion failed signature validation."));
    }
    if principal.federated_credentials.is_empty() {
        return Ok(());
    }
    matching_credential(&jws.claims, &principal.federated_credentials)
}

/// The first of issuer, audience, subject that no configured credential has.
fn matching_credential(claims: &Map<String, Value>, configured: &[FederatedCredential]) -> Result<(), Failure> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let (issuer, subject) = (text("iss"), text("sub"));
    let audiences: Vec<&str> = match claims.get("aud") {
        Some(Value::Array(audiences)) => audiences.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(audience)) => vec![audience],
        _ => Vec::new(),
    };
    let hint =
        "Please check your federated identity credential Subject, Audience and Issuer against the presented assertion.";
    let mismatch = |code, part: &str, value: &str| {
        aadsts::refuse(
            code,
            format!("No matching federated identity record found for presented assertion {part} '{value}'. {hint}"),
        )
    };
    let of_issuer: Vec<_> = configured.iter().filter(|credential| credential.issuer == issuer).collect();
    if of_issuer.is_empty() {
        return Err(mismatch(700211, "issuer", issuer));
    }
    let of_subject: Vec<_> = of_issuer.iter().filter(|credential| credential.subject == subject).collect();
    if of_subject.is_empty() {
        let differs_in_case = of_issuer.iter().any(|credential| credential.subject.eq_ignore_ascii_case(subject));
        return Err(mismatch(if differs_in_case { 7002138 } else { 700213 }, "subject", subject));
    }
    if !of_subject.iter().any(|credential| audiences.contains(&credential.audience.as_str())) {
        return Err(mismatch(700212, "audience", audiences.first().copied().unwrap_or_default()));
    }
    Ok(())
}

fn success(issued: &IssuedToken, shape: &Shape) -> Reply {
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
    shape.remove_omitted(&mut body);
    Reply::json(200, &body)
}
