//! The other environments that provide identities, besides App Service and IMDS.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{DATABASE, Emulated, LIMIT, claims, response_of};
use reqwest::{Client, RequestBuilder};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::{Value, json};

const APP_MI: &str = "11111111-0000-0000-0000-000000000001";

fn variable(emulated: &Emulated, host: &str, name: &str) -> String {
    emulated.addresses().hosts[host][name].clone()
}

fn arc(emulated: &Emulated, changes: &[(&str, &str)]) -> RequestBuilder {
    let url = variable(emulated, "azure_arc", "IDENTITY_ENDPOINT");
    let query = [("api-version", "2020-06-01"), ("resource", DATABASE)];
    emulated.client.get(url).query(&query).query(changes).header("Metadata", "true")
}

/// Returns the key that a challenge requires.
async fn key(request: RequestBuilder) -> String {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 401);
    let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
    std::fs::read_to_string(challenge.strip_prefix("Basic realm=").unwrap()).unwrap()
}

#[tokio::test]
async fn azure_arc_requires_the_key_of_its_file() {
    let emulated = Emulated::start().await;
    let root = variable(&emulated, "azure_arc", "PGENTRA_AZCMAGENT_ROOT");
    let response = arc(&emulated, &[]).send().await.unwrap();
    let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
    let file = Path::new(challenge.strip_prefix("Basic realm=").unwrap());
    assert_eq!(file.parent(), Some(&*Path::new(&root).join("var/opt/azcmagent/tokens")));
    assert_eq!(file.extension().unwrap(), "key");

    let key = key(arc(&emulated, &[])).await;
    let with_key = |key: &str| arc(&emulated, &[]).header("Authorization", format!("Basic {key}"));
    let (status, body) = response_of(with_key(&key).send().await.unwrap()).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(claims(&body["access_token"])["oid"], "aaaaaaaa-0000-0000-0000-000000000003");
    assert!(body["expires_on"].is_string() && body["expires_in"].is_string());
    for refused in [&*key, "wrong"] {
        assert_eq!(response_of(with_key(refused).send().await.unwrap()).await.0, 401, "a key is good once");
    }
}

#[tokio::test]
async fn azure_arc_response_repeats_the_requested_id() {
    let emulated = Emulated::start().await;
    let resource_id = "/subscriptions/99999999-0000-0000-0000-0000000000a5/resourceGroups/emulator/providers/\
                       Microsoft.ManagedIdentity/userAssignedIdentities/app-mi";
    let ids =
        [("client_id", APP_MI), ("object_id", "aaaaaaaa-0000-0000-0000-000000000001"), ("msi_res_id", resource_id)];
    for (name, id) in ids {
        let key = key(arc(&emulated, &[(name, id)])).await;
        let request = arc(&emulated, &[(name, id)]).header("Authorization", format!("Basic {key}"));
        let (status, body) = response_of(request.send().await.unwrap()).await;
        assert_eq!((status, &body[name]), (200, &json!(id)));
        assert_eq!(claims(&body["access_token"])["oid"], "aaaaaaaa-0000-0000-0000-000000000001");
    }
}

#[tokio::test]
async fn azure_ml_requires_its_secret() {
    let emulated = Emulated::start().await;
    let url = variable(&emulated, "azure_ml", "MSI_ENDPOINT");
    let secret = variable(&emulated, "azure_ml", "MSI_SECRET");
    let send = async |secret: &str, changes: &[(&str, &str)]| {
        let query = [("api-version", "2017-09-01"), ("resource", DATABASE)];
        let request = emulated.client.get(&url).query(&query).query(changes).header("secret", secret);
        response_of(request.send().await.unwrap()).await
    };
    let (status, body) = send(&secret, &[]).await;
    assert_eq!(status, 200, "{body}");
    assert!(body["expires_on"].is_i64() && body.get("expires_in").is_none());
    assert_eq!(send(&secret, &[("clientid", APP_MI)]).await.0, 200);
    assert_eq!(send(&secret, &[("clientid", "unknown")]).await.0, 400);
    assert_eq!(send("wrong", &[]).await.0, 401);
    emulated.set("PATCH", "/tokens", json!({"expires_on": "date"})).await;
    assert!(send(&secret, &[]).await.1["expires_on"].as_str().unwrap().ends_with(" +00:00"));
}

#[tokio::test]
async fn cloud_shell_returns_the_token_of_its_user() {
    let emulated = Emulated::start().await;
    let url = variable(&emulated, "cloud_shell", "MSI_ENDPOINT");
    let send = async |form: Value, metadata: &str| {
        let request = emulated.client.post(&url).form(&form).header("Metadata", metadata);
        response_of(request.send().await.unwrap()).await
    };
    let (status, body) = send(json!({"resource": DATABASE}), "true").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(claims(&body["access_token"])["upn"], "alice@contoso.example");
    for (form, metadata) in [
        (json!({"resource": DATABASE}), "false"),
        (json!({}), "true"),
        (json!({"resource": DATABASE, "client_id": APP_MI}), "true"),
        (json!({"resource": "https://nowhere.example"}), "true"),
    ] {
        let (status, body) = send(form, metadata).await;
        assert!(status == 400 && body["error"]["code"].is_string(), "{body}");
    }
}

/// Accepts only one certificate, and does not check names.
#[derive(Debug)]
struct Pin {
    thumbprint: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, certificate);
        let seen: String = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        match seen == self.thumbprint {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn pinning(thumbprint: String) -> Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pin { thumbprint, provider }))
        .with_no_client_auth();
    Client::builder().tls_backend_preconfigured(config).no_proxy().timeout(LIMIT).build().unwrap()
}

#[tokio::test]
async fn service_fabric_certificate_has_its_thumbprint() {
    let emulated = Emulated::start().await;
    let url = variable(&emulated, "service_fabric", "IDENTITY_ENDPOINT");
    let header = variable(&emulated, "service_fabric", "IDENTITY_HEADER");
    let thumbprint = variable(&emulated, "service_fabric", "IDENTITY_SERVER_THUMBPRINT");
    let client = pinning(thumbprint);
    let send = |client: &Client, header: Option<&str>| {
        let query = [("api-version", "2019-07-01-preview"), ("resource", DATABASE)];
        let request = client.get(&url).query(&query);
        header.map_or(request.try_clone().unwrap(), |header| request.header("Secret", header))
    };
    let (status, body) = response_of(send(&client, Some(&header)).send().await.unwrap()).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(claims(&body["access_token"])["oid"], "aaaaaaaa-0000-0000-0000-000000000001");
    assert!(body["expires_on"].is_i64());
    for (header, status, code) in [(None, 400, "SecretHeaderNotFound"), (Some("x"), 404, "ManagedIdentityNotFound")] {
        let (got, body) = response_of(send(&client, header).send().await.unwrap()).await;
        assert_eq!((got, &body["error"]["code"]), (status, &json!(code)));
    }
    for other_client in [emulated.client.clone(), pinning("0".repeat(40))] {
        assert!(send(&other_client, Some(&header)).send().await.is_err(), "no other client trusts it");
    }
}

#[tokio::test]
async fn token_proxy_requires_its_server_name() {
    let emulated = Emulated::start().await;
    let url = variable(&emulated, "token_proxy", "AZURE_KUBERNETES_TOKEN_PROXY");
    let name = variable(&emulated, "token_proxy", "AZURE_KUBERNETES_SNI_NAME");
    let ca_file = variable(&emulated, "token_proxy", "AZURE_KUBERNETES_CA_FILE");
    let minted = json!({"principal": "app-mi", "federated": {"issuer": "https://i.example", "subject": "s"}});
    let assertion = emulated.set("POST", "/mint", minted).await["token"].clone();
    let form = json!({
        "grant_type": "client_credentials", "client_id": APP_MI, "client_assertion": assertion,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "scope": format!("{DATABASE}/.default"),
    });
    let tenant = emulated.addresses().tenant_id.clone();
    let path = format!("{url}/{tenant}/oauth2/v2.0/token");

    let builder = || Client::builder().tls_backend_preconfigured(common::trusting(Path::new(&ca_file))).no_proxy();
    let named = builder().resolve(&name, "127.0.0.1:0".parse().unwrap()).timeout(LIMIT).build().unwrap();
    let (status, body) =
        response_of(named.post(path.replace("localhost", &name)).form(&form).send().await.unwrap()).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(emulated.running.state().requests.counters("token_proxy").total, 1);
    assert_eq!(emulated.running.state().requests.counters("token").total, 0);
    let by_host = builder().timeout(LIMIT).build().unwrap();
    assert!(by_host.post(&path).form(&form).send().await.is_err(), "it responds to its server name only");
}
