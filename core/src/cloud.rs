//! Determines the Azure cloud of a connection, and from it the scopes and the authority host.
//!
//! Every rule of this module is a case of `tests/vectors/clouds.json`.

use std::{fmt, str::FromStr};

use reqwest::Url;
use serde::Serialize;

/// An Azure cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cloud {
    /// The worldwide cloud.
    Public,
    /// Azure Government (USA).
    UsGovernment,
    /// Azure operated by 21Vianet (China).
    China,
    /// An authority that Microsoft does not run, such as the emulator. Its scopes are those of the public cloud.
    Custom,
}

/// The constants of a cloud.
#[derive(Debug, PartialEq, Eq)]
pub struct CloudFacts {
    /// The scope of a token for PostgreSQL.
    pub scope: &'static str,
    /// The scope of a token for Azure Resource Manager.
    pub management_scope: &'static str,
    /// The suffix of its servers' names.
    pub host_suffix: &'static str,
    /// The suffix of its servers' private names, which are not in their certificates.
    pub private_link_zone: &'static str,
    /// The hosts of its token service: the one to use first, then its other names.
    pub authority_hosts: &'static [&'static str],
}

const PUBLIC: CloudFacts = CloudFacts {
    scope: "https://ossrdbms-aad.database.windows.net/.default",
    management_scope: "https://management.azure.com/.default",
    host_suffix: "postgres.database.azure.com",
    private_link_zone: "privatelink.postgres.database.azure.com",
    authority_hosts: &["login.microsoftonline.com", "login.microsoft.com", "login.windows.net"],
};

const US_GOVERNMENT: CloudFacts = CloudFacts {
    scope: "https://ossrdbms-aad.database.usgovcloudapi.net/.default",
    management_scope: "https://management.usgovcloudapi.net/.default",
    host_suffix: "postgres.database.usgovcloudapi.net",
    private_link_zone: "privatelink.postgres.database.usgovcloudapi.net",
    authority_hosts: &["login.microsoftonline.us"],
};

const CHINA: CloudFacts = CloudFacts {
    scope: "https://ossrdbms-aad.database.chinacloudapi.cn/.default",
    management_scope: "https://management.chinacloudapi.cn/.default",
    host_suffix: "postgres.database.chinacloudapi.cn",
    private_link_zone: "privatelink.postgres.database.chinacloudapi.cn",
    authority_hosts: &["login.chinacloudapi.cn", "login.partner.microsoftonline.cn"],
};

impl Cloud {
    /// The clouds that Microsoft runs.
    pub const KNOWN: [Self; 3] = [Self::Public, Self::UsGovernment, Self::China];

    /// Returns the constants of this cloud; for [`Cloud::Custom`], those of the public cloud.
    pub fn facts(self) -> &'static CloudFacts {
        match self {
            Self::Public | Self::Custom => &PUBLIC,
            Self::UsGovernment => &US_GOVERNMENT,
            Self::China => &CHINA,
        }
    }

    /// Returns the stable name, which the option `cloud` accepts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::UsGovernment => "us_government",
            Self::China => "china",
            Self::Custom => "custom",
        }
    }

    /// Returns the host for token requests, such as `https://login.microsoftonline.com`.
    pub(crate) fn authority_host(self) -> String {
        format!("https://{}", self.facts().authority_hosts[0])
    }

    fn of(matches: impl Fn(&'static CloudFacts) -> bool) -> Option<Self> {
        Self::KNOWN.into_iter().find(|cloud| matches(cloud.facts()))
    }

    fn of_scope(scope: &str) -> Option<Self> {
        let resource = resource_of(scope).trim_end_matches('/');
        Self::of(|facts| {
            let known = resource_of(facts.scope);
            // In a delegated scope the resource is followed by a permission: `https://resource/user_impersonation`.
            resource.get(..known.len()).is_some_and(|r| r.eq_ignore_ascii_case(known))
                && matches!(resource.as_bytes().get(known.len()), None | Some(b'/'))
        })
    }

    fn of_host(host: &str) -> Option<Self> {
        Self::of(|facts| lies_in(host, facts.host_suffix))
    }

    fn of_authority(host: &str) -> Option<Self> {
        // Regional token services are `{region}.login.microsoft.com` and `{region}.{host}`.
        Self::of(|facts| facts.authority_hosts.iter().any(|known| host == *known || lies_in(host, known)))
    }
}

/// Returns whether a server's name is one of Azure Database for PostgreSQL.
pub fn is_azure_server(host: &str) -> bool {
    host_name(host).is_some_and(|name| Cloud::of_host(&name).is_some())
}

/// The variable with the authority host of the whole process.
pub(crate) const AUTHORITY_VARIABLE: &str = "AZURE_AUTHORITY_HOST";

/// Returns the cloud of an authority host, such as `https://login.microsoftonline.us`.
pub(crate) fn of_authority(authority_host: &str) -> Cloud {
    let url = Url::parse(authority_host).ok();
    url.as_ref().and_then(Url::host_str).and_then(Cloud::of_authority).unwrap_or(Cloud::Custom)
}

/// Returns the cloud of a connection's scope or server name, otherwise the public cloud.
pub(crate) fn of_connection(scope: Option<&str>, host: Option<&str>) -> Cloud {
    let of_hosts = || host?.split(',').filter_map(host_name).find_map(|host| Cloud::of_host(&host));
    given(scope).and_then(Cloud::of_scope).or_else(of_hosts).unwrap_or(Cloud::Public)
}

/// Formats the cloud for the middle of a sentence: "the public cloud".
impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "the public cloud",
            Self::UsGovernment => "the US Government cloud",
            Self::China => "the China cloud",
            Self::Custom => "a custom cloud",
        })
    }
}

/// Parses [`Cloud::as_str`]'s names and those of the Azure SDKs and tools (`AzureUSGovernment`, `AzureChinaCloud`), in
/// any case.
impl FromStr for Cloud {
    type Err = CloudError;

    fn from_str(name: &str) -> Result<Self, CloudError> {
        match name.trim().to_ascii_lowercase().as_str() {
            "public" | "azurepublic" | "azurecloud" | "azurepubliccloud" => Ok(Self::Public),
            "us_government" | "azureusgovernment" | "azuregovernment" | "azureusgovernmentcloud" => {
                Ok(Self::UsGovernment)
            }
            "china" | "azurechina" | "azurechinacloud" => Ok(Self::China),
            _ => Err(CloudError::UnknownCloud),
        }
    }
}

/// A setting that cannot be used to determine the cloud or the authority host. Messages do not repeat the setting's
/// value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// The value of the option `cloud` is unknown.
    #[error("cloud: expected public, us_government or china")]
    UnknownCloud,
    /// An authority host cannot be used.
    #[error("{setting}: expected an https URL such as https://login.microsoftonline.com, {found}")]
    BadAuthority {
        /// The option or variable that contains it.
        setting: &'static str,
        /// What was found instead.
        found: &'static str,
    },
    /// An authority host has a path that is not the credential's tenant.
    #[error("{setting}: a path is not supported, except the credential's tenant id")]
    PathOfAuthority {
        /// The option or variable that contains it.
        setting: &'static str,
    },
    /// The scope is not a single scope.
    #[error("scope: expected one scope such as https://ossrdbms-aad.database.windows.net/.default, without whitespace")]
    BadScope,
}

impl CloudError {
    /// Returns the option or variable that has to be corrected.
    pub fn setting(&self) -> &'static str {
        match self {
            Self::UnknownCloud => "cloud",
            Self::BadAuthority { setting, .. } | Self::PathOfAuthority { setting } => setting,
            Self::BadScope => "scope",
        }
    }

    /// Returns the advice.
    pub(crate) fn advice(&self) -> String {
        match self {
            Self::PathOfAuthority { setting } => format!(
                "Remove the path from {setting}, or replace it with the credential's tenant id. AD FS and Azure AD \
                 B2C are not supported."
            ),
            _ => format!("Correct {}.", self.setting()),
        }
    }

    /// Returns whether the setting belongs to the credential, and not to the connection.
    pub(crate) fn is_of_credential(&self) -> bool {
        !matches!(self, Self::BadScope)
    }
}

/// All settings from which the cloud can be derived. Blank settings count as missing.
#[derive(Debug, Clone, Copy, Default)]
pub struct CloudInputs<'a> {
    /// The option `scope` of the connection.
    pub scope_option: Option<&'a str>,
    /// The host or hosts of the connection, separated by commas, as they were passed to the driver.
    pub host: Option<&'a str>,
    /// The option `authority_host` of the credential.
    pub authority_option: Option<&'a str>,
    /// The option `cloud` of the credential.
    pub cloud_option: Option<&'a str>,
    /// The variable `AZURE_AUTHORITY_HOST`.
    pub env_authority_host: Option<&'a str>,
}

/// The result of [`resolve`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resolved {
    /// The cloud.
    pub cloud: Cloud,
    /// The scope of the database token.
    pub scope: String,
    /// The scope of the management token that is used to look up a role name.
    pub management_scope: String,
    /// The host for token requests: `https://host` or `https://host:port`, without a slash at the end.
    pub authority_host: String,
    /// A contradiction between settings, to be logged once.
    pub warning: Option<String>,
}

/// A cloud, and the setting that it was derived from.
struct Evidence {
    cloud: Cloud,
    setting: &'static str,
}

/// Determines cloud, scopes and authority host.
///
/// The cloud is derived from the first of these that is set: the option `scope`, the host's known suffix, the
/// credential's `authority_host` or `cloud`, `AZURE_AUTHORITY_HOST`; otherwise it is public. Tokens are requested from
/// the first of these that is set: the credential's own authority host, that of its cloud, `AZURE_AUTHORITY_HOST`;
/// otherwise from the authority host of the derived cloud.
///
/// Only the name of an authority host decides about the cloud. Its path is not part of the result: each credential that
/// requests tokens there accepts no path but its own tenant, and the others do not use the path.
///
/// # Errors
/// [`CloudError`] if the scope, the cloud's name or the authority host that would be used is malformed.
pub fn resolve(inputs: &CloudInputs<'_>) -> Result<Resolved, CloudError> {
    let cloud_option: Option<Cloud> = given(inputs.cloud_option).map(str::parse).transpose()?;
    let scope = given(inputs.scope_option).map(complete_scope).transpose()?;
    let hosts: Vec<String> = inputs.host.unwrap_or_default().split(',').filter_map(host_name).collect();
    let mut warnings = Vec::new();

    let authority = match (given(inputs.authority_option), given(inputs.env_authority_host)) {
        (Some(option), _) => Some(Authority::of_option(option)?),
        // The credential's cloud takes precedence over the variable, as in the Azure SDKs.
        (None, _) if cloud_option.is_some() => None,
        (None, variable) => Authority::of_variable(variable)?,
    };

    let evidence: Vec<Evidence> = [
        (scope.as_deref().and_then(Cloud::of_scope), "the option scope"),
        (hosts.iter().find_map(|host| Cloud::of_host(host)), "the server's host name"),
        (authority.as_ref().and_then(|a| a.cloud), authority.as_ref().map_or("", |a| a.setting)),
        (cloud_option, "the option cloud"),
    ]
    .into_iter()
    .filter_map(|(cloud, setting)| Some(Evidence { cloud: cloud?, setting }))
    .collect();

    let cloud = match evidence.first() {
        Some(first) => first.cloud,
        None if authority.is_some() => Cloud::Custom,
        None => Cloud::Public,
    };
    let facts = cloud.facts();
    let authority_host = match authority {
        Some(authority) => authority.url,
        None => cloud_option.unwrap_or(cloud).authority_host(),
    };
    let scope = scope.unwrap_or_else(|| facts.scope.to_owned());

    let strangers = evidence.iter().filter(|e| e.cloud != cloud);
    let strangers: Vec<String> = strangers.map(|e| format!("{} selects {}", e.setting, e.cloud)).collect();
    if let (Some(first), false) = (evidence.first(), strangers.is_empty()) {
        warnings.push(format!(
            "{} selects {cloud}, but {}: tokens are requested from {authority_host} for scope {scope}",
            first.setting,
            strangers.join(" and ")
        ));
    }
    if let Some(other) = hosts.iter().find(|host| Cloud::of_host(host).is_some_and(|c| c != cloud))
        && hosts.iter().any(|host| Cloud::of_host(host) == Some(cloud))
    {
        warnings
            .push(format!("the hosts belong to several clouds: the token is for {cloud}, and {other} will reject it"));
    }
    for host in &hosts {
        let private =
            Cloud::KNOWN.iter().map(|c| c.facts()).find_map(|f| Some((strip_zone(host, f.private_link_zone)?, f)));
        if let Some((server, facts)) = private {
            warnings.push(format!(
                "{host} is a private link name, which is not in the server's certificate: connect to {server}.{}, \
                 which resolves to the same address",
                facts.host_suffix
            ));
        }
    }

    Ok(Resolved {
        cloud,
        scope,
        management_scope: facts.management_scope.to_owned(),
        authority_host,
        warning: (!warnings.is_empty()).then(|| warnings.join("; ")),
    })
}

fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

/// Returns the resource of a scope, in the form for managed identity endpoints and `az --resource`.
pub fn resource_of(scope: &str) -> &str {
    scope.strip_suffix("/.default").unwrap_or(scope)
}

/// Adds `/.default` to a bare `https://host`, because it is a resource, which token endpoints do not accept as a scope.
/// Any other scope is returned unchanged.
fn complete_scope(scope: &str) -> Result<String, CloudError> {
    // A connection string in this option is not sent, because it can contain a password.
    let is_connection_string = scope.contains(['=', ';']) || scope.starts_with("postgres");
    if is_connection_string || scope.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(CloudError::BadScope);
    }
    match scope.strip_prefix("https://").map(|rest| rest.strip_suffix('/').unwrap_or(rest)) {
        Some("") => Err(CloudError::BadScope),
        Some(host) if !host.contains('/') => Ok(format!("https://{host}/.default")),
        _ => Ok(scope.to_owned()),
    }
}

/// Returns one host of a connection as a lower-case DNS name, without its port; `None` for socket paths and blanks.
fn host_name(host: &str) -> Option<String> {
    let host = host.trim();
    if host.is_empty() || host.starts_with(['/', '@']) {
        return None;
    }
    // The rest of an IPv6 address does not match a name in any cloud.
    let name = host.split_once(':').map_or(host, |(name, _port)| name);
    Some(name.trim_end_matches('.').to_ascii_lowercase())
}

/// Returns the part before a zone, if the name is in that zone.
fn strip_zone<'a>(name: &'a str, zone: &str) -> Option<&'a str> {
    name.strip_suffix(zone)?.strip_suffix('.').filter(|rest| !rest.is_empty())
}

fn lies_in(name: &str, zone: &str) -> bool {
    strip_zone(name, zone).is_some()
}

/// An authority host from a setting.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    /// The address: `https://host` or `https://host:port`.
    url: String,
    /// The path without slashes at its start and end.
    path: Option<String>,
    /// The cloud; `None` for an authority that Microsoft does not run.
    cloud: Option<Cloud>,
    setting: &'static str,
}

impl Authority {
    /// Parses the option `authority_host` of a credential.
    ///
    /// # Errors
    /// [`CloudError::BadAuthority`].
    pub(crate) fn of_option(text: &str) -> Result<Self, CloudError> {
        Self::parse("authority_host", text.trim())
    }

    /// Parses `AZURE_AUTHORITY_HOST`; `None` if it is blank.
    ///
    /// # Errors
    /// [`CloudError::BadAuthority`].
    pub(crate) fn of_variable(text: Option<&str>) -> Result<Option<Self>, CloudError> {
        given(text).map(|text| Self::parse(AUTHORITY_VARIABLE, text)).transpose()
    }

    /// Returns the address below which the token endpoints of `tenant` are, such as
    /// `https://login.microsoftonline.com`.
    ///
    /// # Errors
    /// [`CloudError::PathOfAuthority`]: users paste the address of their tenant, which is accepted. Any other path (AD
    /// FS, Azure AD B2C, dSTS) is an error, because a request without it would go to another authority.
    pub(crate) fn for_tenant(&self, tenant: &str) -> Result<&str, CloudError> {
        match &self.path {
            Some(path) if !path.eq_ignore_ascii_case(tenant) => {
                Err(CloudError::PathOfAuthority { setting: self.setting })
            }
            _ => Ok(&self.url),
        }
    }

    /// Returns its cloud.
    pub(crate) fn cloud(&self) -> Cloud {
        self.cloud.unwrap_or(Cloud::Custom)
    }

    /// Parses a URL or a bare host.
    fn parse(setting: &'static str, text: &str) -> Result<Self, CloudError> {
        let refuse = |found| CloudError::BadAuthority { setting, found };
        let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("https://{text}")) };
        let url = url.map_err(|_| refuse("but it is not a URL"))?;
        match url.scheme() {
            "https" => {}
            "http" => return Err(refuse("but it begins with http://, and secrets must not be sent without TLS")),
            _ => return Err(refuse("but it has another scheme, and secrets must not be sent without TLS")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("without user and password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("without query and fragment"));
        }
        let host = url.host_str().filter(|h| !h.is_empty()).ok_or_else(|| refuse("but it has no host"))?;
        let host = host.trim_end_matches('.');
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let path = url.path().strip_prefix('/').filter(|path| !path.is_empty());
        Ok(Self {
            url: format!("https://{host}{port}"),
            path: path.map(|path| path.strip_suffix('/').unwrap_or(path).to_owned()),
            cloud: Cloud::of_authority(host),
            setting,
        })
    }
}
