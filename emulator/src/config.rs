//! The configuration file, and the default configuration.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Shape};
use crate::principal::{Principal, PrincipalKind, RoleSetting};

/// The tenant, its principals, and the faults. Every part can be left out; the default configuration is then used for
/// it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The tenant id.
    pub tenant_id: String,
    /// The domain names that can replace the tenant id in addresses.
    pub tenant_domains: Vec<String>,
    /// Resources for which tokens are issued in addition to the database and the management resource of each cloud.
    pub resources: Vec<String>,
    /// The principals in the tenant.
    pub principals: Vec<Principal>,
    /// The identities of IMDS.
    pub imds: Identities,
    /// The identities of App Service.
    pub app_service: Identities,
    /// The identities of Azure Arc's agent.
    pub azure_arc: Identities,
    /// The identity of an application on Service Fabric: its default.
    pub service_fabric: Identities,
    /// The identities of Azure Machine Learning.
    pub azure_ml: Identities,
    /// The organization in Azure Pipelines that its tasks use.
    pub azure_pipelines: AzurePipelines,
    /// The name of the user of Cloud Shell. If it is absent, Cloud Shell has no user.
    pub cloud_shell: Option<String>,
    /// The folder that replaces `/` for Azure Arc's key files. By default it is a temporary folder that is removed with
    /// the emulator. Programs that do not support `PGENTRA_AZCMAGENT_ROOT` need `/`. It is read only at the start.
    pub azure_arc_root: Option<PathBuf>,
    /// The expected value of the header or secret of App Service, Service Fabric and Azure Machine Learning. If it is
    /// left out, a new one is generated at every start. It is read only at the start.
    pub identity_header: Option<String>,
    /// Properties of all tokens and responses.
    pub tokens: Shape,
    /// The faults that are active from the start.
    pub faults: Vec<Fault>,
}

/// The identities of one source of managed identity tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identities {
    /// The name of the identity for requests that do not specify one. If it is absent, such requests are refused.
    pub default: Option<String>,
    /// The names of the identities that can be requested; all managed identities if left out.
    pub assigned: Option<Vec<String>>,
}

/// The organization in Azure Pipelines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AzurePipelines {
    /// The value of `System.AccessToken` in the tasks.
    pub system_access_token: String,
    /// The service connections that the tasks can use.
    pub service_connections: Vec<ServiceConnection>,
}

/// One service connection: the subject of its federated tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConnection {
    /// The id.
    pub id: String,
    /// The `sub` of its tokens, such as `sc://organization/project/connection`.
    pub subject: String,
    /// The `iss` of its tokens; that of the organization if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

impl Default for AzurePipelines {
    fn default() -> Self {
        Self {
            system_access_token: "system-access-token".into(),
            service_connections: vec![ServiceConnection {
                id: "55555555-0000-0000-0000-000000000001".into(),
                subject: "sc://contoso/shop/orders-api".into(),
                issuer: None,
            }],
        }
    }
}

/// Why a configuration could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read configuration {path}: {problem}")]
pub struct ConfigError {
    path: String,
    problem: String,
}

impl Config {
    /// Reads a TOML file, or a JSON file if its name ends in `.json`.
    ///
    /// # Errors
    /// Fails if the file cannot be read, is not of that format, or has unknown or invalid entries.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let error = |problem: String| ConfigError { path: path.display().to_string(), problem };
        let text = std::fs::read_to_string(path).map_err(|problem| error(problem.to_string()))?;
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
            serde_json::from_str(&text).map_err(|problem| error(problem.to_string()))
        } else {
            toml::from_str(&text).map_err(|problem| error(problem.to_string()))
        }
    }
}

/// The tenant of the default configuration.
pub const TENANT_ID: &str = "99999999-0000-0000-0000-000000000009";
/// The client secret of `orders-api` in the default configuration.
pub const ORDERS_API_SECRET: &str = "orders-api-secret";

impl Default for Config {
    /// Returns the default configuration, which `README.md` shows as a table.
    fn default() -> Self {
        let id = |letter: char, number: u8| {
            let run = |length| letter.to_string().repeat(length);
            format!("{}-0000-0000-0000-{:012}", run(8), number)
        };
        let principal = |number: u8, name: &str, kind: PrincipalKind| {
            let base = Principal::new(name, kind);
            let appid = if kind.is_app() { id('1', number) } else { base.appid.clone() };
            Principal { oid: id('a', number), appid, ..base }
        };
        use PrincipalKind::{Group, Guest, ServicePrincipal, SystemAssigned, User, UserAssigned};
        let principals = vec![
            principal(1, "app-mi", UserAssigned),
            principal(2, "batch-mi", UserAssigned),
            principal(3, "vm-prod", SystemAssigned),
            principal(4, "shop/slots/staging", SystemAssigned),
            Principal { client_secret: Some(ORDERS_API_SECRET.into()), ..principal(5, "orders-api", ServicePrincipal) },
            Principal {
                client_secret: Some("no-role-api-secret".into()),
                role: RoleSetting::Wanted(false),
                ..principal(6, "no-role-api", ServicePrincipal)
            },
            Principal { groups: vec!["db-readers".into()], ..principal(7, "alice@contoso.example", User) },
            principal(8, "bob_home.example#EXT#@contoso.example", Guest),
            principal(9, "db-readers", Group),
            Principal {
                role: RoleSetting::Detailed { name: None, kind: None, admin: true },
                ..principal(10, "admin@contoso.example", User)
            },
        ];
        let identities = |default: &str| Identities { default: Some(default.into()), assigned: None };
        Self {
            tenant_id: TENANT_ID.into(),
            tenant_domains: vec!["contoso.example".into()],
            resources: vec!["https://graph.microsoft.com".into(), "https://vault.azure.net".into()],
            principals,
            imds: identities("vm-prod"),
            app_service: identities("app-mi"),
            azure_arc: identities("vm-prod"),
            service_fabric: identities("app-mi"),
            azure_ml: identities("app-mi"),
            azure_pipelines: AzurePipelines::default(),
            cloud_shell: Some("alice@contoso.example".into()),
            azure_arc_root: None,
            identity_header: None,
            tokens: Shape::default(),
            faults: Vec::new(),
        }
    }
}
