//! Parses responses of token services: tokens, and refusals as typed errors. The parser accepts all that is not
//! contradictory: numbers as texts, unknown fields, wrong content types, pages of HTML.

use std::collections::HashMap;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value};

use crate::{
    credential::{
        FetchedToken, dates,
        entra::error_codes::{self, Verdict},
        sanitize,
    },
    error::{Error, ErrorKind, ServiceErrorDetails},
    secret::Secret,
    transport::{Response, describe_skew},
};

/// The maximum length of a claims challenge that is passed on.
const MAX_CLAIMS: usize = 4096;

/// The longest lifetime of a token, in seconds. A longer `expires_in` is in another unit.
const LONGEST_LIFE: i64 = 400 * 24 * 3600;

/// Returns the JSON object of a response, if its body is one, whatever its content type.
pub(in crate::credential) fn object(response: &Response) -> Option<Map<String, Value>> {
    read(response)
}

/// Returns whether the body is a JSON object, without copying what can be a token.
pub(in crate::credential) fn is_object(response: &Response) -> bool {
    read::<HashMap<String, IgnoredAny>>(response).is_some()
}

/// Deserializes the body.
pub(in crate::credential) fn read<T: DeserializeOwned>(response: &Response) -> Option<T> {
    let body = response.body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&response.body);
    serde_json::from_slice(body).ok()
}

/// Returns the token in a response, if there is one.
pub(in crate::credential) fn token(object: &mut Map<String, Value>) -> Option<FetchedToken> {
    if object.get("token_type").is_some_and(is_bound_to_a_key) {
        return None;
    }
    let token = usable(object.remove("access_token"))?;
    let field = |name: &str| object.get(name);
    Some(FetchedToken {
        token,
        expires_on: field("expires_on").and_then(dates::moment),
        expires_in: field("expires_in").and_then(dates::seconds).filter(|seconds| *seconds <= LONGEST_LIFE),
        refresh_in: field("refresh_in").and_then(dates::seconds),
    })
}

/// Returns whether the type of a token means that it is usable only with a key.
fn is_bound_to_a_key(token_type: &Value) -> bool {
    token_type.as_str().is_some_and(|name| name.to_ascii_lowercase().contains("pop"))
}

/// Returns the value if it can be a token: a text of printable ASCII. Other characters would break the password
/// message.
pub(in crate::credential) fn usable(value: Option<Value>) -> Option<Secret> {
    let Some(Value::String(text)) = value else { return None };
    let text = zeroize::Zeroizing::new(text);
    let token = text.trim();
    (!token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic())).then(|| Secret::new(token))
}

/// An error response of a token source, as far as it can be read.
pub(in crate::credential) struct ErrorResponse {
    pub(in crate::credential) service: ServiceErrorDetails,
    suberror: Option<String>,
    /// Whether it is a refusal in the service's own form, and not a page of another server.
    is_refusal: bool,
    /// Whether the text describes a temporary fault.
    is_passing: bool,
}

/// Where a response comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::credential) enum ResponseOrigin {
    /// A remote service. Another server, such as a proxy, can respond instead.
    Remote,
    /// An endpoint of this machine or cluster. A text response is its own.
    Local,
}

/// Returns the member of that name, whatever its case, because services differ in it.
fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// Reads an error response. `secrets` are those of the request.
pub(in crate::credential) fn error_response(
    response: &Response,
    object: Option<&Map<String, Value>>,
    secrets: &[&Secret],
    origin: ResponseOrigin,
) -> ErrorResponse {
    let text = |value: Option<&Value>| {
        value.and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let field = |name: &str| text(object.and_then(|object| member(object, name)));
    let nested = |name: &str| {
        let error = object.and_then(|object| member(object, "error")?.as_object());
        text(error.and_then(|error| member(error, name)))
    };
    let short = |text: Option<String>| text.and_then(|text| sanitize::identifier(&text, secrets));
    let fields = |names: &[&str]| names.iter().find_map(|name| field(name));

    let reported = fields(&["error_description", "message", "exceptionMessage"])
        .or_else(|| nested("message"))
        .or_else(|| fields(&["detail", "description", "title"]));
    let code = |text: String| short(Some(text));
    let error = field("error")
        .and_then(code)
        .or_else(|| nested("code").and_then(code))
        .or_else(|| fields(&["errorCode", "code"]).and_then(code));
    // Some services put the whole message into `error`, which is then not a code.
    let reported = reported.or_else(|| field("error").filter(|_| error.is_none()).filter(|text| text.contains(' ')));
    let is_described = reported.is_some();
    let words = || {
        let words = object.is_none().then(|| sanitize::plain_words(response, origin == ResponseOrigin::Local));
        words.flatten().map(str::to_owned)
    };
    let description = reported.or_else(words).unwrap_or_default();
    let listed: Vec<u32> = ["error_codes", "serviceErrorCodes", "errorCodes"]
        .iter()
        .filter_map(|name| member(object?, name))
        .flat_map(|numbers| numbers.as_array().map_or(std::slice::from_ref(numbers), Vec::as_slice))
        .filter_map(|number| u32::try_from(dates::seconds(number)?).ok())
        .collect();
    let aadsts = error_codes::most_special(&listed)
        .or_else(|| error_codes::find(&description))
        .or_else(|| error.as_deref().and_then(error_codes::find));
    let is_refusal = is_described
        || object.is_some_and(|object| member(object, "error").is_some() || error.is_some())
        || origin == ResponseOrigin::Local && !description.is_empty();
    let claims = match object.and_then(|object| object.get("claims")) {
        Some(Value::String(claims)) => Some(claims.clone()),
        Some(claims @ Value::Object(_)) => Some(claims.to_string()),
        _ => None,
    };
    ErrorResponse {
        service: ServiceErrorDetails {
            status: Some(response.status),
            error,
            aadsts,
            message: sanitize::sentence(&description, secrets),
            trace_id: short(fields(&["trace_id", "traceId"]).or_else(|| trailer(&description, "Trace ID:"))),
            correlation_id: short(
                fields(&["correlation_id", "correlationId"])
                    .or_else(|| nested("correlationId"))
                    .or_else(|| trailer(&description, "Correlation ID:"))
                    .or_else(|| response.header("x-correlation-id").map(str::to_owned)),
            ),
            retry_after: response.retry_after(),
            claims: claims
                .filter(|claims| claims.len() <= MAX_CLAIMS)
                .map(|claims| sanitize::mask_secrets(&claims, secrets).into_owned()),
        },
        suberror: short(field("suberror")),
        is_refusal,
        is_passing: error_codes::is_passing(&description),
    }
}

impl ErrorResponse {
    /// Converts the response to an error. `source` names the service.
    pub(in crate::credential) fn into_error(self, response: &Response, source: &str) -> Error {
        let known = self.service.aadsts.and_then(error_codes::lookup);
        let (kind, definite) = self.classify(known.map(|entry| entry.verdict));
        let mut advice = match (known, self.service.aadsts) {
            // A transient status has its own advice; the advice of the table is for the number alone.
            (Some(entry), _) if entry.verdict.kind() == kind => entry.advice.to_owned(),
            _ if self.is_passing => error_codes::passing_advice().to_owned(),
            (None, Some(number)) if kind == ErrorKind::AuthenticationFailed => {
                format!("{} See https://login.microsoftonline.com/error?code={number}.", kind.advice())
            }
            _ => kind.advice().to_owned(),
        };
        if let Some(skew) = response.clock_skew() {
            advice =
                format!("This machine's clock is {} the service's clock: correct it. {advice}", describe_skew(skew));
        }
        let message = match kind {
            ErrorKind::Throttled => format!("{source} limits the number of requests"),
            ErrorKind::ServiceUnavailable => format!("{source} failed"),
            ErrorKind::BadResponse => format!("{source} returned {}", describe_body(response)),
            _ => format!("{source} rejected the request"),
        };
        let error = Error::new(kind, message).with_service(self.service).with_advice(advice);
        if definite { error.definite() } else { error }
    }

    /// Returns the kind, and whether the refusal is definite.
    fn classify(&self, verdict: Option<Verdict>) -> (ErrorKind, bool) {
        let status = self.service.status.unwrap_or_default();
        if self.is_passing {
            return (ErrorKind::ServiceUnavailable, false);
        }
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

/// Describes a body without a token, for messages.
pub(in crate::credential) fn describe_body(response: &Response) -> &'static str {
    let start: Vec<u8> = response.body.iter().copied().filter(|b| !b.is_ascii_whitespace()).take(16).collect();
    match start.first() {
        _ if (300..400).contains(&response.status) => "a redirect, which is not followed",
        None => "an empty body",
        Some(_) if encoding(response).is_some() => encoding(response).unwrap_or_default(),
        Some(b'<') => "an HTML or XML page instead of JSON",
        Some(b'{') if response.truncated => "incomplete JSON",
        Some(b'{') if !is_object(response) => "invalid JSON",
        Some(b'{')
            if object(response).is_some_and(|object| object.get("token_type").is_some_and(is_bound_to_a_key)) =>
        {
            "a proof-of-possession token, which is bound to a key"
        }
        Some(b'{') => "JSON without a token",
        _ => "something that is not JSON",
    }
}

/// Returns the compression of a body by its header or its first bytes. Requests never ask for compression.
fn encoding(response: &Response) -> Option<&'static str> {
    let named = response.header("content-encoding").unwrap_or_default().to_ascii_lowercase();
    let is = |name: &str| named.split(',').any(|one| one.trim().trim_start_matches("x-") == name);
    match &**response.body {
        [0x1f, 0x8b, ..] => Some("a body compressed with gzip, which was not requested"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("a body compressed with zstd, which was not requested"),
        // A wrong header is ignored if the JSON is readable.
        [b'{' | b'[' | b'<', ..] => None,
        _ if is("gzip") => Some("a body compressed with gzip, which was not requested"),
        _ if is("br") => Some("a body compressed with br, which was not requested"),
        _ if is("deflate") => Some("a body compressed with deflate, which was not requested"),
        _ if is("zstd") => Some("a body compressed with zstd, which was not requested"),
        _ => None,
    }
}

/// Returns an id from the trailer of the description, where bodies had it before there were fields for it.
fn trailer(description: &str, name: &str) -> Option<String> {
    let rest = description.split(name).nth(1)?.trim_start();
    Some(rest.split(|c: char| c.is_whitespace()).next()?.to_owned())
}
