//! What tokens are for: the resources of each cloud.

/// The resource that a token is asked for, by what the emulator does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// Azure Database for PostgreSQL, in any cloud.
    Database,
    /// Azure Resource Manager, in any cloud.
    Management,
    /// Anything else.
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
    // The application id of the same resource, which is an audience of its own.
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
    /// The kind of a resource or audience, with or without a trailing slash.
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

/// `database` and `management` as short names for the public cloud's resources; anything else as it is.
pub fn expand(resource: &str) -> &str {
    match resource {
        "database" => DATABASE,
        "management" => MANAGEMENT,
        other => other,
    }
}
