//! Credentials: their handles, and their cached tokens for `getToken` of the classes in `pgentra/identity`.

use std::{sync::Arc, time::Duration};

use napi::bindgen_prelude::{ClassInstance, Either5, Result};
use napi_derive::napi;
use pgentra::{
    CachedCredential, CredentialContext, Error, ErrorKind, Token, bindings, config::Environment,
    credential::TokenRequest,
};

use crate::{
    custom_credential::CustomCredential,
    error::js_error,
    js_channel::{CredentialToken, JsChannel},
};

/// A credential that is not built yet: its document, the custom credentials that take part, its proxies and certificate
/// authorities.
#[napi]
pub struct CredentialHandle(bindings::CredentialHandle<Arc<dyn pgentra::credential::Credential>>);

#[napi]
impl CredentialHandle {
    /// `document`, `variables`: JSON. The document refers to `members` by index.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        document: String,
        members: Vec<ClassInstance<'_, CredentialHandle>>,
        variables: String,
        ca_file: Option<String>,
    ) -> Result<Self> {
        let document = serde_json::from_str(&document)
            .map_err(|_| js_error(&Error::new(ErrorKind::Internal, "the credential's document is not valid JSON")))?;
        let members: Vec<_> = members.iter().map(|member| member.0.clone()).collect();
        let handle = bindings::CredentialHandle::new(document, &members).map_err(|error| js_error(&error))?;
        Ok(CredentialHandle(handle.with_variables(environment_of(&variables)?).with_ca_file(ca_file)))
    }

    /// Returns the handle of a custom credential.
    #[napi(factory, catch_unwind)]
    pub fn custom(credential: &CustomCredential) -> Self {
        CredentialHandle(bindings::CredentialHandle::custom(credential.credential()))
    }

    /// Whether this is a custom credential itself.
    #[napi(getter, catch_unwind)]
    pub fn is_custom(&self) -> bool {
        self.0.is_custom()
    }

    /// The document, as JSON.
    #[napi(getter, catch_unwind)]
    pub fn document(&self) -> String {
        self.0.document().to_string()
    }

    /// The credential's own proxies as environment variables, as JSON.
    #[napi(getter, catch_unwind)]
    pub fn variables(&self) -> String {
        let variables = self.0.variables().iter().map(|(name, value)| (name.clone(), value.expose().into()));
        serde_json::Value::Object(variables.collect()).to_string()
    }

    /// The credential's own file of certificate authorities.
    #[napi(getter, catch_unwind)]
    pub fn ca_file(&self) -> Option<&str> {
        self.0.ca_file()
    }
}

/// A credential with its cached tokens.
#[napi]
pub struct Credential(Arc<CachedCredential>);

#[napi]
impl Credential {
    /// `environment`: JSON. `replacements` take the place of the handle's custom credentials, in its order.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        handle: &CredentialHandle,
        environment: String,
        replacements: Vec<ClassInstance<'_, CustomCredential>>,
        ca_file: Option<String>,
        server_host: Option<String>,
        scope: Option<String>,
    ) -> Result<Self> {
        let context = CredentialContext {
            environment: environment_of(&environment)?,
            ca_file,
            server_host,
            scope,
            ..CredentialContext::default()
        };
        let mut replacements = replacements.iter().map(|replacement| replacement.credential());
        let built = handle.0.build(context, |custom| replacements.next().unwrap_or_else(|| Arc::clone(custom)));
        built.map(Credential).map_err(|error| js_error(&error))
    }

    /// Returns the token if it is cached.
    #[napi(catch_unwind)]
    pub fn try_token(
        &self,
        scope: String,
        tenant_id: Option<String>,
        claims: Option<String>,
        enable_cae: bool,
    ) -> Result<Option<CredentialToken>> {
        let request = request(scope, tenant_id, claims, enable_cae);
        let token = self.0.try_token(&request).transpose().map_err(|error| js_error(&error))?;
        Ok(token.map(|token| token_of(&self.0, &request, &token)))
    }

    /// Sends the token to `channel` when it is available.
    #[napi(catch_unwind)]
    pub fn start_token(
        &self,
        channel: &JsChannel,
        id: f64,
        scope: String,
        tenant_id: Option<String>,
        claims: Option<String>,
        enable_cae: bool,
    ) {
        let request = request(scope, tenant_id, claims, enable_cae);
        let credential = Arc::clone(&self.0);
        let pending = credential.start_token(&request, None);
        channel.send_result(id, pending, move |token| Either5::D(token_of(&credential, &request, &token)));
    }
}

impl Credential {
    pub(crate) fn inner(&self) -> &Arc<CachedCredential> {
        &self.0
    }
}

/// Reads the environment, which JavaScript code has taken from `process.env`.
pub fn environment_of(json: &str) -> Result<Environment> {
    bindings::environment_from_json(json).map_err(|error| js_error(&error))
}

/// Converts a time limit in milliseconds.
pub fn limit(milliseconds: Option<f64>) -> Option<Duration> {
    milliseconds.map(|limit| Duration::try_from_secs_f64(limit.max(0.0) / 1000.0).unwrap_or(Duration::MAX))
}

fn request(scope: String, tenant_id: Option<String>, claims: Option<String>, enable_cae: bool) -> TokenRequest {
    TokenRequest { tenant_id, claims, enable_cae, ..TokenRequest::new(scope) }
}

fn token_of(credential: &CachedCredential, request: &TokenRequest, token: &Token) -> CredentialToken {
    CredentialToken {
        token: token.secret().to_owned(),
        expires_on: token.expires_on(),
        refresh_on: credential.refresh_on(request),
    }
}
