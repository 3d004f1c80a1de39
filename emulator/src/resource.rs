//! The resources that tokens are for, in each cloud.

/// The kind of the requested resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// Azure Database for PostgreSQL, in any cloud.
    Database,
    /// Azure Resource Manager, in any cloud.
    Management,
    /// Any other resource.
    Other,
}

/// The database resource of the public cloud.
pub const DATABASE: &str = "https://ossrdbms-aad.database.windows.net";
/// The management resource of the public cloud.
pub const MANAGEMENT: &str = "https://management.azure.com";

const DATABASES: [&str; 4] = [
    DATABASE,
    "https://ossrdbms-aad.database.usgovcloudapi.net",
    "https://ossrdbms-aad.database.chinacloudapi.cn",
    // This is the application id of the same resource, which is a separate audience.
    "123cd850-d9df-40bd-94d5-c9f07b7fa203",
];
const MANAGEMENTS: [&str; 5] = [
    MANAGEMENT,
    "https://management.core.windows.net",
    "https://management.usgovcloudapi.net",
    "https://management.core.usgovcloudapi.net",
    "https://management.chinacloudapi.cn",
];

impl ResourceKind {
    /// Returns the kind of a resource or audience, with or without a trailing slash.
    pub fn of(resource: &str) -> Self {
        let resource = resource.strip_suffix('/').unwrap_or(resource);
        let is_in = |known: &[&str]| known.iter().any(|known| known.eq_ignore_ascii_case(resource));
        if is_in(&DATABASES) {
            Self::Database
        } else if is_in(&MANAGEMENTS) {
            Self::Management
        } else {
            Self::Other
        }
    }
}

/// Expands the short names `database` and `management` to the public cloud's resources. Other resources are returned
/// unchanged.
pub fn expand(resource: &str) -> &str {
    match resource {
        "database" => DATABASE,
        "management" => MANAGEMENT,
        other => other,
    }
}
