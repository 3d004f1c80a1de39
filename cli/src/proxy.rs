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
mod roles;
mod server;
mod session;
mod sessions;
mod systemd;
mod unix_socket;

use std::sync::Arc;

use tokio::{runtime::Runtime, sync::Semaphore, task::JoinHandle};
use tracing::info;

pub use self::arguments::Arguments;
use self::{
    address::ListenAddress,
    cancel::CancelKeys,
    client_tls::ClientTls,
    drain::EndSignals,
    guard::Guard,
    health::{Endpoints, Health, ServerHealth},
    listener::Listener,
    metrics::Metrics,
    roles::Roles,
    server::UpstreamServer,
    session::Proxy,
    sessions::Sessions,
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

async fn serve(
    arguments: &Arguments,
    connection: Connection,
    mut activated: Vec<Activated>,
    openings: usize,
) -> Result<()> {
    let mut signals = EndSignals::listen()?;
    let server = UpstreamServer::new(&connection, &arguments.upstream)?;
    let name = server.name().to_owned();
    let guard = Arc::new(Guard::new(&arguments.access)?);
    let tls = ClientTls::new(&arguments.access)?;
    let roles = Roles::new(&arguments.upstream, connection.plan.resolved.get("dbname"))?;
    let metrics = Metrics::new(arguments.health.metrics_roles);
    let server_metrics = metrics.server(&name, &connection.provider);
    let health = Health::new(&arguments.health);
    let endpoints = Endpoints::bind(&arguments.health).await?;
    let mut listeners = Vec::new();
    for address in addresses(arguments, &name) {
        listeners.extend(Listener::open(&address, &guard, tls.is_some(), &mut activated).await?);
    }
    let proxy = Arc::new(Proxy {
        roles,
        name: name.clone(),
        guard: Arc::clone(&guard),
        tls,
        sessions: Sessions::new(arguments.sessions.max_connections as usize),
        cancels: CancelKeys::new(),
        logins: Semaphore::new(arguments.sessions.max_logins as usize),
        metrics: server_metrics,
        health: Arc::clone(&health),
        server,
        connection,
    });
    let (sessions, checked) = (Arc::clone(&proxy.sessions), Arc::clone(&proxy));
    health.add_server(ServerHealth {
        name,
        provider: proxy.connection.provider.clone(),
        is_lazy: proxy.connection.config.effective_mode() == pgentra::RefreshMode::Lazy,
        has_place: Box::new(move || sessions.has_place()),
        try_login: Box::new(move || {
            let checked = Arc::clone(&checked);
            Box::pin(async move { checked.try_login().await })
        }),
    });
    log::show_failed_fetches();
    let mut tasks = Vec::new();
    if let Some(endpoints) = endpoints {
        info!(target: "pgentra::proxy", "http at {}", endpoints.address());
        tasks.push(tokio::spawn(endpoints.serve(Arc::clone(&health), metrics)));
    }
    tasks.push(tokio::spawn(systemd::keep_watchdog()));
    let (ageing, limits) = (Arc::clone(&proxy.sessions), arguments.sessions.clone());
    tasks.push(tokio::spawn(async move { ageing.end_old(limits.max_session_age, limits.idle_timeout).await }));
    let accepting = accept(&proxy, listeners, openings);
    health.set_listening();
    systemd::notify_ready("listening");
    let is_gentle = drain::end_requested(&mut signals, &health, &proxy.sessions, &arguments.sessions).await;
    health.set_draining();
    systemd::notify_stopping();
    let close = move || accepting.iter().for_each(JoinHandle::abort);
    if is_gentle {
        drain::drain(&mut signals, &proxy.sessions, &arguments.sessions, close).await;
    } else {
        close();
        drain::end_all(&proxy.sessions).await;
    }
    tasks.iter().for_each(JoinHandle::abort);
    Ok(())
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

fn accept(proxy: &Arc<Proxy>, listeners: Vec<Listener>, openings: usize) -> Vec<JoinHandle<()>> {
    let openings = Arc::new(Semaphore::new(openings));
    let run = |listener: Listener| {
        info!(target: "pgentra::proxy", "listening at {}", listener.describe());
        let serving = Arc::clone(proxy);
        listener.run(Arc::clone(&proxy.guard), Arc::clone(&openings), move |accepted, permit| {
            Arc::clone(&serving).serve(accepted, permit)
        })
    };
    listeners.into_iter().map(run).collect()
}
