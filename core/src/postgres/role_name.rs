//! Reads the claims of a token: role name, principal, audience and times.
//!
//! The token is decoded but not verified: the database server verifies it. The claims are only used to choose a role
//! name, which the server then compares with the token's object id.
//!
//! Every rule of this module is a case of `tests/vectors/claims.json`, which all bindings run too.

use std::fmt;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Serialize;
use serde_json::{Map, Value};

/// The maximum size of a token that is decoded, in bytes. A server accepts at most 65,535 bytes, so this limit only
/// rejects invalid input.
pub const MAX_TOKEN_BYTES: usize = 1024 * 1024;

/// The maximum length of a role name in PostgreSQL, in bytes (`NAMEDATALEN - 1`).
pub const MAX_ROLE_BYTES: usize = 63;

/// The maximum length of an object, tenant or client id, in bytes. Real ids are GUIDs; longer values are ignored.
const MAX_ID_BYTES: usize = 128;

/// Why a token's claims could not be read. Messages do not repeat any part of the token.
///
/// All messages begin with the text that users of `azure-postgresql-auth` match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    /// The text has no second part, so it is not a JWT.
    #[error(
        "Invalid JWT token format: the credential returned {length} characters without a payload part, \
         where header.payload.signature was expected"
    )]
    NotAJwt {
        /// The length of the text in bytes.
        length: usize,
    },
    /// The payload is neither base64url nor standard base64.
    #[error("Invalid JWT token format: the payload is not base64url; the token was truncated or altered")]
    BadBase64,
    /// The payload is not JSON.
    #[error("Invalid JWT token format: the payload is not JSON; the token is encrypted, truncated or altered")]
    BadJson,
    /// The payload is JSON, but not an object.
    #[error("Invalid JWT token format: the payload is a JSON {found}, where an object was expected")]
    NotAnObject {
        /// The JSON type of the payload.
        found: &'static str,
    },
    /// The token is longer than [`MAX_TOKEN_BYTES`].
    #[error("Invalid JWT token format: the token has {length} bytes; at most {MAX_TOKEN_BYTES} are accepted")]
    TooLarge {
        /// The length of the token in bytes.
        length: usize,
    },
}

impl ClaimsError {
    /// Returns the stable name of the variant, as the vectors and the error detail spell it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotAJwt { .. } => "not_a_jwt",
            Self::BadBase64 => "bad_base64",
            Self::BadJson => "bad_json",
            Self::NotAnObject { .. } => "not_an_object",
            Self::TooLarge { .. } => "too_large",
        }
    }
}

/// Returns all claims of a token, unverified.
///
/// Accepts two parts or more, base64url or standard base64, with or without padding, and whitespace around the token.
/// If a key occurs twice, the last value is used, as in the JSON parsers of the other languages.
///
/// # Errors
/// [`ClaimsError`] if the text is not a readable JWT.
pub fn decode_jwt(token: &str) -> Result<Map<String, Value>, ClaimsError> {
    let token = token.trim();
    if token.len() > MAX_TOKEN_BYTES {
        return Err(ClaimsError::TooLarge { length: token.len() });
    }
    let payload = token.split('.').nth(1).ok_or(ClaimsError::NotAJwt { length: token.len() })?;
    let payload = decode_base64(payload).ok_or(ClaimsError::BadBase64)?;
    match serde_json::from_slice(&payload) {
        Ok(Value::Object(claims)) => Ok(claims),
        Ok(other) => Err(ClaimsError::NotAnObject { found: json_type(&other) }),
        Err(_) => Err(ClaimsError::BadJson),
    }
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    const ANY_LENGTH: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true);
    const LENIENT: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, ANY_LENGTH);
    let text = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    LENIENT.decode(text).ok()
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The claim that a role name was read from. The variants are in the order in which the claims are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleSource {
    /// The resource id of a managed identity, or of the resource that a system-assigned identity belongs to.
    XmsMirid,
    /// The user principal name.
    Upn,
    /// The user principal name in version 2.0 tokens.
    PreferredUsername,
    /// The display form of the user in version 1.0 tokens.
    UniqueName,
}

impl RoleSource {
    /// The order in which the claims are tried.
    pub const ALL: [Self; 4] = [Self::XmsMirid, Self::Upn, Self::PreferredUsername, Self::UniqueName];

    /// Returns the claim's key in the token.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::XmsMirid => "xms_mirid",
            Self::Upn => "upn",
            Self::PreferredUsername => "preferred_username",
            Self::UniqueName => "unique_name",
        }
    }
}

/// A role name read from a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoleName {
    /// The role name, never longer than [`MAX_ROLE_BYTES`].
    pub name: String,
    /// The claim that the name was read from.
    pub source: RoleSource,
}

/// The kind of principal that a token was issued to, as far as its claims show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A member of the tenant.
    User,
    /// A user of another tenant or of a Microsoft account.
    Guest,
    /// An application that signed in with a secret.
    ServicePrincipal,
    /// A managed identity that is its own resource.
    UserAssignedIdentity,
    /// The managed identity of one resource.
    SystemAssignedIdentity,
    /// A service principal or a managed identity: the token does not distinguish them.
    Application,
    /// The claims do not show the kind.
    Unknown,
}

impl PrincipalKind {
    /// Returns the stable name for statistics and vectors.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Guest => "guest",
            Self::ServicePrincipal => "service_principal",
            Self::UserAssignedIdentity => "user_assigned_identity",
            Self::SystemAssignedIdentity => "system_assigned_identity",
            Self::Application => "application",
            Self::Unknown => "unknown",
        }
    }

    /// Returns the type that a role for this principal must have on the server.
    pub fn role_type(self) -> RoleType {
        match self {
            Self::User | Self::Guest => RoleType::User,
            _ => RoleType::Service,
        }
    }
}

impl fmt::Display for PrincipalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Guest => "guest user",
            Self::ServicePrincipal => "service principal",
            Self::UserAssignedIdentity => "user-assigned managed identity",
            Self::SystemAssignedIdentity => "system-assigned managed identity",
            Self::Application => "service principal or managed identity",
            Self::Unknown => "principal of unknown kind",
        })
    }
}

/// The principal that a token was issued to. Missing or implausible claims are `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Principal {
    /// The kind of principal.
    pub kind: PrincipalKind,
    /// The object id, which the server compares with the role's security label.
    pub oid: Option<String>,
    /// The tenant id.
    pub tid: Option<String>,
    /// The client id of the application, or of the application that a user signed in with.
    pub appid: Option<String>,
    /// The value is `app` or `user`; it is usually missing in users' tokens.
    pub idtyp: Option<String>,
    /// The name claims in the token, usable or not, in the order in which they are tried.
    pub present: Vec<&'static str>,
}

/// The format is "user-assigned managed identity, object id ..., tenant ...".
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        for (label, id) in [("object id", &self.oid), ("client id", &self.appid), ("tenant", &self.tid)] {
            // The client id in a user's token is that of the sign-in client, which does not identify the user.
            if let Some(id) = id
                && !(label == "client id" && self.kind.role_type() == RoleType::User)
            {
                write!(f, ", {label} {id}")?;
            }
        }
        Ok(())
    }
}

/// The token's claims that the engine needs, read once when the token arrives. Contains no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    role_name: Option<RoleName>,
    principal: Principal,
    audience: Option<String>,
    expires_on: Option<i64>,
    not_before: Option<i64>,
    issued_at: Option<i64>,
}

impl Claims {
    /// Reads a token; see [`decode_jwt`]. A claim of the wrong JSON type counts as missing.
    ///
    /// # Errors
    /// [`ClaimsError`] if the text is not a readable JWT.
    pub fn decode(token: &str) -> Result<Self, ClaimsError> {
        Ok(Self::from_map(&decode_jwt(token)?))
    }

    fn from_map(claims: &Map<String, Value>) -> Self {
        let audience = match claims.get("aud") {
            Some(Value::Array(list)) => list.iter().find_map(Value::as_str),
            other => other.and_then(Value::as_str),
        };
        Self {
            role_name: role_name(claims),
            principal: principal(claims),
            audience: audience.map(str::to_owned),
            expires_on: seconds(claims, "exp"),
            not_before: seconds(claims, "nbf"),
            issued_at: seconds(claims, "iat"),
        }
    }

    /// Returns the role that the token's principal is most likely to log in as.
    pub fn role_name(&self) -> Option<RoleName> {
        self.role_name.clone()
    }

    /// Returns the principal that the token was issued to.
    pub fn principal(&self) -> Principal {
        self.principal.clone()
    }

    /// Returns the resource that the token is for: a URI (perhaps with a trailing slash) or an application id.
    pub fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    /// Returns the end of the token's validity, in seconds since 1970.
    pub fn expires_on(&self) -> Option<i64> {
        self.expires_on
    }

    /// Returns the start of the token's validity, in seconds since 1970.
    pub fn not_before(&self) -> Option<i64> {
        self.not_before
    }

    /// Returns when the token was issued, in seconds since 1970.
    pub fn issued_at(&self) -> Option<i64> {
        self.issued_at
    }
}

fn role_name(claims: &Map<String, Value>) -> Option<RoleName> {
    RoleSource::ALL.into_iter().find_map(|source| {
        let text = text(claims, source.as_str())?;
        let name = match source {
            RoleSource::XmsMirid => identity_name(text).filter(|name| !name.trim().is_empty())?,
            _ => text.to_owned(),
        };
        let name = clip_role(&name).to_owned();
        Some(RoleName { name, source })
    })
}

/// Returns the name under which `CREATE ROLE` stores a longer name.
///
/// The server truncates a login's user name after 63 bytes, even inside a character, while `CREATE ROLE` truncates
/// between characters. A long guest name must therefore be truncated before the login, in the same way as by `CREATE
/// ROLE`, so that it matches its role.
fn clip_role(name: &str) -> &str {
    let mut end = name.len().min(MAX_ROLE_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

fn principal(claims: &Map<String, Value>) -> Principal {
    let id = |key| text(claims, key).filter(|id| id.len() <= MAX_ID_BYTES).map(str::to_owned);
    let present = RoleSource::ALL
        .map(RoleSource::as_str)
        .into_iter()
        .filter(|key| claims.get(*key).is_some_and(|c| !c.is_null()));
    Principal {
        kind: principal_kind(claims),
        oid: id("oid"),
        tid: id("tid"),
        appid: id("appid").or_else(|| id("azp")),
        idtyp: id("idtyp"),
        present: present.collect(),
    }
}

fn principal_kind(claims: &Map<String, Value>) -> PrincipalKind {
    let text = |key| text(claims, key);
    let idtyp = text("idtyp");
    let is = |kind: &str| idtyp.is_some_and(|i| i.eq_ignore_ascii_case(kind));
    let delegated =
        text("scp").is_some() || [text("upn"), text("preferred_username"), text("unique_name")] != [None; 3];

    if !is("user")
        && let Some(identity) = text("xms_mirid").and_then(ResourceIdentity::parse)
    {
        return match identity {
            ResourceIdentity::UserAssigned(_) => PrincipalKind::UserAssignedIdentity,
            ResourceIdentity::SystemAssigned(_) => PrincipalKind::SystemAssignedIdentity,
        };
    }
    // In tokens from before `idtyp` was a default, an application's object id is also its subject, and there is no
    // user.
    let own_subject = text("oid").is_some() && text("oid") == text("sub");
    if is("app") || (idtyp.is_none() && !delegated && own_subject) {
        return match text("appidacr") {
            Some("1") => PrincipalKind::ServicePrincipal,
            _ => PrincipalKind::Application,
        };
    }
    if is("user") || (idtyp.is_none() && delegated) {
        return if is_guest(claims) { PrincipalKind::Guest } else { PrincipalKind::User };
    }
    PrincipalKind::Unknown
}

fn is_guest(claims: &Map<String, Value>) -> bool {
    let text = |key| text(claims, key);
    // `live.com#name` has the identity provider before the address. `name#EXT#@tenant` is the guest's object in the
    // tenant.
    let marked = ["upn", "preferred_username", "unique_name"].into_iter().filter_map(text).any(|n| n.contains('#'));
    // A member's token contains no identity provider, or the issuer itself.
    let home = [text("iss"), text("tid")];
    let foreign_idp = text("idp").is_some_and(|idp| !home.iter().flatten().any(|home| idp.contains(*home)));
    // The optional claim `acct` is 0 for a member, 1 for a guest.
    let account = claims.get("acct").and_then(Value::as_i64) == Some(1);
    marked || foreign_idp || account
}

/// Returns a string claim that can be shown and sent: not blank, and without control characters. A NUL would end the
/// name early in C, and a line break would forge log lines; real names and ids contain neither.
fn text<'a>(claims: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    let text = claims.get(key)?.as_str()?;
    (!text.trim().is_empty() && !text.contains(char::is_control)).then_some(text)
}

fn seconds(claims: &Map<String, Value>, key: &str) -> Option<i64> {
    let value = claims.get(key)?;
    // Beyond 2^53 a fraction is a rounding error, not a time.
    let fractional = || value.as_f64().filter(|s| s.abs() < 9_007_199_254_740_992.0).map(|s| s as i64);
    value.as_i64().or_else(fractional)
}

const USER_ASSIGNED: &str = "providers/Microsoft.ManagedIdentity/userAssignedIdentities";

/// Returns the name of the user-assigned identity in an `xms_mirid` claim, otherwise `None`.
///
/// This is the helper of the same name in Microsoft's Python package. For the role name of other resources see
/// [`identity_name`].
pub fn parse_principal_name(xms_mirid: &str) -> Option<String> {
    user_assigned_name(xms_mirid).map(str::to_owned)
}

/// Returns the role name of the managed identity in an `xms_mirid` claim.
///
/// The name is a user-assigned identity's own name, a system-assigned identity's resource, or `app/slots/slot` for a
/// deployment slot of a web app. Returns `None` for other nested resources, for which Entra's naming is unknown, and
/// for text that is not a resource id. Names are not percent-decoded, and their case is not changed.
pub fn identity_name(xms_mirid: &str) -> Option<String> {
    match ResourceIdentity::parse(xms_mirid)? {
        ResourceIdentity::UserAssigned(name) => Some(name.to_owned()),
        ResourceIdentity::SystemAssigned(name) => name,
    }
}

fn user_assigned_name(xms_mirid: &str) -> Option<&str> {
    let (beginning, name) = xms_mirid.rsplit_once('/')?;
    let tail = beginning.get(beginning.len().checked_sub(USER_ASSIGNED.len())?..)?;
    (!name.is_empty() && tail.eq_ignore_ascii_case(USER_ASSIGNED)).then_some(name)
}

enum ResourceIdentity<'a> {
    UserAssigned(&'a str),
    /// The name is absent if the resource is of a nested kind.
    SystemAssigned(Option<String>),
}

impl<'a> ResourceIdentity<'a> {
    fn parse(xms_mirid: &'a str) -> Option<Self> {
        if let Some(name) = user_assigned_name(xms_mirid) {
            return Some(Self::UserAssigned(name));
        }
        let segments: Vec<&str> = xms_mirid.strip_prefix('/')?.split('/').collect();
        if segments.iter().any(|s| s.trim().is_empty()) {
            return None;
        }
        let is = |segment: &str, word: &str| segment.eq_ignore_ascii_case(word);
        // A resource is in a resource group; a few kinds (policy assignments) are directly in the subscription.
        let resource = match segments.as_slice() {
            [s, _, g, _, p, rest @ ..] if is(s, "subscriptions") && is(g, "resourceGroups") && is(p, "providers") => {
                rest
            }
            [s, _, p, rest @ ..] if is(s, "subscriptions") && is(p, "providers") => rest,
            _ => return None,
        };
        match resource {
            // This is a user-assigned identity that was not accepted above, or a resource inside one. It is not a
            // system-assigned identity.
            [provider, ..] if is(provider, "Microsoft.ManagedIdentity") => None,
            [_, _, name] => Some(Self::SystemAssigned(Some((*name).to_owned()))),
            [provider, kind, app, slots, slot]
                if is(provider, "Microsoft.Web") && is(kind, "sites") && is(slots, "slots") =>
            {
                Some(Self::SystemAssigned(Some(format!("{app}/slots/{slot}"))))
            }
            [_, _, _, _, ..] => Some(Self::SystemAssigned(None)),
            _ => None,
        }
    }
}

/// The result of the lookup of a role name in a management token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum Management {
    /// The lookup is turned off.
    NotAsked,
    /// There was no management token, or it was for another principal.
    Failed,
    /// The token contains no name.
    Nameless,
}

/// Explains why a role name could not be found, so that the user can pass one. The text is one line and never empty.
///
/// `management_tried`: a management-scope token was requested, and did not contain a name either.
#[doc(hidden)]
pub fn explain_missing_name(principal: &Principal, management: Management) -> String {
    let claims = match principal.present.as_slice() {
        [] => {
            let names = RoleSource::ALL.map(RoleSource::as_str).join(", ");
            format!("has none of the claims {names}")
        }
        present => format!("has no usable name in {}", present.join(", ")),
    };
    let management = match management {
        Management::Nameless => "a management-scope token has no usable name either",
        Management::Failed => "a management-scope token could not be obtained",
        Management::NotAsked => "no management-scope token was requested",
    };
    let role = match principal.kind {
        PrincipalKind::User => "the user principal name, or the name of a group",
        PrincipalKind::Guest => "the full name_home.com#EXT#@tenant.onmicrosoft.com, or the name of a group",
        PrincipalKind::SystemAssignedIdentity => "the name of the resource, as displayed in Entra",
        PrincipalKind::UserAssignedIdentity => "the name of the identity",
        PrincipalKind::ServicePrincipal | PrincipalKind::Application | PrincipalKind::Unknown => {
            "the display name in Entra, or the name of a group"
        }
    };
    format!(
        "Could not determine username from token claims: the token {claims}, and {management}. \
         Token of: {principal}. Pass its PostgreSQL role ({role}) to the connection, in PGUSER or as the fallback user name."
    )
}

/// The kind of Entra principal that a role on the server is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoleType {
    /// A user or guest.
    User,
    /// A group, whose members log in under its name.
    Group,
    /// A service principal or managed identity.
    Service,
}

impl RoleType {
    /// Returns the word for the type in `pgaadauth_create_principal_with_oid` and in the security label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Service => "service",
        }
    }
}

/// Returns the statement that creates a role for a principal. An Entra administrator must run it in database
/// `postgres`.
pub fn create_role_statement(role: &str, oid: &str, role_type: RoleType) -> String {
    format!(
        "select * from pgaadauth_create_principal_with_oid({}, {}, '{}', false, false);",
        sql_literal(role),
        sql_literal(oid),
        role_type.as_str()
    )
}

/// Quotes a text as the server's `quote_literal` does. The result is correct under either setting of
/// `standard_conforming_strings`.
pub(crate) fn sql_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}
