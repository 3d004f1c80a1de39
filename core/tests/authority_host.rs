//! The authority host as the option of each credential and as `AZURE_AUTHORITY_HOST`: which path it may have, and what the
//! errors say.

use std::sync::{Arc, Mutex};

use pgentra::{
    CachedCredential, Config, CredentialConfig, CredentialContext, Error, ErrorKind, Result, TokenProvider,
    config::Environment,
    credential::{FetchContext, TokenRequest},
    testing::{BuildContext, BuildInputs, Response, Transport},
};
use serde_json::{Value, json};

const TENANT: &str = "99999999-0000-0000-0000-00000000000a";

/// Where the authority host stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Setting {
    Option,
    Variable,
}

impl Setting {
    fn name(self) -> &'static str {
        match self {
            Setting::Option => "authority_host",
            Setting::Variable => "AZURE_AUTHORITY_HOST",
        }
    }
}

struct Case {
    document: Value,
    /// What its error is named by.
    class: &'static str,
    variables: &'static [(&'static str, &'static str)],
    uses_authority: bool,
}

fn cases() -> Vec<Case> {
    const APPLICATION: &[(&str, &str)] =
        &[("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "canary-s")];
    const FEDERATED: &[(&str, &str)] =
        &[("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_ID", "c"), ("AZURE_FEDERATED_TOKEN_FILE", "/f")];
    let application = |mut document: Value| {
        document["tenant_id"] = TENANT.into();
        document["client_id"] = "c".into();
        document
    };
    let case = |class, document, variables, uses_authority| Case { document, class, variables, uses_authority };
    let secret = application(json!({"type": "client_secret", "client_secret": "canary-s"}));
    vec![
        case("ClientSecretCredential", secret.clone(), &[], true),
        case(
            "ClientCertificateCredential",
            application(json!({"type": "client_certificate", "certificate_path": "/c.pem"})),
            &[],
            true,
        ),
        case(
            "ClientAssertionCredential",
            application(json!({"type": "client_assertion", "get_assertion": {"type": "managed_identity"}})),
            &[],
            true,
        ),
        case(
            "OnBehalfOfCredential",
            application(
                json!({"type": "on_behalf_of", "client_secret": "canary-s", "user_assertion_token": "canary-u"}),
            ),
            &[],
            true,
        ),
        case(
            "AzurePipelinesCredential",
            application(
                json!({"type": "azure_pipelines", "service_connection_id": "s", "system_access_token": "canary-a"}),
            ),
            &[("SYSTEM_OIDCREQUESTURI", "https://dev.azure.example/x")],
            true,
        ),
        case(
            "WorkloadIdentityCredential",
            application(json!({"type": "workload_identity", "token_file_path": "/f"})),
            &[],
            true,
        ),
        case("EnvironmentCredential", json!({"type": "environment"}), APPLICATION, true),
        case("EnvironmentCredential", json!({"type": "environment"}), &[], false),
        case(
            "ClientSecretCredential",
            json!({"type": "chained", "credentials": [{"type": "azure_cli"}, secret]}),
            &[],
            true,
        ),
        // The chain must not continue with another identity than the variables specify.
        case("DefaultAzureCredential", json!({"type": "default"}), APPLICATION, true),
        case("DefaultAzureCredential", json!({"type": "default"}), FEDERATED, true),
        case("DefaultAzureCredential", json!({"type": "default"}), &[], false),
        case("ManagedIdentityCredential", json!({"type": "managed_identity"}), &[], false),
        case("AzureCliCredential", json!({"type": "azure_cli"}), &[], false),
        case("AzurePowerShellCredential", json!({"type": "azure_powershell"}), &[], false),
        case("AzureDeveloperCliCredential", json!({"type": "azure_developer_cli"}), &[], false),
        case("StaticTokenCredential", json!({"type": "static_token", "token": "canary-t"}), &[], false),
    ]
}

fn with(case: &Case, setting: Setting, authority: &str) -> (Value, Environment) {
    let mut document = case.document.clone();
    let mut environment: Environment =
        case.variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    match setting {
        Setting::Option => document["authority_host"] = authority.into(),
        Setting::Variable => drop(environment.insert("AZURE_AUTHORITY_HOST".to_owned(), authority.into())),
    }
    (document, environment)
}

/// By the credential's class, and by a provider with its document.
fn build(case: &Case, setting: Setting, authority: &str) -> [Result<()>; 2] {
    let (document, environment) = with(case, setting, authority);
    let config = CredentialConfig::from_value(document.clone()).expect("a document");
    let context = CredentialContext { environment: environment.clone(), ..CredentialContext::default() };
    let provider = Config { credential: config.clone(), environment, ..Config::default() };
    [CachedCredential::new(&config, &context).map(drop), TokenProvider::from_config(provider).map(drop)]
}

fn check(error: &Error, case: &Case, setting: Setting, authority: &str) {
    let text = format!("{error} {error:?} {}", error.detail());
    assert_eq!(error.kind(), ErrorKind::InvalidConfiguration, "{text}");
    assert_eq!(error.credential(), Some(case.class), "{text}");
    assert!(error.headline().contains(setting.name()) && error.advice().contains(setting.name()), "{text}");
    assert!(!text.contains("canary") && !text.contains(authority), "{text}");
}

#[test]
fn authority_host_with_the_path_of_the_credentials_tenant_is_accepted() {
    let upper = TENANT.to_ascii_uppercase();
    let paths = [
        (String::new(), true),
        ("/".to_owned(), true),
        (format!("/{TENANT}"), true),
        (format!("/{TENANT}/"), true),
        (format!("/{upper}"), true),
        (format!("/{TENANT}//"), false),
        (format!("//{TENANT}"), false),
        (format!("/{TENANT}/v2.0"), false),
        (format!("/{TENANT}/canary"), false),
        (format!("/canary/{TENANT}"), false),
        ("//".to_owned(), false),
        ("/adfs".to_owned(), false),
        ("/common".to_owned(), false),
        ("/contoso.onmicrosoft.com/B2C_1_canary".to_owned(), false),
    ];
    for case in cases() {
        for setting in [Setting::Option, Setting::Variable] {
            for host in ["https://login.example:8443", "login.microsoftonline.us"] {
                for (path, is_accepted) in &paths {
                    let authority = format!("{host}{path}");
                    for built in build(&case, setting, &authority) {
                        let name = format!("{} {setting:?} {authority}", case.class);
                        match built {
                            Ok(()) => assert!(*is_accepted || !case.uses_authority, "{name}"),
                            Err(error) => {
                                assert!(!is_accepted && case.uses_authority, "{name}: {error}");
                                check(&error, &case, setting, &authority);
                                let text = error.to_string();
                                assert!(
                                    text.contains("a path is not supported, except the credential's tenant"),
                                    "{text}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn authority_host_that_is_malformed_is_rejected_by_every_credential() {
    for case in cases() {
        for setting in [Setting::Option, Setting::Variable] {
            for (authority, part) in [
                ("http://login.canary.example", "http://"),
                ("ftp://login.canary.example", "scheme"),
                ("https://canary:canary@login.example", "user and password"),
                ("https://login.example/?canary", "query and fragment"),
                ("https://login.example/#canary", "query and fragment"),
                ("canary login", "not a URL"),
            ] {
                for built in build(&case, setting, authority) {
                    // A member of a chain does not know the chain, which is refused as a whole.
                    let class = match case.document["type"].as_str() {
                        Some("chained") => "ChainedTokenCredential",
                        _ => case.class,
                    };
                    let error = built.expect_err(authority);
                    check(&error, &Case { class, document: Value::Null, ..case }, setting, authority);
                    assert!(error.to_string().contains(part), "{error}");
                }
            }
        }
    }
}

/// The path is no part of the address: a tenant that the request names stands in its place.
#[tokio::test]
async fn authority_host_with_the_tenants_path_is_requested_below_its_host() {
    let urls = Arc::new(Mutex::new(Vec::new()));
    for case in cases().into_iter().filter(|case| case.class == "ClientSecretCredential") {
        for setting in [Setting::Option, Setting::Variable] {
            let (mut document, environment) = with(&case, setting, &format!("https://login.example/{TENANT}/"));
            if document["type"] == "chained" {
                continue;
            }
            document["additionally_allowed_tenants"] = json!(["*"]);
            let seen = Arc::clone(&urls);
            let transport = Transport::canned(move |request| {
                seen.lock().expect("not poisoned").push(request.url.clone());
                let answer = r#"{"access_token":"t","expires_in":3600}"#;
                Box::pin(std::future::ready(Ok(Response::new(200, &[], answer))))
            });
            let config = CredentialConfig::from_value(document).expect("a document");
            let built = {
                let inputs = BuildInputs::new(&environment);
                pgentra::testing::build(&config, &BuildContext::new(&inputs).with_transport(transport)).expect("builds")
            };
            for tenant_id in [None, Some("other".to_owned())] {
                let request = TokenRequest { tenant_id, ..TokenRequest::new("s/.default") };
                built.fetch(&request, FetchContext::default()).await.expect("a token");
            }
        }
    }
    let own = format!("https://login.example/{TENANT}/oauth2/v2.0/token");
    let other = "https://login.example/other/oauth2/v2.0/token".to_owned();
    assert_eq!(*urls.lock().expect("not poisoned"), [own.clone(), other.clone(), own, other]);
}

/// Where the path is not used, the host still says which cloud it is.
#[test]
fn authority_host_of_a_managed_identity_selects_the_cloud_with_any_path() {
    for path in ["", "/canary", "/canary/v2.0"] {
        let authority = format!("https://login.microsoftonline.us{path}");
        let environment: Environment = [("AZURE_AUTHORITY_HOST".to_owned(), authority.into())].into();
        let credential = CredentialConfig::from_value(json!({"type": "managed_identity"})).expect("a document");
        let provider = TokenProvider::from_config(Config { credential, environment, ..Config::default() });
        let text = format!("{:?}", provider.expect("builds"));
        assert!(text.contains("https://ossrdbms-aad.database.usgovcloudapi.net/.default"), "{text}");
    }
}
