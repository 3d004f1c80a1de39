//! Faults: which failures occur, at which endpoint, and how often; and the shape of responses, which a fault can change
//! too.

use serde::{Deserialize, Serialize};

use crate::resource::{self, ResourceKind};

/// Properties of issued tokens and of responses. The token settings set them for all, a fault for some. A property that
/// is left out (`null`) keeps its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shape {
    /// The lifetime of a token in seconds; by default 86,400 for managed identities, 3,600 for the others. With 0 or
    /// less, the token has expired when it arrives.
    pub lifetime_s: Option<i64>,
    /// The value of `refresh_in` in seconds. At the token endpoint the default is half the lifetime if that is at least
    /// 2 h; at managed identity endpoints it is absent.
    pub refresh_in_s: Option<i64>,
    /// Whether `refresh_in` is never sent.
    pub omit_refresh_in: Option<bool>,
    /// Whether the response contains the last token for this principal and resource again, even if it has expired.
    pub same_token: Option<bool>,
    /// Whether managed identities' database tokens contain `xms_mirid`. Real ones do not.
    pub named_database_tokens: Option<bool>,
    /// How many seconds the service's clock is ahead of this machine's, in tokens, `Date` headers and at the database.
    pub clock_skew_s: Option<i64>,
    /// The format of `expires_on`.
    pub expires_on: Option<ExpiresOn>,
    /// The format of `expires_in` and similar fields: by default numbers at the token endpoint, strings at managed
    /// identity endpoints.
    pub numbers: Option<Numbers>,
    /// Fields that are left out of a successful response, such as `resource` or `expires_in`.
    pub omit: Option<Vec<String>>,
    /// Whether the trailer of AADSTS descriptions is separated by `\r\n`, as until 2023, instead of spaces.
    pub escaped_errors: Option<bool>,
}

/// The format of `expires_on` at a managed identity endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiresOn {
    /// Seconds since 1970 as text, as IMDS and App Service send them.
    String,
    /// Seconds since 1970 as a number.
    Number,
    /// `1/16/2030 5:24:12 AM +00:00`, as App Service on Windows did.
    Date,
    /// `06/20/2030 02:57:58 +00:00`, as App Service on Linux did.
    DateLinux,
    /// `2030-06-20T02:57:58Z`.
    Iso,
    /// The field is left out.
    Missing,
}

/// The format of durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Numbers {
    /// Text: `"3599"`.
    String,
    /// A number: `3599`.
    Number,
}

impl Shape {
    /// Returns these properties, completed by those of `base`.
    pub(crate) fn over(&self, base: &Shape) -> Shape {
        Shape {
            lifetime_s: self.lifetime_s.or(base.lifetime_s),
            refresh_in_s: self.refresh_in_s.or(base.refresh_in_s),
            omit_refresh_in: self.omit_refresh_in.or(base.omit_refresh_in),
            same_token: self.same_token.or(base.same_token),
            named_database_tokens: self.named_database_tokens.or(base.named_database_tokens),
            clock_skew_s: self.clock_skew_s.or(base.clock_skew_s),
            expires_on: self.expires_on.or(base.expires_on),
            numbers: self.numbers.or(base.numbers),
            omit: self.omit.clone().or_else(|| base.omit.clone()),
            escaped_errors: self.escaped_errors.or(base.escaped_errors),
        }
    }

    /// Removes the fields in `omit` from a response.
    pub(crate) fn remove_omitted(&self, body: &mut serde_json::Value) {
        if let Some(fields) = body.as_object_mut() {
            fields.retain(|name, _| !self.omit.iter().flatten().any(|omitted| omitted == name));
        }
    }
}

/// What happens to the connection instead of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Connection {
    /// Closed without a response.
    Drop,
    /// Closed in the middle of the response's body.
    DropMidBody,
    /// Kept open without a response, until the client disconnects or the fault is removed.
    BlackHole,
    /// The response consists of bytes that are not HTTP.
    Garbage,
}

/// What happens to the response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// An HTML error page.
    Html,
    /// An empty body.
    Empty,
    /// The first half of the JSON.
    Truncated,
    /// JSON of slightly more than 1 MB: a very long error description.
    Big,
    /// An empty object: `{}`.
    EmptyObject,
    /// Bytes that are not UTF-8.
    Binary,
}

/// One fault. The first active fault that matches a request is used, in the order in which they were added. All effects
/// of a fault are applied together; a fault with only `times` or `after` has no effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The id, assigned when the fault is added.
    #[serde(default)]
    pub id: u64,
    /// The endpoint: `token`, `discovery`, `imds`, `app_service`, another endpoint's name, or `*` (the default) for
    /// all.
    #[serde(default = "Fault::everywhere")]
    pub endpoint: String,
    /// Only for requests of this principal, by name, client id or object id.
    pub principal: Option<String>,
    /// Only for requests for this resource: `database`, `management` (of any cloud), or the resource itself.
    pub resource: Option<String>,
    /// The number of matching requests before the fault starts.
    #[serde(default)]
    pub after: u64,
    /// The number of matching requests that the fault then affects. If left out, it affects all until it is removed.
    pub times: Option<u64>,

    /// The delay before the response, in milliseconds.
    #[serde(default)]
    pub latency_ms: u64,
    /// The HTTP status of an error response, which is sent instead of a token.
    pub status: Option<u16>,
    /// The AADSTS code of an error response (with status 400 or 401 by default).
    pub aadsts: Option<u32>,
    /// The `error` of the error response; by default that of the code or the status.
    pub error: Option<String>,
    /// The text of the error response; by default that of the code or the status.
    pub description: Option<String>,
    /// The `Retry-After` header: seconds or an HTTP date.
    pub retry_after: Option<RetryAfter>,
    /// Whether the error description repeats the secret that the client sent (with status 401 by default).
    #[serde(default)]
    pub echo_secret: bool,
    /// What happens to the body. `html` and `big` are errors (503, 500) unless `status` is set.
    pub body: Option<Body>,
    /// The `Content-Type` of the response.
    pub content_type: Option<String>,
    /// What happens to the connection.
    pub connection: Option<Connection>,
    /// Whether a new signing key is created before the response.
    #[serde(default)]
    pub rotate_keys: bool,
    /// Changes to the successful response.
    #[serde(default)]
    pub shape: Shape,
}

/// `Retry-After` in either of its forms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RetryAfter {
    /// Seconds.
    Seconds(u64),
    /// Sent as it is.
    Text(String),
}

impl std::fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Seconds(seconds) => seconds.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl Default for Fault {
    fn default() -> Self {
        Self {
            id: 0,
            endpoint: Self::everywhere(),
            principal: None,
            resource: None,
            after: 0,
            times: None,
            latency_ms: 0,
            status: None,
            aadsts: None,
            error: None,
            description: None,
            retry_after: None,
            echo_secret: false,
            body: None,
            content_type: None,
            connection: None,
            rotate_keys: false,
            shape: Shape::default(),
        }
    }
}

impl Fault {
    fn everywhere() -> String {
        "*".into()
    }

    /// Returns a fault of one endpoint, to be completed with struct update syntax.
    pub fn at(endpoint: &str) -> Self {
        Self { endpoint: endpoint.into(), ..Self::default() }
    }

    /// Returns whether the fault matches a request. `names` are all names and ids of the principal.
    pub(crate) fn fits(&self, endpoint: &str, names: &[&str], resource: Option<&str>) -> bool {
        let principal_fits = self.principal.as_deref().is_none_or(|wanted| names.contains(&wanted));
        let resource_fits = self.resource.as_deref().is_none_or(|wanted| {
            resource.is_some_and(|resource| match wanted {
                "database" => ResourceKind::of(resource) == ResourceKind::Database,
                "management" => ResourceKind::of(resource) == ResourceKind::Management,
                wanted => resource::expand(wanted).trim_end_matches('/') == resource.trim_end_matches('/'),
            })
        });
        (self.endpoint == "*" || self.endpoint == endpoint) && principal_fits && resource_fits
    }

    /// Returns whether the client gets an error instead of a token.
    pub(crate) fn is_error(&self) -> bool {
        self.status.is_some_and(|status| status >= 300)
            || self.aadsts.is_some()
            || self.error.is_some()
            || self.description.is_some()
            || self.echo_secret
            || self.retry_after.is_some()
            || matches!(self.body, Some(Body::Html | Body::Big))
    }
}
