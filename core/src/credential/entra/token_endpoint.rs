//! Entra's token endpoint, for every grant: `POST {authority}/{tenant}/oauth2/v2.0/token`.

use std::borrow::Cow;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    config::{CredentialOptions, RetryOptions},
    credential::{
        BuildContext, FetchContext, FetchedToken, TokenRequest,
        entra::region::{self, Region},
        entra::response::{self, ResponseOrigin},
        entra::tenant::TenantRule,
        exchange::exchange,
        retry::{self, Tries},
    },
    error::{Error, ErrorKind, Result},
    secret::Secret,
    transport::{Request, Transport},
};

/// The longest duration of a fetch from the token endpoint.
pub(in crate::credential) const BOUND: std::time::Duration = std::time::Duration::from_secs(30);

/// The token endpoint for one application.
pub(in crate::credential) struct TokenEndpoint {
    credential: &'static str,
    transport: Transport,
    authority: String,
    tenants: TenantRule,
    region: Region,
    client_id: String,
    /// The variable that the client id came from, if the program did not pass it.
    client_id_variable: Option<&'static str>,
    /// Whether the requests go to a cluster's token proxy instead of the authority.
    is_proxied: bool,
    retry: RetryOptions,
}

/// The OAuth client credential of an application.
pub(in crate::credential) enum ClientCredential<'a> {
    /// The secret of the application.
    Secret(&'a Secret),
    /// A signed JWT: of the application's certificate, or of a federated issuer.
    Assertion(&'a Secret),
}

/// The fields of a request. Values added with `secret` are masked in the service's response.
#[derive(Default)]
struct Form {
    fields: Vec<(&'static str, Secret)>,
    secrets: Vec<Secret>,
}

impl Form {
    fn plain(&mut self, name: &'static str, value: impl Into<String>) {
        self.fields.push((name, Secret::new(value)));
    }

    fn secret(&mut self, name: &'static str, value: &Secret) {
        self.fields.push((name, value.clone()));
        self.secrets.push(value.clone());
    }

    fn client_credential(&mut self, client_credential: &ClientCredential<'_>) {
        match client_credential {
            ClientCredential::Secret(secret) => self.secret("client_secret", secret),
            ClientCredential::Assertion(assertion) => {
                self.plain("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
                self.secret("client_assertion", assertion);
            }
        }
    }
}

impl TokenEndpoint {
    /// Creates the endpoint of `tenant` for the application `client_id`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for a malformed tenant or region.
    pub(in crate::credential) fn new(
        credential: &'static str,
        tenant: &str,
        client_id: &str,
        options: &CredentialOptions,
        context: &BuildContext<'_>,
    ) -> Result<TokenEndpoint> {
        let tenants = TenantRule::new(Some(tenant), options, context.inputs)?;
        let authority = context.authority(tenant)?;
        // A token proxy is used whatever the region is.
        let region = if context.is_at_proxy() { Region::None } else { Region::new(context.inputs, &authority)? };
        Ok(TokenEndpoint {
            credential,
            transport: context.transport(),
            authority,
            tenants,
            region,
            client_id: client_id.to_owned(),
            client_id_variable: None,
            is_proxied: false,
            retry: options.retry.clone().unwrap_or_default(),
        })
    }

    /// Marks the endpoint as a cluster's token proxy, for messages.
    pub(in crate::credential) fn of_token_proxy(self) -> TokenEndpoint {
        TokenEndpoint { is_proxied: true, ..self }
    }

    /// Sets the variable that the client id came from, for messages.
    pub(in crate::credential) fn with_client_id_of(self, variable: Option<&'static str>) -> TokenEndpoint {
        TokenEndpoint { client_id_variable: variable, ..self }
    }

    /// Returns the client id.
    pub(in crate::credential) fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Returns the audience of a client assertion: the endpoint itself, whatever the region.
    ///
    /// # Errors
    /// [`ErrorKind::AuthenticationFailed`] for a tenant that is not allowed.
    pub(in crate::credential) fn audience(&self, request: &TokenRequest) -> Result<String> {
        self.url(&self.authority, request)
    }

    fn url(&self, authority: &str, request: &TokenRequest) -> Result<String> {
        let tenant = self.tenants.resolve(request.tenant_id.as_deref())?.unwrap_or("organizations");
        Ok(format!("{authority}/{tenant}/oauth2/v2.0/token"))
    }

    /// Returns a token of the application itself.
    pub(in crate::credential) async fn client_credentials(
        &self,
        client_credential: ClientCredential<'_>,
        request: &TokenRequest,
        context: FetchContext,
    ) -> Result<FetchedToken> {
        self.client_credentials_until(Instant::now() + BOUND, client_credential, request, context).await
    }

    /// Does the same, in a fetch that ends at `ends`.
    pub(in crate::credential) async fn client_credentials_until(
        &self,
        ends: Instant,
        client_credential: ClientCredential<'_>,
        request: &TokenRequest,
        context: FetchContext,
    ) -> Result<FetchedToken> {
        let mut form = Form::default();
        form.plain("grant_type", "client_credentials");
        form.plain("client_id", &self.client_id);
        form.client_credential(&client_credential);
        form.plain("scope", &request.scope);
        // The tenant is checked before a request for the region is sent.
        self.audience(request)?;
        let outcome = if request.claims.as_deref().is_some_and(|claims| !claims.trim().is_empty()) {
            // Regional endpoints do not support claims challenges.
            self.request_token(form, &self.authority, ends, request, context).await
        } else {
            let authority = self.region.authority(&self.authority, &self.transport, self.credential).await;
            let is_regional = matches!(authority, Cow::Owned(_));
            // Regional endpoints do not issue tokens that can be challenged either; they refuse this claim
            // (AADSTS100034).
            let enable_cae = request.enable_cae && !is_regional;
            let request = TokenRequest { enable_cae, ..request.clone() };
            let requested = self.request_token(form, &authority, ends, &request, context).await;
            if is_regional { requested.map_err(region::explain) } else { requested }
        };
        outcome.map_err(|error| match client_credential {
            ClientCredential::Secret(secret) => with_flaw(secret, error),
            ClientCredential::Assertion(_) => error,
        })
    }

    /// Returns a token of the application for the user whose token is `assertion`.
    pub(in crate::credential) async fn on_behalf_of(
        &self,
        ends: Instant,
        client_credential: ClientCredential<'_>,
        assertion: &Secret,
        request: &TokenRequest,
        context: FetchContext,
    ) -> Result<FetchedToken> {
        let mut form = Form::default();
        form.plain("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
        form.plain("requested_token_use", "on_behalf_of");
        form.secret("assertion", assertion);
        form.plain("client_id", &self.client_id);
        form.client_credential(&client_credential);
        form.plain("scope", &request.scope);
        // Regional endpoints issue tokens only to applications.
        self.request_token(form, &self.authority, ends, request, context).await.map_err(|error| match client_credential
        {
            ClientCredential::Secret(secret) => with_flaw(secret, error),
            ClientCredential::Assertion(_) => error,
        })
    }

    async fn request_token(
        &self,
        mut form: Form,
        authority: &str,
        ends: Instant,
        request: &TokenRequest,
        context: FetchContext,
    ) -> Result<FetchedToken> {
        if let Some(claims) = claims(request)? {
            form.plain("claims", claims);
        }
        let url = self.url(authority, request)?;
        let mut tries = Tries::new(ends.saturating_duration_since(Instant::now()), context);
        loop {
            let outcome = self.once(&url, &form, tries.time()).await;
            match outcome {
                Err(error) if tries.again(&error, |error, done| retry::pause(&self.retry, error, done)).await => {}
                outcome => return outcome,
            }
        }
    }

    async fn once(&self, url: &str, form: &Form, time: std::time::Duration) -> Result<FetchedToken> {
        let request = Request::post_form(url, form.fields.clone(), time);
        let response = exchange(&self.transport, self.credential, request).await?;
        let mut object = response::object(&response);
        if (200..300).contains(&response.status)
            && let Some(token) = object.as_mut().and_then(response::token)
        {
            return Ok(token);
        }
        let secrets: Vec<&Secret> = form.secrets.iter().collect();
        let (source, origin) = match self.is_proxied {
            true => (format!("the cluster's token proxy {}", crate::transport::endpoint(url)), ResponseOrigin::Local),
            false => (format!("the token service {}", crate::transport::endpoint(url)), ResponseOrigin::Remote),
        };
        let error =
            response::error_response(&response, object.as_ref(), &secrets, origin).into_error(&response, &source);
        Err(self.with_hints(error))
    }

    /// Adds the causes of a refusal that only this endpoint can determine.
    fn with_hints(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::AuthenticationFailed {
            return error;
        }
        if self.is_proxied && error.aadsts().is_none() {
            return error.with_advice(
                "Check the cluster's identity binding: it must contain this client id, and the pod's service account \
                 must be permitted to use it.",
            );
        }
        match self.client_id_variable {
            Some(variable) => {
                let is_id = self.client_id.len() <= 64
                    && self.client_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
                let id = if is_id { format!(" {}", self.client_id) } else { String::new() };
                let advice = format!("{} The client id{id} comes from {variable}.", error.advice());
                error.with_advice(advice)
            }
            None => error,
        }
    }
}

/// Adds the flaw of the refused secret to the error, without any part of the secret.
fn with_flaw(secret: &Secret, error: Error) -> Error {
    // These are Entra's number for a wrong secret, the older number, and the code without a number.
    let is_wrong_secret = matches!(error.aadsts(), Some(7_000_215 | 50012))
        || error.aadsts().is_none() && error.service().error.as_deref() == Some("invalid_client");
    match flaw(secret.expose()).filter(|_| is_wrong_secret) {
        Some(flaw) => {
            let advice = format!("The secret {flaw}. {}", error.advice());
            error.with_advice(advice)
        }
        None => error,
    }
}

/// Returns a property of the secret that Entra's secrets never have.
fn flaw(secret: &str) -> Option<&'static str> {
    let is_quoted = |mark| secret.len() >= 2 && secret.starts_with(mark) && secret.ends_with(mark);
    let is_guid = secret.len() == 36
        && secret.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        });
    if secret.ends_with(['\n', '\r']) {
        Some("ends with a line break: remove it")
    } else if secret.ends_with("\\n") {
        Some("ends with a backslash and an `n`: remove both")
    } else if secret.trim() != secret {
        Some("begins or ends with a space: remove it")
    } else if is_quoted('"') || is_quoted('\'') {
        Some("is in quotes: remove them")
    } else if is_guid {
        Some("looks like an id")
    } else {
        None
    }
}

/// Returns the `claims` parameter: the challenge, and the capability by which a challenge can revoke a token.
///
/// # Errors
/// [`ErrorKind::InvalidConfiguration`] for a challenge that is not a JSON object.
fn claims(request: &TokenRequest) -> Result<Option<String>> {
    let challenge = request.claims.as_deref().filter(|claims| !claims.trim().is_empty());
    let mut claims = match challenge {
        None if !request.enable_cae => return Ok(None),
        None => json!({}),
        Some(text) => serde_json::from_str(text).ok().filter(Value::is_object).ok_or_else(|| {
            Error::new(ErrorKind::InvalidConfiguration, "the claims challenge is not a JSON object")
                .with_advice("Pass the challenge decoded from base64.")
        })?,
    };
    if request.enable_cae {
        let access_token = &mut claims["access_token"];
        if !access_token.is_object() {
            *access_token = json!({});
        }
        access_token["xms_cc"] = json!({ "values": ["CP1"] });
    }
    Ok(Some(claims.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_merged_with_the_client_capability() {
        let with = |claims: Option<&str>, enable_cae| {
            let request = TokenRequest { claims: claims.map(str::to_owned), enable_cae, ..TokenRequest::new("s") };
            claims_of(&request)
        };
        fn claims_of(request: &TokenRequest) -> Option<Value> {
            claims(request).unwrap().map(|text| serde_json::from_str(&text).unwrap())
        }
        assert_eq!(with(None, false), None);
        assert_eq!(with(Some(" "), false), None);
        assert_eq!(with(None, true), Some(json!({"access_token": {"xms_cc": {"values": ["CP1"]}}})));
        assert_eq!(
            with(Some(r#"{"access_token":{"nbf":{"value":"1"}}}"#), true),
            Some(json!({"access_token": {"nbf": {"value": "1"}, "xms_cc": {"values": ["CP1"]}}}))
        );
        let request = TokenRequest { claims: Some("[1]".into()), ..TokenRequest::new("s") };
        assert!(claims(&request).is_err());
    }

    #[test]
    fn flaw_of_a_secret_is_recognised() {
        for (secret, expected) in [
            ("a~b\n", "line break"),
            ("a~b\r\n", "line break"),
            ("a~b\\n", "backslash"),
            (" a~b", "space"),
            ("\"a~b\"", "quotes"),
            ("'a~b'", "quotes"),
            ("11111111-2222-3333-4444-555555555555", "an id"),
        ] {
            assert!(flaw(secret).is_some_and(|flaw| flaw.contains(expected)), "{secret:?}");
        }
        for secret in ["a~b", "", "\"", "a\"b"] {
            assert_eq!(flaw(secret), None, "{secret:?}");
        }
    }
}
