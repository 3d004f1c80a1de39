//! The addresses at which programs find the emulator.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Serialize;

use crate::entra;
use crate::principal::Principal;

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

/// The ports of the HTTP listeners, by name, and the host in their addresses.
pub(crate) struct HttpAddresses {
    host: IpAddr,
    ports: Vec<(&'static str, u16)>,
}

impl HttpAddresses {
    /// `listen` is the address of all listeners. Clients on other machines replace it with their own name for it.
    pub(crate) fn new(listen: IpAddr) -> Self {
        let host = if listen.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen };
        Self { host, ports: Vec::new() }
    }

    pub(crate) fn add(&mut self, name: &'static str, port: u16) {
        self.ports.push((name, port));
    }

    fn port(&self, name: &str) -> u16 {
        self.ports.iter().find(|(known, _)| *known == name).map_or(0, |(_, port)| *port)
    }

    /// Returns the base URL of a listener without TLS.
    pub(crate) fn plain(&self, name: &str) -> String {
        format!("http://{}", SocketAddr::new(self.host, self.port(name)))
    }

    /// Returns the base URL of a listener with TLS. Its certificate is valid for `localhost`.
    pub(crate) fn tls(&self, name: &str) -> String {
        format!("https://localhost:{}", self.port(name))
    }
}

/// What programs in other environments than App Service need, besides the addresses.
pub(crate) struct HostSettings {
    pub(crate) identity_header: String,
    pub(crate) azure_arc_root: PathBuf,
    pub(crate) service_fabric_thumbprint: String,
    pub(crate) system_access_token: String,
    pub(crate) token_proxy_ca_file: PathBuf,
}

/// Returns the environment variables of each other source of identities; see [`Addresses::hosts`].
pub(crate) fn hosts(
    http: &HttpAddresses,
    settings: &HostSettings,
) -> BTreeMap<&'static str, BTreeMap<&'static str, String>> {
    let hosts = [
        ("imds", vec![("AZURE_POD_IDENTITY_AUTHORITY_HOST", http.plain("imds"))]),
        (
            "azure_arc",
            vec![
                ("IDENTITY_ENDPOINT", format!("{}{}", http.plain("hosts"), entra::AZURE_ARC_PATH)),
                ("IMDS_ENDPOINT", http.plain("hosts")),
                ("PGENTRA_AZCMAGENT_ROOT", settings.azure_arc_root.display().to_string()),
            ],
        ),
        (
            "service_fabric",
            vec![
                ("IDENTITY_ENDPOINT", format!("{}{}", http.tls("service_fabric"), entra::SERVICE_FABRIC_PATH)),
                ("IDENTITY_HEADER", settings.identity_header.clone()),
                ("IDENTITY_SERVER_THUMBPRINT", settings.service_fabric_thumbprint.clone()),
            ],
        ),
        (
            "azure_ml",
            vec![
                ("MSI_ENDPOINT", format!("{}{}", http.plain("hosts"), entra::AZURE_ML_PATH)),
                ("MSI_SECRET", settings.identity_header.clone()),
            ],
        ),
        ("cloud_shell", vec![("MSI_ENDPOINT", format!("{}{}", http.plain("hosts"), entra::CLOUD_SHELL_PATH))]),
        (
            "azure_pipelines",
            vec![
                ("SYSTEM_ACCESSTOKEN", settings.system_access_token.clone()),
                ("SYSTEM_OIDCREQUESTURI", format!("{}{}", http.tls("entra"), entra::AZURE_PIPELINES_PATH)),
            ],
        ),
        (
            "token_proxy",
            vec![
                ("AZURE_KUBERNETES_TOKEN_PROXY", format!("{}{}", http.tls("token_proxy"), entra::TOKEN_PROXY_PATH)),
                ("AZURE_KUBERNETES_SNI_NAME", entra::TOKEN_PROXY_NAME.into()),
                ("AZURE_KUBERNETES_CA_FILE", settings.token_proxy_ca_file.display().to_string()),
            ],
        ),
    ];
    hosts.into_iter().map(|(name, variables)| (name, variables.into_iter().collect())).collect()
}
