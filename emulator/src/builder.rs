//! The options of an emulator, and its start.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;

use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::addresses::{self, Addresses, AppServiceAddress, HostSettings, HttpAddresses, PostgresAddress};
use crate::config::Config;
use crate::control::{self, ControlEndpoint};
use crate::emulator::{BlockingEmulator, Emulator, Error};
use crate::entra::{self, Tls, server};
use crate::ids;
use crate::jwt::KeySet;
use crate::postgres::{ALPN, Database, Proxy, Server, Upstream};
use crate::scratch::Scratch;
use crate::state::State;
use crate::tls::{Authority, SelfSigned};

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

/// Starts an [`Emulator`]. By default it has the built-in configuration, no PostgreSQL, and free ports of 127.0.0.1.
#[derive(Clone, Debug)]
pub struct EmulatorBuilder {
    config: Config,
    postgres: Postgres,
    listen: IpAddr,
    ports: Ports,
    dns_names: Vec<String>,
    ca_dir: Option<PathBuf>,
}

impl Default for EmulatorBuilder {
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

impl Emulator {
    /// Returns a builder for the options.
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder::default()
    }
}

impl EmulatorBuilder {
    /// Sets the tenant and its faults.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the PostgreSQL server behind the proxy.
    #[must_use]
    pub fn postgres(mut self, postgres: Postgres) -> Self {
        self.postgres = postgres;
        self
    }

    /// Sets the address of all listeners except the control endpoint, which always listens on loopback.
    #[must_use]
    pub fn listen(mut self, address: IpAddr) -> Self {
        self.listen = address;
        self
    }

    /// Sets fixed ports; 0 selects a free port.
    #[must_use]
    pub fn ports(mut self, ports: Ports) -> Self {
        self.ports = ports;
        self
    }

    /// Adds a name or an address to the server certificate, besides `localhost`, 127.0.0.1 and ::1.
    #[must_use]
    pub fn dns_name(mut self, name: impl Into<String>) -> Self {
        self.dns_names.push(name.into());
        self
    }

    /// Sets the folder of the certificate authority. Without it, a new certificate authority is created at each start.
    #[must_use]
    pub fn ca_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.ca_dir = Some(directory.into());
        self
    }

    /// Starts everything on the caller's tokio runtime.
    ///
    /// # Errors
    /// After an error, no part of the emulator is running.
    pub async fn start(self) -> Result<Emulator, Error> {
        let keys = tokio::task::spawn_blocking(KeySet::generate);
        let server = match self.postgres {
            Postgres::Own => Some(Server::start().await?),
            _ => None,
        };
        let keys = keys.await.map_err(|error| Error::Runtime(io::Error::other(error)))?;
        let state = Arc::new(State::new(self.config.clone(), keys)?);
        let files = Files::create(&self)?;
        let mut tasks = JoinSet::new();
        let identity_header = self.config.identity_header.clone().unwrap_or_else(ids::secret);
        let http = self.start_http_listeners(&identity_header, &files, &state, &mut tasks).await?;
        let database = self.start_proxy(server.as_ref(), &files, &state).await?.map(Arc::new);
        let (control, control_address) = bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.ports.control)).await?;
        let postgres = database.as_ref().map(|database| PostgresAddress {
            host: "localhost".into(),
            port: database.proxy.address().port(),
            database: "postgres".into(),
            plaintext_port: None,
            admin_dsn: server.as_ref().map(Server::admin_dsn),
        });
        let addresses =
            Arc::new(files.addresses(&http, identity_header, &state, format!("http://{control_address}"), postgres));
        let stop_requested = Arc::new(Notify::new());
        let router = control::router(ControlEndpoint {
            state: state.clone(),
            database: database.clone(),
            addresses: addresses.clone(),
            tools: files.scratch.path().join("tools"),
            stop: stop_requested.clone(),
        });
        tasks.spawn(async move {
            // This returns an error only if the listener fails.
            let _ = axum::serve(control, router).await;
        });
        Ok(Emulator { addresses, state, database, server, stop_requested, _tasks: tasks, scratch: files.scratch })
    }

    /// Starts everything on a new thread with its own runtime, for tests without a runtime.
    ///
    /// # Errors
    /// Those of [`start`](Self::start).
    pub fn start_blocking(self) -> Result<BlockingEmulator, Error> {
        let (started, start) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("pgentra-emulator".into()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(Error::Runtime(error)))),
            };
            runtime.block_on(async {
                match self.start().await {
                    Ok(emulator) => {
                        let _ = started.send(Ok((
                            emulator.addresses.clone(),
                            emulator.state.clone(),
                            emulator.database.clone(),
                        )));
                        // An error means that the handle was dropped, which has the same meaning.
                        let _ = stopped.await;
                        emulator.stop().await;
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            });
        });
        let thread = thread.map_err(Error::Runtime)?;
        let (addresses, state, database) =
            start.recv().map_err(|_| Error::Runtime(io::Error::other("the emulator's thread panicked")))??;
        Ok(BlockingEmulator { addresses, state, database, stop: Some(stop), thread: Some(thread) })
    }

    /// Starts the listeners of Entra and of the managed identity endpoints.
    async fn start_http_listeners(
        &self,
        identity_header: &str,
        files: &Files,
        state: &Arc<State>,
        tasks: &mut JoinSet<()>,
    ) -> Result<HttpAddresses, Error> {
        let mut http = HttpAddresses::new(self.listen);
        for listener in entra::listeners(identity_header, &files.azure_arc_root.join(entra::AZURE_ARC_KEYS)) {
            let port = match listener.name {
                "imds" => self.ports.imds,
                "app_service" => self.ports.app_service,
                "entra" => self.ports.entra,
                _ => 0,
            };
            let (socket, address) = bind(SocketAddr::new(self.listen, port)).await?;
            http.add(listener.name, address.port());
            let tls = match (listener.tls, listener.name) {
                (Tls::Plain, _) => None,
                (Tls::Authority, _) => Some(files.authority.server_config(&["http/1.1"]).map_err(Error::Tls)?),
                (Tls::Own, "service_fabric") => Some(files.service_fabric.server_config(false).map_err(Error::Tls)?),
                (Tls::Own, _) => Some(files.token_proxy.server_config(true).map_err(Error::Tls)?),
            };
            tasks.spawn(server::serve(socket, tls.map(TlsAcceptor::from), listener, state.clone()));
        }
        Ok(http)
    }

    /// Creates the roles in the PostgreSQL server, if there is one, and starts the proxy.
    async fn start_proxy(
        &self,
        server: Option<&Server>,
        files: &Files,
        state: &Arc<State>,
    ) -> Result<Option<Database>, Error> {
        let upstream = match (&self.postgres, server) {
            (Postgres::Upstream(url), _) => Upstream::parse(url)?,
            (_, Some(server)) => server.upstream(),
            (_, None) => return Ok(None),
        };
        upstream.provision(state).await?;
        let upstream = Arc::new(upstream);
        let address = SocketAddr::new(self.listen, self.ports.postgres);
        let tls = files.authority.server_config(&[ALPN]).map_err(Error::Tls)?;
        let proxy = Proxy::bind(address, tls, upstream.clone(), state.clone()).await;
        Ok(Some(Database { upstream, proxy: proxy.map_err(|error| Error::Listen(address, error))? }))
    }
}

/// The emulator's temporary files and its certificates.
struct Files {
    scratch: Scratch,
    authority: Authority,
    azure_arc_root: PathBuf,
    service_fabric: SelfSigned,
    token_proxy: SelfSigned,
    token_proxy_ca_file: PathBuf,
}

impl Files {
    fn create(builder: &EmulatorBuilder) -> Result<Self, Error> {
        let scratch = Scratch::new().map_err(Error::Scratch)?;
        let ca_dir = builder.ca_dir.clone().unwrap_or_else(|| scratch.path().join("ca"));
        let authority = Authority::open(&ca_dir, &builder.dns_names).map_err(Error::Tls)?;
        let azure_arc_root = builder.config.azure_arc_root.clone();
        let azure_arc_root = azure_arc_root.unwrap_or_else(|| scratch.path().join("azure-arc"));
        let service_fabric = SelfSigned::new("localhost").map_err(Error::Tls)?;
        let token_proxy = SelfSigned::new(entra::TOKEN_PROXY_NAME).map_err(Error::Tls)?;
        let token_proxy_ca_file = scratch.path().join("token-proxy.pem");
        std::fs::write(&token_proxy_ca_file, token_proxy.pem()).map_err(Error::Scratch)?;
        Ok(Self { scratch, authority, azure_arc_root, service_fabric, token_proxy, token_proxy_ca_file })
    }

    fn addresses(
        &self,
        http: &HttpAddresses,
        identity_header: String,
        state: &State,
        control: String,
        postgres: Option<PostgresAddress>,
    ) -> Addresses {
        let settings = HostSettings {
            identity_header: identity_header.clone(),
            azure_arc_root: self.azure_arc_root.clone(),
            service_fabric_thumbprint: self.service_fabric.thumbprint(),
            system_access_token: state.azure_pipelines().system_access_token,
            token_proxy_ca_file: self.token_proxy_ca_file.clone(),
        };
        let authority_host = http.tls("entra");
        let tenant_id = state.tenant_id();
        Addresses {
            ready: true,
            pid: std::process::id(),
            token_url: format!("{authority_host}/{tenant_id}/oauth2/v2.0/token"),
            tenant_id,
            authority_host,
            imds_host: http.plain("imds"),
            app_service: AppServiceAddress {
                endpoint: format!("{}{}", http.plain("app_service"), entra::APP_SERVICE_PATH),
                header: identity_header,
            },
            hosts: addresses::hosts(http, &settings),
            developer_tools: http.plain("developer_tools"),
            control,
            ca_file: self.authority.ca_file.clone(),
            bundle_file: self.authority.bundle_file.clone(),
            postgres,
        }
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    server::bind(address).await.map_err(|error| Error::Listen(address, error))
}
