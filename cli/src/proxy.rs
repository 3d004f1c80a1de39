//! `pgentra proxy`: logs unchanged programs in through a local port or socket.

mod address;
mod arguments;
mod cancel;
mod client_tls;
mod drain;
mod guard;
mod health;
mod limits;
mod listener;
mod login;
mod metrics;
mod password;
mod private_input;
mod refusal;
mod roles;
mod scram;
mod server;
mod session;
mod sessions;
mod socket_owner;
mod systemd;
mod unix_socket;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{runtime::Runtime, sync::Semaphore, task::JoinSet};
use tracing::info;

pub use self::arguments::Arguments;
use self::{
    address::ListenAddress,
    arguments::{Mode, UpstreamOptions},
    cancel::CancelKeys,
    client_tls::ClientTls,
    drain::EndSignals,
    guard::{AccessOptions, Guard},
    health::{Endpoints, Health, HealthOptions, ServerHealth},
    listener::Listener,
    metrics::Metrics,
    roles::Roles,
    server::UpstreamServer,
    session::Proxy,
    sessions::{ByteCounters, Sessions},
    systemd::Activated,
};
use crate::{
    connection::Connection,
    failure::{Failure, Result},
    log,
};

/// The TCP port, if no address is given.
const DEFAULT_TCP_PORT: u16 = 15432;

/// The threads, at most, if no number is given.
const MAX_THREADS: usize = 4;

/// The limits of a proxy for one program: connections, and logins at a time.
const PRIVATE_CONNECTIONS: u32 = 200;
const PRIVATE_LOGINS: u32 = 32;

/// Runs the command, and returns the exit code.
///
/// # Errors
/// Fails for arguments that contradict each other, and if an address cannot be used.
pub fn run(arguments: &Arguments) -> Result<u8> {
    let activated = systemd::take_listeners()?;
    let openings = limits::raise(arguments.sessions.max_connections)?;
    let mode = arguments.operation.mode.into();
    let server = arguments.server.server.as_deref();
    let connection = Connection::new(server, &arguments.upstream.connection(), &arguments.credential, Some(mode))?;
    runtime(arguments)?.block_on(serve(arguments, connection, activated, openings))?;
    Ok(0)
}

fn runtime(arguments: &Arguments) -> Result<Runtime> {
    let cores = || std::thread::available_parallelism().map_or(1, |count| count.get().min(MAX_THREADS));
    let threads = arguments.operation.threads.map_or_else(cores, |count| count as usize);
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    built.map_err(|error| Failure::io("the runtime cannot start", &error))
}

/// Returns what all connections share.
fn proxy(arguments: Settings<'_>, connection: Connection, metrics: &Metrics, health: Arc<Health>) -> Result<Proxy> {
    let server = UpstreamServer::new(&connection, arguments.upstream)?;
    let name = server.name().to_owned();
    let metrics = metrics.server(&name, &connection.provider);
    let counters =
        ByteCounters { from_client: metrics.bytes_from_client.clone(), from_server: metrics.bytes_from_server.clone() };
    Ok(Proxy {
        roles: Roles::new(arguments.upstream, connection.plan.resolved.get("dbname"))?,
        metrics,
        name,
        guard: Arc::new(Guard::new(arguments.access)?),
        tls: ClientTls::new(arguments.access)?,
        sessions: Sessions::new(arguments.max_connections as usize, counters),
        cancels: CancelKeys::new(),
        logins: Semaphore::new(arguments.max_logins as usize),
        health,
        server,
        connection,
    })
}

/// The settings of a server and its clients.
struct Settings<'a> {
    upstream: &'a UpstreamOptions,
    access: &'a AccessOptions,
    max_connections: u32,
    max_logins: u32,
}

async fn serve(
    arguments: &Arguments,
    connection: Connection,
    mut activated: Vec<Activated>,
    openings: usize,
) -> Result<()> {
    let mut signals = EndSignals::listen()?;
    let metrics = Metrics::new(arguments.health.metrics_roles);
    let health = Health::new(&arguments.health);
    let options = &arguments.sessions;
    let settings = Settings {
        upstream: &arguments.upstream,
        access: &arguments.access,
        max_connections: options.max_connections,
        max_logins: options.max_logins,
    };
    let proxy = Arc::new(proxy(settings, connection, &metrics, Arc::clone(&health))?);
    let endpoints = Endpoints::bind(&arguments.health).await?;
    let mut listeners = Vec::new();
    for address in addresses(arguments, &proxy.name) {
        listeners.extend(Listener::open(&address, &proxy.guard, proxy.tls.is_some(), &mut activated).await?);
    }
    add_to_health(&health, &proxy);
    log::show_failed_fetches();
    let mut tasks = JoinSet::new();
    if let Some(endpoints) = endpoints {
        info!(target: "pgentra::proxy", "health and metrics at http://{}", endpoints.address());
        tasks.spawn(endpoints.serve(Arc::clone(&health), metrics));
    }
    tasks.spawn(systemd::keep_watchdog());
    if arguments.operation.mode == Mode::Ahead {
        let warmed = Arc::clone(&proxy);
        tasks.spawn(async move { warmed.request_token().await });
    }
    let sessions = Arc::clone(&proxy.sessions);
    tasks.spawn(async move { sessions.count_bytes().await });
    let (sessions, limits) = (Arc::clone(&proxy.sessions), options.clone());
    tasks.spawn(async move { sessions.end_old(limits.max_session_age, limits.idle_timeout).await });
    info!(target: "pgentra::proxy", "clients: {}", proxy.guard.description());
    let mut accepting = accept(&proxy, listeners, openings);
    health.set_listening();
    systemd::notify_ready("listening");
    let is_gentle = drain::end_requested(&mut signals, &health, &proxy.sessions, options).await;
    health.set_draining();
    systemd::notify_stopping();
    if is_gentle {
        drain::drain(&mut signals, &proxy.sessions, options, || accepting.abort_all()).await;
    } else {
        accepting.abort_all();
        drain::end_all(&proxy.sessions).await;
    }
    // The sockets are removed before the program ends.
    while accepting.join_next().await.is_some() {}
    Ok(())
}

fn add_to_health(health: &Health, proxy: &Arc<Proxy>) {
    let (sessions, checked) = (Arc::clone(&proxy.sessions), Arc::clone(proxy));
    health.add_server(ServerHealth {
        name: proxy.name.clone(),
        provider: proxy.connection.provider.clone(),
        is_lazy: proxy.connection.config.effective_mode() == pgentra::RefreshMode::Lazy,
        has_place: Box::new(move || sessions.has_place()),
        try_login: Box::new(move || {
            let checked = Arc::clone(&checked);
            Box::pin(async move { checked.try_login().await })
        }),
    });
}

/// Listens at a Unix socket in this directory, for the processes of one user, until the returned tasks are dropped. Must
/// be called within a runtime.
///
/// # Errors
/// Fails if the settings cannot be used.
pub async fn start_private(connection: Connection, directory: &Path) -> Result<JoinSet<()>> {
    let (upstream, access) = (UpstreamOptions::default(), AccessOptions::default());
    let health_options = HealthOptions::default();
    let (max_connections, openings) = limits::within_present(PRIVATE_CONNECTIONS);
    let settings = Settings { upstream: &upstream, access: &access, max_connections, max_logins: PRIVATE_LOGINS };
    let proxy = proxy(settings, connection, &Metrics::new(false), Health::new(&health_options))?;
    let address = ListenAddress::Unix { directory: directory.to_owned(), port: address::DEFAULT_PORT };
    let listeners = Listener::open(&address, &proxy.guard, false, &mut Vec::new()).await?;
    Ok(accept(&Arc::new(proxy), listeners, openings))
}

/// Returns the socket at which a proxy for this server listens by default.
pub fn default_socket(server: &str) -> PathBuf {
    unix_socket::default_directory(server).join(format!(".s.PGSQL.{}", address::DEFAULT_PORT))
}

/// Returns the given addresses, or the default ones.
fn addresses(arguments: &Arguments, server: &str) -> Vec<ListenAddress> {
    if !arguments.listen.is_empty() {
        return arguments.listen.clone();
    }
    let directory = unix_socket::default_directory(server);
    vec![
        ListenAddress::Unix { directory, port: address::DEFAULT_PORT },
        ListenAddress::Tcp(([127, 0, 0, 1], DEFAULT_TCP_PORT).into()),
    ]
}

fn accept(proxy: &Arc<Proxy>, listeners: Vec<Listener>, openings: usize) -> JoinSet<()> {
    let openings = Arc::new(Semaphore::new(openings));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        info!(target: "pgentra::proxy", "listening at {}", listener.describe());
        let (serving, guard, openings) = (Arc::clone(proxy), Arc::clone(&proxy.guard), Arc::clone(&openings));
        accepting
            .spawn(listener.run(guard, openings, move |accepted, permit| Arc::clone(&serving).serve(accepted, permit)));
    }
    accepting
}
