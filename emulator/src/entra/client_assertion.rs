//! Client assertions: an application's own, signed by its certificate, and those of an issuer that it trusts (workload
//! identity federation).

use serde_json::{Map, Value, json};

use super::{Call, EndpointError, aadsts};
use crate::certificate::{self, Certificate};
use crate::jwt::Jws;
use crate::principal::{FederatedCredential, Principal};
use crate::state::State;

/// The clock difference in seconds that Entra accepts for assertions.
const LEEWAY_S: i64 = 300;

/// Checks an assertion of `principal` at `now`, seconds since 1970.
pub(super) fn check(
    state: &State,
    call: &Call,
    assertion: &str,
    principal: &Principal,
    now: i64,
) -> Result<(), EndpointError> {
    let jws = Jws::parse(assertion).ok_or_else(|| aadsts::refuse(50027, "JWT token is invalid or malformed."))?;
    check_times(&jws, now)?;
    let claim = |name: &str| jws.claims.get(name).and_then(Value::as_str);
    // An assertion that an application issues about itself is signed with its own certificate.
    if claim("iss") == Some(&principal.appid) {
        return by_certificate(state, call, &jws, principal, now);
    }
    federated(state, assertion, &jws, principal)
}

fn check_times(jws: &Jws<'_>, now: i64) -> Result<(), EndpointError> {
    // MSAL for Python writes these times with fractions.
    let seconds = |name: &str| jws.claims.get(name).and_then(Value::as_f64).map(|seconds| seconds as i64);
    let (not_before, expires_on) = (seconds("nbf").or(seconds("iat")).unwrap_or(0), seconds("exp").unwrap_or(0));
    if now + LEEWAY_S >= not_before && now - LEEWAY_S <= expires_on {
        return Ok(());
    }
    let text = format!(
        "Client assertion is not within its valid time range. Current time: {}, assertion valid from {}, expiry time of \
         assertion {}.",
        aadsts::timestamp(now),
        aadsts::timestamp(not_before),
        aadsts::timestamp(expires_on)
    );
    Err(aadsts::refuse(700024, text))
}

fn by_certificate(
    state: &State,
    call: &Call,
    jws: &Jws<'_>,
    principal: &Principal,
    now: i64,
) -> Result<(), EndpointError> {
    let claim = |name: &str| jws.claims.get(name).and_then(Value::as_str).unwrap_or_default();
    if claim("sub") != principal.appid {
        let text = format!("Client assertion's 'sub' is '{}', its 'iss' the client id.", claim("sub"));
        return Err(aadsts::refuse(700021, text));
    }
    if !is_audience(state, call, claim("aud")) {
        let text = format!("Client assertion audience claim '{}' does not match Realm issuer.", claim("aud"));
        return Err(aadsts::refuse(700023, text));
    }
    let header = |name: &str| jws.header.get(name).and_then(Value::as_str).unwrap_or_default();
    let algorithm = certificate::algorithm(header("alg")).ok_or_else(|| {
        let text = format!("Client assertion's algorithm '{}' is not supported: RS256 and PS256 are.", header("alg"));
        aadsts::refuse(5002738, text)
    })?;
    let thumbprint = if header("x5t#S256").is_empty() { header("x5t") } else { header("x5t#S256") };
    let unregistered = |reason: &str| {
        let text = format!(
            "The certificate with identifier used to sign the client assertion is not registered on application. \
             [Reason - {reason}, Thumbprint of key used by client: '{thumbprint}']"
        );
        aadsts::refuse(700027, text)
    };
    let registered = principal.certificates.iter().find(|known| known.has_thumbprint(thumbprint)).cloned();
    let certificate = match registered.or_else(|| by_chain(jws, thumbprint, principal)) {
        Some(certificate) => certificate,
        None => return Err(unregistered("The key was not found.")),
    };
    if certificate.is_outside_validity(now) {
        return Err(unregistered("The key used is expired."));
    }
    if !certificate.verifies(algorithm, jws.signed().as_bytes(), jws.signature()) {
        return Err(unregistered("Client assertion contains an invalid signature."));
    }
    Ok(())
}

/// Returns whether the audience is the requested token endpoint or its issuer, on any host name of the emulator.
fn is_audience(state: &State, call: &Call, audience: &str) -> bool {
    let Some((host, path)) = audience.strip_prefix("https://").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let Some((tenant, tail)) = path.split_once('/') else { return false };
    let is_here = call.header("host").is_some_and(|ours| ours.eq_ignore_ascii_case(host));
    is_here && state.knows_tenant(tenant) && matches!(tail, "oauth2/v2.0/token" | "oauth2/token" | "v2.0")
}

/// Returns the certificate in `x5c`, if the application trusts its subject and its issuer.
fn by_chain(jws: &Jws<'_>, thumbprint: &str, principal: &Principal) -> Option<Certificate> {
    let entries = jws.header.get("x5c")?.as_array()?;
    let chain: Vec<Certificate> =
        entries.iter().map(|entry| Certificate::from_x5c(entry.as_str()?).ok()).collect::<Option<_>>()?;
    let leaf = chain.first().filter(|leaf| leaf.has_thumbprint(thumbprint))?;
    if !chain.windows(2).all(|pair| pair[0].is_issued_by(&pair[1])) {
        return None;
    }
    let name = leaf.common_name()?;
    let is_trusted = principal
        .trusted_subjects
        .iter()
        .any(|trusted| trusted.subject == name && chain.iter().any(|link| link.is_issued_by(&trusted.issuer)));
    is_trusted.then(|| leaf.clone())
}

/// Returns what the log shows of an assertion: everything except the signature.
pub(super) fn describe(assertion: &str) -> Option<Value> {
    let jws = Jws::parse(assertion)?;
    let mut description = json!({"header": jws.header, "claims": jws.claims});
    let entries = jws.header.get("x5c").and_then(Value::as_array);
    let faults: Vec<&str> = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| Certificate::from_x5c(entry.as_str().unwrap_or_default()).err())
        .map(certificate::X5cFault::as_str)
        .collect();
    if !faults.is_empty() {
        description["x5c_faults"] = json!(faults);
    }
    Some(description)
}

/// Checks a token of another issuer (workload identity federation). Its signature is verified only if the emulator is
/// the issuer, because other issuers' keys are not available.
fn federated(state: &State, assertion: &str, jws: &Jws<'_>, principal: &Principal) -> Result<(), EndpointError> {
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

/// Checks that a configured credential matches the assertion. The error names the first of issuer, subject and audience
/// that does not match.
fn matching_credential(claims: &Map<String, Value>, configured: &[FederatedCredential]) -> Result<(), EndpointError> {
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
