//! The functions of `TokenProvider` with a scripted credential.

mod support;

use std::{sync::Arc, time::Duration};

use pgentra::{
    Builder, CachedCredential, Config, Error, ErrorKind, TokenProvider,
    config::Environment,
    credential::FetchedToken,
    postgres::{ConnectionPlan, ConnectionRequest, ServiceConnector},
    testing::{Request, Response, Transport},
};
use serde_json::json;
use support::{Scripted, down, token};

fn config(document: serde_json::Value) -> Config {
    Config::from_value(document).expect("valid")
}

#[test]
fn get_of_many_callers_shares_one_fetch() {
    let credential = Scripted::user("alice@contoso.example", 3600).delayed(Duration::from_millis(100));
    let provider = credential.provider(Config::default());
    let threads: Vec<_> = (0..50)
        .map(|_| {
            let provider = provider.clone();
            std::thread::spawn(move || provider.login_blocking().map(|login| login.user().to_owned()))
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().expect("no panic").expect("logs in"), "alice@contoso.example");
    }
    assert_eq!(credential.calls(), 1);
    assert_eq!(provider.stats().entry.fetches, 1);
    assert_eq!(provider.stats().role.as_deref(), Some("alice@contoso.example"));
}

#[test]
fn get_blocking_inside_another_runtime_returns_a_token() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("builds");
    let provider = Scripted::user("a", 3600).delayed(Duration::from_millis(20)).provider(Config::default());
    runtime.block_on(async { provider.get_blocking().expect("a token") });
}

#[test]
fn get_without_a_runtime_and_in_two_runtimes_returns_a_token() {
    let provider = Scripted::user("a", 3600).delayed(Duration::from_millis(20)).provider(Config::default());
    futures_executor(provider.login()).expect("logs in");
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let provider = Scripted::user("a", 3600).delayed(Duration::from_millis(20)).provider(Config::default());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("builds");
                runtime.block_on(async { provider.login().await.map(|_| ()) })
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic").expect("logs in");
    }
}

/// Polls by parking, so that nothing of a runtime helps.
fn futures_executor<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park_timeout(Duration::from_secs(10));
    }
}

#[test]
fn get_blocking_on_the_engine_fails_at_once() {
    let credential = Scripted::user("a", 3600).delayed(Duration::from_secs(5));
    let provider = credential.provider(Config::default());
    let (sender, receiver) = std::sync::mpsc::channel();
    let ready = Scripted::user("b", 3600).delayed(Duration::from_millis(20)).provider(Config::default());
    ready.start_get(None).on_done(move |_| {
        let _ = sender.send(provider.get_blocking().map_err(|e| e.kind()).map(|_| ()));
    });
    assert_eq!(receiver.recv_timeout(Duration::from_secs(4)), Ok(Err(ErrorKind::WouldDeadlock)));
}

#[test]
fn get_that_times_out_leaves_the_fetch_running() {
    let credential = Scripted::user("a", 3600).delayed(Duration::from_millis(300));
    let provider = credential.provider(Config::default());
    let error =
        provider.start_get(Some(Duration::from_millis(20))).wait(Duration::from_secs(10)).expect("ends").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("ScriptedCredential"), "{error}");
    provider.get_blocking().expect("the same fetch ends well");
    assert_eq!(credential.calls(), 1);
}

#[test]
fn get_after_a_failure_returns_the_same_error() {
    let credential = Scripted::new(|_, _| Err(down()));
    let provider = credential.provider(Config::default());
    for _ in 0..100 {
        assert_eq!(provider.get_blocking().unwrap_err().kind(), ErrorKind::ServiceUnavailable);
    }
    assert_eq!(credential.calls(), 1);
}

#[test]
fn get_of_a_credential_that_panics_is_an_internal_error() {
    let credential = Scripted::new(|_, _| panic!("canary"));
    let error = credential.provider(Config::default()).get_blocking().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[test]
fn get_after_a_cancelled_fetch_starts_another_one() {
    let credential = Scripted::new(|n, _| match n {
        0 | 1 => Err(Error::new(ErrorKind::Cancelled, "the loop closed")),
        _ => Ok(token(&json!({"upn": "a"}), 3600)),
    });
    credential.provider(Config::default()).get_blocking().expect("the third fetch brings it");
    assert_eq!(credential.calls(), 3);
    let gone = Scripted::new(|_, _| Err(Error::new(ErrorKind::Cancelled, "the loop closed")));
    assert_eq!(gone.provider(Config::default()).get_blocking().unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn get_of_a_token_without_expiry_uses_its_exp_claim() {
    let without = |text: String| Scripted::new(move |_, _| FetchedToken::from_custom(&text, None, None));
    let ends = support::unix_now() + 3600;
    let token = without(support::jwt(&json!({"exp": ends}))).provider(Config::default()).get_blocking();
    assert_eq!(token.expect("a token").expires_on(), ends);
    let error = without("opaque".to_owned()).provider(Config::default()).get_blocking().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialValue);
    assert!(error.to_string().contains("without an expiry"), "{error}");
}

#[test]
fn get_of_an_expired_token_reports_it() {
    let credential = Scripted::new(|_, _| Ok(token(&json!({"upn": "a"}), -5)));
    let error = credential.provider(Config::default()).get_blocking().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadOnArrival);
    assert!(!error.to_string().contains("token service's"), "{error}");

    // A service that told another time than this machine's.
    let late = std::time::SystemTime::now() - Duration::from_secs(600);
    let transport = Transport::canned(move |_| {
        Box::pin(std::future::ready(Ok(Response::new(200, &[("date", &httpdate::fmt_http_date(late))], ""))))
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let asked = transport.send(Request::get_local("http://host/", Duration::from_secs(1)));
    runtime.block_on(asked).expect("an answer");
    let error = Scripted::new(|_, _| Ok(token(&json!({"upn": "b"}), -5))).provider(Config::default()).get_blocking();
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains(
            "this machine's clock is 10 min ahead of the clock of the token service. Correct this machine's clock"
        ),
        "{text}"
    );
}

#[test]
fn get_without_cache_fetches_each_time() {
    let credential = Scripted::user("a", 3600);
    let provider = credential.provider(config(json!({"cache": false})));
    for _ in 0..3 {
        provider.login_blocking().expect("logs in");
    }
    assert_eq!(credential.calls(), 3);
    assert_eq!(provider.stats().entry.fetches, 3);
}

#[test]
fn login_user_comes_from_option_pguser_and_token_in_this_order() {
    let user = |document| {
        let login = Scripted::user("from-token", 3600).provider(config(document)).login_blocking().expect("logs in");
        (login.user().to_owned(), login.user_source())
    };
    let both = json!({"user": "chosen", "environment": {"PGUSER": "from-env"}});
    assert_eq!(user(both), ("chosen".to_owned(), "user"));
    assert_eq!(user(json!({"environment": {"PGUSER": "from-env"}})), ("from-env".to_owned(), "PGUSER"));
    assert_eq!(user(json!({})), ("from-token".to_owned(), "upn"));
    assert_eq!(user(json!({"fallback_username": "f"})).0, "from-token");
}

/// A managed identity: nameless for the database, named by `management`.
fn identity(oid: &'static str, management: Result<&'static str, ErrorKind>) -> Arc<Scripted> {
    Scripted::new(move |n, request| {
        if !request.scope.contains("management") {
            return Ok(token(&json!({"oid": oid, "tid": "t", "idtyp": "app", "appid": "app-id", "n": n}), 3600));
        }
        match management {
            Ok(name) => Ok(token(
                &json!({"oid": oid, "tid": "t", "idtyp": "app", "xms_mirid": format!(
                "/subscriptions/s/resourcegroups/r/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}")}),
                3600,
            )),
            Err(kind) => Err(Error::new(kind, "management says no")),
        }
    })
}

#[test]
fn login_of_a_nameless_identity_requests_one_management_token() {
    let credential = identity("oid-named", Ok("app-mi"));
    let login = credential.provider(Config::default()).login_blocking().expect("logs in");
    assert_eq!((login.user(), login.user_source()), ("app-mi", "management token"));
    assert_eq!(credential.calls(), 2);
    // Remembered for the process: even where management fails by now.
    let later = identity("oid-named", Err(ErrorKind::ServiceUnavailable));
    assert_eq!(later.provider(Config::default()).login_blocking().expect("logs in").user(), "app-mi");
    assert_eq!(later.calls(), 1);
}

#[test]
fn login_without_a_name_explains_what_to_pass() {
    let refused = identity("oid-refused", Err(ErrorKind::AuthenticationFailed)).provider(Config::default());
    let error = refused.login_blocking().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ScopePermission);
    assert!(error.to_string().contains("management says no") && error.to_string().contains("PGUSER"), "{error}");

    let down = identity("oid-down", Err(ErrorKind::ServiceUnavailable)).provider(Config::default());
    assert!(down.login_blocking().unwrap_err().is_transient());

    let off = identity("oid-off", Ok("app-mi"));
    let error = off.provider(config(json!({"management_lookup": false}))).login_blocking().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UsernameExtraction);
    assert_eq!(off.calls(), 1);

    let fallback = identity("oid-fallback", Err(ErrorKind::AuthenticationFailed));
    let login = fallback.provider(config(json!({"fallback_username": "f"}))).login_blocking().expect("logs in");
    assert_eq!((login.user(), login.user_source()), ("f", "fallback_username"));

    let appid = identity("oid-appid", Err(ErrorKind::AuthenticationFailed));
    let login = appid.provider(config(json!({"appid_as_username": true}))).login_blocking().expect("logs in");
    assert_eq!((login.user(), login.user_source()), ("app-id", "appid"));
}

#[test]
fn login_of_a_principal_without_any_name_is_looked_up_once() {
    let nameless =
        Scripted::new(|n, _| Ok(token(&json!({"oid": "oid-nameless", "tid": "t", "idtyp": "app", "n": n}), 3600)));
    let provider = nameless.provider(config(json!({"fallback_username": "f"})));
    assert_eq!(provider.login_blocking().expect("logs in").user(), "f");
    let later = Scripted::new(|n, request| match request.scope.contains("management") {
        true => panic!("asked again"),
        false => Ok(token(&json!({"oid": "oid-nameless", "tid": "t", "idtyp": "app", "n": n}), 3600)),
    });
    assert_eq!(
        later.provider(config(json!({"fallback_username": "g"}))).login_blocking().expect("logs in").user(),
        "g"
    );
    let error = later.provider(Config::default()).login_blocking().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UsernameExtraction);
}

#[test]
fn login_ignores_a_management_token_of_another_principal() {
    let credential = Scripted::new(|n, request| {
        let oid = if request.scope.contains("management") && n < 2 { "oid-another" } else { "oid-mixed-up" };
        let upn = request.scope.contains("management").then_some("app");
        Ok(token(&json!({"oid": oid, "tid": "t", "upn": upn, "n": n}), 3600))
    });
    let error = credential.provider(Config::default()).login_blocking().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ScopePermission);
    assert!(
        error.to_string().contains("could not be obtained") && error.to_string().contains("another principal"),
        "{error}"
    );
    let login = credential.provider(Config::default()).login_blocking().expect("logs in");
    assert_eq!(login.user(), "app");
}

#[test]
fn login_with_an_unreadable_token_needs_an_explicit_user() {
    let garbage = || {
        Scripted::new(|_, _| {
            let mut fetched = token(&json!({}), 3600);
            fetched.token = pgentra::Secret::new("canary-not-a-jwt");
            Ok(fetched)
        })
    };
    let error = garbage().provider(Config::default()).login_blocking().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TokenDecode);
    assert!(!format!("{error:?}").contains("canary"));
    assert_eq!(garbage().provider(config(json!({"user": "u"}))).login_blocking().expect("logs in").user(), "u");
}

#[test]
fn invalidate_replaces_only_a_token_that_is_old_enough() {
    // Younger than lifetime / 10: the refusal has another reason.
    let credential = Scripted::user("a", 3600);
    let provider = credential.provider(Config::default());
    let first = provider.get_blocking().expect("a token");
    assert!(provider.invalidate_blocking(first.secret()).is_none());
    assert!(futures_executor(provider.start_invalidate_within(None, None)).expect("no error").is_none());
    assert_eq!(credential.calls(), 1);
    // Not the current token: the caller then uses the current one.
    let current = provider.invalidate_blocking("an earlier token").expect("the current token");
    assert_eq!(current.secret(), first.secret());
}

#[test]
fn cache_entry_is_shared_by_equal_settings_only() {
    let provider = |document| TokenProvider::from_config(config(document)).expect("builds");
    let secret =
        |secret: &str| json!({"type": "client_secret", "tenant_id": "t", "client_id": "c", "client_secret": secret});
    // Read once: it is a part of the settings.
    let expires_on = support::unix_now() + 3600;
    let statik = |text: &str| json!({"type": "static_token", "token": text, "expires_on": expires_on});
    let one = provider(json!({"credential": statik("canary-1"), "user": "a"}));
    let same = provider(json!({"credential": statik("canary-1"), "user": "b", "timeout": 5, "mode": "lazy"}));
    let other = provider(json!({"credential": statik("canary-2")}));
    let fetched = one.get_blocking().expect("a token");
    let place = |provider: &TokenProvider| provider.get_blocking().expect("a token").secret().as_ptr();
    assert_eq!(fetched.secret().as_ptr(), place(&same));
    assert_ne!(fetched.secret().as_ptr(), place(&other));
    let with = |secret: &str| {
        let environment = json!({"AZURE_CLIENT_SECRET": secret});
        provider(json!({"credential": statik("canary-1"), "environment": environment}))
    };
    // It reads no variable.
    assert_eq!(place(&with("canary-5")), fetched.secret().as_ptr());
    assert_eq!(place(&with("canary-5")), place(&with("canary-6")));
    assert!(format!("{:?}", provider(json!({"credential": secret("canary-3")}))).find("canary").is_none());
    assert!(pgentra::stats().iter().any(|entry| entry.credential == "StaticTokenCredential"));
}

#[test]
fn cached_credential_implements_the_trait_of_azure_core() {
    use azure_core::credentials::TokenCredential;
    let credential = CachedCredential::from_credential(Scripted::user("a", 3600));
    let ours: Arc<dyn TokenCredential> = credential;
    let token = futures_executor(ours.get_token(&["https://vault.azure.net/.default"], None)).expect("a token");
    assert!(token.expires_on.unix_timestamp() > support::unix_now() + 3000);
    // And any azure_core credential is taken.
    let provider =
        TokenProvider::builder().environment(Environment::new()).azure_credential(ours).build().expect("builds");
    assert_eq!(provider.login_blocking().expect("logs in").user(), "a");
}

/// A first failure may be a blip, so that fetch repeats by itself; what fails after it is told at once.
#[test]
fn fetch_with_a_fallback_does_not_retry() {
    let failing = json!({"credential": {
        "type": "client_secret", "tenant_id": "t", "client_id": "only-the-first", "client_secret": "canary-4",
        // No server listens there.
        "authority_host": "https://127.0.0.1:9", "retry": {"max_retries": 1, "delay": 0.4, "max_delay": 0.4},
    }});
    let provider = TokenProvider::from_config(config(failing)).expect("builds");
    let timed = || {
        let started = std::time::Instant::now();
        assert_eq!(provider.get_blocking().unwrap_err().kind(), ErrorKind::Network);
        started.elapsed()
    };
    let first = timed();
    assert!(first >= Duration::from_millis(300), "no repeat: {first:?}");
    // The back-off of the first failure, at most 1.2 s.
    std::thread::sleep(Duration::from_millis(1300));
    let later = timed();
    assert_eq!(provider.stats().entry.fetches, 2);
    assert!(later < first, "{later:?} after {first:?}");
}

/// Runs `check` in a child process, which is this test program again, with these variables.
fn in_child(test: &str, variables: &[(&str, &str)], check: impl FnOnce()) {
    const CHILD: &str = "PGENTRA_TEST_CHILD";
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        return check();
    }
    let program = std::env::current_exe().expect("a path");
    let mut command = std::process::Command::new(program);
    command.args(["--exact", test, "--nocapture"]).env(CHILD, test).envs(variables.iter().copied());
    let done = command.output().expect("starts");
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && told.contains("1 passed"), "{told}{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn builder_reads_the_process_unless_an_environment_is_given() {
    let role = |builder: Builder| builder.build().expect("builds").stats().role;
    in_child("builder_reads_the_process_unless_an_environment_is_given", &[("PGUSER", "bob")], || {
        assert_eq!(role(TokenProvider::builder()).as_deref(), Some("bob"));
        assert_eq!(role(TokenProvider::builder().environment_of_process().host("db")).as_deref(), Some("bob"));
        assert_eq!(role(TokenProvider::builder().environment(Environment::new())), None);
        assert_eq!(role(TokenProvider::builder().config(Config::default())), None);
        let given = Environment::from([("PGUSER".to_owned(), "carol".into())]);
        assert_eq!(role(TokenProvider::builder().environment(given)).as_deref(), Some("carol"));
        assert_eq!(
            role(TokenProvider::builder().config(Config::default()).environment_of_process()).as_deref(),
            Some("bob")
        );
    });
}

#[test]
fn plan_from_the_process_leads_to_its_provider() {
    let variables = [
        ("AZURE_POSTGRESQL_CONNECTIONSTRING", "host=db.example dbname=shop sslmode=require user=aad_shop"),
        ("AZURE_POSTGRESQL_CLIENTID", "bbbbbbbb-0000-0000-0000-00000000000b"),
        ("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token"),
        ("IDENTITY_HEADER", "canary-header"),
    ];
    in_child("plan_from_the_process_leads_to_its_provider", &variables, || {
        let request =
            ConnectionRequest { service_connector: Some(ServiceConnector::Only), ..ConnectionRequest::from_process() };
        let plan = ConnectionPlan::new(&request).expect("a plan");
        assert_eq!((plan.settings.get("dbname"), plan.user.as_deref()), (Some("shop"), Some("aad_shop")));
        let provider = plan.provider().and_then(Builder::build).expect("builds");
        assert_eq!(provider.credential().name(), "ManagedIdentityCredential");
        assert_eq!(provider.stats().role.as_deref(), Some("aad_shop"));
        // The identity's endpoint is the process's.
        let error = provider.get_blocking().expect_err("nothing listens there");
        assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    });
}

#[test]
fn plan_of_a_password_login_has_no_provider() {
    let request = json!({"arguments": {"host": "db.example", "user": "alice", "password": "pa55word"}});
    let plan = ConnectionPlan::new(&ConnectionRequest::from_value(request).expect("a request")).expect("a plan");
    let error = plan.provider().map(drop).expect_err("no token is used");
    assert_eq!(error.kind(), ErrorKind::InvalidConnection);
    assert!(!error.to_string().contains("pa55word"), "{error}");
}

#[test]
fn plan_provider_keeps_the_options_of_its_document() {
    let request = json!({
        "arguments": {"host": "db.example"}, "environment": {"PGUSER": "bob"},
        "config": {"user": "carol", "environment": {}, "credential": {"type": "azure_cli"}},
    });
    let plan = ConnectionPlan::new(&ConnectionRequest::from_value(request).expect("a request")).expect("a plan");
    let provider = plan.provider().and_then(Builder::build).expect("builds");
    assert_eq!(provider.stats().role.as_deref(), Some("carol"));
    assert_eq!(provider.credential().name(), "AzureCliCredential");
}

#[tokio::test]
async fn changed_resolves_with_the_next_token_and_not_before() {
    let provider = Scripted::new(|n, _| Ok(token(&json!({"upn": "a", "n": n}), 5))).provider(Config::default());
    let first_arrival = provider.changed();
    let first = provider.get().await.expect("a token");
    assert_eq!(first_arrival.await.expect("a token").secret(), first.secret());
    let mut changed = Box::pin(provider.changed());
    let early = tokio::time::timeout(Duration::from_millis(700), &mut changed).await;
    assert!(early.is_err(), "resolved without another token");
    let dropped = provider.changed();
    drop(dropped);
    let newer = provider.invalidate(first.secret()).await.expect("another token");
    let resolved = tokio::time::timeout(Duration::from_secs(10), changed).await.expect("resolves").expect("a token");
    assert_eq!(resolved.secret(), newer.secret());
    assert_ne!(resolved.secret(), first.secret());
}

#[tokio::test]
async fn changed_without_cache_is_an_error() {
    let provider = Scripted::user("a", 3600).provider(Config { cache: false, ..Config::default() });
    assert_eq!(provider.changed().await.expect_err("fails").kind(), ErrorKind::InvalidConfiguration);
}
