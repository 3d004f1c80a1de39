//! The measured libraries: this engine, and `azure_identity` as applications use it without the engine.

use std::{hint::black_box, sync::Arc};

use azure_core::{
    cloud::{CloudConfiguration, CustomConfiguration},
    credentials::TokenCredential,
    http::{ClientOptions, Transport},
};
use azure_identity::{ClientSecretCredential, ClientSecretCredentialOptions};
use pgentra::{CachedCredential, Config, CredentialConfig, TokenProvider};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Outcome;

pub const SCOPE: &str = "https://ossrdbms-aad.database.windows.net/.default";

/// What `benchmarks/run.py` tells of the emulator and of the application registered in it.
#[derive(Deserialize)]
pub struct Surroundings {
    authority_host: String,
    ca_file: String,
    imds_host: String,
    tenant_id: String,
    pub client_id: String,
    client_secret: String,
    pub control: String,
}

/// A way to a user name and a token; the peer's is to the token alone.
pub enum Contestant {
    Ours(TokenProvider),
    Peer(Arc<ClientSecretCredential>),
}

impl Contestant {
    /// An application with a secret.
    pub fn new(who: &str) -> Outcome<Self> {
        let surroundings = Surroundings::read()?;
        match who {
            "ours" => Ok(Self::Ours(TokenProvider::from_config(Config::from_value(json!({
                "credential": {
                    "type": "client_secret",
                    "tenant_id": surroundings.tenant_id,
                    "client_id": surroundings.client_id,
                    "client_secret": surroundings.client_secret,
                    "authority_host": surroundings.authority_host,
                },
                "scope": SCOPE,
                "ca_file": surroundings.ca_file,
            }))?)?)),
            "peer" => Ok(Self::Peer(surroundings.peer()?)),
            other => Err(format!("neither ours nor peer: {other}").into()),
        }
    }

    /// Returns the default chain on a machine with the emulator's IMDS as its only identity endpoint.
    pub fn default_chain(who: &str) -> Outcome<Self> {
        let surroundings = Surroundings::read()?;
        if who != "ours" {
            return Err("the peer has no default chain".into());
        }
        let path = std::env::var("PATH").unwrap_or_default();
        Ok(Self::Ours(TokenProvider::from_config(Config::from_value(json!({
            "scope": SCOPE,
            "ca_file": surroundings.ca_file,
            "user": "app",
            "environment": {"PATH": path, "AZURE_POD_IDENTITY_AUTHORITY_HOST": surroundings.imds_host},
        }))?)?))
    }

    /// A login as it is asked for at each new connection.
    #[inline]
    pub async fn log_in(&self) -> Outcome<()> {
        match self {
            Self::Ours(provider) => drop(black_box(provider.login().await?)),
            Self::Peer(credential) => drop(black_box(credential.get_token(&[SCOPE], None).await?)),
        }
        Ok(())
    }
}

impl Surroundings {
    pub fn read() -> Outcome<Self> {
        Ok(serde_json::from_str(&std::env::var("PGENTRA_BENCHMARK")?)?)
    }

    /// The application for one of its users.
    pub fn on_behalf_of(&self, assertion: &str) -> Outcome<Arc<CachedCredential>> {
        self.credential(&json!({"type": "on_behalf_of", "user_assertion_token": assertion}))
    }

    /// A credential of the application by its secret.
    pub fn credential(&self, document: &Value) -> Outcome<Arc<CachedCredential>> {
        let mut document = document.clone();
        document["tenant_id"] = json!(self.tenant_id);
        document["client_id"] = json!(self.client_id);
        document["client_secret"] = json!(self.client_secret);
        document["authority_host"] = json!(self.authority_host);
        let context = pgentra::CredentialContext { ca_file: Some(self.ca_file.clone()), ..Default::default() };
        Ok(CachedCredential::new(&CredentialConfig::from_value(document)?, &context)?)
    }

    fn peer(self) -> Outcome<Arc<ClientSecretCredential>> {
        let authority = reqwest::Certificate::from_pem(&std::fs::read(&self.ca_file)?)?;
        let client = reqwest::Client::builder().tls_certs_merge([authority]).build()?;
        let mut cloud = CustomConfiguration::default();
        cloud.authority_host = self.authority_host;
        let client_options = ClientOptions {
            cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
            transport: Some(Transport::new(Arc::new(client))),
            ..ClientOptions::default()
        };
        let options = ClientSecretCredentialOptions { client_options };
        Ok(ClientSecretCredential::new(&self.tenant_id, self.client_id, self.client_secret.into(), Some(options))?)
    }
}
