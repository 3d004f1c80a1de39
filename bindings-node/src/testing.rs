//! What the vectors ask the engine beneath its public surface. Compiled with the feature `testing` alone.

#[path = "../../core/tests/support/timing.rs"]
mod timing;

use std::{
    future::{pending, ready},
    sync::{Arc, Mutex, PoisonError},
};

use napi::bindgen_prelude::Result;
use napi_derive::napi;
use pgentra::{
    CredentialConfig, Error, ErrorKind,
    claims::{self, Claims, Management, Principal, PrincipalKind},
    cloud::{self, CloudInputs},
    credential::{self, BuildContext, FetchContext, TokenRequest},
    refusal,
    transport::{Authorities, Method, Request, Response, Transport, Trust},
};
use serde_json::{Value, json};

use crate::error::failure;

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| napi::Error::from_reason(error.to_string()))
}

/// A case of `timing.json` as it runs.
#[napi]
pub struct TimingCase(timing::Run);

#[napi]
impl TimingCase {
    /// `document`: JSON. Both clocks in milliseconds.
    #[napi(constructor, catch_unwind)]
    pub fn new(document: String, wall_ms: i64, mono_ms: i64) -> Result<Self> {
        let case: timing::Case = read(&document)?;
        Ok(TimingCase(timing::Run::new(&case, pgentra::cell::Now { wall_ms, mono_ms })))
    }

    /// What a step gives, as JSON.
    #[napi(catch_unwind)]
    pub fn step(&mut self, step: String) -> Result<String> {
        let step: timing::Step = read(&step)?;
        let answer = self.0.step(&step).map_err(|error| napi::Error::from_reason(error.to_string()))?;
        Ok(answer.to_string())
    }
}

/// What a token says about its owner, as JSON; or why it cannot be read.
#[napi(catch_unwind)]
pub fn read_claims(token: String) -> String {
    let claims = match Claims::decode(&token) {
        Ok(claims) => claims,
        Err(error) => return json!({ "error": error.as_str() }).to_string(),
    };
    let principal = claims.principal();
    let role = claims.role_name();
    json!({
        "role": role.as_ref().map(|role| role.name.as_str()),
        "source": role.as_ref().map(|role| role.source.as_str()),
        "kind": principal.kind.as_str(),
        "oid": principal.oid,
        "tid": principal.tid,
        "appid": principal.appid,
        "idtyp": principal.idtyp,
        "present": principal.present,
        "audience": claims.audience(),
        "expires_on": claims.expires_on(),
        "not_before": claims.not_before(),
        "issued_at": claims.issued_at(),
    })
    .to_string()
}

/// Why a token names no role.
#[napi(catch_unwind)]
pub fn explain_missing_name(token: String, management_tried: bool) -> Option<String> {
    let claims = Claims::decode(&token).ok()?;
    let management = if management_tried { Management::Nameless } else { Management::NotAsked };
    Some(claims::explain_missing_name(&claims.principal(), management))
}

/// The role name of a managed identity's resource.
#[napi(catch_unwind)]
pub fn identity_name(xms_mirid: String) -> Option<String> {
    claims::identity_name(&xms_mirid)
}

/// The statement that creates a role.
#[napi(catch_unwind)]
pub fn create_role_statement(role: String, oid: String, kind: String) -> Option<String> {
    use claims::RoleType::{Group, Service, User};
    let role_type = [User, Group, Service].into_iter().find(|role_type| role_type.as_str() == kind)?;
    Some(claims::create_role_statement(&role, &oid, role_type))
}

/// The cloud of these inputs, as JSON; or the setting that is wrong.
#[napi(catch_unwind)]
pub fn resolve_cloud(inputs: String) -> Result<String> {
    let inputs: Value = read(&inputs)?;
    let input = |key: &str| inputs[key].as_str();
    let inputs = CloudInputs {
        scope_option: input("scope_option"),
        host: input("host"),
        authority_option: input("authority_option"),
        cloud_option: input("cloud_option"),
        env_authority_host: input("env_authority_host"),
    };
    let found = match cloud::resolve(&inputs) {
        Ok(found) => json!({
            "cloud": found.cloud.as_str(),
            "scope": found.scope,
            "management_scope": found.management_scope,
            "authority_host": found.authority_host,
            "warning": found.warning,
        }),
        Err(error) => json!({ "setting": error.setting(), "message": error.to_string() }),
    };
    Ok(found.to_string())
}

/// The resource of a scope.
#[napi(catch_unwind)]
pub fn resource_of(scope: String) -> String {
    cloud::resource_of(&scope).to_owned()
}

/// Lines that explain a server's refusal to a principal (JSON).
#[napi(catch_unwind)]
pub fn explain_refusal_to(
    sqlstate: Option<String>,
    message: String,
    role: String,
    role_source: String,
    principal: Option<String>,
) -> Result<String> {
    let principal = principal.map(|principal| read_principal(&principal)).transpose()?;
    let refusal = refusal::classify(sqlstate.as_deref(), &message);
    Ok(refusal::explain(&refusal, &role, &role_source, principal.as_ref()))
}

fn read_principal(text: &str) -> Result<Principal> {
    use PrincipalKind::{
        Application, Guest, ServicePrincipal, SystemAssignedIdentity, Unknown, User, UserAssignedIdentity,
    };
    let kinds = [User, Guest, ServicePrincipal, UserAssignedIdentity, SystemAssignedIdentity, Application, Unknown];
    let principal: Value = read(text)?;
    let text = |key: &str| principal[key].as_str().map(str::to_owned);
    let kind = kinds.into_iter().find(|kind| principal["kind"] == kind.as_str());
    Ok(Principal {
        kind: kind.ok_or_else(|| napi::Error::from_reason("no kind of principal"))?,
        oid: text("oid"),
        tid: text("tid"),
        appid: text("appid"),
        idtyp: None,
        present: Vec::new(),
    })
}

/// Builds a credential and lets it fetch, over a transport that gives the answers of `document` (JSON) one after the
/// other: the requests it sent, and the tokens or errors, as JSON. Time is virtual where `paused`.
#[napi(catch_unwind)]
pub fn fetch_canned(document: String) -> Result<String> {
    let case: Value = read(&document)?;
    let sent = Arc::new(Mutex::new(Vec::new()));
    let context = BuildContext {
        environment: Arc::new(serde_json::from_value(case["environment"].clone()).unwrap_or_default()),
        transport: canned(case["answers"].as_array().cloned().unwrap_or_default(), Arc::clone(&sent)),
        authority_host: "https://login.microsoftonline.com".to_owned(),
        hosts: vec![],
    };
    let document = case["credential"].clone();
    let built = CredentialConfig::from_value(document).and_then(|config| credential::build(&config, &context));
    let credential = match built {
        Ok(credential) => credential,
        Err(error) => return Ok(json!({ "refused": told(&error) }).to_string()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(case["paused"].as_bool().unwrap_or(false))
        .build()
        .map_err(|error| napi::Error::from_reason(error.to_string()))?;
    let text = |key: &str| case["request"][key].as_str().map(str::to_owned);
    let request = TokenRequest {
        tenant_id: text("tenant_id"),
        claims: text("claims"),
        enable_cae: case["request"]["enable_cae"].as_bool().unwrap_or(false),
        ..TokenRequest::new(text("scope").unwrap_or_default())
    };
    let has_fallback = case["has_fallback"].as_bool().unwrap_or(false);
    let outcomes: Vec<Value> = runtime.block_on(async {
        let mut outcomes = Vec::new();
        for _ in 0..case["fetches"].as_u64().unwrap_or(1) {
            let started = tokio::time::Instant::now();
            let outcome = credential.fetch(&request, FetchContext { has_fallback, ..FetchContext::default() }).await;
            let seconds = started.elapsed().as_secs_f64();
            let within_bound = started.elapsed() <= credential.bound();
            outcomes.push(match outcome {
                Ok(token) => json!({"seconds": seconds, "within_bound": within_bound, "token": {
                    "token": token.token.expose(),
                    "expires_on": token.expires_on,
                    "expires_in": token.expires_in,
                    "refresh_in": token.refresh_in,
                }}),
                Err(error) => json!({"seconds": seconds, "within_bound": within_bound, "error": told(&error)}),
            });
        }
        outcomes
    });
    let sent = std::mem::take(&mut *sent.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(json!({ "sent": sent, "outcomes": outcomes }).to_string())
}

/// An error as JavaScript's side reads it, and whether it is definite.
fn told(error: &Error) -> Value {
    json!({ "document": failure(error), "definite": error.is_definite() })
}

fn canned(answers: Vec<Value>, sent: Arc<Mutex<Vec<Value>>>) -> Transport {
    let left = Mutex::new(answers.into_iter());
    Transport::canned(move |request| {
        sent.lock().unwrap_or_else(PoisonError::into_inner).push(seen(&request));
        let answer = left.lock().unwrap_or_else(PoisonError::into_inner).next().unwrap_or_default();
        if let Some(status) = answer["status"].as_u64() {
            let headers = answer["headers"].as_object().into_iter().flatten();
            let headers: Vec<(&str, &str)> =
                headers.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect();
            let body = answer["body"].as_str().unwrap_or_default();
            return Box::pin(ready(Ok(Response::new(u16::try_from(status).unwrap_or(0), &headers, body))));
        }
        match answer["failure"].as_str() {
            Some("silence") => Box::pin(pending()),
            _ => Box::pin(ready(Err(Error::new(ErrorKind::Network, "cannot connect to host:443: connection refused")))),
        }
    })
}

fn seen(request: &Request) -> Value {
    let pairs = |pairs: &[(&'static str, pgentra::Secret)]| {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.expose())));
        pairs.collect::<serde_json::Map<_, _>>()
    };
    json!({
        "method": match request.method { Method::Get => "GET", Method::Post => "POST" },
        "url": request.url,
        "headers": pairs(&request.headers),
        "form": pairs(&request.form),
        "proxy": request.proxy,
        "trust": request.trust.as_deref().map(described),
        "timeout": request.timeout.as_secs_f64(),
    })
}

/// How the server of a request is known, in the words of the vectors.
fn described(trust: &Trust) -> String {
    match trust {
        Trust::Thumbprint(bytes) => {
            format!("thumbprint {}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
        Trust::Private { authorities, server_name, host } => {
            let name = server_name.iter().map(|name| format!(", name {name}"));
            let authorities = authorities.iter().map(|authorities| match authorities {
                Authorities::File(path) => format!(", authorities of {}", path.display()),
                Authorities::Pem(_) => ", authorities given".to_owned(),
            });
            format!("host {host}{}", name.chain(authorities).collect::<String>())
        }
    }
}
