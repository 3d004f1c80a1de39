//! A credential with its cached tokens: what `getToken` of every class in `pgentra/identity` stands on.

use std::{sync::Arc, time::Duration};

use napi::bindgen_prelude::{ClassInstance, Either5, Result};
use napi_derive::napi;
use pgentra::{
    CachedCredential, CredentialConfig, CredentialContext, Error, ErrorKind, Token, credential::TokenRequest,
};

use crate::{
    courier::{Courier, Issued},
    error::thrown,
    host::CustomCredential,
};

/// A credential of the engine, built from its document and the program's own that the document names by index.
#[napi]
pub struct Credential(Arc<CachedCredential>);

#[napi]
impl Credential {
    /// `document`, `environment`: JSON.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        document: String,
        environment: String,
        hosts: Vec<ClassInstance<'_, CustomCredential>>,
        ca_file: Option<String>,
        host: Option<String>,
        scope: Option<String>,
    ) -> Result<Self> {
        let context = CredentialContext {
            environment: read_environment(&environment)?,
            ca_file,
            server_host: host,
            scope,
            custom_credentials: hosts.iter().map(|host| host.credential()).collect(),
        };
        let built = read_document(&document).and_then(|document| CachedCredential::new(&document, &context));
        built.map(Credential).map_err(|error| thrown(&error))
    }

    /// The token, if it is cached.
    #[napi(catch_unwind)]
    pub fn try_token(
        &self,
        scope: String,
        tenant_id: Option<String>,
        claims: Option<String>,
        enable_cae: bool,
    ) -> Result<Option<Issued>> {
        let request = request(scope, tenant_id, claims, enable_cae);
        let outcome = self.0.try_token(&request).transpose().map_err(|error| thrown(&error))?;
        Ok(outcome.map(|token| issued(&self.0, &request, &token)))
    }

    /// Sends the token when it is there.
    #[napi(catch_unwind)]
    pub fn start_token(
        &self,
        courier: &Courier,
        id: f64,
        scope: String,
        tenant_id: Option<String>,
        claims: Option<String>,
        enable_cae: bool,
    ) {
        let request = request(scope, tenant_id, claims, enable_cae);
        let credential = Arc::clone(&self.0);
        let pending = credential.start_token(&request, None);
        courier.send_result(id, pending, move |token| Either5::D(issued(&credential, &request, &token)));
    }
}

impl Credential {
    pub(crate) fn inner(&self) -> &Arc<CachedCredential> {
        &self.0
    }
}

/// Refuses a credential's document that is wrong by itself.
#[napi(catch_unwind)]
pub fn check_credential(document: String) -> Result<()> {
    read_document(&document).map(drop).map_err(|error| thrown(&error))
}

/// The variables, which JavaScript's side has read from `process.env`.
pub fn read_environment(json: &str) -> Result<pgentra::config::Environment> {
    serde_json::from_str(json).map_err(|_| thrown(&Error::new(ErrorKind::Internal, "the environment is no JSON")))
}

/// A time limit in milliseconds.
pub fn limit(milliseconds: Option<f64>) -> Option<Duration> {
    milliseconds.map(|limit| Duration::try_from_secs_f64(limit.max(0.0) / 1000.0).unwrap_or(Duration::MAX))
}

fn read_document(json: &str) -> pgentra::Result<CredentialConfig> {
    let value = serde_json::from_str(json);
    let value = value.map_err(|_| Error::new(ErrorKind::Internal, "the credential's document is no JSON"))?;
    CredentialConfig::from_value(value)
}

fn request(scope: String, tenant_id: Option<String>, claims: Option<String>, enable_cae: bool) -> TokenRequest {
    TokenRequest { tenant_id, claims, enable_cae, ..TokenRequest::new(scope) }
}

fn issued(credential: &CachedCredential, request: &TokenRequest, token: &Token) -> Issued {
    Issued {
        token: token.secret().to_owned(),
        expires_on: token.expires_on(),
        refresh_on: credential.refresh_on(request),
    }
}
