//! The errors of the token endpoint: codes, statuses, texts and the body around them.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::{Call, EndpointError, Reply};
use crate::fault::Shape;
use crate::ids;
use crate::state::now_with;

/// One code: HTTP status, OAuth `error`, and the default text for faults.
struct Known {
    code: u32,
    status: u16,
    error: &'static str,
    text: &'static str,
}

const fn known(code: u32, status: u16, error: &'static str, text: &'static str) -> Known {
    Known { code, status, error, text }
}

const KNOWN: &[Known] = &[
    known(50013, 400, "invalid_grant", "Assertion failed signature validation."),
    known(50027, 400, "invalid_request", "JWT token is invalid or malformed."),
    known(50034, 400, "invalid_grant", "The user account does not exist in the directory."),
    known(
        50076,
        400,
        "interaction_required",
        "Due to a configuration change made by your administrator, you must use multi-factor authentication.",
    ),
    known(50079, 400, "interaction_required", "You must enroll in multi-factor authentication."),
    known(50126, 400, "invalid_grant", "Error validating credentials due to invalid username or password."),
    known(65001, 400, "invalid_grant", "The user or administrator has not consented to use the application."),
    known(70003, 400, "unsupported_grant_type", "The app requested an unsupported grant type."),
    known(70011, 400, "invalid_scope", "The provided request must include a 'scope' input parameter."),
    known(70021, 401, "invalid_client", "No matching federated identity record found for presented assertion."),
    known(
        70043,
        400,
        "invalid_grant",
        "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access.",
    ),
    known(90002, 400, "invalid_request", "Tenant not found."),
    known(500011, 400, "invalid_resource", "The resource principal was not found in the tenant."),
    known(500133, 400, "invalid_grant", "Assertion is not within its valid time range."),
    known(700016, 400, "unauthorized_client", "Application was not found in the directory."),
    known(
        700021,
        401,
        "invalid_client",
        "Client assertion application identifier doesn't match 'client_id' parameter.",
    ),
    known(700023, 401, "invalid_client", "Client assertion audience claim does not match Realm issuer."),
    known(700024, 401, "invalid_client", "Client assertion is not within its valid time range."),
    known(
        700027,
        401,
        "invalid_client",
        "The certificate with identifier used to sign the client assertion is not registered on application.",
    ),
    known(700082, 400, "invalid_grant", "The refresh token has expired due to inactivity."),
    known(700211, 401, "invalid_client", "No matching federated identity record found for presented assertion issuer."),
    known(
        700212,
        401,
        "invalid_client",
        "No matching federated identity record found for presented assertion audience.",
    ),
    known(
        700213,
        401,
        "invalid_client",
        "No matching federated identity record found for presented assertion subject.",
    ),
    known(
        900023,
        400,
        "invalid_request",
        "Specified tenant identifier is neither a valid DNS name, nor a valid external domain.",
    ),
    known(900144, 400, "invalid_request", "The request body must contain the following parameter."),
    known(
        1002012,
        400,
        "invalid_scope",
        "The provided value for scope is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).",
    ),
    known(5002738, 401, "invalid_client", "The algorithm of the client assertion is not supported."),
    known(7000114, 400, "invalid_grant", "Application is not allowed to make application on-behalf-of calls."),
    known(
        7000215,
        401,
        "invalid_client",
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app.",
    ),
    known(
        7000218,
        401,
        "invalid_client",
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
    ),
    known(
        7000222,
        401,
        "invalid_client",
        "The provided client secret keys for app are expired. Visit the Azure portal to create new keys for your app.",
    ),
    known(
        7002138,
        401,
        "invalid_client",
        "No matching federated identity record found for presented assertion subject. The subject matches with case-insensitive comparison, but not with case-sensitive comparison.",
    ),
];

/// The claims that a second sign-in must request.
const CLAIMS_CHALLENGE: &str =
    r#"{"access_token":{"capolids":{"essential":true,"values":["99999999-0000-0000-0000-0000000000c1"]}}}"#;

/// Returns a refusal with its code and a text.
pub(super) fn refuse(code: u32, text: impl Into<String>) -> EndpointError {
    EndpointError { aadsts: Some(code), description: Some(text.into()), ..EndpointError::default() }
}

/// Returns the refusal of a resource that is not in the tenant.
pub(super) fn unknown_resource(resource: &str) -> EndpointError {
    let text = format!(
        "The resource principal named {resource} was not found in the tenant named Contoso. This can happen if the \
         application has not been installed by the administrator of the tenant or consented to by any user in the tenant. \
         You might have sent your authentication request to the wrong tenant."
    );
    refuse(500011, text)
}

/// Returns the error response.
pub(super) fn reply(endpoint_error: &EndpointError, call: &Call, shape: &Shape) -> Reply {
    let known = endpoint_error.aadsts.and_then(|code| KNOWN.iter().find(|known| known.code == code));
    let status = endpoint_error.status.or(known.map(|known| known.status)).unwrap_or(400);
    let error = endpoint_error.error.as_deref().or(known.map(|known| known.error)).unwrap_or(match status {
        401 => "invalid_client",
        429 | 500.. => "temporarily_unavailable",
        _ => "invalid_request",
    });
    let usual_text = match status {
        429 => "The request was throttled. Try again later.",
        500.. => "The service is temporarily unavailable. Try again later.",
        _ => "The request was refused.",
    };
    let text = endpoint_error.description.as_deref().or(known.map(|known| known.text)).unwrap_or(usual_text);

    // A user that must act gets the claims for the next sign-in.
    let claims = matches!(endpoint_error.aadsts, Some(50076 | 50079)).then_some(CLAIMS_CHALLENGE);
    let Description { text, trace_id, correlation_id, timestamp } = describe(endpoint_error.aadsts, text, call, shape);
    let mut body = json!({
        "error": error,
        "error_description": text,
        "error_codes": endpoint_error.aadsts.into_iter().collect::<Vec<_>>(),
        "timestamp": timestamp,
        "trace_id": trace_id,
        "correlation_id": correlation_id,
    });
    if let Some(claims) = claims {
        body["suberror"] = Value::from("basic_action");
        body["claims"] = Value::from(claims);
    }
    if let Some(code) = endpoint_error.aadsts {
        body["error_uri"] = Value::from(format!("https://login.microsoftonline.com/error?code={code}"));
    }
    Reply::json(status, &body).with_header("x-ms-request-id", trace_id).with_header("client-request-id", correlation_id)
}

/// The text of an error with its trailer, and the values in the trailer.
pub(super) struct Description {
    pub(super) text: String,
    trace_id: String,
    correlation_id: String,
    timestamp: String,
}

pub(super) fn describe(code: Option<u32>, text: &str, call: &Call, shape: &Shape) -> Description {
    let client_request_id = call.header("x-ms-client-request-id").or(call.header("client-request-id"));
    let correlation_id = client_request_id.map_or_else(ids::random, str::to_owned);
    let (trace_id, timestamp) = (ids::random(), timestamp(now_with(shape)));
    let prefix = code.map(|code| format!("AADSTS{code}: ")).unwrap_or_default();
    let separator = if shape.escaped_errors == Some(true) { "\r\n" } else { " " };
    let text = [
        format!("{prefix}{text}"),
        format!("Trace ID: {trace_id}"),
        format!("Correlation ID: {correlation_id}"),
        format!("Timestamp: {timestamp}"),
    ]
    .join(separator);
    Description { text, trace_id, correlation_id, timestamp }
}

/// Formats a time as `2026-01-01 00:00:00Z`.
pub(super) fn timestamp(seconds: i64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");
    OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|time| time.format(format).ok()).unwrap_or_default()
}
