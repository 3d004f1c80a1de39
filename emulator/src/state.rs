//! The state that all parts of the emulator share: the directory, the faults, the keys, the clock and the log of
//! requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::claims::{self, Validity};
use crate::config::{AzurePipelines, Config, Identities};
use crate::fault::{Fault, Shape};
use crate::jwt::{self, Claims, KeySet, NewKey, Signing, TokenError};
pub use crate::principal::{FederatedCredential, Principal, PrincipalKind, Role, RoleKind, RoleSetting};
use crate::request_log::RequestLog;
use crate::resource::{self, ResourceKind};

/// The state that all endpoints and the PostgreSQL proxy share. All methods can be called from any thread at any time.
pub struct State {
    directory: Mutex<Directory>,
    keys: RwLock<KeySet>,
    /// The log of all requests.
    pub requests: RequestLog,
    fault_changes: watch::Sender<u64>,
}

struct Directory {
    config: Config,
    principals: Vec<Arc<Principal>>,
    faults: Vec<ArmedFault>,
    next_fault_id: u64,
    last_tokens: HashMap<(String, String), IssuedToken>,
}

struct ArmedFault {
    fault: Fault,
    to_skip: u64,
    left: Option<u64>,
}

/// A token, and the values that an endpoint sends with it.
#[derive(Clone, Debug)]
pub(crate) struct IssuedToken {
    pub(crate) access_token: String,
    pub(crate) not_before: i64,
    pub(crate) expires_on: i64,
    /// The remaining lifetime in seconds when it was issued.
    pub(crate) expires_in: i64,
    pub(crate) lifetime: i64,
}

/// The token that [`State::mint`] creates. If only the principal is set, it is the principal's usual token.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MintRequest {
    /// The principal's name, client id or object id.
    pub principal: String,
    /// The audience: `database` (the default), `management`, or a resource.
    pub audience: Option<String>,
    /// Seconds from now to `exp`; can be negative. The default is that of the token settings.
    pub lifetime_s: Option<i64>,
    /// Seconds from now to `nbf`, 0 by default (`iat` is the same).
    pub not_before_s: i64,
    /// The tenant in both `tid` and `iss`.
    pub tenant_id: Option<String>,
    /// Whether a managed identity's database token contains its name.
    pub named: Option<bool>,
    /// Claims that override the usual ones; `null` removes a claim.
    pub claims: Map<String, Value>,
    /// Whether the token is signed by a key that the service does not have.
    pub forged: bool,
    /// Whether the token is not signed (`alg` = `none`).
    pub unsigned: bool,
    /// Creates a workload's assertion with this subject instead of an access token.
    pub federated: Option<FederatedCredential>,
}

/// A token that [`State::mint`] created.
#[derive(Clone, Debug, Serialize)]
pub struct Minted {
    /// The JWT.
    pub token: String,
    /// The `exp`, in seconds since 1970.
    pub expires_on: i64,
    /// All claims.
    pub claims: Map<String, Value>,
}

/// The error for a request that the state refuses. Its text has the reason.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StateError(pub(crate) String);

impl State {
    /// Creates the state.
    ///
    /// # Errors
    /// Fails if two principals share a name or an id, or if a name in the configuration is not a principal's.
    pub fn new(config: Config, keys: KeySet) -> Result<Self, StateError> {
        let state = Self {
            directory: Mutex::new(Directory {
                config: Config { principals: Vec::new(), faults: Vec::new(), ..config.clone() },
                principals: Vec::new(),
                faults: Vec::new(),
                next_fault_id: 1,
                last_tokens: HashMap::new(),
            }),
            keys: RwLock::new(keys),
            requests: RequestLog::default(),
            fault_changes: watch::Sender::new(0),
        };
        state.configure(config)?;
        Ok(state)
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // The configuration.

    /// Returns the current configuration, including faults.
    pub fn config(&self) -> Config {
        self.directory().config()
    }

    /// Replaces everything except keys and log.
    ///
    /// # Errors
    /// Those of [`State::new`]; the state is then unchanged.
    pub fn configure(&self, config: Config) -> Result<(), StateError> {
        check(&config)?;
        let mut directory = self.directory();
        directory.principals = config.principals.iter().cloned().map(Arc::new).collect();
        directory.config = Config { principals: Vec::new(), faults: Vec::new(), ..config.clone() };
        directory.last_tokens.clear();
        directory.faults.clear();
        for fault in config.faults {
            directory.arm(fault);
        }
        drop(directory);
        self.announce_fault_change();
        Ok(())
    }

    /// Returns the id of the emulated tenant.
    pub fn tenant_id(&self) -> String {
        self.directory().config.tenant_id.clone()
    }

    pub(crate) fn azure_pipelines(&self) -> AzurePipelines {
        self.directory().config.azure_pipelines.clone()
    }

    pub(crate) fn identities(&self, of: impl FnOnce(&Config) -> &Identities) -> Identities {
        of(&self.directory().config).clone()
    }

    pub(crate) fn knows_tenant(&self, tenant: &str) -> bool {
        let directory = self.directory();
        let mut names = std::iter::once(&directory.config.tenant_id).chain(&directory.config.tenant_domains);
        names.any(|name| name.eq_ignore_ascii_case(tenant))
    }

    pub(crate) fn knows_resource(&self, resource: &str) -> bool {
        let directory = self.directory();
        let bare = resource.strip_suffix('/').unwrap_or(resource);
        ResourceKind::of(resource) != ResourceKind::Other
            || directory.config.resources.iter().any(|known| known.trim_end_matches('/').eq_ignore_ascii_case(bare))
            || directory.principals.iter().any(|principal| {
                principal.kind.is_app() && (bare.strip_prefix("api://").unwrap_or(bare) == principal.appid)
            })
    }

    // The directory.

    /// Returns all principals, in the order of the configuration.
    pub fn principals(&self) -> Vec<Arc<Principal>> {
        self.directory().principals.clone()
    }

    /// Returns the principal with this name, client id (applications only) or object id.
    pub fn principal(&self, name_or_id: &str) -> Option<Arc<Principal>> {
        let directory = self.directory();
        directory.principals.iter().find(|principal| names(principal).contains(&name_or_id)).cloned()
    }

    /// Returns the principal with this object id.
    pub fn principal_by_oid(&self, oid: &str) -> Option<Arc<Principal>> {
        self.directory().principals.iter().find(|principal| principal.oid == oid).cloned()
    }

    /// Returns whether the first object is a member of the second, which is a group.
    pub fn is_member(&self, member_oid: &str, group_oid: &str) -> bool {
        match (self.principal_by_oid(member_oid), self.principal_by_oid(group_oid)) {
            (Some(member), Some(group)) => group.kind == PrincipalKind::Group && member.groups.contains(&group.name),
            _ => false,
        }
    }

    /// Adds a principal, or replaces the one of the same name.
    ///
    /// # Errors
    /// Fails if another principal has one of its ids.
    pub fn put_principal(&self, principal: Principal) -> Result<(), StateError> {
        let mut directory = self.directory();
        let mut config = directory.config();
        match config.principals.iter_mut().find(|known| known.name == principal.name) {
            Some(known) => *known = principal,
            None => config.principals.push(principal),
        }
        check(&config)?;
        directory.principals = config.principals.into_iter().map(Arc::new).collect();
        // Tokens that are kept for `same_token` have the principals' old properties.
        directory.last_tokens.clear();
        Ok(())
    }

    // Faults and token settings.

    /// Adds a fault and returns its id.
    pub fn add_fault(&self, fault: Fault) -> u64 {
        let id = self.directory().arm(Fault { id: 0, ..fault });
        self.announce_fault_change();
        id
    }

    /// Removes one fault, or all. Requests that a black hole keeps waiting are dropped.
    pub fn clear_faults(&self, id: Option<u64>) {
        self.directory().faults.retain(|armed| id.is_some_and(|id| armed.fault.id != id));
        self.announce_fault_change();
    }

    /// Returns the faults that are still active, with the rest of `after` and `times`.
    pub fn faults(&self) -> Vec<Fault> {
        self.directory().faults()
    }

    /// Returns the fault for this request, if any, and counts it.
    pub(crate) fn take_fault(
        &self,
        endpoint: &str,
        principal: Option<&Principal>,
        resource: Option<&str>,
    ) -> Option<Fault> {
        let names = principal.map(names).unwrap_or_default();
        for armed in &mut self.directory().faults {
            if armed.left == Some(0) || !armed.fault.fits(endpoint, &names, resource) {
                continue;
            }
            if armed.to_skip > 0 {
                armed.to_skip -= 1;
                continue;
            }
            armed.left = armed.left.map(|left| left - 1);
            return Some(armed.fault.clone());
        }
        None
    }

    pub(crate) fn has_fault(&self, id: u64) -> bool {
        self.directory().faults.iter().any(|armed| armed.fault.id == id)
    }

    /// Returns a receiver that changes when faults are added or removed.
    pub(crate) fn fault_change(&self) -> watch::Receiver<u64> {
        self.fault_changes.subscribe()
    }

    fn announce_fault_change(&self) {
        self.fault_changes.send_modify(|changes| *changes += 1);
    }

    /// Returns the properties of all tokens and responses.
    pub fn token_settings(&self) -> Shape {
        self.directory().config.tokens.clone()
    }

    /// Replaces the properties of all tokens and responses.
    pub fn set_token_settings(&self, settings: Shape) {
        self.directory().config.tokens = settings;
    }

    // The clock.

    /// Returns the time in seconds since 1970 by the service's clock, which is `clock_skew_s` ahead of this machine's.
    pub fn now(&self) -> i64 {
        now_with(&self.token_settings())
    }

    // Keys and tokens.

    /// Creates a new signing key. With `retire_old`, tokens signed before are refused from now on. This takes a few
    /// tenths of a second of processor time.
    pub fn rotate_keys(&self, retire_old: bool) -> String {
        let key = NewKey::generate();
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.rotate(key, retire_old);
        keys.current_key_id().to_owned()
    }

    pub(crate) fn jwks(&self, issuer: &str) -> Value {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).jwks(issuer)
    }

    /// Verifies an access token as the database server does, by the service's clock.
    ///
    /// # Errors
    /// See [`jwt::verify`].
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let (tenant_id, now) = (self.tenant_id(), self.now());
        jwt::verify(&self.keys.read().unwrap_or_else(PoisonError::into_inner), &tenant_id, token, now)
    }

    pub(crate) fn has_key(&self, id: &str) -> bool {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).has_key(id)
    }

    /// Returns whether one of the published keys signed this token (see [`MintRequest::federated`]).
    pub(crate) fn signed_here(&self, token: &str) -> bool {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).verified_claims(token).is_ok()
    }

    fn sign(&self, claims: &Map<String, Value>, signing: Signing) -> String {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).sign(claims, signing)
    }

    /// Issues a token as an endpoint does.
    pub(crate) fn issue(&self, principal: &Principal, resource: &str, shape: &Shape) -> IssuedToken {
        self.issue_with(principal, resource, shape, Map::new())
    }

    /// Issues an application's own token, with the claims about its request.
    pub(crate) fn issue_to(
        &self,
        application: &Principal,
        request_claims: Map<String, Value>,
        resource: &str,
        shape: &Shape,
    ) -> IssuedToken {
        self.issue_with(application, resource, shape, request_claims)
    }

    /// Issues a user's token to an application.
    pub(crate) fn issue_on_behalf_of(
        &self,
        user: &Principal,
        application: &Principal,
        mut request_claims: Map<String, Value>,
        resource: &str,
        scope: &str,
        shape: &Shape,
    ) -> IssuedToken {
        request_claims.insert("appid".into(), application.appid.clone().into());
        request_claims.insert("scp".into(), scope.into());
        self.issue_with(user, resource, shape, request_claims)
    }

    /// Issues an assertion with which a workload authenticates.
    pub(crate) fn assertion(&self, federated: &FederatedCredential, shape: &Shape) -> String {
        let now = now_with(shape);
        let validity = Validity { issued_at: now, not_before: now, expires_on: now + 600 };
        self.sign(&assertion(federated, validity), Signing::Current)
    }

    fn issue_with(
        &self,
        principal: &Principal,
        resource: &str,
        shape: &Shape,
        extra: Map<String, Value>,
    ) -> IssuedToken {
        let now = now_with(shape);
        let key = (principal.name.clone(), format!("{resource} {}", Value::Object(extra.clone())));
        if shape.same_token == Some(true)
            && let Some(last) = self.directory().last_tokens.get(&key)
        {
            return IssuedToken { expires_in: last.expires_on - now, ..last.clone() };
        }
        let lifetime = shape.lifetime_s.unwrap_or_else(|| usual_lifetime(principal.kind));
        // Real tokens are valid from five minutes before their issue, but `expires_in` counts from the issue.
        let validity = Validity { issued_at: now - 300, not_before: now - 300, expires_on: now + lifetime };
        let named = principal.named_database_token.or(shape.named_database_tokens).unwrap_or(false);
        let mut claims = claims::of(principal, &self.tenant_id(), resource, named, validity);
        for (name, value) in extra {
            // A principal's own claims take precedence over all others.
            if !principal.claims.contains_key(&name) {
                claims.insert(name, value);
            }
        }
        let issued = IssuedToken {
            access_token: self.sign(&claims, Signing::Current),
            not_before: validity.not_before,
            expires_on: validity.expires_on,
            expires_in: lifetime,
            lifetime,
        };
        self.directory().last_tokens.insert(key, issued.clone());
        issued
    }

    /// Creates a token, valid or invalid, without an endpoint.
    ///
    /// # Errors
    /// Fails if the principal does not exist, or is a group.
    pub fn mint(&self, request: &MintRequest) -> Result<Minted, StateError> {
        let principal = self
            .principal(&request.principal)
            .ok_or_else(|| StateError(format!("there is no principal {:?}", request.principal)))?;
        if principal.kind == PrincipalKind::Group {
            return Err(StateError(format!("{:?} is a group: its members sign in, not the group", principal.name)));
        }
        let settings = self.token_settings();
        let now = now_with(&settings);
        let lifetime = request.lifetime_s.or(settings.lifetime_s).unwrap_or_else(|| usual_lifetime(principal.kind));
        let not_before = now + request.not_before_s;
        let validity = Validity { issued_at: not_before, not_before, expires_on: now + lifetime };
        let mut claims = match &request.federated {
            Some(federated) => assertion(federated, validity),
            None => {
                let audience = resource::expand(request.audience.as_deref().unwrap_or(resource::DATABASE));
                let named = request.named.or(principal.named_database_token).or(settings.named_database_tokens);
                let tenant_id = request.tenant_id.clone().unwrap_or_else(|| self.tenant_id());
                let home =
                    Principal { tid: request.tenant_id.clone().or(principal.tid.clone()), ..(*principal).clone() };
                claims::of(&home, &tenant_id, audience, named.unwrap_or(false), validity)
            }
        };
        claims.extend(request.claims.clone());
        claims.retain(|_, value| !value.is_null());
        let signing = match request {
            MintRequest { unsigned: true, .. } => Signing::Unsigned,
            MintRequest { forged: true, .. } => Signing::Forged,
            _ => Signing::Current,
        };
        Ok(Minted { token: self.sign(&claims, signing), expires_on: validity.expires_on, claims })
    }
}

impl Directory {
    fn config(&self) -> Config {
        Config {
            principals: self.principals.iter().map(|principal| (**principal).clone()).collect(),
            faults: self.faults(),
            ..self.config.clone()
        }
    }

    fn faults(&self) -> Vec<Fault> {
        let left = |armed: &ArmedFault| Fault { after: armed.to_skip, times: armed.left, ..armed.fault.clone() };
        self.faults.iter().filter(|armed| armed.left != Some(0)).map(left).collect()
    }

    /// Activates a fault. A fault with an id keeps it, because it was active before.
    fn arm(&mut self, fault: Fault) -> u64 {
        let id = if fault.id == 0 { self.next_fault_id } else { fault.id };
        self.next_fault_id = self.next_fault_id.max(id.saturating_add(1));
        self.faults.push(ArmedFault { to_skip: fault.after, left: fault.times, fault: Fault { id, ..fault } });
        id
    }
}

pub(crate) fn now_with(shape: &Shape) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX).saturating_add(shape.clock_skew_s.unwrap_or(0))
}

fn usual_lifetime(kind: PrincipalKind) -> i64 {
    if kind.is_managed_identity() { 86_400 } else { 3_600 }
}

/// Returns the claims of a Kubernetes service account's token.
fn assertion(federated: &FederatedCredential, validity: Validity) -> Map<String, Value> {
    let mut claims = Map::new();
    claims.insert("iss".into(), federated.issuer.clone().into());
    claims.insert("sub".into(), federated.subject.clone().into());
    claims.insert("aud".into(), vec![federated.audience.clone()].into());
    claims.insert("iat".into(), validity.issued_at.into());
    claims.insert("nbf".into(), validity.not_before.into());
    claims.insert("exp".into(), validity.expires_on.into());
    claims
}

/// Returns all names of a principal. The client id of users is left out, because users of the same program share it.
fn names(principal: &Principal) -> Vec<&str> {
    let mut names = vec![principal.name.as_str(), principal.oid.as_str()];
    if principal.kind.is_app() {
        names.push(&principal.appid);
    }
    names
}

fn check(config: &Config) -> Result<(), StateError> {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for principal in &config.principals {
        let mut names = names(principal);
        // A managed identity can have the same id for both of its objects.
        names.sort_unstable();
        names.dedup();
        for name in names {
            if let Some(other) = seen.insert(name, &principal.name) {
                return Err(StateError(format!(
                    "principals {other:?} and {:?} are both called {name:?}",
                    principal.name
                )));
            }
        }
        for group in &principal.groups {
            let is_group = |known: &Principal| known.name == *group && known.kind == PrincipalKind::Group;
            if !config.principals.iter().any(is_group) {
                return Err(StateError(format!(
                    "{:?} is in group {group:?}, which is not in the tenant",
                    principal.name
                )));
            }
        }
    }
    let places = [
        ("imds", &config.imds),
        ("app_service", &config.app_service),
        ("azure_arc", &config.azure_arc),
        ("service_fabric", &config.service_fabric),
        ("azure_ml", &config.azure_ml),
    ];
    for (place, identities) in places {
        for name in identities.default.iter().chain(identities.assigned.iter().flatten()) {
            let is_identity = |known: &Principal| known.name == *name && known.kind.is_managed_identity();
            // A configuration that lists its own principals and no identities still contains the names of the default
            // configuration.
            let is_of_default_world = matches!(name.as_str(), "app-mi" | "vm-prod") && identities.assigned.is_none();
            if !config.principals.iter().any(is_identity) && !is_of_default_world {
                return Err(StateError(format!("{place}: there is no managed identity {name:?}")));
            }
        }
    }
    Ok(())
}
