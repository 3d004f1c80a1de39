//! Users of a middle tier, the certificate of an application that changes, and a host's callback for assertions, over TLS.

mod servers;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use pgentra::{
    CachedCredential, CredentialConfig, CredentialContext, Error, ErrorKind, Result,
    credential::{BoxFuture, Credential, FetchContext, FetchedToken, TokenRequest},
};
use serde_json::{Value, json};
use servers::{Authority, Reply, Server};

const SCOPE: &str = "https://ossrdbms-aad.database.windows.net/.default";

struct Entra {
    authority: Authority,
    server: Server,
}

impl Entra {
    async fn start() -> Entra {
        let authority = Authority::new();
        let reply = Reply::json(200, &json!({"token_type": "Bearer", "expires_in": 3599, "access_token": "canary.t"}));
        let server = Server::tls(&authority, &["localhost"], reply).await;
        Entra { authority, server }
    }

    fn credential(&self, document: Value) -> Arc<CachedCredential> {
        self.credential_with(document, vec![])
    }

    fn credential_with(&self, document: Value, custom_credentials: Vec<Arc<dyn Credential>>) -> Arc<CachedCredential> {
        self.built(document, CredentialContext { custom_credentials, ..CredentialContext::default() })
    }

    fn built(&self, document: Value, context: CredentialContext) -> Arc<CachedCredential> {
        let mut document = document;
        document["tenant_id"] = "t".into();
        document["client_id"] = "c".into();
        document["authority_host"] = self.server.url("https", "localhost", "").into();
        let config = CredentialConfig::from_value(document).expect("a document");
        let context = CredentialContext { ca_file: Some(self.authority.path()), ..context };
        CachedCredential::new(&config, &context).expect("a credential")
    }

    fn user(&self, assertion: &str) -> Arc<CachedCredential> {
        self.credential(json!({
            "type": "on_behalf_of", "client_secret": "canary-s", "user_assertion_token": assertion,
        }))
    }

    /// What stood in the bodies so far.
    fn sent(&self, field: &str) -> Vec<String> {
        let found = |request: &String| {
            let body = request.split("\r\n\r\n").nth(1)?;
            body.split('&').find_map(|pair| pair.strip_prefix(&format!("{field}="))).map(str::to_owned)
        };
        self.server.requests().iter().filter_map(found).collect()
    }
}

async fn ask(credential: &CachedCredential, request: &TokenRequest) -> Result<()> {
    credential.start_token(request, None).await.map(drop)
}

#[tokio::test]
async fn on_behalf_of_each_user_fetches_one_token() {
    let entra = Entra::start().await;
    let request = TokenRequest::new(SCOPE);
    // A web service makes a credential for each request that it serves.
    for _ in 0..3 {
        for user in ["canary.user.a", "canary.user.b"] {
            ask(&entra.user(user), &request).await.expect("a token");
        }
    }
    assert_eq!(entra.sent("assertion"), ["canary.user.a", "canary.user.b"]);
    assert_eq!(entra.server.connections(), 1, "all users of an application share its connections");

    // Another secret of the application, and other scopes and claims, are asked for by themselves.
    let other = json!({"type": "on_behalf_of", "client_secret": "canary-x", "user_assertion_token": "canary.user.a"});
    ask(&entra.credential(other), &request).await.expect("a token");
    let again = entra.user("canary.user.a");
    let management = TokenRequest::new("https://management.azure.com/.default");
    let claims = TokenRequest { claims: Some("{}".to_owned()), ..request.clone() };
    let cae = TokenRequest { enable_cae: true, ..request.clone() };
    for request in [&management, &claims, &cae, &management, &claims, &cae, &request] {
        ask(&again, request).await.expect("a token");
    }
    assert_eq!(entra.sent("assertion").len(), 2 + 1 + 3);
}

#[tokio::test]
async fn middle_tier_is_shared_by_environments_that_differ_only_in_unread_variables() {
    let entra = Entra::start().await;
    let request = TokenRequest::new(SCOPE);
    let ask_with = async |user: &str, variables: &[(&str, &str)]| {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        let document = json!({"type": "on_behalf_of", "client_secret": "canary-s", "user_assertion_token": format!("canary.{user}")});
        let credential = entra.built(document, CredentialContext { environment, ..CredentialContext::default() });
        ask(&credential, &request).await.expect("a token");
        (entra.sent("assertion").len(), entra.server.connections())
    };
    assert_eq!(ask_with("a", &[("HOME", "/root")]).await, (1, 1));
    assert_eq!(ask_with("a", &[("HOME", "/home/www")]).await, (1, 1), "the same user");
    assert_eq!(ask_with("b", &[]).await, (2, 1), "another user of the same application");
    assert_eq!(ask_with("a", &[("NO_PROXY", "x.example")]).await, (3, 2), "a variable that it reads");
    assert_eq!(ask_with("c", &[("NO_PROXY", "x.example")]).await, (4, 2));
    assert_eq!(ask_with("c", &[("HOME", "/root")]).await, (5, 2), "the first application is still there");
}

#[tokio::test]
async fn certificate_file_that_changed_is_read_again() {
    let entra = Entra::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.pem");
    let fixture = |name: &str| {
        let from = format!("{}/../tests/vectors/certificates/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::copy(from, &path).expect("it is copied");
    };
    let document = json!({"type": "client_certificate", "certificate_path": path.to_str()});
    let credential = entra.credential(document);
    let scope = |number: usize| TokenRequest::new(format!("https://r{number}/.default"));

    let missing = ask(&credential, &scope(0)).await.expect_err("there is no file yet");
    assert_eq!(missing.kind(), ErrorKind::InvalidConfiguration);
    fixture("app.pem");
    ask(&credential, &scope(1)).await.expect("a token");
    ask(&credential, &scope(2)).await.expect("a token");
    fixture("large.pem");
    ask(&credential, &scope(3)).await.expect("a token");
    fixture("ec.pem");
    let unusable = ask(&credential, &scope(4)).await.expect_err("an elliptic curve's key");
    assert!(unusable.to_string().contains("not an RSA key"), "{unusable}");
    fixture("app.pem");
    ask(&credential, &scope(5)).await.expect("a token");

    let signatures: Vec<usize> =
        entra.sent("client_assertion").iter().map(|jwt| jwt.rsplit('.').next().unwrap_or_default().len()).collect();
    // 2048 bits, then 4096.
    assert_eq!(signatures, [342, 342, 683, 342]);
}

/// A host's function, as a binding hands it in.
struct Callback {
    calls: AtomicUsize,
    answer: fn(usize) -> Result<FetchedToken>,
}

impl Callback {
    fn answering(answer: fn(usize) -> Result<FetchedToken>) -> Arc<dyn Credential> {
        Arc::new(Callback { calls: AtomicUsize::new(0), answer })
    }
}

impl Credential for Callback {
    fn name(&self) -> &str {
        "getAssertion"
    }

    fn fetch<'a>(&'a self, _: &'a TokenRequest, _: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(std::future::ready((self.answer)(self.calls.fetch_add(1, Ordering::Relaxed))))
    }
}

#[tokio::test]
async fn on_behalf_of_with_a_callback_uses_its_assertions() {
    let entra = Entra::start().await;
    let document = json!({"type": "client_assertion", "get_assertion": {"type": "custom_credential", "index": 0}});
    let request = TokenRequest::new(SCOPE);
    let numbered =
        Callback::answering(|call| FetchedToken::from_custom(&format!("canary.assertion.{call}"), None, None));
    let credential = entra.credential_with(document.clone(), vec![Arc::clone(&numbered)]);
    for scope in [SCOPE, SCOPE, "https://management.azure.com/.default"] {
        ask(&credential, &TokenRequest::new(scope)).await.expect("a token");
    }
    assert_eq!(entra.sent("client_assertion"), ["canary.assertion.0", "canary.assertion.1"]);

    // Its failure is the cause; when its host goes away, it is asked again.
    let failing = Callback::answering(|call| match call {
        0 => Err(Error::new(ErrorKind::Cancelled, "the loop closed")),
        1 => Err(Error::from_custom("ValueError", "no key canary", false, Some(Arc::new("kept")))),
        _ => FetchedToken::from_custom("two words", None, None),
    });
    let credential = entra.credential_with(document, vec![failing]);
    let error = ask(&credential, &request).await.expect_err("the callback failed");
    let text = error.to_string();
    let start = "ClientAssertionCredential: no assertion from getAssertion: the credential raised ValueError";
    assert!(text.starts_with(start), "{text}");
    assert!(error.custom_cause().is_some_and(|cause| cause.is::<&str>()));
    let other = TokenRequest::new("https://vault.azure.net/.default");
    assert_eq!(ask(&credential, &other).await.expect_err("no assertion").kind(), ErrorKind::CredentialValue);

    // The same callback serves all users of a middle tier; another one is another application's.
    let user = |callback: &Arc<dyn Credential>, user: &str| {
        let document = json!({
            "type": "on_behalf_of", "user_assertion_token": user, "get_assertion": {"type": "custom_credential", "index": 0},
        });
        entra.credential_with(document, vec![Arc::clone(callback)])
    };
    for _ in 0..2 {
        ask(&user(&numbered, "canary.user.c"), &request).await.expect("a token");
    }
    let another = Callback::answering(|_| FetchedToken::from_custom("canary.another", None, None));
    ask(&user(&another, "canary.user.c"), &request).await.expect("a token");
    assert_eq!(entra.sent("assertion"), ["canary.user.c", "canary.user.c"]);
    assert_eq!(entra.sent("client_assertion")[2..], ["canary.assertion.2", "canary.another"]);
}
