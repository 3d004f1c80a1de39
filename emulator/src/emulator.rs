//! Starts and stops all parts of the emulator.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use serde::Serialize;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::config::Config;
use crate::control::{self, Control};
use crate::entra::{self, Tls, server};
use crate::ids;
use crate::jwt::KeySet;
use crate::postgres::{FrontDoor, Server, StartError, Upstream, UpstreamError};
use crate::principal::Principal;
use crate::scratch::Scratch;
use crate::state::{State, StateError};
use crate::tls::{Authority, SelfSigned};

/// The options for starting an emulator.
#[derive(Clone, Debug)]
pub struct Options {
    /// The tenant and its faults.
    pub config: Config,
    /// The PostgreSQL server behind the proxy.
    pub postgres: Postgres,
    /// The address of all listeners except the control endpoint; by default 127.0.0.1. The control endpoint always
    /// listens on loopback.
    pub listen: IpAddr,
    /// Fixed ports; the default 0 selects a free port.
    pub ports: Ports,
    /// Names and addresses in the server certificate, in addition to `localhost`, 127.0.0.1 and ::1.
    pub dns_names: Vec<String>,
    /// The folder of the certificate authority. If it is absent, a new certificate authority is created at each start.
    pub ca_dir: Option<PathBuf>,
}

/// The PostgreSQL server behind the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Postgres {
    /// No PostgreSQL: only Entra and managed identity. This is the default for use from Rust.
    #[default]
    None,
    /// A temporary server of the emulator, removed at the end.
    Own,
    /// An existing server, by URL. Its user must be a superuser.
    Upstream(String),
}

/// The port of each listener; 0 selects a free port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// The token endpoint and discovery.
    pub entra: u16,
    /// The instance metadata service.
    pub imds: u16,
    /// App Service.
    pub app_service: u16,
    /// The control endpoint.
    pub control: u16,
    /// The PostgreSQL proxy.
    pub postgres: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config: Config::default(),
            postgres: Postgres::default(),
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: Ports::default(),
            dns_names: Vec::new(),
            ca_dir: None,
        }
    }
}

/// The addresses of the emulator. The program prints them in one line when it is ready.
#[derive(Clone, Debug, Serialize)]
pub struct Addresses {
    /// Always true.
    pub ready: bool,
    /// The process id of the emulator.
    pub pid: u32,
    /// The tenant.
    pub tenant_id: String,
    /// The value for `AZURE_AUTHORITY_HOST`.
    pub authority_host: String,
    /// The token endpoint of the tenant.
    pub token_url: String,
    /// The value for `AZURE_POD_IDENTITY_AUTHORITY_HOST`.
    pub imds_host: String,
    /// App Service's endpoint.
    pub app_service: AppServiceAddress,
    /// For each other source of identities, the environment variables by which a program finds it: `imds`, `azure_arc`,
    /// `service_fabric`, `azure_ml`, `cloud_shell`, `token_proxy`, `azure_pipelines`.
    pub hosts: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
    /// The endpoint for `az`, `azd` and `pwsh`; see `--as`.
    #[serde(skip)]
    pub(crate) developer_tools: String,
    /// The control endpoint.
    pub control: String,
    /// A PEM file with the certificate authority.
    pub ca_file: PathBuf,
    /// A PEM file with the system's certificate authorities and the emulator's.
    pub bundle_file: PathBuf,
    /// The PostgreSQL proxy; `None` if it is not started.
    pub postgres: Option<PostgresAddress>,
}

/// The endpoint and the header for programs on App Service.
#[derive(Clone, Debug, Serialize)]
pub struct AppServiceAddress {
    /// The value for `IDENTITY_ENDPOINT`.
    pub endpoint: String,
    /// The value for `IDENTITY_HEADER`.
    pub header: String,
}

impl AppServiceAddress {
    /// Returns the endpoint that issues tokens of this identity by default.
    pub fn endpoint_for(&self, identity: &Principal) -> String {
        match self.endpoint.strip_suffix(entra::APP_SERVICE_PATH) {
            Some(base) => format!("{base}/{}{}", identity.oid, entra::APP_SERVICE_PATH),
            None => self.endpoint.clone(),
        }
    }
}

/// The connection settings for clients of the database.
#[derive(Clone, Debug, Serialize)]
pub struct PostgresAddress {
    /// The value for `PGHOST`.
    pub host: String,
    /// The value for `PGPORT`.
    pub port: u16,
    /// The value for `PGDATABASE`.
    pub database: String,
    /// A port without TLS. It is always absent: `POST /postgres {"plaintext": true}` switches TLS off on `port`.
    pub plaintext_port: Option<u16>,
    /// The superuser's connection string, which bypasses the proxy. It is set if the server is the emulator's own.
    pub admin_dsn: Option<String>,
}

/// Why the emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration contradicts itself.
    #[error("configuration: {0}")]
    Config(#[from] StateError),
    /// A temporary directory could not be created.
    #[error("temporary directory: {0}")]
    Scratch(#[source] io::Error),
    /// Certificates could not be created or stored.
    #[error("certificate authority: {0}")]
    Tls(#[source] io::Error),
    /// The emulator could not listen on an address.
    #[error("cannot listen at {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// PostgreSQL did not start.
    #[error(transparent)]
    Server(#[from] StartError),
    /// The server behind the proxy cannot be used.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The runtime or a thread could not be created.
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
}

/// The emulator; see [`Emulator::start`].
pub struct Emulator;

impl Emulator {
    /// Starts everything on the caller's tokio runtime.
    ///
    /// # Errors
    /// After an error, no part of the emulator is running.
    pub async fn start(options: Options) -> Result<Running, Error> {
        let keys = tokio::task::spawn_blocking(KeySet::generate);
        let server = match options.postgres {
            Postgres::Own => Some(Server::start().await?),
            _ => None,
        };
        let keys = keys.await.map_err(|error| Error::Runtime(io::Error::other(error)))?;
        let header = options.config.identity_header.clone().unwrap_or_else(ids::secret);
        let arc_root = options.config.azure_arc_root.clone();
        let state = Arc::new(State::new(options.config, keys)?);
        let scratch = Scratch::new().map_err(Error::Scratch)?;
        let ca_dir = options.ca_dir.unwrap_or_else(|| scratch.path().join("ca"));
        let authority = Authority::open(&ca_dir, &options.dns_names).map_err(Error::Tls)?;

        let listen = |address: SocketAddr| async move {
            server::bind(address).await.map_err(|error| Error::Listen(address, error))
        };
        let arc_root = arc_root.unwrap_or_else(|| scratch.path().join("azure-arc"));
        let service_fabric = SelfSigned::new("localhost").map_err(Error::Tls)?;
        let token_proxy = SelfSigned::new(entra::TOKEN_PROXY_NAME).map_err(Error::Tls)?;
        let token_proxy_file = scratch.path().join("token-proxy.pem");
        std::fs::write(&token_proxy_file, token_proxy.pem()).map_err(Error::Scratch)?;
        let ports = options.ports;
        let mut tasks = JoinSet::new();
        let mut ports_of = Vec::new();
        for family in entra::families(&header, &arc_root.join(entra::AZURE_ARC_KEYS)) {
            let port = match family.name {
                "imds" => ports.imds,
                "app_service" => ports.app_service,
                "entra" => ports.entra,
                _ => 0,
            };
            let (listener, address) = listen(SocketAddr::new(options.listen, port)).await?;
            ports_of.push((family.name, address.port()));
            let tls = match (family.tls, family.name) {
                (Tls::Plain, _) => None,
                (Tls::Authority, _) => Some(authority.server_config(&["http/1.1"]).map_err(Error::Tls)?),
                (Tls::Own, "service_fabric") => Some(service_fabric.server_config(false).map_err(Error::Tls)?),
                (Tls::Own, _) => Some(token_proxy.server_config(true).map_err(Error::Tls)?),
            }
            .map(TlsAcceptor::from);
            tasks.spawn(server::serve(listener, tls, family, state.clone()));
        }
        let postgres = match &options.postgres {
            Postgres::None => None,
            chosen => {
                let upstream = match (chosen, &server) {
                    (Postgres::Upstream(url), _) => Upstream::parse(url)?,
                    (_, Some(server)) => server.upstream(),
                    (_, None) => unreachable!("without an upstream a server was started"),
                };
                upstream.provision(&state).await?;
                let upstream = Arc::new(upstream);
                let address = SocketAddr::new(options.listen, ports.postgres);
                let tls = authority.server_config(&["postgresql"]).map_err(Error::Tls)?;
                let door = FrontDoor::bind(address, tls, upstream.clone(), state.clone())
                    .await
                    .map_err(|error| Error::Listen(address, error))?;
                Some(Arc::new(Database { upstream, door }))
            }
        };
        let (control, control_address) = listen(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ports.control)).await?;

        // Clients on other machines replace this name with another one of the certificate.
        let port = |name: &str| ports_of.iter().find(|(known, _)| *known == name).map_or(0, |(_, port)| *port);
        let plain_host = if options.listen.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { options.listen };
        let plain = |name: &str| format!("http://{}", SocketAddr::new(plain_host, port(name)));
        let authority_host = format!("https://localhost:{}", port("entra"));
        let tenant_id = state.tenant_id();
        let own = |name: &str, path: &str| format!("https://localhost:{}{path}", port(name));
        let hosts = [
            ("imds", vec![("AZURE_POD_IDENTITY_AUTHORITY_HOST", plain("imds"))]),
            (
                "azure_arc",
                vec![
                    ("IDENTITY_ENDPOINT", format!("{}{}", plain("hosts"), entra::AZURE_ARC_PATH)),
                    ("IMDS_ENDPOINT", plain("hosts")),
                    ("PGENTRA_AZCMAGENT_ROOT", arc_root.display().to_string()),
                ],
            ),
            (
                "service_fabric",
                vec![
                    ("IDENTITY_ENDPOINT", own("service_fabric", entra::SERVICE_FABRIC_PATH)),
                    ("IDENTITY_HEADER", header.clone()),
                    ("IDENTITY_SERVER_THUMBPRINT", service_fabric.thumbprint()),
                ],
            ),
            (
                "azure_ml",
                vec![
                    ("MSI_ENDPOINT", format!("{}{}", plain("hosts"), entra::AZURE_ML_PATH)),
                    ("MSI_SECRET", header.clone()),
                ],
            ),
            ("cloud_shell", vec![("MSI_ENDPOINT", format!("{}{}", plain("hosts"), entra::CLOUD_SHELL_PATH))]),
            (
                "azure_pipelines",
                vec![
                    ("SYSTEM_ACCESSTOKEN", state.azure_pipelines().system_access_token),
                    ("SYSTEM_OIDCREQUESTURI", format!("{authority_host}{}", entra::AZURE_PIPELINES_PATH)),
                ],
            ),
            (
                "token_proxy",
                vec![
                    ("AZURE_KUBERNETES_TOKEN_PROXY", own("token_proxy", entra::TOKEN_PROXY_PATH)),
                    ("AZURE_KUBERNETES_SNI_NAME", entra::TOKEN_PROXY_NAME.into()),
                    ("AZURE_KUBERNETES_CA_FILE", token_proxy_file.display().to_string()),
                ],
            ),
        ];
        let addresses = Arc::new(Addresses {
            hosts: hosts.into_iter().map(|(name, variables)| (name, variables.into_iter().collect())).collect(),
            ready: true,
            pid: std::process::id(),
            token_url: format!("{authority_host}/{tenant_id}/oauth2/v2.0/token"),
            tenant_id,
            authority_host,
            imds_host: plain("imds"),
            app_service: AppServiceAddress {
                endpoint: format!("{}{}", plain("app_service"), entra::APP_SERVICE_PATH),
                header,
            },
            developer_tools: plain("developer_tools"),
            control: format!("http://{control_address}"),
            ca_file: authority.ca_file.clone(),
            bundle_file: authority.bundle_file.clone(),
            postgres: postgres.as_ref().map(|database| PostgresAddress {
                host: "localhost".into(),
                port: database.door.address().port(),
                database: "postgres".into(),
                plaintext_port: None,
                admin_dsn: server.as_ref().map(Server::admin_dsn),
            }),
        });
        let asked_to_stop = Arc::new(Notify::new());
        let router = control::router(Control {
            state: state.clone(),
            database: postgres.clone(),
            addresses: addresses.clone(),
            tools: scratch.path().join("tools"),
            stop: asked_to_stop.clone(),
        });
        tasks.spawn(async move {
            // This returns an error only if the listener fails.
            let _ = axum::serve(control, router).await;
        });
        Ok(Running { addresses, state, postgres, server, asked_to_stop, _tasks: tasks, scratch })
    }

    /// Starts everything on a new thread with its own runtime, for tests without a runtime.
    ///
    /// # Errors
    /// Those of [`Emulator::start`].
    pub fn start_blocking(options: Options) -> Result<RunningThread, Error> {
        let (started, start) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("pgentra-emulator".into()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(Error::Runtime(error)))),
            };
            runtime.block_on(async {
                match Emulator::start(options).await {
                    Ok(running) => {
                        let _ = started.send(Ok((
                            running.addresses.clone(),
                            running.state.clone(),
                            running.postgres.clone(),
                        )));
                        // An error means that the handle was dropped, which has the same meaning.
                        let _ = stopped.await;
                        running.stop().await;
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            });
        });
        let thread = thread.map_err(Error::Runtime)?;
        let (addresses, state, database) =
            start.recv().map_err(|_| Error::Runtime(io::Error::other("the emulator's thread panicked")))??;
        Ok(RunningThread { addresses, state, database, stop: Some(stop), thread: Some(thread) })
    }
}

/// The database: the proxy, and the server behind it.
pub struct Database {
    /// The server behind the proxy.
    pub upstream: Arc<Upstream>,
    /// The proxy that clients connect to.
    pub door: FrontDoor,
}

/// A running emulator. Dropping it ends it; [`Running::stop`] also waits until PostgreSQL and its files are removed.
pub struct Running {
    addresses: Arc<Addresses>,
    state: Arc<State>,
    postgres: Option<Arc<Database>>,
    server: Option<Server>,
    asked_to_stop: Arc<Notify>,
    _tasks: JoinSet<()>,
    scratch: Scratch,
}

impl Running {
    /// Returns the addresses.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Returns the state that the control endpoint changes and reads.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Returns the database, if there is one.
    pub fn database(&self) -> Option<&Database> {
        self.postgres.as_deref()
    }

    /// Returns a directory that is removed with the emulator.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Waits until the control endpoint receives a request to stop the emulator.
    pub async fn asked_to_stop(&self) {
        self.asked_to_stop.notified().await;
    }

    /// Stops everything.
    pub async fn stop(self) {
        let Self { server, postgres, _tasks: tasks, .. } = self;
        drop((tasks, postgres));
        if let Some(server) = server {
            server.stop().await;
        }
    }
}

/// A running emulator on its own thread. Dropping it ends it and waits until everything is removed.
pub struct RunningThread {
    addresses: Arc<Addresses>,
    state: Arc<State>,
    database: Option<Arc<Database>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl RunningThread {
    /// Returns the addresses.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Returns the state that the control endpoint changes and reads.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Returns the database, if there is one.
    pub fn database(&self) -> Option<&Database> {
        self.database.as_deref()
    }
}

impl Drop for RunningThread {
    fn drop(&mut self) {
        self.database = None;
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The panic hook has already reported a panic of the thread.
            let _ = thread.join();
        }
    }
}
