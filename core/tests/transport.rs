//! The transport against real servers on loopback: trust, proxies, limits, and how failures are told.

mod servers;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use pgentra::{
    CredentialConfig, Error, ErrorKind, Secret,
    config::Environment,
    credential::{FetchContext, TokenRequest},
    testing::{Authorities, BuildContext, BuildInputs, Request, Response, Transport, TransportSettings, Trust, build},
};
use serde_json::json;

use servers::{Authority, Proxy, Reply, Server};

const LIMIT: Duration = Duration::from_secs(20);

fn environment(variables: &[(&str, &str)]) -> Arc<Environment> {
    Arc::new(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect())
}

fn transport(variables: &[(&str, &str)], ca_file: Option<&str>) -> Transport {
    Transport::new(TransportSettings { ca_file: ca_file.map(str::to_owned), environment: environment(variables) })
}

fn post(url: &str) -> Request {
    Request::post_form(url, vec![("client_secret", Secret::new("canary secret"))], LIMIT)
}

async fn refused(transport: &Transport, request: Request) -> Error {
    let error = transport.send(request).await.expect_err("no error");
    let text = format!("{error} {error:?} {}", error.detail());
    assert!(!text.contains("canary"), "{text}");
    error
}

fn says(error: &Error, kind: ErrorKind, parts: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[tokio::test]
async fn transport_sends_headers_form_and_no_more() {
    let server = Server::plain(Reply::json(200, &json!({"a": 1})).header("set-cookie", "canary=1")).await;
    let transport = transport(&[], None);
    for _ in 0..2 {
        let response: Response = transport.send(post(&server.url("http", "127.0.0.1", "/t?x=1"))).await.unwrap();
        assert_eq!((response.status, response.body.as_slice()), (200, br#"{"a":1}"#.as_slice()));
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    for request in &requests {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let mut lines: Vec<String> = head.lines().map(str::to_ascii_lowercase).collect();
        lines.sort();
        let expected = [
            "accept: application/json".to_owned(),
            "content-length: 27".to_owned(),
            "content-type: application/x-www-form-urlencoded".to_owned(),
            format!("host: 127.0.0.1:{}", server.port),
            "post /t?x=1 http/1.1".to_owned(),
            format!("user-agent: pgentra/{}", env!("CARGO_PKG_VERSION")),
        ];
        assert_eq!(lines, expected, "no cookie, no encoding, no referrer");
        assert_eq!(body, "client_secret=canary+secret");
    }
    assert_eq!(server.connections(), 1, "the connection is used again");
}

#[tokio::test]
async fn transport_returns_a_redirect_as_a_response() {
    let server = Server::plain(Reply::new(302).header("location", "/elsewhere")).await;
    let response = transport(&[], None).send(post(&server.url("http", "127.0.0.1", "/"))).await.unwrap();
    assert_eq!(response.status, 302);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn transport_trusts_a_private_authority_by_option_and_variable() {
    let authority = Authority::new();
    let server = Server::tls(&authority, &["entra.test", "127.0.0.1"], Reply::json(200, &json!({}))).await;
    let url = server.url("https", "127.0.0.1", "/");
    let ca = authority.path();

    let error = refused(&transport(&[], None), post(&url)).await;
    let endpoint = format!("127.0.0.1:{}", server.port);
    says(
        &error,
        ErrorKind::UntrustedCertificate,
        &[&endpoint, "not trusted", "PEM file of authorities", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"],
    );
    assert!(server.requests().is_empty(), "nothing is sent before trust");

    for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"] {
        assert_eq!(transport(&[(name, &ca)], None).send(post(&url)).await.unwrap().status, 200, "{name}");
    }
    assert_eq!(transport(&[], Some(&ca)).send(post(&url)).await.unwrap().status, 200, "ca_file");

    let error = refused(&transport(&[("SSL_CERT_FILE", "/nowhere.pem")], None), post(&url)).await;
    says(&error, ErrorKind::UntrustedCertificate, &["no certificate could be read from SSL_CERT_FILE"]);
}

#[tokio::test]
async fn transport_verifies_a_server_by_its_thumbprint() {
    let authority = Authority::new();
    // Neither its name nor its dates nor its issuer count.
    let (server, thumbprint) =
        Server::tls_pinned(&authority, &["another.test"], (2000, 2001), Reply::json(200, &json!({}))).await;
    let url = server.url("https", "127.0.0.1", "/");
    let pinned = transport(&[("HTTPS_PROXY", "http://127.0.0.1:1")], None).trusting(Trust::Thumbprint(thumbprint));
    assert_eq!(pinned.send(post(&url)).await.unwrap().status, 200, "and no proxy");

    let mut other = thumbprint;
    other[0] ^= 1;
    let ca = authority.path();
    let error =
        refused(&transport(&[("SSL_CERT_FILE", &ca)], None).trusting(Trust::Thumbprint(other)), post(&url)).await;
    says(&error, ErrorKind::UntrustedCertificate, &["another thumbprint"]);
    assert_eq!(server.requests().len(), 1, "nothing is sent before trust");
}

#[tokio::test]
async fn transport_verifies_a_cluster_by_its_own_name_and_authorities() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = Server::tls(&authority, &["proxy.cluster.test"], Reply::json(200, &json!({}))).await;
    let url = server.url("https", "127.0.0.1", "/");
    let pem = |authority: &Authority| std::fs::read_to_string(authority.path()).unwrap();
    let trusting = |authorities: Option<Authorities>, name: Option<&str>| {
        let trust = Trust::Private { authorities, server_name: name.map(str::to_owned), host: "127.0.0.1".to_owned() };
        transport(&[("HTTPS_PROXY", "http://127.0.0.1:1")], None).trusting(trust)
    };
    let name = Some("proxy.cluster.test");
    let given = Some(Authorities::Pem(pem(&authority)));
    assert_eq!(trusting(given.clone(), name).send(post(&url)).await.unwrap().status, 200);
    let host = format!("host: 127.0.0.1:{}", server.port);
    assert!(server.requests()[0].to_ascii_lowercase().contains(&host), "the host itself is named in the request");

    let error = refused(&trusting(given.clone(), None), post(&url)).await;
    says(&error, ErrorKind::UntrustedCertificate, &["another host name", "AZURE_KUBERNETES_SNI_NAME"]);
    let error = refused(&trusting(given, Some("other.cluster.test")), post(&url)).await;
    let parts = ["is for another host name than other.cluster.test", "AZURE_KUBERNETES_SNI_NAME"];
    says(&error, ErrorKind::UntrustedCertificate, &parts);
    let error = refused(&trusting(Some(Authorities::Pem(pem(&stranger))), name), post(&url)).await;
    says(&error, ErrorKind::UntrustedCertificate, &["not trusted"]);
    let error = refused(&trusting(Some(Authorities::Pem("none".into())), name), post(&url)).await;
    says(&error, ErrorKind::InvalidConfiguration, &["no certificate authority"]);

    // The cluster replaces its file: for a moment it may be empty, or gone.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.crt");
    let transport = trusting(Some(Authorities::File(path.clone())), name);
    let error = refused(&transport, post(&url)).await;
    says(&error, ErrorKind::InvalidConfiguration, &["certificate authorities cannot be read"]);
    std::fs::write(&path, pem(&authority)).unwrap();
    assert_eq!(transport.send(post(&url)).await.unwrap().status, 200);
    std::fs::write(&path, "").unwrap();
    assert_eq!(transport.send(post(&url)).await.unwrap().status, 200, "what was read counts");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(transport.send(post(&url)).await.unwrap().status, 200);
    std::fs::write(&path, pem(&stranger)).unwrap();
    assert!(transport.send(post(&url)).await.is_err(), "the new one counts");
    std::fs::write(&path, pem(&authority)).unwrap();
    assert_eq!(transport.send(post(&url)).await.unwrap().status, 200);
}

#[tokio::test]
async fn transport_reads_a_certificate_file_that_appears_later() {
    let authority = Authority::new();
    let server = Server::tls(&authority, &["127.0.0.1"], Reply::json(200, &json!({}))).await;
    let url = server.url("https", "127.0.0.1", "/");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let transport = transport(&[], path.to_str());
    let error = refused(&transport, post(&url)).await;
    says(&error, ErrorKind::InvalidConfiguration, &["ca_file", "ca.pem"]);
    std::fs::copy(authority.path(), &path).unwrap();
    assert_eq!(transport.send(post(&url)).await.unwrap().status, 200);
}

#[tokio::test]
async fn transport_rejects_invalid_certificates() {
    let authority = Authority::new();
    let transport = transport(&[], Some(&authority.path()));
    let other = Server::tls(&authority, &["other.test"], Reply::json(200, &json!({}))).await;
    let error = refused(&transport, post(&other.url("https", "127.0.0.1", "/"))).await;
    says(&error, ErrorKind::UntrustedCertificate, &["another host name"]);

    let expired = Server::tls_valid(&authority, &["127.0.0.1"], (2020, 2021), Reply::json(200, &json!({}))).await;
    let error = refused(&transport, post(&expired.url("https", "127.0.0.1", "/"))).await;
    says(&error, ErrorKind::UntrustedCertificate, &["has expired", "clock"]);

    let early = Server::tls_valid(&authority, &["127.0.0.1"], (2090, 2099), Reply::json(200, &json!({}))).await;
    let error = refused(&transport, post(&early.url("https", "127.0.0.1", "/"))).await;
    says(&error, ErrorKind::UntrustedCertificate, &["not valid yet", "clock"]);

    let authority_itself = Server::tls_with(&authority, &["127.0.0.1"], Reply::json(200, &json!({})), |parameters| {
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    let error = refused(&transport, post(&authority_itself.await.0.url("https", "127.0.0.1", "/"))).await;
    says(&error, ErrorKind::UntrustedCertificate, &["is an authority's certificate (CA:TRUE)", "CA:FALSE"]);
    assert!(!error.to_string().contains("CaUsedAsEndEntity"), "{error}");

    let for_clients = Server::tls_with(&authority, &["127.0.0.1"], Reply::json(200, &json!({})), |parameters| {
        parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    let error = refused(&transport, post(&for_clients.await.0.url("https", "127.0.0.1", "/"))).await;
    says(&error, ErrorKind::UntrustedCertificate, &["is not for servers", "serverAuth"]);
}

#[tokio::test]
async fn transport_failure_contains_its_cause() {
    let transport = transport(&[], None);
    let closed = Server::closed_port().await;
    let endpoint = format!("127.0.0.1:{closed}");
    let error = refused(&transport, post(&format!("http://{endpoint}/?canary"))).await;
    says(&error, ErrorKind::Network, &[&endpoint, "refused"]);

    let error = refused(&transport, post("https://entra.invalid/canary")).await;
    says(&error, ErrorKind::Network, &["entra.invalid:443", "could not be resolved"]);

    let silent = Server::plain(Reply::silence()).await;
    let request = Request { timeout: Duration::from_millis(100), ..post(&silent.url("http", "127.0.0.1", "/")) };
    says(&refused(&transport, request).await, ErrorKind::Timeout, &["127.0.0.1", "within 0.1 s"]);

    let dropped = Server::plain(Reply::dropped()).await;
    let error = refused(&transport, post(&dropped.url("http", "127.0.0.1", "/"))).await;
    says(&error, ErrorKind::Network, &["127.0.0.1"]);

    let broken = Server::plain(Reply::json(200, &json!({"access_token": "canary"})).cut_after(5)).await;
    let error = refused(&transport, post(&broken.url("http", "127.0.0.1", "/"))).await;
    says(&error, ErrorKind::Network, &["was interrupted"]);

    let broken = Server::plain(Reply::json(503, &json!({"error": "canary"})).cut_after(5)).await;
    let response = transport.send(post(&broken.url("http", "127.0.0.1", "/"))).await.unwrap();
    assert!(response.status == 503 && response.truncated, "the status alone tells");

    let plain = Server::plain(Reply::json(200, &json!({}))).await;
    let error = refused(&transport, post(&plain.url("https", "127.0.0.1", "/"))).await;
    says(&error, ErrorKind::Network, &["TLS", "127.0.0.1"]);

    let header = post(&plain.url("http", "127.0.0.1", "/")).header("x-identity-header", "canary\r\nx: y");
    says(&refused(&transport, header).await, ErrorKind::InvalidConfiguration, &["x-identity-header"]);

    says(&refused(&transport, post("canary no address")).await, ErrorKind::InvalidConfiguration, &["address"]);
}

#[tokio::test]
async fn transport_limits_the_size_of_a_body() {
    let transport = transport(&[], None);
    let large = Server::plain(Reply::new(200).body("canary".repeat(300_000))).await;
    let error = refused(&transport, post(&large.url("http", "127.0.0.1", "/"))).await;
    says(&error, ErrorKind::BadResponse, &["larger than 1 MB"]);

    let large = Server::plain(Reply::new(503).body("canary".repeat(300_000))).await;
    let response = transport.send(post(&large.url("http", "127.0.0.1", "/"))).await.unwrap();
    assert!(response.status == 503 && response.truncated && response.body.len() <= 1 << 20);
}

#[tokio::test]
async fn transport_uses_proxies_and_reports_their_variable() {
    let authority = Authority::new();
    let ca = authority.path();
    let server = Server::tls(&authority, &["entra.test"], Reply::json(200, &json!({}))).await;
    let url = "https://entra.test:4443/";

    let proxy = Proxy::http(server.port).await;
    let address = format!("http://canary-user:pl%40nted@127.0.0.1:{}", proxy.port);
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let through = transport(&[(variable, &address)], Some(&ca));
        assert_eq!(through.send(post(url)).await.unwrap().status, 200, "{variable}");
    }
    let asked = proxy.asked();
    assert_eq!(asked.len(), 3);
    for request in &asked {
        assert!(request.starts_with("CONNECT entra.test:4443 HTTP/1.1\r\n"), "{request}");
        // "canary-user:pl@nted"
        assert!(
            request.to_ascii_lowercase().contains("proxy-authorization: basic y2fuyxj5lxvzzxi6cgxabnrlza=="),
            "{request}"
        );
        assert!(!request.contains("canary secret"));
    }

    let socks = Proxy::socks(server.port).await;
    let address = format!("socks5h://127.0.0.1:{}", socks.port);
    assert_eq!(transport(&[("ALL_PROXY", &address)], Some(&ca)).send(post(url)).await.unwrap().status, 200);
    assert_eq!(socks.asked(), ["entra.test:4443"]);

    let excepted = transport(&[("HTTPS_PROXY", &address), ("NO_PROXY", ".test")], Some(&ca));
    says(&refused(&excepted, post(url)).await, ErrorKind::Network, &["could not be resolved"]);
    assert_eq!(socks.asked().len(), 1);

    let closed = Server::closed_port().await;
    let address = format!("http://canary:canary@127.0.0.1:{closed}");
    let error = refused(&transport(&[("HTTPS_PROXY", &address)], Some(&ca)), post(url)).await;
    says(
        &error,
        ErrorKind::Network,
        &["entra.test:4443 through the proxy", &format!("127.0.0.1:{closed}"), "HTTPS_PROXY"],
    );

    let refusing = Server::plain(Reply::new(407).body("canary")).await;
    let address = format!("http://127.0.0.1:{}", refusing.port);
    let error = refused(&transport(&[("HTTPS_PROXY", &address)], Some(&ca)), post(url)).await;
    let parts = ["through the proxy", "proxy auth", "HTTP 407", "Add user:password, percent-encoded, to HTTPS_PROXY"];
    says(&error, ErrorKind::Network, &parts);
    let address = format!("http://canary-user:canary@127.0.0.1:{}", refusing.port);
    let error = refused(&transport(&[("https_proxy", &address)], Some(&ca)), post(url)).await;
    let parts = ["rejected the user and password", "Correct user:password, percent-encoded, in https_proxy"];
    says(&error, ErrorKind::Network, &parts);
}

#[tokio::test]
async fn transport_requests_a_proxy_that_requires_a_password_once() {
    let refusing = Server::plain(Reply::new(407)).await;
    let address = format!("http://user:canary@127.0.0.1:{}", refusing.port);
    let environment = Environment::from([("AZURE_AUTHORITY_HOST".to_owned(), "https://entra.test".into())]);
    let inputs = BuildInputs::new(&environment);
    let context = BuildContext::new(&inputs).with_transport(transport(&[("HTTPS_PROXY", &address)], None));
    let document = json!({"type": "client_secret", "tenant_id": "t", "client_id": "c", "client_secret": "canary"});
    let credential = build(&CredentialConfig::from_value(document).unwrap(), &context).unwrap();
    let error = credential.fetch(&TokenRequest::new("s/.default"), FetchContext::default()).await.unwrap_err();
    says(&error, ErrorKind::Network, &["HTTP 407"]);
    assert!(error.is_definite() && !error.is_transient(), "every further try may lock the account");
    assert_eq!(refusing.requests().len(), 1);
}

#[tokio::test]
async fn transport_reports_the_status_of_a_proxy_that_opens_no_tunnel() {
    for (status, is_definite, advice) in [
        (403, true, "Allow the host in the proxy of HTTPS_PROXY"),
        (502, false, "Check that the proxy of HTTPS_PROXY can reach this host"),
        (503, false, "NO_PROXY"),
    ] {
        let refusing = Server::plain(Reply::new(status).body("canary")).await;
        let address = format!("http://user:canary@127.0.0.1:{}", refusing.port);
        let error = refused(&transport(&[("HTTPS_PROXY", &address)], None), post("https://entra.test:4443/")).await;
        let named = format!("HTTP {status}");
        says(&error, ErrorKind::Network, &["entra.test:4443 through the proxy", &named, advice]);
        assert_eq!(error.is_definite(), is_definite, "{error}");
        let asked = refusing.requests();
        assert!(asked.len() == 2 && asked[0].lines().next() == asked[1].lines().next(), "{asked:?}");
        let authorization = |request: &String| {
            request
                .lines()
                .find(|line| line.to_ascii_lowercase().starts_with("proxy-authorization:"))
                .map(str::to_owned)
        };
        let (first, second) = (authorization(&asked[0]), authorization(&asked[1]));
        assert!(first.is_some_and(|first| second.is_some_and(|second| first.eq_ignore_ascii_case(&second))));
    }
    // A proxy that answers with something else than HTTP, or not at all, has no status.
    let silent = Server::plain(Reply::dropped()).await;
    let address = format!("http://127.0.0.1:{}", silent.port);
    let error = refused(&transport(&[("HTTPS_PROXY", &address)], None), post("https://entra.test:4443/")).await;
    says(&error, ErrorKind::Network, &["entra.test:4443 through the proxy"]);
}

#[tokio::test]
async fn transport_reports_a_response_without_close_notify() {
    let authority = Authority::new();
    let reply = Reply::json(200, &json!({"access_token": "canary"})).until_close();
    let server = Server::tls(&authority, &["127.0.0.1"], reply.clone()).await;
    let transport = transport(&[], Some(&authority.path()));
    let error = refused(&transport, post(&server.url("https", "127.0.0.1", "/"))).await;
    let parts = ["was interrupted", "peer closed connection without sending TLS close_notify", "firewalls in between"];
    says(&error, ErrorKind::Network, &parts);
    assert!(!error.to_string().contains("docs.rs"), "{error}");
    // Without TLS the end of the connection is the end of the body.
    let plain = Server::plain(reply).await;
    assert_eq!(transport.send(post(&plain.url("http", "127.0.0.1", "/"))).await.unwrap().status, 200);
}

#[tokio::test]
async fn transport_ignores_invalid_settings_that_a_request_does_not_need() {
    let imds = Server::plain(Reply::json(200, &json!({}))).await;
    let wrong = [transport(&[("HTTPS_PROXY", "not a proxy://")], None), transport(&[], Some("/missing.pem"))];
    for (transport, named) in wrong.iter().zip(["HTTPS_PROXY", "/missing.pem"]) {
        transport
            .send(Request::get_local(imds.url("http", "127.0.0.1", "/"), LIMIT))
            .await
            .expect("neither proxy nor TLS");
        says(&refused(transport, post("https://localhost:1/")).await, ErrorKind::InvalidConfiguration, &[named]);
    }
}

#[tokio::test]
async fn transport_of_a_managed_identity_uses_no_proxy() {
    let proxy = Proxy::http(1).await;
    let address = format!("http://127.0.0.1:{}", proxy.port);
    let expiry = "4102444800";
    let imds = Server::plain(Reply::json(200, &json!({"access_token": "canary", "expires_on": expiry}))).await;
    // Neither a loopback address nor any other goes through it.
    for (host, reached) in [(imds.url("http", "127.0.0.1", ""), true), ("http://imds.invalid".to_owned(), false)] {
        let variables = environment(&[
            ("AZURE_POD_IDENTITY_AUTHORITY_HOST", &host),
            ("HTTP_PROXY", &address),
            ("http_proxy", &address),
            ("ALL_PROXY", &address),
        ]);
        let inputs = BuildInputs::new(&variables);
        let context = BuildContext::new(&inputs);
        let config = CredentialConfig::from_value(json!({"type": "managed_identity"})).unwrap();
        let credential = build(&config, &context).unwrap();
        let request = TokenRequest::new("https://ossrdbms-aad.database.windows.net/.default");
        let outcome = credential.fetch(&request, FetchContext { has_fallback: true, ..FetchContext::default() }).await;
        match outcome {
            Ok(token) => assert!(reached && token.expires_on == Some(4_102_444_800)),
            Err(error) => assert!(!reached && error.kind() == ErrorKind::Network, "{error}"),
        }
    }
    assert_eq!(imds.requests().len(), 1);
    assert!(proxy.asked().is_empty());
}

#[tokio::test]
async fn transport_logs_a_wrong_clock_once() {
    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    assert!(pgentra::bindings::set_log_sink(|event| {
        LINES.lock().unwrap().push(format!("{} {} {}", event.level.as_str(), event.target, event.message));
    }));
    let server = Server::plain(Reply::json(200, &json!({})).header("date", "Fri, 14 Jul 2017 02:40:00 GMT")).await;
    let transport = transport(&[], None);
    for _ in 0..3 {
        let response = transport.send(post(&server.url("http", "127.0.0.1", "/canary"))).await.unwrap();
        assert!(response.clock_skew().is_some_and(|skew| skew > 250_000_000));
    }
    let lines = LINES.lock().unwrap();
    let warnings: Vec<&String> = lines.iter().filter(|line| line.contains("clock")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("warning pgentra::transport") && warnings[0].contains("ahead of"), "{warnings:?}");
    assert!(!lines.iter().any(|line| line.contains("canary")), "{lines:?}");
}

/// Run by `an_unprivileged_user_without_a_writable_file_gets_through` in a process of its own.
#[test]
#[ignore = "a child process of another test"]
fn child_sends_one_request() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let variable = |name: &str| std::env::var(name).unwrap();
    let transport = transport(&[("SSL_CERT_FILE", &variable("PGENTRA_TEST_CA"))], None);
    let response = runtime.block_on(transport.send(post(&variable("PGENTRA_TEST_URL")))).unwrap();
    assert_eq!(response.status, 200);
}

/// In a container, the root file system can be read-only, and the user unprivileged. Here no file can be written (the
/// limit on file sizes is 0), and if the tests run as root, the child changes to an unprivileged user.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn transport_works_without_a_writable_file() {
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};

    let authority = Authority::new();
    let server = Server::tls(&authority, &["127.0.0.1"], Reply::json(200, &json!({}))).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let place = |from: &std::path::Path, name: &str| {
        let to = folder.path().join(name);
        std::fs::copy(from, &to).unwrap();
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o755)).unwrap();
        to
    };
    let ca = place(std::path::Path::new(&authority.path()), "ca.pem");
    let program = place(&std::env::current_exe().unwrap(), "test");

    let mut command = std::process::Command::new(program);
    command
        .args(["--exact", "--ignored", "child_sends_one_request"])
        .env_clear()
        .env("PGENTRA_TEST_CA", ca)
        .env("PGENTRA_TEST_URL", server.url("https", "127.0.0.1", "/"))
        .current_dir("/");
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } == 0 {
        command.uid(65534).gid(65534);
    }
    // SAFETY: setrlimit is async-signal-safe and takes a pointer to a live value.
    unsafe {
        command.pre_exec(|| {
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            match libc::setrlimit(libc::RLIMIT_FSIZE, &none) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert_eq!(server.requests().len(), 1);
}
