//! HTTP for every credential: timeouts, size limits for bodies, proxies, trusted certificate authorities, and failures
//! as [`Error`]s that name the host and the cause.

mod failure;
mod proxy;
pub(crate) mod roots;
mod trust;

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use reqwest::{Client, Url, header::HeaderMap};
use zeroize::Zeroizing;

use crate::{
    config::BuildInputs,
    error::{Error, ErrorKind, Result},
    runtime::{BoxFuture, PerProcess, lock},
    secret::Secret,
};

pub use self::roots::server_roots;
pub use self::trust::{Authorities, Trust};
use self::{
    proxy::{Proxied, ProxyRules, ProxySettings},
    roots::RootSettings,
};

/// The maximum size of a body. Tokens are smaller than 64 KB.
const MAX_BODY: usize = 1 << 20;

/// The time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The time limit for connecting to endpoints on this machine or its link.
const LOCAL_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Differences to the service's clock above this number of seconds are reported.
const NOTABLE_SKEW: i64 = 300;

/// What a transport is built from, for tests.
#[cfg(any(test, feature = "testing"))]
#[derive(Clone, Debug, Default)]
pub struct TransportSettings {
    /// A PEM file of certificate authorities to trust in addition to the others.
    pub ca_file: Option<String>,
    /// The application's environment: `SSL_CERT_FILE`, `SSL_CERT_DIR`, `NODE_EXTRA_CA_CERTS`, `REQUESTS_CA_BUNDLE`,
    /// `CURL_CA_BUNDLE`, and the proxy variables.
    pub environment: Arc<crate::config::Environment>,
}

/// Sends requests. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Transport(Arc<Inner>);

enum Inner {
    Network { settings: Arc<Settings>, trust: Option<Arc<Trust>>, clients: PerProcess<Mutex<Option<Arc<Clients>>>> },
    Canned(CannedResponder),
}

/// The settings as they were read when the transport was created. The environment is not read later, so that the record
/// of the inputs is complete.
struct Settings {
    /// `None` for endpoints without TLS, and for endpoints with their own certificate authorities.
    roots: Option<RootSettings>,
    /// `None` for endpoints that are reached directly.
    proxies: Option<ProxySettings>,
}

type CannedResponder = Box<dyn Fn(Request) -> BoxFuture<'static, Result<Response>> + Send + Sync>;

/// The HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// POST
    Post,
}

/// One request.
pub struct Request {
    /// The method.
    pub method: Method,
    /// The complete address, with its query.
    pub url: String,
    /// Headers in addition to the client's own.
    pub headers: Vec<(&'static str, Secret)>,
    /// Fields of a form body.
    pub form: Vec<(&'static str, Secret)>,
    /// The time limit of the whole exchange.
    pub timeout: Duration,
    /// Whether the proxy variables apply. Managed-identity endpoints are reached directly whatever their address.
    pub proxy: bool,
    /// How the server's certificate is verified, if the transport has its own rule ([`Transport::trusting`]), which
    /// sets this field.
    #[cfg_attr(not(any(test, feature = "testing")), expect(dead_code, reason = "tests read it"))]
    pub trust: Option<Arc<Trust>>,
}

impl Request {
    /// Creates a GET request to an endpoint on this machine or its link, without a proxy.
    pub fn get_local(url: impl Into<String>, timeout: Duration) -> Self {
        Request {
            method: Method::Get,
            url: url.into(),
            headers: vec![],
            form: vec![],
            timeout,
            proxy: false,
            trust: None,
        }
    }

    /// Creates a form POST to an endpoint on this machine or its link, without a proxy.
    pub fn post_local(url: impl Into<String>, form: Vec<(&'static str, Secret)>, timeout: Duration) -> Self {
        Request { proxy: false, ..Request::post_form(url, form, timeout) }
    }

    /// Creates a form POST to a service.
    pub fn post_form(url: impl Into<String>, form: Vec<(&'static str, Secret)>, timeout: Duration) -> Self {
        Request { method: Method::Post, url: url.into(), headers: vec![], form, timeout, proxy: true, trust: None }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, Secret::new(value)));
        self
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("to", &endpoint(&self.url))
            .finish_non_exhaustive()
    }
}

/// A response.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    headers: HeaderMap,
    /// The body, at most 1 MB of it.
    pub body: Zeroizing<Vec<u8>>,
    /// Whether the body is incomplete: larger than 1 MB, or interrupted.
    pub truncated: bool,
    clock_skew: Option<i64>,
}

impl Response {
    /// Creates a response for [`Transport::canned`]. Invalid headers are left out.
    #[cfg(any(test, feature = "testing"))]
    pub fn new(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), value.parse()) {
                map.append(name, value);
            }
        }
        let mut body = Zeroizing::new(body.into());
        let truncated = body.len() > MAX_BODY;
        body.truncate(MAX_BODY);
        Response::seen(status, map, body, truncated)
    }

    fn seen(status: u16, headers: HeaderMap, body: Zeroizing<Vec<u8>>, truncated: bool) -> Self {
        let date = headers
            .get("date")
            .and_then(|value| value.to_str().ok())
            .and_then(|text| httpdate::parse_http_date(text).ok());
        let clock_skew = date.map(|theirs| match SystemTime::now().duration_since(theirs) {
            Ok(ahead) => seconds(ahead),
            Err(behind) => -seconds(behind.duration()),
        });
        Response { status, headers, body, truncated, clock_skew }
    }

    /// Returns the value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns how many seconds this machine's clock is ahead of the service's (negative: behind), if the difference is
    /// more than 5 min.
    pub fn clock_skew(&self) -> Option<i64> {
        self.clock_skew.filter(|skew| skew.abs() > NOTABLE_SKEW)
    }

    /// Returns the service's time in seconds since the epoch, or this machine's if the response has no date.
    pub(crate) fn service_time(&self) -> i64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, seconds);
        now.saturating_sub(self.clock_skew.unwrap_or(0))
    }

    /// Returns how long to wait before the next request: `Retry-After` in seconds or as a date, or Azure's `-ms`
    /// variants.
    pub fn retry_after(&self) -> Option<Duration> {
        for name in ["retry-after-ms", "x-ms-retry-after-ms"] {
            if let Some(ms) = self.header(name).and_then(|text| text.trim().parse::<u64>().ok()) {
                return Some(Duration::from_millis(ms));
            }
        }
        let text = self.header("retry-after")?.trim();
        match text.parse::<f64>() {
            Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            Err(_) => {
                let until = httpdate::parse_http_date(text).ok()?;
                let since_epoch = until.duration_since(SystemTime::UNIX_EPOCH).ok()?;
                // The date is by the service's clock, which can differ from this machine's.
                Some(Duration::from_secs(
                    since_epoch.as_secs().saturating_sub(self.service_time().max(0).unsigned_abs()),
                ))
            }
        }
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Transport {
    /// Creates a transport that uses the network, for tests.
    #[cfg(any(test, feature = "testing"))]
    pub fn new(settings: TransportSettings) -> Self {
        Self::of_inputs(&BuildInputs::new(&settings.environment).with_ca_file(settings.ca_file.as_deref()))
    }

    /// Creates a transport from the inputs of a credential. Clients are created at the first request, which also reports
    /// invalid settings.
    pub(crate) fn of_inputs(inputs: &BuildInputs<'_>) -> Self {
        Self::network(Settings { roots: Some(RootSettings::new(inputs)), proxies: Some(ProxySettings::new(inputs)) })
    }

    /// Creates a transport for an endpoint that is never reached through a proxy.
    pub(crate) fn local(inputs: &BuildInputs<'_>, uses_tls: bool) -> Self {
        Self::network(Settings { roots: uses_tls.then(|| RootSettings::new(inputs)), proxies: None })
    }

    fn network(settings: Settings) -> Self {
        Transport(Arc::new(Inner::Network { settings: Arc::new(settings), trust: None, clients: PerProcess::new() }))
    }

    /// Returns the same transport for a server that is verified by `trust`, which is never reached through a proxy.
    #[must_use]
    pub fn trusting(&self, trust: Trust) -> Self {
        let trust = Some(Arc::new(trust));
        match &*self.0 {
            Inner::Network { settings, .. } => Transport(Arc::new(Inner::Network {
                settings: Arc::clone(settings),
                trust,
                clients: PerProcess::new(),
            })),
            Inner::Canned(_) => {
                let canned = self.clone();
                Transport::canned(move |request| {
                    let request = Request { proxy: false, trust: trust.clone(), ..request };
                    match &*canned.0 {
                        Inner::Canned(respond) => respond(request),
                        Inner::Network { .. } => unreachable!("it was canned when it was cloned"),
                    }
                })
            }
        }
    }

    /// Creates a transport that passes every request to `answer`, for tests.
    pub fn canned(respond: impl Fn(Request) -> BoxFuture<'static, Result<Response>> + Send + Sync + 'static) -> Self {
        Transport(Arc::new(Inner::Canned(Box::new(respond))))
    }

    /// Sends a request and reads the response, whatever its status.
    ///
    /// # Errors
    /// - [`ErrorKind::Timeout`] after the request's time limit.
    /// - [`ErrorKind::UntrustedCertificate`] if the server's certificate is rejected.
    /// - [`ErrorKind::Network`] if the server could not be reached or the connection broke.
    /// - [`ErrorKind::BadResponse`] for a successful response that ended early.
    /// - [`ErrorKind::InvalidConfiguration`] for a certificate file or a proxy variable that cannot be used.
    pub async fn send(&self, request: Request) -> Result<Response> {
        let endpoint = endpoint(&request.url);
        let limit = request.timeout;
        let exchange = async {
            match &*self.0 {
                Inner::Canned(respond) => respond(request).await,
                Inner::Network { settings, trust, clients } => {
                    exchange(settings, trust.as_deref(), clients, request, &endpoint).await
                }
            }
        };
        let response = match tokio::time::timeout(limit, exchange).await {
            Ok(response) => response?,
            Err(_) => {
                return Err(Error::new(
                    ErrorKind::Timeout,
                    format!("no response from {endpoint} within {} s", limit.as_secs_f32()),
                )
                .with_advice(
                    "Check firewall and proxy variables for this host. The request is repeated after the back-off.",
                ));
            }
        };
        if let Some(skew) = response.clock_skew {
            SKEW_SEEN.store(skew, Ordering::Relaxed);
        }
        if let Some(skew) = response.clock_skew() {
            warn_of_skew(&endpoint, skew);
        }
        Ok(response)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// A set of clients, which differ in settings that reqwest fixes at construction.
struct Clients {
    /// The client for endpoints on this machine or its link.
    local: Client,
    direct: Client,
    /// The proxy rules, or the error in the variables. The error has no effect on requests that do not use a proxy.
    rules: Result<ProxyRules>,
    /// The error in the certificate authorities. It has no effect on requests without TLS.
    distrust: Option<Error>,
    /// The certificate authorities that could not be loaded. They are added to an error about an untrusted certificate.
    trust_notes: Vec<String>,
    /// The PEM text of a server's own certificate authorities, from which the clients were made.
    pem: Option<Vec<u8>>,
}

impl Clients {
    fn new(settings: &Settings, trust: Option<&Trust>, pem: Option<Vec<u8>>) -> Result<Clients> {
        let (tls, trust_notes, distrust) = match (trust, &pem) {
            (Some(Trust::Thumbprint(thumbprint)), _) => (trust::pinned(*thumbprint)?, vec![], None),
            (Some(_), Some(pem)) => (roots::client_config(trust::authorities(pem)?)?, vec![], None),
            (_, None) | (None, _) => match settings.roots.as_ref().map(roots::trusted).transpose() {
                Ok(Some(trusted)) => (roots::client_config(trusted.store)?, trusted.notes, None),
                Ok(None) => (roots::client_config(rustls::RootCertStore::empty())?, vec![], None),
                Err(error) => (roots::client_config(rustls::RootCertStore::empty())?, vec![], Some(error)),
            },
        };
        let proxies = settings.proxies.as_ref().filter(|_| trust.is_none());
        let build = |connect_timeout: Duration, proxy: Option<reqwest::Proxy>| {
            let builder = Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .user_agent(concat!("pgentra/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .http1_only()
                .connect_timeout(connect_timeout)
                .pool_max_idle_per_host(4)
                .no_proxy();
            let builder = match proxy {
                Some(proxy) => builder.proxy(proxy),
                None => builder,
            };
            match trust.and_then(Trust::resolver) {
                Some(resolver) => builder.dns_resolver(resolver),
                None => builder,
            }
            .build()
            .map_err(|e| {
                Error::new(ErrorKind::Internal, format!("the HTTP client cannot be built: {}", failure::text(&e)))
            })
        };
        Ok(Clients {
            local: build(LOCAL_CONNECT_TIMEOUT, None)?,
            direct: build(CONNECT_TIMEOUT, None)?,
            rules: match proxies {
                Some(proxies) => ProxyRules::new(proxies, |proxy| build(CONNECT_TIMEOUT, Some(proxy))),
                None => Ok(ProxyRules::default()),
            },
            distrust,
            trust_notes,
            pem,
        })
    }

    fn is_whole(&self) -> bool {
        self.rules.is_ok() && self.distrust.is_none()
    }

    fn choose(&self, request: &Request, url: &Url) -> Result<(&Client, Option<&Proxied>)> {
        if let (Some(error), "https") = (&self.distrust, url.scheme()) {
            return Err(error.clone());
        }
        if !request.proxy {
            return Ok((&self.local, None));
        }
        Ok(match self.rules.as_ref().map_err(Error::clone)?.proxy_for(url) {
            Some(proxied) => (&proxied.client, Some(proxied)),
            None => (&self.direct, None),
        })
    }
}

/// Returns the clients. They are created at the first request, and again when the server's own certificate authorities
/// have changed.
fn clients_for(settings: &Settings, trust: Option<&Trust>, slot: &Mutex<Option<Arc<Clients>>>) -> Result<Arc<Clients>> {
    let made = lock(slot).clone();
    let pem = match (trust.and_then(Trust::pem), &made) {
        (None, Some(made)) => return Ok(Arc::clone(made)),
        (None, None) => None,
        // A file that is being replaced can be empty or missing.
        (Some(Ok(pem)), Some(made)) if pem.is_empty() || made.pem.as_ref() == Some(&pem) => {
            return Ok(Arc::clone(made));
        }
        (Some(Err(_)), Some(made)) => return Ok(Arc::clone(made)),
        (Some(Ok(pem)), _) => Some(pem),
        (Some(Err(error)), None) => {
            return Err(Error::new(
                ErrorKind::InvalidConfiguration,
                format!("the file of certificate authorities cannot be read: {error}"),
            ));
        }
    };
    // The clients are created without the lock, because certificate files are read. After an error, the next request
    // creates them again.
    match (Clients::new(settings, trust, pem), made) {
        (Ok(clients), _) if clients.is_whole() => Ok(lock(slot).insert(Arc::new(clients)).clone()),
        (Ok(clients), _) => Ok(Arc::new(clients)),
        (Err(_), Some(made)) => Ok(made),
        (Err(error), None) => Err(error),
    }
}

async fn exchange(
    settings: &Settings,
    trust: Option<&Trust>,
    clients: &PerProcess<Mutex<Option<Arc<Clients>>>>,
    request: Request,
    endpoint: &str,
) -> Result<Response> {
    let mut url = Url::parse(&request.url)
        .map_err(|e| Error::new(ErrorKind::InvalidConfiguration, format!("{endpoint} is not an address: {e}")))?;
    let clients = clients_for(settings, trust, clients.get(Mutex::default))?;
    let host = trust.and_then(Trust::server_name).map(|name| {
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        // An invalid name was rejected when the rule was created.
        let _ = url.set_host(Some(name));
        host
    });

    let (client, proxied) = clients.choose(&request, &url)?;
    let mut outgoing = match request.method {
        Method::Get => client.get(url),
        Method::Post => client.post(url),
    };
    if let Some(host) = host {
        outgoing = outgoing.header("host", host);
    }
    for (name, value) in &request.headers {
        let mut value = http::HeaderValue::from_str(value.expose()).map_err(|_| {
            Error::new(
                ErrorKind::InvalidConfiguration,
                format!("the value of the header {name} contains characters that are not permitted"),
            )
        })?;
        value.set_sensitive(true);
        outgoing = outgoing.header(*name, value);
    }
    if request.method == Method::Post {
        // Callers that send another body set Content-Type themselves.
        if request.headers.iter().all(|(name, _)| *name != "content-type") {
            outgoing = outgoing.header("content-type", "application/x-www-form-urlencoded");
        }
        outgoing = outgoing.header("accept", "application/json").body(Bytes::from_owner(encode_form(&request.form)));
    }
    let failed =
        async |error: reqwest::Error| failure::classify(&error, endpoint, proxied, trust, &clients.trust_notes).await;
    let mut respond = match outgoing.send().await {
        Ok(respond) => respond,
        Err(error) => return Err(failed(error).await),
    };

    let status = respond.status();
    if let (Some(proxied), 407) = (proxied, status.as_u16()) {
        return Err(failure::refused_by_proxy(endpoint, proxied, Some(407)));
    }
    let mut body = Zeroizing::new(Vec::new());
    let mut truncated = false;
    loop {
        match respond.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_BODY => body.extend_from_slice(&chunk),
            Ok(Some(_)) => truncated = true,
            Ok(None) => break,
            // For a refusal the status is sufficient.
            Err(_) if !status.is_success() => truncated = true,
            Err(error) => return Err(failed(error).await),
        }
        if truncated {
            break;
        }
    }
    if truncated && status.is_success() {
        return Err(Error::new(ErrorKind::BadResponse, format!("the response of {endpoint} is larger than 1 MB")));
    }
    let headers = std::mem::take(respond.headers_mut());
    Ok(Response::seen(status.as_u16(), headers, body, truncated))
}

/// Encodes the fields as `application/x-www-form-urlencoded`. The buffer is zeroized when it is dropped.
fn encode_form(form: &[(&'static str, Secret)]) -> Zeroizing<Vec<u8>> {
    // The buffer must not grow, because a reallocation would leave a copy of the secret in memory.
    let size = form.iter().map(|(name, value)| 2 + 3 * (name.len() + value.expose().len())).sum();
    let mut text = Zeroizing::new(String::with_capacity(size));
    for (name, value) in form {
        if !text.is_empty() {
            text.push('&');
        }
        push_form_encoded(&mut text, name);
        text.push('=');
        push_form_encoded(&mut text, value.expose());
    }
    Zeroizing::new(std::mem::take(&mut *text).into_bytes())
}

fn push_form_encoded(out: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => {
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
}

/// Encodes a text for a form or a query.
pub(crate) fn form_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 3);
    push_form_encoded(&mut out, text);
    out
}

/// Returns host and port of an address, for messages: without path, query and credentials.
pub(crate) fn endpoint(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => match (url.host_str(), url.port_or_known_default()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            _ => "an address without a host".to_owned(),
        },
        Err(_) => "an unreadable address".to_owned(),
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// Describes the difference of two clocks for errors: "7 min ahead of" the other.
pub(crate) fn describe_skew(skew: i64) -> String {
    let minutes = (skew.abs() + 30) / 60;
    let amount = if minutes < 120 { format!("{minutes} min") } else { format!("{} h", (minutes + 30) / 60) };
    format!("{amount} {}", if skew > 0 { "ahead of" } else { "behind" })
}

/// How many seconds this machine's clock was ahead of the clock of the service that last sent its time;
/// [`SKEW_UNKNOWN`] before that.
static SKEW_SEEN: AtomicI64 = AtomicI64::new(SKEW_UNKNOWN);
const SKEW_UNKNOWN: i64 = i64::MIN;

/// Returns how many seconds this machine's clock was ahead of the clock of the service that last sent its time
/// (negative: behind).
pub(crate) fn clock_skew() -> Option<i64> {
    Some(SKEW_SEEN.load(Ordering::Relaxed)).filter(|skew| *skew != SKEW_UNKNOWN)
}

/// Describes a notable difference to the clock of the service that last sent its time, for the middle of a sentence.
pub(crate) fn skew_seen() -> Option<String> {
    let skew = clock_skew().filter(|skew| skew.abs() > NOTABLE_SKEW)?;
    Some(format!("this machine's clock is {} the clock of the token service", describe_skew(skew)))
}

fn warn_of_skew(endpoint: &str, skew: i64) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            target: "pgentra::transport",
            endpoint,
            skew_seconds = skew,
            "this machine's clock is {} the clock of {endpoint}; token lifetimes depend on it",
            describe_skew(skew)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_is_encoded_as_in_browsers() {
        let form = [("a b", Secret::new("x&y=z+ü~")), ("scope", Secret::new("https://r/.default"))];
        assert_eq!(encode_form(&form).as_slice(), b"a+b=x%26y%3Dz%2B%C3%BC%7E&scope=https%3A%2F%2Fr%2F.default");
    }

    #[test]
    fn endpoint_contains_no_credentials_and_no_query() {
        assert_eq!(endpoint("https://user:pw@login.example/t?secret=1"), "login.example:443");
        assert_eq!(endpoint("http://[::1]:40342/x"), "[::1]:40342");
        assert_eq!(endpoint("not an address pw"), "an unreadable address");
    }

    #[test]
    fn retry_after_is_read_in_every_form() {
        let after = |headers: &[(&str, &str)]| Response::new(429, headers, "").retry_after();
        assert_eq!(after(&[]), None);
        assert_eq!(after(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(after(&[("retry-after", " 1.5 ")]), Some(Duration::from_millis(1500)));
        assert_eq!(after(&[("retry-after", "-3")]), None);
        assert_eq!(after(&[("retry-after", "soon")]), None);
        assert_eq!(after(&[("x-ms-retry-after-ms", "250")]), Some(Duration::from_millis(250)));
        assert_eq!(after(&[("retry-after-ms", "20"), ("retry-after", "9")]), Some(Duration::from_millis(20)));
        let dates = [("date", "Sun, 06 Nov 1994 08:49:00 GMT"), ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")];
        let left = after(&dates).map(|d| d.as_secs());
        assert!(matches!(left, Some(36..=37)), "{left:?}");
        assert_eq!(after(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]), Some(Duration::ZERO));
    }

    #[test]
    fn clock_skew_is_reported_from_five_minutes() {
        let skew = |offset: i64| {
            let theirs =
                SystemTime::now() - Duration::from_secs(10_000) + Duration::from_secs((10_000 - offset) as u64);
            Response::new(200, &[("date", &httpdate::fmt_http_date(theirs))], "").clock_skew()
        };
        assert_eq!(skew(0), None);
        assert_eq!(skew(290), None);
        assert!(matches!(skew(600), Some(600..=602)));
        assert!(matches!(skew(-600), Some(-600..=-598)));
        assert_eq!(describe_skew(600), "10 min ahead of");
        assert_eq!(describe_skew(-86_400), "24 h behind");
    }
}
