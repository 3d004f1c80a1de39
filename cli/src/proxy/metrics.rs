//! Figures for Prometheus.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use pgentra::{EntryStats, TokenProvider};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, prometheus_text},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::Registry,
};

use super::refusal::RefusalCause;

/// The type of the response's body.
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// The prefix of all names.
const PREFIX: &str = "pgentra";

type Labels = Vec<(&'static str, String)>;

/// The bounds of the histograms, in seconds: from a token in memory and a server nearby to the time limit of a login.
const BOUNDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

fn histogram() -> Histogram {
    Histogram::new(BOUNDS)
}

/// How a connection of a client went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionOutcome {
    /// It became a session.
    Session,
    /// It was a cancel request.
    Cancel,
    /// It got an error.
    Refused,
    /// It was closed by the client, or for something that is not PostgreSQL's protocol.
    Closed,
    /// It failed.
    Failed,
}

impl ConnectionOutcome {
    fn as_str(self) -> &'static str {
        match self {
            ConnectionOutcome::Session => "session",
            ConnectionOutcome::Cancel => "cancel",
            ConnectionOutcome::Refused => "refused",
            ConnectionOutcome::Closed => "closed",
            ConnectionOutcome::Failed => "failed",
        }
    }
}

/// What became of a cancel request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// The server has received it.
    Forwarded,
    /// No session has its key.
    UnknownKey,
    /// The server could not be reached.
    Failed,
}

impl CancelOutcome {
    fn as_str(self) -> &'static str {
        match self {
            CancelOutcome::Forwarded => "forwarded",
            CancelOutcome::UnknownKey => "unknown_key",
            CancelOutcome::Failed => "failed",
        }
    }
}

/// The figures of all servers.
pub struct Metrics {
    registry: Registry,
    tokens: Arc<TokenMetrics>,
    families: Families,
    has_roles: bool,
}

#[derive(Clone)]
struct Families {
    sessions: Family<Labels, Gauge>,
    connections: Family<Labels, Counter>,
    refusals: Family<Labels, Counter>,
    guard_refusals: Family<Labels, Counter>,
    logins: Family<Labels, Histogram, fn() -> Histogram>,
    connects: Family<Labels, Histogram, fn() -> Histogram>,
    bytes: Family<Labels, Counter>,
    cancels: Family<Labels, Counter>,
    waiting_logins: Family<Labels, Gauge>,
}

impl Metrics {
    /// Creates them. With `has_roles`, sessions are counted for each role.
    pub fn new(has_roles: bool) -> Arc<Metrics> {
        let families = Families {
            sessions: Family::default(),
            connections: Family::default(),
            refusals: Family::default(),
            guard_refusals: Family::default(),
            logins: Family::new_with_constructor(histogram),
            connects: Family::new_with_constructor(histogram),
            bytes: Family::default(),
            cancels: Family::default(),
            waiting_logins: Family::default(),
        };
        let mut registry = Registry::with_prefix(PREFIX);
        let all = families.clone();
        registry.register("proxy_sessions", "Sessions that are open", all.sessions);
        registry.register("proxy_connections", "Connections of clients that have started or failed", all.connections);
        registry.register("proxy_refusals", "Connections of clients that got an error", all.refusals);
        let help = "Connections that were refused because of the client's user id or password";
        registry.register("proxy_guard_refusals", help, all.guard_refusals);
        registry.register("proxy_login_seconds", "Time from a client's startup message to its session", all.logins);
        registry.register("proxy_connect_seconds", "Time to connect to the server, with TLS", all.connects);
        registry.register("proxy_bytes", "Bytes that were forwarded", all.bytes);
        registry.register("proxy_cancels", "Cancel requests", all.cancels);
        registry.register("proxy_waiting_logins", "Clients that wait for their login", all.waiting_logins);
        let build: Family<Labels, Gauge> = Family::default();
        build.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION").to_owned())]).set(1);
        registry.register("build_info", "The version of pgentra", build);
        let tokens = Arc::new(TokenMetrics::default());
        registry.register_collector(Box::new(Arc::clone(&tokens)));
        Arc::new(Metrics { registry, tokens, families, has_roles })
    }

    /// Returns the figures of a server. Those of its token are read from the provider at each request.
    pub fn server(&self, name: &str, provider: &TokenProvider) -> ServerMetrics {
        self.tokens.servers().push((labels(name, &[]), provider.clone()));
        let labels = |more: &[(&'static str, &str)]| labels(name, more);
        let families = &self.families;
        // Rates are only right for counters that exist from the start.
        for outcome in [
            ConnectionOutcome::Session,
            ConnectionOutcome::Cancel,
            ConnectionOutcome::Refused,
            ConnectionOutcome::Closed,
            ConnectionOutcome::Failed,
        ] {
            families.connections.get_or_create_owned(&labels(&[("outcome", outcome.as_str())]));
        }
        for outcome in [CancelOutcome::Forwarded, CancelOutcome::UnknownKey, CancelOutcome::Failed] {
            families.cancels.get_or_create_owned(&labels(&[("outcome", outcome.as_str())]));
        }
        for cause in RefusalCause::ALL {
            families.refusals.get_or_create_owned(&labels(&[("cause", cause.as_str())]));
        }
        if !self.has_roles {
            families.sessions.get_or_create_owned(&labels(&[]));
        }
        ServerMetrics {
            name: name.to_owned(),
            has_roles: self.has_roles,
            bytes_from_client: families.bytes.get_or_create_owned(&labels(&[("direction", "from_client")])),
            bytes_from_server: families.bytes.get_or_create_owned(&labels(&[("direction", "from_server")])),
            logins: families.logins.get_or_create_owned(&labels(&[])),
            connects: families.connects.get_or_create_owned(&labels(&[])),
            guard_refusals: families.guard_refusals.get_or_create_owned(&labels(&[])),
            waiting_logins: families.waiting_logins.get_or_create_owned(&labels(&[])),
            families: families.clone(),
        }
    }

    /// Returns the text for Prometheus.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_text::encode(&mut text, &self.registry);
        text
    }
}

fn labels(server: &str, more: &[(&'static str, &str)]) -> Labels {
    let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
    std::iter::once(("server", server.to_owned())).chain(more).collect()
}

/// The figures of one server. A clone counts for the same server.
#[derive(Clone)]
pub struct ServerMetrics {
    /// Bytes from clients to the server.
    pub bytes_from_client: Counter<u64, AtomicU64>,
    /// Bytes from the server to clients.
    pub bytes_from_server: Counter<u64, AtomicU64>,
    name: String,
    has_roles: bool,
    logins: Histogram,
    connects: Histogram,
    guard_refusals: Counter,
    waiting_logins: Gauge,
    families: Families,
}

impl ServerMetrics {
    /// Counts a session until the returned value is dropped.
    pub fn session(&self, role: &str) -> InProgress {
        let more = [("role", role)];
        let more = if self.has_roles { &more[..] } else { &[] };
        InProgress::start(self.families.sessions.get_or_create_owned(&labels(&self.name, more)))
    }

    /// Counts a client that waits for its login, until the returned value is dropped.
    pub fn waiting_login(&self) -> InProgress {
        InProgress::start(self.waiting_logins.clone())
    }

    /// Counts a connection.
    pub fn connection(&self, outcome: ConnectionOutcome) {
        count(&self.families.connections, &self.name, ("outcome", outcome.as_str()));
    }

    /// Counts an error for a client.
    pub fn refusal(&self, cause: RefusalCause) {
        count(&self.families.refusals, &self.name, ("cause", cause.as_str()));
        if cause.is_of_guard() {
            self.guard_refusals.inc();
        }
    }

    /// Counts a session's login.
    pub fn login(&self, took: Duration) {
        self.logins.observe(took.as_secs_f64());
    }

    /// Counts a connection to the server.
    pub fn connect(&self, took: Duration) {
        self.connects.observe(took.as_secs_f64());
    }

    /// Counts a cancel request.
    pub fn cancel(&self, outcome: CancelOutcome) {
        count(&self.families.cancels, &self.name, ("outcome", outcome.as_str()));
    }
}

fn count(family: &Family<Labels, Counter>, server: &str, label: (&'static str, &str)) {
    family.get_or_create_owned(&labels(server, &[label])).inc();
}

/// Something that is counted as long as this value exists.
pub struct InProgress(Gauge);

impl InProgress {
    fn start(gauge: Gauge) -> InProgress {
        gauge.inc();
        InProgress(gauge)
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The figures of the tokens of all servers. Each name is described once.
#[derive(Default)]
struct TokenMetrics(Mutex<Vec<(Labels, TokenProvider)>>);

impl TokenMetrics {
    fn servers(&self) -> std::sync::MutexGuard<'_, Vec<(Labels, TokenProvider)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TokenMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenMetrics").finish_non_exhaustive()
    }
}

impl Collector for TokenMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let servers: Vec<_> =
            self.servers().iter().map(|(labels, provider)| (labels.clone(), provider.stats().entry)).collect();
        let mut gauge = |name: &str, help: &str, value: fn(&EntryStats) -> Option<f64>| -> fmt::Result {
            let mut descriptor = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, figures) in &servers {
                if let Some(value) = value(figures) {
                    ConstGauge::new(value).encode(descriptor.encode_family(labels)?)?;
                }
            }
            Ok(())
        };
        let help = "Time until the token expires; negative after that";
        gauge("token_expires_in_seconds", help, |figures| figures.expires_in)?;
        let help = "Time until the token is to be renewed; negative after that";
        gauge("token_refresh_due_in_seconds", help, |figures| figures.refresh_due_in)?;
        let help = "Failed token requests since the last token";
        gauge("token_consecutive_failures", help, |figures| Some(figures.consecutive_failures.into()))?;
        let help = "Token requests that have started";
        let mut descriptor = encoder.encode_descriptor("token_fetches", help, None, MetricType::Counter)?;
        for (labels, figures) in &servers {
            ConstCounter::new(figures.fetches).encode(descriptor.encode_family(labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider() -> TokenProvider {
        let config = serde_json::json!({ "credential": { "type": "azure_cli" } });
        TokenProvider::from_config(pgentra::Config::from_value(config).expect("a configuration")).expect("a provider")
    }

    /// Returns the samples, by their names with labels.
    fn samples(metrics: &Metrics) -> std::collections::BTreeMap<String, String> {
        let text = metrics.text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').map(|(name, value)| (name.into(), value.into())).expect("a value"))
            .collect()
    }

    #[tokio::test]
    async fn metrics_have_the_documented_names() {
        let metrics = Metrics::new(false);
        let server = metrics.server("shop", &provider());
        let other = metrics.server("other", &provider());
        server.connection(ConnectionOutcome::Session);
        server.refusal(RefusalCause::Uid);
        server.refusal(RefusalCause::Draining);
        server.login(Duration::from_millis(3));
        server.connect(Duration::from_millis(2));
        server.cancel(CancelOutcome::Forwarded);
        server.bytes_from_client.inc_by(5);
        let (session, waiting) = (server.session("canary-role"), server.waiting_login());
        other.connection(ConnectionOutcome::Failed);
        let found = samples(&metrics);
        for (name, value) in [
            ("pgentra_proxy_sessions{server=\"shop\"}", "1"),
            ("pgentra_proxy_sessions{server=\"other\"}", "0"),
            ("pgentra_proxy_connections_total{server=\"shop\",outcome=\"session\"}", "1"),
            ("pgentra_proxy_connections_total{server=\"shop\",outcome=\"failed\"}", "0"),
            ("pgentra_proxy_connections_total{server=\"other\",outcome=\"failed\"}", "1"),
            ("pgentra_proxy_refusals_total{server=\"shop\",cause=\"uid\"}", "1"),
            ("pgentra_proxy_guard_refusals_total{server=\"shop\"}", "1"),
            ("pgentra_proxy_login_seconds_bucket{server=\"shop\",le=\"0.005\"}", "1"),
            ("pgentra_proxy_login_seconds_count{server=\"shop\"}", "1"),
            ("pgentra_proxy_connect_seconds_bucket{server=\"shop\",le=\"+Inf\"}", "1"),
            ("pgentra_proxy_bytes_total{server=\"shop\",direction=\"from_client\"}", "5"),
            ("pgentra_proxy_bytes_total{server=\"shop\",direction=\"from_server\"}", "0"),
            ("pgentra_proxy_cancels_total{server=\"shop\",outcome=\"forwarded\"}", "1"),
            ("pgentra_proxy_waiting_logins{server=\"shop\"}", "1"),
            ("pgentra_token_consecutive_failures{server=\"shop\"}", "0.0"),
            ("pgentra_token_fetches_total{server=\"shop\"}", "0"),
            (concat!("pgentra_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), "1"),
        ] {
            assert_eq!(found.get(name).map(String::as_str), Some(value), "{name} in {found:#?}");
        }
        assert!(!metrics.text().contains("canary-role"));
        // Each name is described once, also with several servers.
        let text = metrics.text();
        let mut described: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let count = described.len();
        described.dedup();
        described.sort_unstable();
        described.dedup();
        assert_eq!(described.len(), count, "{text}");
        drop((session, waiting));
        let found = samples(&metrics);
        assert_eq!(found["pgentra_proxy_sessions{server=\"shop\"}"], "0");
        assert_eq!(found["pgentra_proxy_waiting_logins{server=\"shop\"}"], "0");
    }

    #[tokio::test]
    async fn metrics_have_roles_on_request_and_escape_them() {
        let metrics = Metrics::new(true);
        let server = metrics.server("shop", &provider());
        let _session = server.session("a\"b\\c\nd");
        let found = samples(&metrics);
        assert_eq!(found["pgentra_proxy_sessions{server=\"shop\",role=\"a\\\"b\\\\c\\nd\"}"], "1");
    }
}
