//! Entra's token endpoint, for every grant: `POST {authority}/{tenant}/oauth2/v2.0/token`.

use std::borrow::Cow;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    BuildContext, FetchContext, FetchedToken, TokenRequest, answer,
    exchange::exchange,
    region::{self, Region},
    tenant::TenantRule,
    tries::{self, Tries},
};
use crate::{
    config::{CredentialOptions, RetryOptions},
    error::{Error, ErrorKind, Result},
    secret::Secret,
    transport::{Request, Transport},
};

/// The longest a fetch from the token endpoint takes.
pub(super) const BOUND: std::time::Duration = std::time::Duration::from_secs(30);

/// An application's way to the token endpoint.
pub(super) struct TokenEndpoint {
    credential: &'static str,
    transport: Transport,
    authority: String,
    tenants: TenantRule,
    region: Region,
    client_id: String,
    retry: RetryOptions,
}

/// How an application proves who it is.
pub(super) enum Proof<'a> {
    /// With its secret.
    Secret(&'a Secret),
    /// With a signed JWT: of its certificate, or of a federated issuer.
    Assertion(&'a Secret),
}

/// The fields of a request. Those added with `secret` are masked in what the service answers.
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

    fn prove(&mut self, proof: &Proof<'_>) {
        match proof {
            Proof::Secret(secret) => self.secret("client_secret", secret),
            Proof::Assertion(assertion) => {
                self.plain("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
                self.secret("client_assertion", assertion);
            }
        }
    }
}

impl TokenEndpoint {
    /// The endpoint of `tenant` for the application `client_id`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for a malformed tenant or region.
    pub(super) fn new(
        credential: &'static str,
        tenant: &str,
        client_id: &str,
        options: &CredentialOptions,
        context: &BuildContext<'_>,
    ) -> Result<TokenEndpoint> {
        let tenants = TenantRule::new(Some(tenant), options, context.inputs)?;
        let authority = context.authority(tenant)?;
        // What stands in the authority's place is asked whatever the region is.
        let region = if context.is_at_proxy() { Region::None } else { Region::new(context.inputs, &authority)? };
        Ok(TokenEndpoint {
            credential,
            transport: context.transport(),
            authority,
            tenants,
            region,
            client_id: client_id.to_owned(),
            retry: options.retry.clone().unwrap_or_default(),
        })
    }

    /// The application.
    pub(super) fn client_id(&self) -> &str {
        &self.client_id
    }

    /// For whom a client assertion is meant: the endpoint itself, whatever the region.
    ///
    /// # Errors
    /// [`ErrorKind::AuthenticationFailed`] for a tenant that is not allowed.
    pub(super) fn audience(&self, request: &TokenRequest) -> Result<String> {
        self.url(&self.authority, request)
    }

    fn url(&self, authority: &str, request: &TokenRequest) -> Result<String> {
        let tenant = self.tenants.resolve(request.tenant_id.as_deref())?.unwrap_or("organizations");
        Ok(format!("{authority}/{tenant}/oauth2/v2.0/token"))
    }

    /// The application's own token.
    pub(super) async fn client_credentials(
        &self,
        proof: Proof<'_>,
        request: &TokenRequest,
        context: FetchContext,
    ) -> Result<FetchedToken> {
        self.client_credentials_until(Instant::now() + BOUND, proof, request, context).await
    }

    /// The same, in a fetch that ends at `ends`.
    pub(super) async fn client_credentials_until(
        &self,
        ends: Instant,
        proof: Proof<'_>,
        request: &TokenRequest,
        context: FetchContext,
    ) -> Result<FetchedToken> {
        let mut form = Form::default();
        form.plain("grant_type", "client_credentials");
        form.plain("client_id", &self.client_id);
        form.prove(&proof);
        form.plain("scope", &request.scope);
        // Checked before anybody is asked for the region.
        self.audience(request)?;
        let authority = self.region.authority(&self.authority, &self.transport, self.credential).await;
        let asked = self.ask(form, &authority, ends, request, context).await;
        match authority {
            Cow::Borrowed(_) => asked,
            Cow::Owned(_) => asked.map_err(region::explain),
        }
    }

    /// A token of the application for the user whose token is `assertion`.
    pub(super) async fn on_behalf_of(
        &self,
        ends: Instant,
        proof: Proof<'_>,
        assertion: &Secret,
        request: &TokenRequest,
        context: FetchContext,
    ) -> Result<FetchedToken> {
        let mut form = Form::default();
        form.plain("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
        form.plain("requested_token_use", "on_behalf_of");
        form.secret("assertion", assertion);
        form.plain("client_id", &self.client_id);
        form.prove(&proof);
        form.plain("scope", &request.scope);
        // The regions' endpoints serve applications alone.
        self.ask(form, &self.authority, ends, request, context).await
    }

    async fn ask(
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
                Err(error) if tries.again(&error, |error, done| tries::pause(&self.retry, error, done)).await => {}
                outcome => return outcome,
            }
        }
    }

    async fn once(&self, url: &str, form: &Form, time: std::time::Duration) -> Result<FetchedToken> {
        let request = Request::post_form(url, form.fields.clone(), time);
        let response = exchange(&self.transport, self.credential, request).await?;
        let mut object = answer::object(&response);
        if (200..300).contains(&response.status)
            && let Some(token) = object.as_mut().and_then(answer::token)
        {
            return Ok(token);
        }
        let secrets: Vec<&Secret> = form.secrets.iter().collect();
        let source = format!("the token service {}", crate::transport::endpoint(url));
        Err(answer::refusal(&response, object.as_ref(), &secrets).into_error(&response, &source))
    }
}

/// The `claims` parameter: the challenge, with the capability that lets a token be revoked by a challenge.
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
    fn claims_are_merged_with_the_capability() {
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
}
