//! The document of a credential, with the custom credentials that it refers to.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    cached_credential::{CachedCredential, CredentialContext},
    config::{CredentialConfig, Environment},
    credential::Credential,
    error::{Error, ErrorKind, Result},
};

/// The `type` of a custom credential in a document.
const CUSTOM: &str = "custom_credential";

/// A credential that is not built yet: its document, the custom credentials that take part, and its own proxies and
/// certificate authorities. `C` is a custom credential as the binding stores it: an object, an id.
///
/// Handles combine to the handle of a chain without any counting in the binding: see [`new`](Self::new).
#[derive(Clone, Debug)]
pub struct CredentialHandle<C> {
    document: Value,
    custom_credentials: Vec<C>,
    variables: Environment,
    ca_file: Option<String>,
}

impl<C: Clone> CredentialHandle<C> {
    /// Creates the handle of a custom credential.
    pub fn custom(credential: C) -> Self {
        CredentialHandle {
            document: json!({ "type": CUSTOM, "index": 0 }),
            custom_credentials: vec![credential],
            variables: Environment::new(),
            ca_file: None,
        }
    }

    /// Creates the handle of a credential from its document.
    ///
    /// In the document, `{"type": "custom_credential", "index": n}` means the n-th of `members`: a custom credential or
    /// any other one. It is replaced by the member's own document, and the custom credentials of all members are
    /// numbered in the order of `members`. A member that occurs twice is built twice, but its custom credentials are
    /// the same objects.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`], naming the key, if the document is not valid.
    pub fn new(document: Value, members: &[CredentialHandle<C>]) -> Result<Self> {
        let mut firsts = Vec::with_capacity(members.len());
        let mut custom_credentials = Vec::new();
        for member in members {
            firsts.push(custom_credentials.len());
            custom_credentials.extend(member.custom_credentials.iter().cloned());
        }
        let document = embedded(document, &|index| {
            let (member, first) = (members.get(index)?, firsts.get(index)?);
            Some(shifted(member.document.clone(), *first))
        })?;
        CredentialConfig::from_value(document.clone())?;
        let own = CredentialHandle { document, custom_credentials, variables: Environment::new(), ca_file: None };
        own.with_connections_of(members)
    }

    /// Sets the credential's own variables, which replace those of the process: its proxies.
    #[must_use]
    pub fn with_variables(self, variables: Environment) -> Self {
        if variables.is_empty() { self } else { CredentialHandle { variables, ..self } }
    }

    /// Sets the credential's own PEM file of certificate authorities.
    #[must_use]
    pub fn with_ca_file(self, ca_file: Option<String>) -> Self {
        if ca_file.is_none() { self } else { CredentialHandle { ca_file, ..self } }
    }

    fn with_connections_of(mut self, members: &[CredentialHandle<C>]) -> Result<Self> {
        let mut given = members.iter().map(CredentialHandle::connection).filter(|(variables, ca_file)| {
            // A member without proxies and authorities of its own uses those of the others.
            !variables.is_empty() || ca_file.is_some()
        });
        let Some((variables, ca_file)) = given.next() else { return Ok(self) };
        if given.any(|other| other != (variables, ca_file)) {
            return Err(Error::new(
                ErrorKind::InvalidConfiguration,
                "the members use different proxies or different files of certificate authorities",
            )
            .with_advice("Pass the same proxies and the same file to each member."));
        }
        (self.variables, self.ca_file) = (variables.clone(), ca_file.map(str::to_owned));
        Ok(self)
    }

    fn connection(&self) -> (&Environment, Option<&str>) {
        (&self.variables, self.ca_file.as_deref())
    }

    /// Returns the document, in which `index` is the position in [`custom_credentials`](Self::custom_credentials).
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Returns the custom credentials that take part.
    pub fn custom_credentials(&self) -> &[C] {
        &self.custom_credentials
    }

    /// Returns the credential's own variables.
    pub fn variables(&self) -> &Environment {
        &self.variables
    }

    /// Returns the credential's own file of certificate authorities.
    pub fn ca_file(&self) -> Option<&str> {
        self.ca_file.as_deref()
    }

    /// Returns whether this is a custom credential itself. It then uses no settings of the provider.
    pub fn is_custom(&self) -> bool {
        self.document["type"] == CUSTOM
    }

    /// Builds the credential. `convert` returns the engine's side of a custom credential. The context's
    /// `custom_credentials` are replaced. The handle's own variables replace those of the context; its file of
    /// certificate authorities is used if the context has none.
    ///
    /// # Errors
    /// Those of [`CachedCredential::new`].
    pub fn build(
        &self,
        mut context: CredentialContext,
        convert: impl FnMut(&C) -> Arc<dyn Credential>,
    ) -> Result<Arc<CachedCredential>> {
        context.environment.extend(self.variables.clone());
        context.ca_file = context.ca_file.or_else(|| self.ca_file.clone());
        context.custom_credentials = self.custom_credentials.iter().map(convert).collect();
        CachedCredential::new(&CredentialConfig::from_value(self.document.clone())?, &context)
    }
}

fn index_of(document: &Value) -> Option<usize> {
    let index = document.get("index").filter(|_| document["type"] == CUSTOM)?;
    index.as_u64().and_then(|index| usize::try_from(index).ok())
}

/// Replaces each reference to a member.
fn embedded(document: Value, member: &impl Fn(usize) -> Option<Value>) -> Result<Value> {
    if let Some(index) = index_of(&document) {
        return member(index).ok_or_else(|| {
            let message = format!("option `index`: there is no custom credential {index}");
            Error::new(ErrorKind::InvalidConfiguration, message)
        });
    }
    Ok(match document {
        Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| embedded(item, member)).collect::<Result<_>>()?)
        }
        Value::Object(map) => Value::Object(
            map.into_iter().map(|(key, value)| Ok((key, embedded(value, member)?))).collect::<Result<_>>()?,
        ),
        other => other,
    })
}

/// Adds `first` to the index of every custom credential.
fn shifted(document: Value, first: usize) -> Value {
    if let Some(index) = index_of(&document) {
        return json!({ "type": CUSTOM, "index": index.saturating_add(first) });
    }
    match document {
        Value::Array(items) => Value::Array(items.into_iter().map(|item| shifted(item, first)).collect()),
        Value::Object(map) => Value::Object(map.into_iter().map(|(key, value)| (key, shifted(value, first))).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Handle = CredentialHandle<&'static str>;

    fn cli() -> Handle {
        Handle::new(json!({ "type": "azure_cli" }), &[]).expect("a handle")
    }

    fn variables(proxy: &str) -> Environment {
        [("HTTPS_PROXY".to_owned(), proxy.into())].into()
    }

    fn chain(members: &[Handle]) -> Result<Handle> {
        let references: Vec<Value> = (0..members.len()).map(|n| json!({ "type": CUSTOM, "index": n })).collect();
        Handle::new(json!({ "type": "chained", "credentials": references }), members)
    }

    #[test]
    fn credential_handle_members_share_their_connection() {
        let plain = chain(&[cli(), Handle::custom("one")]).expect("a chain");
        assert!(plain.variables().is_empty() && plain.ca_file().is_none());
        let proxied = cli().with_variables(variables("p1"));
        let combined = chain(&[cli(), proxied.clone(), proxied.clone()]).expect("a chain");
        assert_eq!(combined.variables(), &variables("p1"));
        for other in [cli().with_variables(variables("p2")), proxied.clone().with_ca_file(Some("ca".to_owned()))] {
            let error = chain(&[proxied.clone(), other]).expect_err("fails");
            assert_eq!(error.kind(), ErrorKind::InvalidConfiguration);
        }
    }

    #[test]
    fn credential_handle_builds_with_its_own_proxies_and_the_providers_authorities() {
        struct Never;
        impl Credential for Never {
            fn name(&self) -> &str {
                "Never"
            }

            fn fetch<'a>(
                &'a self,
                _: &'a crate::credential::TokenRequest,
                _: crate::credential::FetchContext,
            ) -> crate::credential::BoxFuture<'a, Result<crate::credential::FetchedToken>> {
                Box::pin(std::future::pending())
            }
        }
        let secret = json!({"type": "client_secret", "tenant_id": "t", "client_id": "c", "client_secret": "canary"});
        let handle = Handle::new(secret, &[]).expect("a handle");
        let with = |handle: &Handle, proxy: &str| {
            let context = CredentialContext { environment: variables(proxy), ..CredentialContext::default() };
            handle.build(context, |_| Arc::new(Never)).expect("builds")
        };
        let own = handle.clone().with_variables(variables("http://own:1"));
        assert!(with(&own, "http://other:1").shares_tokens_with(&with(&handle, "http://own:1")));
        assert!(!with(&own, "http://other:1").shares_tokens_with(&with(&handle, "http://other:1")));
        let mut converted = Vec::new();
        let both = chain(&[Handle::custom("one"), handle, Handle::custom("two")]).expect("a chain");
        let built = both.build(CredentialContext::default(), |custom| {
            converted.push(*custom);
            Arc::new(Never)
        });
        assert_eq!((built.expect("builds").name(), converted), ("ChainedTokenCredential", vec!["one", "two"]));
    }
}
