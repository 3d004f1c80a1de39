//! What token services answer: tokens, and refusals as typed errors. Tolerant of everything that is no contradiction:
//! numbers as texts, unknown fields, wrong content types, pages of HTML.

use std::collections::HashMap;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value};

use super::{
    FetchedToken,
    aadsts::{self, Verdict},
    dates, service_text,
};
use crate::{
    error::{Error, ErrorKind, Service},
    secret::Secret,
    transport::{Response, describe_skew},
};

/// The longest claims challenge that is passed on.
const MAX_CLAIMS: usize = 4096;

/// The JSON object of an answer, if its body is one, whatever its content type.
pub(super) fn object(response: &Response) -> Option<Map<String, Value>> {
    read(response)
}

/// Whether it is one, without a copy of what may be a token.
pub(super) fn is_object(response: &Response) -> bool {
    read::<HashMap<String, IgnoredAny>>(response).is_some()
}

/// What is wanted of it.
pub(super) fn read<T: DeserializeOwned>(response: &Response) -> Option<T> {
    let body = response.body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&response.body);
    serde_json::from_slice(body).ok()
}

/// The token in an answer, if there is one.
pub(super) fn token(object: &mut Map<String, Value>) -> Option<FetchedToken> {
    let token = usable(object.remove("access_token"))?;
    let field = |name: &str| object.get(name);
    Some(FetchedToken {
        token,
        expires_on: field("expires_on").and_then(dates::moment),
        expires_in: field("expires_in").and_then(dates::seconds),
        refresh_in: field("refresh_in").and_then(dates::seconds),
    })
}

/// A token that can be one: a text of printable ASCII. Anything else would break the password message it goes into.
pub(super) fn usable(value: Option<Value>) -> Option<Secret> {
    let Some(Value::String(text)) = value else { return None };
    let text = zeroize::Zeroizing::new(text);
    let token = text.trim();
    (!token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic())).then(|| Secret::new(token))
}

/// What a service said of a refusal.
pub(super) struct Refusal {
    pub(super) service: Service,
    suberror: Option<String>,
    /// Whether it is a refusal in the service's own form, and not somebody else's page.
    is_refusal: bool,
}

/// Reads a refusal. `secrets` are those that the request held.
pub(super) fn refusal(response: &Response, object: Option<&Map<String, Value>>, secrets: &[&Secret]) -> Refusal {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let field = |name: &str| text(object.and_then(|object| object.get(name)));
    let nested = |name: &str| text(object.and_then(|object| object.get("error")?.get(name)));
    let short = |text: Option<String>| text.and_then(|text| service_text::identifier(&text, secrets));

    let description =
        field("error_description").or_else(|| field("message")).or_else(|| nested("message")).unwrap_or_default();
    let listed = object.and_then(|object| object.get("error_codes")?.get(0)).and_then(dates::seconds);
    let aadsts = listed.and_then(|number| u32::try_from(number).ok()).or_else(|| aadsts::find(&description));
    let is_refusal = object.is_some_and(|object| object.contains_key("error")) || !description.is_empty();
    let claims = match object.and_then(|object| object.get("claims")) {
        Some(Value::String(claims)) => Some(claims.clone()),
        Some(claims @ Value::Object(_)) => Some(claims.to_string()),
        _ => None,
    };
    Refusal {
        service: Service {
            status: Some(response.status),
            error: short(field("error").or_else(|| nested("code"))),
            aadsts,
            message: service_text::sentence(&description, secrets),
            trace_id: short(field("trace_id").or_else(|| trailer(&description, "Trace ID:"))),
            correlation_id: short(
                field("correlation_id")
                    .or_else(|| field("correlationId"))
                    .or_else(|| trailer(&description, "Correlation ID:")),
            ),
            retry_after: response.retry_after(),
            claims: claims
                .filter(|claims| claims.len() <= MAX_CLAIMS)
                .map(|claims| service_text::mask(&claims, secrets).into_owned()),
        },
        suberror: short(field("suberror")),
        is_refusal,
    }
}

impl Refusal {
    /// The error it becomes. `source` names the service.
    pub(super) fn into_error(self, response: &Response, source: &str) -> Error {
        let known = self.service.aadsts.and_then(aadsts::lookup);
        let (kind, definite) = self.classify(known.map(|entry| entry.verdict));
        let mut advice = match known {
            // A transient status has its own advice; the table's is for what the number alone says.
            Some(entry) if entry.verdict.kind() == kind => entry.advice.to_owned(),
            _ => kind.advice().to_owned(),
        };
        if let Some(skew) = response.clock_skew() {
            advice = format!("This machine's clock is {} the service's: correct it. {advice}", describe_skew(skew));
        }
        let message = match kind {
            ErrorKind::Throttled => format!("{source} asks for fewer requests"),
            ErrorKind::ServiceUnavailable => format!("{source} failed"),
            ErrorKind::BadResponse => format!("{source} answered with {}", describe_body(response)),
            _ => format!("{source} refused the request"),
        };
        let error = Error::new(kind, message).with_service(self.service).with_advice(advice);
        if definite { error.definite() } else { error }
    }

    /// The kind, and whether asking again cannot change it.
    fn classify(&self, verdict: Option<Verdict>) -> (ErrorKind, bool) {
        let status = self.service.status.unwrap_or_default();
        let code = self.service.error.as_deref().unwrap_or_default();
        match status {
            429 => return (ErrorKind::Throttled, false),
            408 | 500.. => return (ErrorKind::ServiceUnavailable, false),
            _ => {}
        }
        if let Some(verdict) = verdict {
            return (verdict.kind(), verdict == Verdict::Definite);
        }
        match code {
            "temporarily_unavailable" | "server_error" => (ErrorKind::ServiceUnavailable, false),
            "interaction_required" | "consent_required" | "login_required" => (ErrorKind::InteractionRequired, false),
            "invalid_grant" if self.service.claims.is_some() || self.suberror_wants_the_user() => {
                (ErrorKind::InteractionRequired, false)
            }
            "invalid_client"
            | "unauthorized_client"
            | "invalid_tenant"
            | "invalid_resource"
            | "invalid_scope"
            | "unsupported_grant_type" => (ErrorKind::AuthenticationFailed, true),
            _ if self.is_refusal => (ErrorKind::AuthenticationFailed, false),
            _ => (ErrorKind::BadResponse, false),
        }
    }

    fn suberror_wants_the_user(&self) -> bool {
        const THEIRS: [&str; 5] =
            ["basic_action", "additional_action", "consent_required", "user_password_expired", "message_only"];
        self.suberror.as_deref().is_some_and(|suberror| THEIRS.contains(&suberror))
    }
}

/// What a body is that holds no token, for messages.
pub(super) fn describe_body(response: &Response) -> &'static str {
    let start: Vec<u8> = response.body.iter().copied().filter(|b| !b.is_ascii_whitespace()).take(16).collect();
    match start.first() {
        _ if (300..400).contains(&response.status) => "a redirect, which is not followed",
        None => "an empty body",
        Some(b'<') => "a page of HTML or XML in place of JSON",
        Some(b'{') if response.truncated => "JSON that breaks off",
        Some(b'{') if !is_object(response) => "broken JSON",
        Some(b'{') => "JSON without a token",
        _ => "something that is not JSON",
    }
}

/// An id in the description's trailer, as bodies had it before they had fields for it.
fn trailer(description: &str, name: &str) -> Option<String> {
    let rest = description.split(name).nth(1)?.trim_start();
    Some(rest.split(|c: char| c.is_whitespace()).next()?.to_owned())
}
