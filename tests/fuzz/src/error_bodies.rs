//! The error responses of Entra, of the managed identity endpoints and of proxies.

use crate::{check_error, check_token, select, token_responses};

/// The sources with error formats of their own.
const SOURCES: [&str; 5] = ["entra", "imds", "app_service", "azure_ml", "azure_pipelines"];

const STATUSES: [u16; 9] = [400, 401, 403, 404, 407, 429, 500, 502, 503];

/// Requests a token from a source that responds with an error: a byte for the source, one for the status, the body.
/// The body is sent as it is, as an AADSTS description, and nested as some proxies do.
pub fn run(data: &[u8]) {
    let Some((source, rest)) = select(data, &SOURCES) else { return };
    let Some((status, body)) = select(rest, &STATUSES) else { return };
    check(source, status, body);
    let text = String::from_utf8_lossy(body);
    let described = serde_json::json!({
        "error": "invalid_client",
        "error_description": format!("AADSTS7000215: {text}"),
        "error_codes": [7_000_215],
    });
    check(source, status, described.to_string().as_bytes());
    let nested = serde_json::json!({"error": {"code": "x", "message": text}, "message": text, "Message": text});
    check(source, status, nested.to_string().as_bytes());
}

fn check(source: &str, status: u16, body: &[u8]) {
    // The text of an error is limited, however long the body is.
    match token_responses::fetch(source, status, &[b"\n\n", body].concat()) {
        Ok(token) => check_token(&token),
        Err(error) => check_error(&error),
    }
}
