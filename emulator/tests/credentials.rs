//! Every credential of the engine gets a token from the emulator and logs in to PostgreSQL as the expected role.
//!
//! Each credential that works prints `works: CLASS in Rust`, which `tools/matrix.py` collects.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use common::{ORDERS_API, PROGRAM, Started, client_trusting, current_user, log_in, response_of};
use pgentra::credential::{BoxFuture, Credential, FetchContext, FetchedToken, TokenRequest};
use pgentra::identity::*;
use pgentra::{CachedCredential, Config, CredentialConfig, CredentialContext, CredentialKind, TokenProvider};
use reqwest::Client;
use serde_json::{Value, json};

const APP_MI: &str = "11111111-0000-0000-0000-000000000001";
const SERVICE: &str = "orders-api";
const IDENTITY: &str = "app-mi";
const ALICE: &str = "alice@contoso.example";
const SERVICE_CONNECTION: &str = "55555555-0000-0000-0000-000000000001";

/// The emulator as a program, because the developer tools are part of it, with PostgreSQL.
struct Setup {
    started: Started,
    client: Client,
    certificates: PathBuf,
}

impl Setup {
    fn start() -> Self {
        let mut command = Command::new(PROGRAM);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let started = Started::new(&mut command);
        let client = client_trusting(Path::new(started.ready["ca_file"].as_str().unwrap()));
        let certificates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/certificates");
        Self { started, client, certificates }
    }

    fn address(&self, pointer: &str) -> &str {
        self.started.ready.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer}"))
    }

    async fn set(&self, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.address("/control"));
        let (status, body) = response_of(self.client.post(url).body(body.to_string()).send().await.unwrap()).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn mint(&self, principal: &str, mut settings: Value) -> String {
        settings["principal"] = principal.into();
        self.set("/mint", settings).await["token"].as_str().unwrap().to_owned()
    }

    /// Logs in with this credential and these variables; `user` is given if the token has no name.
    async fn role(&self, case: &Case) -> Result<String, pgentra::Error> {
        let config = Config::from_value(json!({
            "credential": case.credential, "environment": case.environment, "user": case.user,
            "ca_file": self.address("/bundle_file"),
        }))?;
        let asserting: Arc<dyn Credential> = Arc::new(Asserting(case.assertion.clone()));
        let context = CredentialContext {
            environment: config.environment.clone(),
            ca_file: config.ca_file.clone(),
            custom_credentials: vec![asserting],
            ..CredentialContext::default()
        };
        let credential = class_of(config.credential.clone(), &context)?;
        let provider = TokenProvider::builder().config(config).credential(credential).build()?;
        let login = provider.login().await?;
        let port = self.started.ready["postgres"]["port"].as_u64().unwrap().try_into().unwrap();
        let ca_file = Path::new(self.address("/ca_file"));
        let client = log_in(port, ca_file, login.user(), login.password()).await.unwrap_or_else(|e| panic!("{e:?}"));
        Ok(current_user(&client).await)
    }
}

/// Returns the class with these arguments.
fn class_of(config: CredentialConfig, context: &CredentialContext) -> pgentra::Result<Arc<CachedCredential>> {
    macro_rules! classes {
        ($($variant:ident $class:ident)+) => {
            match config.kind {
                $(CredentialKind::$variant(a) => $class::new(a, config.options, context).map(Into::into),)+
            }
        };
    }
    classes! {
        Default DefaultAzureCredential
        Chained ChainedTokenCredential
        Environment EnvironmentCredential
        WorkloadIdentity WorkloadIdentityCredential
        ManagedIdentity ManagedIdentityCredential
        AzureCli AzureCliCredential
        AzurePowerShell AzurePowerShellCredential
        AzureDeveloperCli AzureDeveloperCliCredential
        AzurePipelines AzurePipelinesCredential
        ClientSecret ClientSecretCredential
        ClientCertificate ClientCertificateCredential
        ClientAssertion ClientAssertionCredential
        OnBehalfOf OnBehalfOfCredential
        StaticToken StaticTokenCredential
        Custom CustomCredential
    }
}

/// A credential's settings, and the role that it logs in as.
struct Case {
    credential: Value,
    environment: Value,
    user: Option<&'static str>,
    assertion: String,
    role: &'static str,
}

/// A custom credential, which returns assertions.
struct Asserting(String);

impl Credential for Asserting {
    fn name(&self) -> &str {
        "Asserting"
    }

    fn fetch<'a>(&'a self, _: &'a TokenRequest, _: FetchContext) -> BoxFuture<'a, pgentra::Result<FetchedToken>> {
        Box::pin(async { FetchedToken::from_custom(&self.0, None, None) })
    }
}

fn with(document: &Value, changes: Value) -> Value {
    let mut changed = document.clone();
    let Value::Object(changes) = changes else { panic!("objects are merged") };
    changed.as_object_mut().unwrap().extend(changes);
    changed
}

async fn cases(setup: &Setup, directory: &Path) -> Vec<Case> {
    let cluster = json!({"issuer": "https://cluster.example", "subject": "system:serviceaccount:shop:orders"});
    let pipeline = json!({"issuer": "https://vstoken.dev.azure.com/99999999-0000-0000-0000-0000000000d0",
                          "subject": "sc://contoso/shop/orders-api"});
    let registered = json!({
        "name": SERVICE, "kind": "service_principal", "appid": ORDERS_API, "client_secret": "orders-api-secret",
        "oid": "aaaaaaaa-0000-0000-0000-000000000005", "federated_credentials": [cluster, pipeline],
        "certificates": [setup.certificates.join("no-key.pem")],
    });
    setup.set("/principals", registered).await;
    let assertion = setup.mint(SERVICE, json!({"federated": cluster})).await;
    let token_file = directory.join("azure-identity-token");
    std::fs::write(&token_file, &assertion).unwrap();
    let sent_by_alice = setup.mint(ALICE, json!({"audience": format!("api://{ORDERS_API}")})).await;
    let known_token = setup.mint(IDENTITY, json!({"named": true})).await;
    let tools = setup.set("/tools", json!({"principal": ALICE})).await["path"].as_str().unwrap().to_owned();

    let tenant_id = setup.address("/tenant_id");
    let own =
        json!({"tenant_id": tenant_id, "client_id": ORDERS_API, "authority_host": setup.address("/authority_host")});
    let app_service = json!({"IDENTITY_ENDPOINT": setup.address("/app_service/endpoint"),
                             "IDENTITY_HEADER": setup.address("/app_service/header")});
    let service = json!({"AZURE_TENANT_ID": tenant_id, "AZURE_CLIENT_ID": ORDERS_API,
                         "AZURE_AUTHORITY_HOST": setup.address("/authority_host")});
    let developer = json!({"PATH": format!("{tools}:/usr/bin:/bin")});
    let task = json!({"SYSTEM_OIDCREQUESTURI": setup.address("/hosts/azure_pipelines/SYSTEM_OIDCREQUESTURI")});

    let case = |role, environment: &Value, credential| Case {
        credential,
        environment: environment.clone(),
        // An application's tokens contain no name.
        user: (role == SERVICE).then_some(SERVICE),
        assertion: assertion.clone(),
        role,
    };
    let members = json!([{"type": "environment"}, {"type": "workload_identity"}, {"type": "managed_identity"}]);
    let (secret, host) = ("orders-api-secret", json!({"type": "custom_credential", "index": 0}));
    let nothing = &json!({});
    vec![
        case(IDENTITY, &app_service, json!({"type": "default"})),
        case(ALICE, &with(&developer, json!({"AZURE_TOKEN_CREDENTIALS": "dev"})), json!({"type": "default"})),
        case(IDENTITY, &app_service, json!({"type": "chained", "credentials": members})),
        case(SERVICE, &with(&service, json!({"AZURE_CLIENT_SECRET": secret})), json!({"type": "environment"})),
        case(
            SERVICE,
            &with(&service, json!({"AZURE_FEDERATED_TOKEN_FILE": token_file})),
            json!({"type": "workload_identity"}),
        ),
        case(IDENTITY, &app_service, json!({"type": "managed_identity", "client_id": APP_MI})),
        case(ALICE, &developer, json!({"type": "azure_cli"})),
        case(ALICE, &developer, json!({"type": "azure_powershell"})),
        case(ALICE, &developer, json!({"type": "azure_developer_cli"})),
        case(
            SERVICE,
            &task,
            with(
                &own,
                json!({"type": "azure_pipelines", "service_connection_id": SERVICE_CONNECTION,
                       "system_access_token": setup.address("/hosts/azure_pipelines/SYSTEM_ACCESSTOKEN")}),
            ),
        ),
        case(SERVICE, nothing, with(&own, json!({"type": "client_secret", "client_secret": secret}))),
        case(
            SERVICE,
            nothing,
            with(&own, json!({"type": "client_certificate", "certificate_path": setup.certificates.join("app.pem")})),
        ),
        case(SERVICE, nothing, with(&own, json!({"type": "client_assertion", "get_assertion": host}))),
        case(
            ALICE,
            nothing,
            with(&own, json!({"type": "on_behalf_of", "client_secret": secret, "user_assertion_token": sent_by_alice})),
        ),
        case(IDENTITY, nothing, json!({"type": "static_token", "token": known_token})),
    ]
}

#[tokio::test]
async fn credentials_of_every_class_log_in() {
    let setup = Setup::start();
    let directory = tempfile::tempdir().unwrap();
    let mut left: BTreeSet<_> = CredentialKind::ALL.iter().filter(|(tag, _)| *tag != "custom_credential").collect();
    let mut failures = Vec::new();
    for case in cases(&setup, directory.path()).await {
        let tag = case.credential["type"].as_str().unwrap();
        let known = CredentialKind::ALL.iter().find(|(known, _)| *known == tag).unwrap();
        left.remove(known);
        match setup.role(&case).await {
            Ok(role) if role == case.role => println!("works: {} in Rust", known.1),
            other => failures.push(format!("{tag}: {other:?} in place of {}", case.role)),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(left, BTreeSet::new(), "not tried");
}
