//! Whether the proxy works, for Kubernetes, `pgentra ready` and Prometheus: the HTTP endpoints of `--http`.

use std::{
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::{Args, ValueEnum};
use hyper::{Method, Request, body::Incoming, header};
use pgentra::TokenProvider;
use serde_json::json;
use tokio::{net::TcpListener, sync::Notify, time::Instant};

use super::metrics::{self, Metrics};
use crate::{
    failure::{Failure, Result},
    http::{self, Reply},
    ready::DEFAULT_ADDRESS,
};

/// How long a definite refusal of a token is remembered without a new attempt, as in the engine.
const REFUSAL_REMEMBERED: Duration = Duration::from_secs(30);

/// The shortest time between two logins of `--ready-check server`.
const LOGIN_INTERVAL: Duration = Duration::from_secs(60);

/// The operation of the proxy.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Operation")]
pub struct HealthOptions {
    /// Address for /livez, /readyz, /startupz and /metrics [default without ADDR: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = DEFAULT_ADDRESS)]
    pub http: Option<SocketAddr>,
    /// End the proxy by `POST /quit`; the address of --http must be loopback
    #[arg(long, requires = "http")]
    pub allow_quit: bool,
    /// What /readyz checks: the token, or also a login at the server, once a minute
    #[arg(long, value_enum, default_value_t)]
    pub ready_check: ReadyCheck,
    /// Create this file when the proxy is ready, and remove it when it ends
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Count sessions for each role, with the role as a label
    #[arg(long)]
    pub metrics_roles: bool,
}

/// What `/readyz` checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReadyCheck {
    /// The token. Nothing is sent.
    #[default]
    Token,
    /// A login at the server too, at most once a minute
    Server,
}

/// A login at the server; an error is one sentence.
type TryLogin = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// A server, as far as its health is checked.
pub struct ServerHealth {
    /// Its name in responses.
    pub name: String,
    /// The provider of its token.
    pub provider: TokenProvider,
    /// Whether tokens are only requested for clients.
    pub is_lazy: bool,
    /// Returns whether another session is allowed.
    pub has_place: Box<dyn Fn() -> bool + Send + Sync>,
    /// Logs in at the server. It has a time limit of its own.
    pub try_login: TryLogin,
}

/// The state of the proxy.
pub struct Health {
    phase: Mutex<Phase>,
    servers: Mutex<Vec<Arc<CheckedServer>>>,
    check: ReadyCheck,
    ready_file: Option<PathBuf>,
    quit: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Listening,
    Draining,
}

struct CheckedServer {
    server: ServerHealth,
    /// When a token was definitely refused, with the error.
    refused: Mutex<Option<(Instant, String)>>,
    login: tokio::sync::Mutex<Option<CheckedLogin>>,
}

struct CheckedLogin {
    at: Instant,
    outcome: Result<(), String>,
}

/// Why the proxy is not ready.
#[derive(Debug, PartialEq, Eq)]
struct NotReady {
    reason: &'static str,
    server: Option<String>,
    detail: String,
}

impl Health {
    /// Creates the state of a proxy that starts.
    pub fn new(options: &HealthOptions) -> Arc<Health> {
        Arc::new(Health {
            phase: Mutex::new(Phase::Starting),
            servers: Mutex::new(Vec::new()),
            check: options.ready_check,
            ready_file: options.ready_file.clone(),
            quit: Notify::new(),
        })
    }

    /// Adds a server.
    pub fn add_server(&self, server: ServerHealth) {
        let checked = CheckedServer { server, refused: Mutex::new(None), login: tokio::sync::Mutex::new(None) };
        lock(&self.servers).push(Arc::new(checked));
    }

    /// Records that clients can connect, and creates the file of `--ready-file`.
    pub fn set_listening(&self) {
        *lock(&self.phase) = Phase::Listening;
        if let Some(path) = &self.ready_file
            && let Err(error) = std::fs::write(path, "")
        {
            eprintln!("pgentra: warning: the file {} cannot be created: {error}", path.display());
        }
    }

    /// Records that the proxy ends, and removes the file of `--ready-file`.
    pub fn set_draining(&self) {
        *lock(&self.phase) = Phase::Draining;
        self.remove_ready_file();
    }

    fn remove_ready_file(&self) {
        if let Some(path) = &self.ready_file {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Records whether a token was obtained for a client. With the mode `lazy`, a definite refusal makes the proxy
    /// unready for 30 seconds.
    pub fn note_login(&self, server: &str, outcome: Result<(), &pgentra::Error>) {
        for checked in lock(&self.servers).iter().filter(|checked| checked.server.name == server) {
            let refused = outcome.err().filter(|error| !error.is_transient());
            let refused = refused.map(|error| (Instant::now(), error.headline()));
            // A transient failure does not show that the refusal has ended.
            if refused.is_some() || outcome.is_ok() {
                *lock(&checked.refused) = refused;
            }
        }
    }

    /// Waits for `POST /quit`.
    pub async fn quit(&self) {
        self.quit.notified().await;
    }

    fn is_started(&self) -> bool {
        *lock(&self.phase) != Phase::Starting
    }

    /// Checks whether clients can connect and log in.
    async fn readiness(&self) -> Result<(), NotReady> {
        let fail = |reason, detail: &str| Err(NotReady { reason, server: None, detail: detail.to_owned() });
        let phase = *lock(&self.phase);
        match phase {
            Phase::Starting => return fail("starting", "the proxy does not listen yet"),
            Phase::Draining => return fail("draining", "the proxy ends"),
            Phase::Listening => {}
        }
        let servers = lock(&self.servers).clone();
        for checked in servers {
            checked.readiness(self.check).await?;
        }
        Ok(())
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.remove_ready_file();
    }
}

impl CheckedServer {
    async fn readiness(&self, check: ReadyCheck) -> Result<(), NotReady> {
        let name = &self.server.name;
        let fail = |reason, detail: String| Err(NotReady { reason, server: Some(name.clone()), detail });
        if !(self.server.has_place)() {
            return fail("max_connections", "there are as many sessions as --max-connections allows".to_owned());
        }
        if self.server.is_lazy {
            if let Some((at, error)) = &*lock(&self.refused)
                && at.elapsed() < REFUSAL_REMEMBERED
            {
                return fail("token", error.clone());
            }
        } else {
            // The figures start no token request, unlike a request for the token.
            let figures = self.server.provider.stats().entry;
            if figures.expires_in.is_none_or(|left| left <= 0.0) {
                let missing = || "there is no token yet".to_owned();
                return fail("token", figures.last_error.unwrap_or_else(missing));
            }
        }
        match check {
            ReadyCheck::Token => Ok(()),
            ReadyCheck::Server => match self.login().await {
                Ok(()) => Ok(()),
                Err(error) => fail("server", error),
            },
        }
    }

    /// Logs in at the server, or returns the outcome of the last login if that was less than a minute ago. Requests at
    /// the same time wait for the same login.
    async fn login(&self) -> Result<(), String> {
        let mut last = self.login.lock().await;
        if let Some(login) = last.as_ref().filter(|login| login.at.elapsed() < LOGIN_INTERVAL) {
            return login.outcome.clone();
        }
        let at = Instant::now();
        let outcome = (self.server.try_login)().await;
        *last = Some(CheckedLogin { at, outcome: outcome.clone() });
        outcome
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The listener of the endpoints.
pub struct Endpoints {
    listener: TcpListener,
    address: SocketAddr,
    allows_quit: bool,
}

impl Endpoints {
    /// Listens at the address of `--http`. Returns `None` without it.
    ///
    /// # Errors
    /// Fails if the address cannot be used, or not with `--allow-quit`.
    pub async fn bind(options: &HealthOptions) -> Result<Option<Endpoints>> {
        let Some(address) = options.http else { return Ok(None) };
        if options.allow_quit && !address.ip().to_canonical().is_loopback() {
            return Err(Failure::usage(
                format!("--allow-quit: other machines could end the proxy at {address}"),
                "Use a loopback address for --http, or end the proxy by SIGTERM.",
            ));
        }
        let failed = |error: std::io::Error| Failure::io(format!("cannot listen at {address} (--http)"), &error);
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Some(Endpoints { listener, address, allows_quit: options.allow_quit }))
    }

    /// Returns the address, with the port that is in use.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Responds to requests. Does not return.
    pub async fn serve(self, health: Arc<Health>, metrics: Arc<Metrics>) {
        let allows_quit = self.allows_quit;
        let address = self.address;
        http::serve(self.listener, move |request| {
            let (health, metrics) = (Arc::clone(&health), Arc::clone(&metrics));
            async move { respond(&health, &metrics, allows_quit.then_some(address), &request).await }
        })
        .await;
    }
}

async fn respond(health: &Health, metrics: &Metrics, quit: Option<SocketAddr>, request: &Request<Incoming>) -> Reply {
    let path = request.uri().path();
    let allowed = if path == "/quit" { Method::POST } else { Method::GET };
    let is_known =
        matches!(path, "/livez" | "/startupz" | "/readyz" | "/metrics") || (path == "/quit" && quit.is_some());
    if !is_known {
        return problem(404, "There is no such path.");
    }
    if *request.method() != allowed && !(*request.method() == Method::HEAD && allowed == Method::GET) {
        let mut reply = problem(405, "The method is not allowed.");
        let value = if allowed == Method::POST { "POST" } else { "GET, HEAD" };
        reply.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(value));
        return reply;
    }
    match path {
        "/livez" => http::json(200, &json!({ "status": "ok" })),
        "/startupz" if health.is_started() => http::json(200, &json!({ "status": "ok" })),
        "/startupz" => http::json(503, &json!({ "status": "starting" })),
        "/metrics" => {
            let mut reply = Reply::new(metrics.text().into());
            let kind = header::HeaderValue::from_static(metrics::CONTENT_TYPE);
            reply.headers_mut().insert(header::CONTENT_TYPE, kind);
            reply
        }
        "/quit" => match quit.is_some_and(|address| is_local_program(request, address)) {
            true => {
                health.quit.notify_one();
                http::json(202, &json!({ "status": "draining" }))
            }
            false => problem(403, "Only programs of this machine may send this request, to a loopback address."),
        },
        _ => match health.readiness().await {
            Ok(()) => http::json(200, &json!({ "status": "ok" })),
            Err(NotReady { reason, server, detail }) => {
                http::json(503, &json!({ "status": "unready", "reason": reason, "server": server, "detail": detail }))
            }
        },
    }
}

fn problem(status: u16, message: &str) -> Reply {
    http::json(status, &json!({ "status": status, "message": message }))
}

/// Returns whether a request is from a program, and not from a web page in a browser of this machine.
///
/// A page of any site can send a POST request to a loopback address, but the browser then adds `Origin` or
/// `Sec-Fetch-Site`. After DNS rebinding, when the site's own name resolves to loopback, `Host` has that name.
fn is_local_program<B>(request: &Request<B>, address: SocketAddr) -> bool {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        return false;
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_suffix(&format!(":{}", address.port())) {
        Some(name) => name,
        None => host,
    };
    let ip = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn provider(token: Option<&str>) -> TokenProvider {
        let credential = match token {
            Some(token) => json!({ "type": "static_token", "token": token }),
            None => json!({ "type": "azure_cli" }),
        };
        let config = json!({ "credential": credential, "user": "u" });
        TokenProvider::from_config(pgentra::Config::from_value(config).expect("a configuration")).expect("a provider")
    }

    /// A server, and the number of its logins.
    fn server(is_lazy: bool, has_place: bool, outcome: Result<(), String>) -> (ServerHealth, Arc<AtomicUsize>) {
        let logins = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&logins);
        let server = ServerHealth {
            name: "shop".to_owned(),
            provider: provider(None),
            is_lazy,
            has_place: Box::new(move || has_place),
            try_login: Box::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                let outcome = outcome.clone();
                Box::pin(async move { outcome })
            }),
        };
        (server, logins)
    }

    fn health(check: ReadyCheck, server: ServerHealth) -> Arc<Health> {
        let health = Health::new(&HealthOptions { ready_check: check, ..HealthOptions::default() });
        health.add_server(server);
        health.set_listening();
        health
    }

    async fn reason(health: &Health) -> Option<&'static str> {
        health.readiness().await.err().map(|error| error.reason)
    }

    #[tokio::test]
    async fn readiness_follows_the_phases() {
        let health = Health::new(&HealthOptions::default());
        assert_eq!((reason(&health).await, health.is_started()), (Some("starting"), false));
        health.set_listening();
        assert_eq!((reason(&health).await, health.is_started()), (None, true));
        health.set_draining();
        assert_eq!((reason(&health).await, health.is_started()), (Some("draining"), true));
    }

    #[tokio::test]
    async fn readiness_needs_a_place_and_a_token() {
        for (is_lazy, has_place, expected) in
            [(true, true, None), (true, false, Some("max_connections")), (false, true, Some("token"))]
        {
            let (server, _) = server(is_lazy, has_place, Ok(()));
            assert_eq!(reason(&health(ReadyCheck::Token, server)).await, expected, "{is_lazy} {has_place}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_in_lazy_mode_remembers_a_definite_refusal() {
        let (server, _) = server(true, true, Ok(()));
        let health = health(ReadyCheck::Token, server);
        let definite = pgentra::Error::new(pgentra::ErrorKind::AuthenticationFailed, "refused");
        let transient = pgentra::Error::new(pgentra::ErrorKind::ServiceUnavailable, "down");
        health.note_login("shop", Err(&transient));
        assert_eq!(reason(&health).await, None);
        health.note_login("other", Err(&definite));
        assert_eq!(reason(&health).await, None);
        health.note_login("shop", Err(&definite));
        health.note_login("shop", Err(&transient));
        assert_eq!(reason(&health).await, Some("token"));
        health.note_login("shop", Ok(()));
        assert_eq!(reason(&health).await, None);
        health.note_login("shop", Err(&definite));
        tokio::time::advance(REFUSAL_REMEMBERED).await;
        assert_eq!(reason(&health).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_by_the_server_logs_in_once_a_minute() {
        for (outcome, expected) in [(Ok(()), None), (Err("no route".to_owned()), Some("server"))] {
            let (server, logins) = server(true, true, outcome);
            let health = health(ReadyCheck::Server, server);
            let checks = (reason(&health), reason(&health), reason(&health));
            assert_eq!(tokio::join!(checks.0, checks.1, checks.2), (expected, expected, expected));
            assert_eq!(logins.load(Ordering::Relaxed), 1);
            tokio::time::advance(LOGIN_INTERVAL).await;
            assert_eq!(reason(&health).await, expected);
            assert_eq!(logins.load(Ordering::Relaxed), 2);
        }
    }

    #[test]
    fn is_local_program_refuses_web_pages() {
        let address: SocketAddr = "127.0.0.1:9090".parse().expect("an address");
        let local = |headers: &[(&str, &str)]| {
            let request =
                headers.iter().fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
            is_local_program(&request.body(()).expect("a request"), address)
        };
        for host in ["127.0.0.1:9090", "localhost:9090", "LOCALHOST", "127.0.0.1", "[::1]:9090", "[::1]"] {
            assert!(local(&[("host", host)]), "{host}");
        }
        for headers in [
            &[][..],
            &[("host", "evil.example:9090")],
            &[("host", "evil.example")],
            &[("host", "localhost.evil.example:9090")],
            &[("host", "127.0.0.1.evil.example")],
            &[("host", "127.0.0.1:80")],
            &[("host", "0.0.0.0:9090")],
            &[("host", "")],
            &[("host", "127.0.0.1:9090"), ("host", "evil.example")],
            &[("host", "127.0.0.1:9090"), ("origin", "http://127.0.0.1:9090")],
            &[("host", "127.0.0.1:9090"), ("origin", "null")],
            &[("host", "127.0.0.1:9090"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(!local(headers), "{headers:?}");
        }
    }

    #[tokio::test]
    async fn endpoints_with_quit_need_loopback() {
        let options = |http: &str| HealthOptions {
            http: Some(http.parse().expect("an address")),
            allow_quit: true,
            ..HealthOptions::default()
        };
        assert!(Endpoints::bind(&options("127.0.0.1:0")).await.expect("bound").is_some());
        for http in ["0.0.0.0:0", "10.0.0.1:0", "[::]:0"] {
            let failure = Endpoints::bind(&options(http)).await.map(drop).expect_err("refused");
            assert!(failure.to_string().contains("--allow-quit"), "{failure}");
        }
        assert!(Endpoints::bind(&HealthOptions::default()).await.expect("nothing to bind").is_none());
    }

    #[test]
    fn ready_file_exists_while_the_proxy_is_ready() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ready");
        let options = HealthOptions { ready_file: Some(path.clone()), ..HealthOptions::default() };
        let health = Health::new(&options);
        assert!(!path.exists());
        health.set_listening();
        assert!(path.exists());
        health.set_draining();
        assert!(!path.exists());
        health.set_listening();
        drop(health);
        assert!(!path.exists());
    }
}
