//! Which credentials share their tokens: those that are equal in their settings and in the environment variables that they
//! read while they are built.

mod servers;

use std::sync::Arc;

use pgentra::{
    CachedCredential, CredentialConfig, CredentialContext, bindings::KNOWN_VARIABLES, config::Environment,
    credential::TokenRequest,
};
use serde_json::{Value, json};
use servers::{Reply, Server};

const ROOTS: &[&str] =
    &["SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];

const PROXIES: &[&str] = &[
    "REQUEST_METHOD",
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// What each credential that requests tokens of Entra reads.
const ENTRA: &[&str] =
    &["AZURE_AUTHORITY_HOST", "AZURE_IDENTITY_DISABLE_MULTITENANTAUTH", "AZURE_REGIONAL_AUTHORITY_NAME"];

/// What each developer tool is started with.
const TOOL: &[&str] = &[
    "AZURE_IDENTITY_DISABLE_MULTITENANTAUTH",
    "PATH",
    "HOME",
    "USERPROFILE",
    "APPDATA",
    "AZURE_CONFIG_DIR",
    "AZD_CONFIG_DIR",
];

const ENVIRONMENT: &[&str] = &[
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_ADDITIONALLY_ALLOWED_TENANTS",
];

/// How the source of a managed identity is found.
const SOURCES: &[&str] = &["IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT"];

/// What a managed identity reads on a machine without other sources than IMDS.
const IMDS: &[&str] = &["AZURE_CLIENT_ID", "AZURE_POD_IDENTITY_AUTHORITY_HOST", "PGENTRA_AZCMAGENT_ROOT"];

struct Case {
    name: &'static str,
    document: Value,
    /// What is set.
    environment: &'static [(&'static str, &'static str)],
    /// The variables that are part of the key.
    reads: Vec<&'static str>,
}

fn case(
    name: &'static str,
    document: Value,
    environment: &'static [(&'static str, &'static str)],
    reads: &[&[&'static str]],
) -> Case {
    Case { name, document, environment, reads: reads.concat() }
}

fn application(kind: &str, own: &[(&str, Value)]) -> Value {
    let mut document = json!({"type": kind, "tenant_id": "t", "client_id": "c"});
    for (name, value) in own {
        document[*name] = value.clone();
    }
    document
}

fn cases() -> Vec<Case> {
    const APP_SERVICE: &[(&str, &str)] =
        &[("IDENTITY_ENDPOINT", "http://127.0.0.1:1/a"), ("IDENTITY_HEADER", "canary-h")];
    const APP_SERVICE_TLS: &[(&str, &str)] =
        &[("IDENTITY_ENDPOINT", "https://h.example/a"), ("IDENTITY_HEADER", "canary-h")];
    const FABRIC: &[(&str, &str)] = &[
        ("IDENTITY_ENDPOINT", "https://h.example/a"),
        ("IDENTITY_HEADER", "canary-h"),
        ("IDENTITY_SERVER_THUMBPRINT", "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"),
    ];
    const FEDERATED: &[(&str, &str)] = &[
        ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/"),
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/f"),
    ];
    let secret = [("client_secret", json!("canary-s"))];
    let members = json!([
        {"type": "managed_identity"},
        application("client_secret", &secret),
    ]);
    vec![
        case("client secret", application("client_secret", &secret), &[], &[ENTRA, ROOTS, PROXIES]),
        case(
            "client secret, region detected",
            application("client_secret", &secret),
            &[("AZURE_REGIONAL_AUTHORITY_NAME", "true")],
            &[ENTRA, ROOTS, PROXIES, &["REGION_NAME", "AZURE_POD_IDENTITY_AUTHORITY_HOST"]],
        ),
        case(
            "client secret with its own cloud",
            application("client_secret", &[secret[0].clone(), ("cloud", json!("china"))]),
            &[],
            &[&ENTRA[1..], ROOTS, PROXIES],
        ),
        case(
            "client certificate",
            application("client_certificate", &[("certificate_path", json!("/c.pem"))]),
            &[],
            &[ENTRA, ROOTS, PROXIES],
        ),
        case(
            "client assertion of a managed identity",
            application("client_assertion", &[("get_assertion", json!({"type": "managed_identity"}))]),
            &[],
            &[ENTRA, ROOTS, PROXIES, SOURCES, IMDS],
        ),
        case(
            "on behalf of",
            application("on_behalf_of", &[secret[0].clone(), ("user_assertion_token", json!("canary-u"))]),
            &[],
            &[ENTRA, ROOTS, PROXIES],
        ),
        case(
            "on behalf of, by a managed identity",
            application(
                "on_behalf_of",
                &[("get_assertion", json!({"type": "managed_identity"})), ("user_assertion_token", json!("canary-u"))],
            ),
            &[],
            &[ENTRA, ROOTS, PROXIES, SOURCES, IMDS],
        ),
        case(
            "Azure Pipelines",
            application(
                "azure_pipelines",
                &[("service_connection_id", json!("s")), ("system_access_token", json!("canary-a"))],
            ),
            &[("SYSTEM_OIDCREQUESTURI", "https://dev.azure.example/x")],
            &[ENTRA, ROOTS, PROXIES, &["SYSTEM_OIDCREQUESTURI"]],
        ),
        case(
            "Azure Pipelines, by the parts of the address",
            application(
                "azure_pipelines",
                &[
                    ("service_connection_id", json!("s")),
                    ("system_access_token", json!("canary-a")),
                    ("organization_url", json!("https://dev.azure.example/o")),
                ],
            ),
            &[("SYSTEM_TEAMPROJECTID", "p"), ("SYSTEM_PLANID", "p"), ("SYSTEM_JOBID", "j")],
            &[
                ENTRA,
                ROOTS,
                PROXIES,
                &["SYSTEM_OIDCREQUESTURI", "SYSTEM_TEAMPROJECTID", "SYSTEM_PLANID", "SYSTEM_JOBID", "SYSTEM_HOSTTYPE"],
            ],
        ),
        case("environment, nothing set", json!({"type": "environment"}), &[], &[ENVIRONMENT]),
        case(
            "environment, a secret",
            json!({"type": "environment"}),
            &[("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "canary-s")],
            // With a secret, no certificate is read.
            &[&ENVIRONMENT[..3], &ENVIRONMENT[4..], ENTRA, ROOTS, PROXIES],
        ),
        case(
            "environment, a certificate",
            json!({"type": "environment"}),
            &[("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_CERTIFICATE_PATH", "/c.pem")],
            &[
                ENVIRONMENT,
                &["AZURE_CLIENT_CERTIFICATE_PASSWORD", "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN"],
                ENTRA,
                ROOTS,
                PROXIES,
            ],
        ),
        case(
            "workload identity",
            json!({"type": "workload_identity"}),
            &FEDERATED[1..],
            &[&["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"], ENTRA, ROOTS, PROXIES],
        ),
        case(
            "workload identity by its arguments",
            json!({"type": "workload_identity", "tenant_id": "t", "client_id": "c", "token_file_path": "/f"}),
            &[],
            &[ENTRA, ROOTS, PROXIES],
        ),
        case(
            "workload identity at the cluster's token proxy",
            json!({"type": "workload_identity", "tenant_id": "t", "client_id": "c", "token_file_path": "/f",
                   "enable_azure_proxy": true}),
            &[("AZURE_KUBERNETES_TOKEN_PROXY", "https://p.example"), ("AZURE_KUBERNETES_CA_FILE", "/ca.pem")],
            &[&[
                "AZURE_KUBERNETES_TOKEN_PROXY",
                "AZURE_KUBERNETES_CA_FILE",
                "AZURE_KUBERNETES_CA_DATA",
                "AZURE_KUBERNETES_SNI_NAME",
                "AZURE_IDENTITY_DISABLE_MULTITENANTAUTH",
            ]],
        ),
        case("managed identity", json!({"type": "managed_identity"}), &[], &[SOURCES, IMDS]),
        case(
            "managed identity, user-assigned",
            json!({"type": "managed_identity", "client_id": "c"}),
            &[],
            // The client id is there, so the rest of workload identity's variables is looked for.
            &[SOURCES, &IMDS[1..], &["AZURE_AUTHORITY_HOST"]],
        ),
        case(
            "managed identity of App Service",
            json!({"type": "managed_identity"}),
            APP_SERVICE,
            &[SOURCES, &["IDENTITY_SERVER_THUMBPRINT"]],
        ),
        case(
            "managed identity of App Service over TLS",
            json!({"type": "managed_identity"}),
            APP_SERVICE_TLS,
            &[SOURCES, &["IDENTITY_SERVER_THUMBPRINT"], ROOTS],
        ),
        case(
            "managed identity of Service Fabric",
            json!({"type": "managed_identity"}),
            FABRIC,
            &[SOURCES, &["IDENTITY_SERVER_THUMBPRINT"]],
        ),
        case(
            "managed identity of Azure Arc",
            json!({"type": "managed_identity"}),
            &[("IDENTITY_ENDPOINT", "http://localhost:40342/a"), ("IMDS_ENDPOINT", "http://localhost:40342")],
            &[SOURCES, &["IMDS_ENDPOINT", "PGENTRA_AZCMAGENT_ROOT"]],
        ),
        case(
            "managed identity of Azure Machine Learning",
            json!({"type": "managed_identity"}),
            &[("MSI_ENDPOINT", "http://127.0.0.1:1/a"), ("MSI_SECRET", "canary-m")],
            &[SOURCES, &["MSI_SECRET", "DEFAULT_IDENTITY_CLIENT_ID"]],
        ),
        case(
            "managed identity of Cloud Shell",
            json!({"type": "managed_identity"}),
            &[("MSI_ENDPOINT", "http://127.0.0.1:1/a")],
            &[SOURCES, &["MSI_SECRET"]],
        ),
        case(
            "managed identity that is a workload identity",
            json!({"type": "managed_identity"}),
            FEDERATED,
            &[SOURCES, &["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"], ENTRA, ROOTS, PROXIES],
        ),
        case("Azure CLI", json!({"type": "azure_cli"}), &[("PATH", "/bin"), ("HOME", "/h")], &[TOOL]),
        case("Azure PowerShell", json!({"type": "azure_powershell"}), &[], &[TOOL]),
        case("Azure Developer CLI", json!({"type": "azure_developer_cli"}), &[], &[TOOL]),
        case("static token", json!({"type": "static_token", "token": "canary-t"}), &[], &[]),
        case(
            "chain: what its members read",
            json!({"type": "chained", "credentials": members}),
            &[],
            &[SOURCES, IMDS, ENTRA, ROOTS, PROXIES],
        ),
        case(
            "default chain: what its members read",
            json!({"type": "default"}),
            &[("HOME", "/h")],
            &[&["AZURE_TOKEN_CREDENTIALS", "AZURE_FEDERATED_TOKEN_FILE"], ENVIRONMENT, SOURCES, IMDS, TOOL],
        ),
        case(
            "default chain without developer tools",
            json!({"type": "default"}),
            &[("AZURE_TOKEN_CREDENTIALS", "prod"), ("HOME", "/h")],
            &[&["AZURE_TOKEN_CREDENTIALS", "AZURE_FEDERATED_TOKEN_FILE"], ENVIRONMENT, SOURCES, IMDS],
        ),
        case(
            "default chain that requires a variable",
            json!({"type": "default", "required_env_vars": ["MSI_SECRET"], "exclude": [
                "EnvironmentCredential", "WorkloadIdentityCredential", "AzureCliCredential", "AzurePowerShellCredential",
                "AzureDeveloperCliCredential",
            ]}),
            &[("MSI_SECRET", "canary-m")],
            &[&["AZURE_TOKEN_CREDENTIALS", "AZURE_ADDITIONALLY_ALLOWED_TENANTS", "MSI_SECRET"], SOURCES, IMDS],
        ),
    ]
}

fn environment(set: &[(&str, &str)]) -> Environment {
    set.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect()
}

fn credential(document: &Value, environment: Environment) -> pgentra::Result<Arc<CachedCredential>> {
    let config = CredentialConfig::from_value(document.clone()).expect("a document");
    CachedCredential::new(&config, &CredentialContext { environment, ..CredentialContext::default() })
}

/// Two values that a variable may have.
fn values(name: &str) -> [&'static str; 2] {
    match name {
        "AZURE_AUTHORITY_HOST" => ["https://a.example", "https://b.example"],
        "AZURE_TOKEN_CREDENTIALS" => ["dev", "AzureCliCredential"],
        _ => ["one", "two"],
    }
}

#[test]
fn cache_key_consists_of_the_variables_that_the_credential_reads() {
    for Case { name, document, environment: set, reads } in cases() {
        let base = environment(set);
        let own = credential(&document, base.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let again = credential(&document, base.clone()).expect("as before");
        assert!(own.shares_tokens_with(&again), "{name}");
        for variable in KNOWN_VARIABLES {
            let with = |value: Option<&str>| {
                let mut changed = base.clone();
                match value {
                    Some(value) => changed.insert((*variable).to_owned(), value.into()),
                    None => changed.remove(*variable),
                };
                credential(&document, changed)
            };
            let [one, two] = values(variable).map(|value| with(Some(value)));
            let was_set = base.contains_key(*variable);
            let unset = with(None);
            let reads = reads.contains(variable);
            // Where a value is refused, it has been read.
            let shared = |one: &pgentra::Result<Arc<CachedCredential>>,
                          other: &pgentra::Result<Arc<CachedCredential>>| {
                matches!((one, other), (Ok(one), Ok(other)) if one.shares_tokens_with(other))
            };
            assert_eq!(shared(&unset, &one), !reads, "{name}: {variable} set or not");
            // Some are looked at even if they are empty.
            assert_eq!(shared(&unset, &with(Some(""))), !reads, "{name}: {variable} empty or not set");
            assert_eq!(shared(&one, &two) && one.is_ok(), !reads, "{name}: {variable} of two values");
            if was_set {
                assert_eq!(shared(&unset, &Ok(Arc::clone(&own))), !reads, "{name}: {variable} taken away");
            }
        }
    }
}

#[test]
fn cache_key_contains_ca_file_and_cloud_only_if_they_are_used() {
    let with = |document: &Value, ca_file: Option<&str>, host: Option<&str>| {
        let config = CredentialConfig::from_value(document.clone()).expect("a document");
        let [ca_file, server_host] = [ca_file, host].map(|text| text.map(str::to_owned));
        CachedCredential::new(&config, &CredentialContext { ca_file, server_host, ..CredentialContext::default() })
            .expect("builds")
    };
    let secret = [("client_secret", json!("canary-s"))];
    let china = [secret[0].clone(), ("cloud", json!("china"))];
    let government = "s.postgres.database.usgovcloudapi.net";
    for (document, uses_ca_file, uses_cloud) in [
        (application("client_secret", &secret), true, true),
        (application("client_secret", &china), true, false),
        (json!({"type": "managed_identity"}), false, false),
        (json!({"type": "azure_cli"}), false, false),
    ] {
        let own = with(&document, None, None);
        assert_eq!(!own.shares_tokens_with(&with(&document, Some("/ca.pem"), None)), uses_ca_file, "{document}");
        assert_eq!(!own.shares_tokens_with(&with(&document, None, Some(government))), uses_cloud, "{document}");
        assert!(own.shares_tokens_with(&with(&document, None, Some("s.postgres.database.azure.com"))), "{document}");
    }
}

#[test]
fn cache_key_differs_in_every_setting_and_secret() {
    let all = [
        application("client_secret", &[("client_secret", json!("canary-1"))]),
        application("client_secret", &[("client_secret", json!("canary-2"))]),
        application("client_secret", &[("client_secret", json!("canary-1")), ("tenant_id", json!("other"))]),
        application("client_secret", &[("client_secret", json!("canary-1")), ("cloud", json!("china"))]),
        application("client_certificate", &[("certificate_path", json!("/c.pem"))]),
        json!({"type": "managed_identity"}),
        json!({"type": "managed_identity", "client_id": "c"}),
        json!({"type": "managed_identity", "object_id": "c"}),
    ];
    let built: Vec<_> = all.iter().map(|one| credential(one, Environment::new()).expect("builds")).collect();
    for (index, one) in built.iter().enumerate() {
        for (place, other) in built.iter().enumerate() {
            assert_eq!(one.shares_tokens_with(other), index == place, "{} {}", all[index], all[place]);
        }
    }
}

#[tokio::test]
async fn managed_identity_of_providers_that_differ_only_in_home_is_fetched_once() {
    let answer = json!({"access_token": "canary", "expires_on": "4102444800"});
    let identity = Server::plain(Reply::json(200, &answer)).await;
    let ask = async |variables: &[(&str, &str)]| {
        let credential = credential(&json!({"type": "managed_identity"}), environment(variables)).expect("builds");
        let request = TokenRequest::new("https://ossrdbms-aad.database.windows.net/.default");
        credential.start_token(&request, None).await.expect("a token");
        identity.requests().len()
    };
    let header = ("IDENTITY_HEADER", "canary-h");
    let first = identity.url("http", "127.0.0.1", "/first");
    let endpoint = ("IDENTITY_ENDPOINT", &*first);
    assert_eq!(ask(&[endpoint, header, ("HOME", "/root")]).await, 1);
    assert_eq!(ask(&[endpoint, header, ("HOME", "/home/www"), ("PATH", "/bin"), ("HTTPS_PROXY", "p:1")]).await, 1);
    assert_eq!(ask(&[endpoint, header]).await, 1);
    let other = identity.url("http", "127.0.0.1", "/other");
    assert_eq!(ask(&[("IDENTITY_ENDPOINT", &other), header]).await, 2);
}
