//! Faults: what is to go wrong, where, and how often; and the shape of answers, which a fault can change too.

use serde::{Deserialize, Serialize};

use crate::resource::{self, ResourceKind};

/// Properties of the tokens and answers that are handed out. Set for all by the token settings, for some by a fault;
/// a property that is left out (`null`) keeps its usual value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shape {
    /// Seconds that a token lives; by default 86,400 for managed identities, 3,600 for the others. 0 or less: it arrives dead.
    pub lifetime_s: Option<i64>,
    /// `refresh_in` in seconds; by default half the lifetime where that is at least 2 h at the token endpoint, and absent
    /// at managed identity endpoints.
    pub refresh_in_s: Option<i64>,
    /// Never send `refresh_in`.
    pub omit_refresh_in: Option<bool>,
    /// Answer with the bytes of the last token given to this principal for this resource, even when it has expired.
    pub same_token: Option<bool>,
    /// Managed identities' database tokens carry `xms_mirid`; real ones do not.
    pub named_database_tokens: Option<bool>,
    /// Seconds by which the service's clock is ahead of this machine's, in tokens, `Date` headers and at the database.
    pub clock_skew_s: Option<i64>,
    /// How `expires_on` is written.
    pub expires_on: Option<ExpiresOn>,
    /// How `expires_in` and its like are written: by default numbers at the token endpoint, strings at managed identity endpoints.
    pub numbers: Option<Numbers>,
    /// Fields left out of a successful answer, such as `resource` or `expires_in`.
    pub omit: Option<Vec<String>>,
    /// Separate the trailer of AADSTS descriptions by `\r\n` as until 2023, not by spaces.
    pub escaped_errors: Option<bool>,
}

/// How a managed identity endpoint writes `expires_on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiresOn {
    /// Seconds since 1970 as text: what IMDS and App Service send.
    String,
    /// Seconds since 1970 as a number.
    Number,
    /// `1/16/2030 5:24:12 AM +00:00`, as App Service on Windows did.
    Date,
    /// `06/20/2030 02:57:58 +00:00`, as App Service on Linux did.
    DateLinux,
    /// `2030-06-20T02:57:58Z`.
    Iso,
    /// Not at all.
    Missing,
}

/// How durations are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Numbers {
    /// `"3599"`
    String,
    /// `3599`
    Number,
}

impl Shape {
    /// These properties, and where one is not set, that of `base`.
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

    /// Takes the fields named by `omit` out of an answer.
    pub(crate) fn remove_omitted(&self, body: &mut serde_json::Value) {
        if let Some(fields) = body.as_object_mut() {
            fields.retain(|name, _| !self.omit.iter().flatten().any(|omitted| omitted == name));
        }
    }
}

/// What happens to the connection instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Connection {
    /// Closed without an answer.
    Drop,
    /// Closed in the middle of the answer's body.
    DropMidBody,
    /// Kept open without an answer, until the client goes or the fault is cleared.
    BlackHole,
    /// Answered with bytes that are not HTTP.
    Garbage,
}

/// What becomes of the answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// An HTML error page.
    Html,
    /// No byte.
    Empty,
    /// The first half of the JSON.
    Truncated,
    /// JSON of 1 MB and a little: an error description without end.
    Big,
    /// `{}`
    EmptyObject,
    /// Not UTF-8.
    Binary,
}

/// One thing that goes wrong. The first active fault that fits a request is used, in the order they were added.
/// The effects that a fault names are applied together; one that names none but `times` or `after` does nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Assigned when the fault is added.
    #[serde(default)]
    pub id: u64,
    /// `token`, `discovery`, `imds`, `app_service`, another endpoint's name, or `*` (the default) for all.
    #[serde(default = "Fault::everywhere")]
    pub endpoint: String,
    /// Only for requests of this principal, by name, client id or object id.
    pub principal: Option<String>,
    /// Only for requests for this resource: `database`, `management` (of any cloud), or the resource itself.
    pub resource: Option<String>,
    /// Fitting requests to let pass first.
    #[serde(default)]
    pub after: u64,
    /// Fitting requests to hit then; all, if left out, until the fault is cleared.
    pub times: Option<u64>,

    /// Milliseconds to wait before the answer.
    #[serde(default)]
    pub latency_ms: u64,
    /// HTTP status of an error answer, which is sent instead of a token.
    pub status: Option<u16>,
    /// AADSTS code of an error answer (status 400 or 401 by itself).
    pub aadsts: Option<u32>,
    /// `error` of the error answer; by default what goes with the code or the status.
    pub error: Option<String>,
    /// Text of the error answer; by default what goes with the code or the status.
    pub description: Option<String>,
    /// Sent as `Retry-After`: seconds or an HTTP date.
    pub retry_after: Option<RetryAfter>,
    /// Repeat the secret that the client sent inside the error description (401 by itself).
    #[serde(default)]
    pub echo_secret: bool,
    /// What becomes of the body. `html` and `big` are errors (503, 500) unless `status` says otherwise.
    pub body: Option<Body>,
    /// `Content-Type` of the answer.
    pub content_type: Option<String>,
    /// What happens to the connection.
    pub connection: Option<Connection>,
    /// Make a new signing key before answering.
    #[serde(default)]
    pub rotate_keys: bool,
    /// Changes to the successful answer.
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

    /// A fault of one endpoint, to be filled in with struct update syntax.
    pub fn at(endpoint: &str) -> Self {
        Self { endpoint: endpoint.into(), ..Self::default() }
    }

    /// Whether a request is of the kind that this fault is about. `names` are all names and ids of the principal.
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

    /// Whether the client gets an error in place of a token.
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
