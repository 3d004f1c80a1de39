//! Principals that can sign in: users, guests, groups, service principals and managed identities, with their database
//! roles.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::certificate::{Certificate, TrustedSubject};
use crate::ids;

/// The kind of directory object. It decides the claims of its tokens and the type of its database role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A member of the tenant; tokens contain `upn`.
    User,
    /// A user of another directory; tokens do not contain `upn`.
    Guest,
    /// A group. It does not sign in itself; its members log in to the database under its name with their own tokens.
    Group,
    /// An application with a secret, a certificate or federated credentials.
    ServicePrincipal,
    /// A managed identity that is its own resource.
    UserAssigned,
    /// The managed identity of one resource, such as a virtual machine.
    SystemAssigned,
}

impl PrincipalKind {
    /// Returns whether tokens of this kind are app-only (`idtyp` = `app`).
    pub fn is_app(self) -> bool {
        matches!(self, Self::ServicePrincipal | Self::UserAssigned | Self::SystemAssigned)
    }

    /// Returns whether managed identity endpoints issue tokens for this kind.
    pub fn is_managed_identity(self) -> bool {
        matches!(self, Self::UserAssigned | Self::SystemAssigned)
    }

    /// Returns the type of its database role in the security label.
    pub fn role_kind(self) -> RoleKind {
        match self {
            Self::User | Self::Guest => RoleKind::User,
            Self::Group => RoleKind::Group,
            Self::ServicePrincipal | Self::UserAssigned | Self::SystemAssigned => RoleKind::Service,
        }
    }
}

/// The type of a database role in its security label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleKind {
    /// Users and guests.
    User,
    /// A group, whose members log in under its name.
    Group,
    /// Service principals and managed identities.
    Service,
}

impl RoleKind {
    /// Returns the word in `aadauth` labels and in `pgaadauth_create_principal_with_oid`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Service => "service",
        }
    }
}

/// The database role that is created for a principal when the emulator starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Role {
    /// The role name, case-sensitive.
    pub name: String,
    /// The type in the security label.
    pub kind: RoleKind,
    /// The object id in the security label.
    pub oid: String,
    /// Whether the role is a Microsoft Entra administrator of the server (it can create principals).
    pub admin: bool,
}

/// The form of a principal's `role` in a configuration: `true` (the default), `false`, a name, or a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RoleSetting {
    /// With `true`, a role with the default name; with `false`, no role.
    Wanted(bool),
    /// A role of this name.
    Named(String),
    /// A role with all its properties.
    Detailed {
        /// The role name; the default one if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The type in the security label; that of the principal's kind if left out. A wrong type is for tests of its
        /// refusal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<RoleKind>,
        /// Whether the role is an administrator of the server.
        #[serde(default)]
        admin: bool,
    },
}

impl Default for RoleSetting {
    fn default() -> Self {
        Self::Wanted(true)
    }
}

/// The claims that a workload identity assertion must contain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederatedCredential {
    /// The assertion's `iss`.
    pub issuer: String,
    /// The assertion's `sub`, case-sensitive.
    pub subject: String,
    /// The assertion's `aud`.
    #[serde(default = "FederatedCredential::default_audience")]
    pub audience: String,
}

impl FederatedCredential {
    /// The audience that workload identity federation requires in the public cloud.
    pub const DEFAULT_AUDIENCE: &'static str = "api://AzureADTokenExchange";

    fn default_audience() -> String {
        Self::DEFAULT_AUDIENCE.into()
    }
}

/// A directory object. Ids that are left out of a configuration are derived from the name, so they are the same at
/// every start.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "PrincipalDocument")]
pub struct Principal {
    /// The display name; for users the user principal name.
    pub name: String,
    /// The kind.
    pub kind: PrincipalKind,
    /// The object id.
    pub oid: String,
    /// The application (client) id; for users, that of the program that they signed in with.
    pub appid: String,
    /// The secret with which this client authenticates at the token endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// The home tenant, if it is not the emulator's. Tokens are then from the wrong tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tid: Option<String>,
    /// The `upn` claim. For users it is their name by default; for other kinds it is absent by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upn: Option<String>,
    /// The names of the groups that it is a member of.
    pub groups: Vec<String>,
    /// Assertions of other issuers that are accepted instead of a secret. If empty, every valid assertion is accepted.
    pub federated_credentials: Vec<FederatedCredential>,
    /// Certificates whose keys sign the application's own assertions.
    pub certificates: Vec<Certificate>,
    /// Certificate authorities that can issue such certificates for a subject.
    pub trusted_subjects: Vec<TrustedSubject>,
    /// Whether on-behalf-of requests need a token from a sign-in with a second factor (its `amr`). Without it they are
    /// refused with a claims challenge, with which the user signs in again.
    pub requires_mfa: bool,
    /// The `xms_mirid` of a managed identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xms_mirid: Option<String>,
    /// The `xms_az_rid`: the resource that a user-assigned identity is used from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xms_az_rid: Option<String>,
    /// Whether database tokens contain `xms_mirid`; real ones do not. Overrides `named_database_tokens` of the token
    /// settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub named_database_token: Option<bool>,
    /// The database role.
    pub role: RoleSetting,
    /// Claims that override those of its kind, in every token; `null` removes a claim.
    pub claims: Map<String, Value>,
}

impl Principal {
    /// Creates a principal with default values.
    pub fn new(name: &str, kind: PrincipalKind) -> Self {
        PrincipalDocument { name: name.into(), kind, ..PrincipalDocument::empty() }.complete()
    }

    /// Returns the database role to create; `None` if the principal has no role.
    pub fn role(&self) -> Option<Role> {
        let usual_kind = self.kind.role_kind();
        let (name, kind, admin) = match &self.role {
            RoleSetting::Wanted(false) => return None,
            RoleSetting::Wanted(true) => (self.name.clone(), usual_kind, false),
            RoleSetting::Named(name) => (name.clone(), usual_kind, false),
            RoleSetting::Detailed { name, kind, admin } => {
                (name.clone().unwrap_or_else(|| self.name.clone()), kind.unwrap_or(usual_kind), *admin)
            }
        };
        Some(Role { name, kind, oid: self.oid.clone(), admin })
    }
}

/// A principal in a configuration, where nearly every field can be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrincipalDocument {
    name: String,
    kind: PrincipalKind,
    oid: Option<String>,
    appid: Option<String>,
    client_secret: Option<String>,
    tid: Option<String>,
    upn: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    federated_credentials: Vec<FederatedCredential>,
    #[serde(default)]
    certificates: Vec<Certificate>,
    #[serde(default)]
    trusted_subjects: Vec<TrustedSubject>,
    #[serde(default)]
    requires_mfa: bool,
    xms_mirid: Option<String>,
    xms_az_rid: Option<String>,
    named_database_token: Option<bool>,
    #[serde(default)]
    role: RoleSetting,
    #[serde(default)]
    claims: Map<String, Value>,
}

impl PrincipalDocument {
    fn empty() -> Self {
        Self {
            name: String::new(),
            kind: PrincipalKind::User,
            oid: None,
            appid: None,
            client_secret: None,
            tid: None,
            upn: None,
            groups: Vec::new(),
            federated_credentials: Vec::new(),
            certificates: Vec::new(),
            trusted_subjects: Vec::new(),
            requires_mfa: false,
            xms_mirid: None,
            xms_az_rid: None,
            named_database_token: None,
            role: RoleSetting::default(),
            claims: Map::new(),
        }
    }

    fn complete(self) -> Principal {
        let name = self.name;
        let appid = self.appid.unwrap_or_else(|| {
            if self.kind.is_app() { ids::derived(&format!("appid:{name}")) } else { AZURE_CLI_CLIENT_ID.into() }
        });
        let xms_mirid = self.xms_mirid.or_else(|| default_resource_id(self.kind, &name));
        let xms_az_rid = self.xms_az_rid.or_else(|| {
            (self.kind == PrincipalKind::UserAssigned)
                .then(|| format!("{RESOURCE_GROUP}/Microsoft.App/containerApps/shop"))
        });
        Principal {
            oid: self.oid.unwrap_or_else(|| ids::derived(&format!("oid:{name}"))),
            upn: self.upn.or_else(|| (self.kind == PrincipalKind::User).then(|| name.clone())),
            appid,
            xms_mirid,
            xms_az_rid,
            name,
            kind: self.kind,
            client_secret: self.client_secret,
            tid: self.tid,
            groups: self.groups,
            federated_credentials: self.federated_credentials,
            certificates: self.certificates,
            trusted_subjects: self.trusted_subjects,
            requires_mfa: self.requires_mfa,
            named_database_token: self.named_database_token,
            role: self.role,
            claims: self.claims,
        }
    }
}

impl TryFrom<PrincipalDocument> for Principal {
    type Error = String;

    fn try_from(document: PrincipalDocument) -> Result<Self, String> {
        if document.name.is_empty() {
            return Err("a principal's name is empty".into());
        }
        Ok(document.complete())
    }
}

/// The public client of the Azure CLI, with which users sign in.
const AZURE_CLI_CLIENT_ID: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";

/// The resource group. `resourcegroups` is lower-case in real claims.
const RESOURCE_GROUP: &str = "/subscriptions/99999999-0000-0000-0000-0000000000a5/resourcegroups/emulator/providers";

fn default_resource_id(kind: PrincipalKind, name: &str) -> Option<String> {
    let resource = match kind {
        PrincipalKind::UserAssigned => format!("Microsoft.ManagedIdentity/userAssignedIdentities/{name}"),
        PrincipalKind::SystemAssigned => match name.split_once("/slots/") {
            Some((site, slot)) => format!("Microsoft.Web/sites/{site}/slots/{slot}"),
            None => format!("Microsoft.Compute/virtualMachines/{name}"),
        },
        _ => return None,
    };
    Some(format!("{RESOURCE_GROUP}/{resource}"))
}
