//! The claims of an access token, by kind of principal and by audience, as captured from the service (v1 tokens).

use serde_json::{Map, Value, json};

use crate::ids;
use crate::jwt::issuer_of;
use crate::principal::{Principal, PrincipalKind};
use crate::resource::ResourceKind;

/// The time in which a token is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    pub(crate) issued_at: i64,
    pub(crate) not_before: i64,
    pub(crate) expires_on: i64,
}

/// How an application authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientAuthentication {
    Secret,
    /// With an assertion: of its certificate, or a federated one.
    Assertion,
}

impl ClientAuthentication {
    /// Returns the value of `appidacr`.
    pub(crate) fn as_appidacr(self) -> &'static str {
        match self {
            Self::Secret => "1",
            Self::Assertion => "2",
        }
    }
}

/// Returns the claims. `named` decides whether a managed identity's database token contains its name.
pub(crate) fn of(
    principal: &Principal,
    tenant_id: &str,
    audience: &str,
    named: bool,
    validity: Validity,
) -> Map<String, Value> {
    let tid = principal.tid.as_deref().unwrap_or(tenant_id);
    let mut claims = object(json!({
        "aud": audience,
        "iss": issuer_of(tid),
        "iat": validity.issued_at,
        "nbf": validity.not_before,
        "exp": validity.expires_on,
        "aio": ids::secret(),
        "appid": principal.appid,
        "oid": principal.oid,
        "rh": "1.AAAA.",
        "tid": tid,
        "uti": ids::secret(),
        "ver": "1.0",
    }));
    claims.extend(match principal.kind {
        PrincipalKind::User | PrincipalKind::Group => user(principal),
        PrincipalKind::Guest => guest(principal),
        PrincipalKind::ServicePrincipal => app(principal, tid, "1"),
        PrincipalKind::UserAssigned | PrincipalKind::SystemAssigned => {
            let mut claims = app(principal, tid, "2");
            claims.insert("xms_idrel".into(), json!("7 16"));
            if named || ResourceKind::of(audience) != ResourceKind::Database {
                claims.insert("xms_mirid".into(), json!(principal.xms_mirid));
                claims.insert("xms_az_rid".into(), json!(principal.xms_az_rid));
            }
            claims
        }
    });
    claims.extend(principal.claims.clone());
    claims.retain(|_, value| !value.is_null());
    claims
}

fn user(principal: &Principal) -> Map<String, Value> {
    object(json!({
        "acr": "1",
        "amr": ["pwd"],
        "appidacr": "0",
        "name": principal.name.split('@').next(),
        "scp": "user_impersonation",
        "sub": ids::derived(&format!("sub:{}", principal.oid)),
        "unique_name": principal.upn.as_deref().unwrap_or(&principal.name),
        "upn": principal.upn,
        "xms_idrel": "1 2",
    }))
}

/// Returns the claims of a guest: `bob_home.example#EXT#@tenant` signed in to the home tenant as `bob@home.example`,
/// which is the name in the token.
fn guest(principal: &Principal) -> Map<String, Value> {
    let local = principal.name.split("#EXT#").next().unwrap_or_default();
    let home = match local.rsplit_once('_') {
        Some((user, domain)) => format!("{user}@{domain}"),
        None => local.to_owned(),
    };
    let mut claims = user(principal);
    claims.extend(object(json!({
        "name": home.split('@').next(),
        "email": home,
        "idp": "https://sts.windows.net/88888888-0000-0000-0000-000000000008/",
        "unique_name": home,
        "xms_idrel": "5 2",
    })));
    claims
}

fn app(principal: &Principal, tid: &str, appidacr: &str) -> Map<String, Value> {
    object(json!({
        "appidacr": appidacr,
        "idp": issuer_of(tid),
        "idtyp": "app",
        "sub": principal.oid,
    }))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
