//! The PostgreSQL proxy and its upstream servers: a real PostgreSQL, a real driver, and bytes that no driver sends.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt};
use pgentra_emulator::config::Config;
use pgentra_emulator::jwt::KeySet;
use pgentra_emulator::postgres::login_error::{LoginError, TABLE};
use pgentra_emulator::postgres::{ALPN, DropStage, LoginOutcome, Proxy, ProxyControl, ProxyReport, Server, Upstream};
use pgentra_emulator::principal::{Principal, PrincipalKind, RoleSetting};
use pgentra_emulator::state::{MintRequest, State};
use pgentra_emulator::tls::Authority;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A time limit that only a test that hangs reaches.
const LIMIT: Duration = Duration::from_secs(60);

/// The server of all tests that do not change it. Its keeper ends it with the process.
static SERVER: LazyLock<Server> = LazyLock::new(|| {
    std::thread::spawn(|| {
        let runtime = Box::leak(Box::new(tokio::runtime::Runtime::new().unwrap()));
        runtime.block_on(Server::start()).unwrap()
    })
    .join()
    .unwrap()
});

/// A proxy for one test.
struct TestProxy {
    state: Arc<State>,
    proxy: Proxy,
    authority: Authority,
    _ca_dir: TempDir,
}

impl TestProxy {
    async fn new() -> Self {
        Self::with(Config::default(), SERVER.upstream()).await
    }

    async fn with(config: Config, upstream: Upstream) -> Self {
        let state = Arc::new(State::new(config, KeySet::generate()).unwrap());
        upstream.provision(&state).await.unwrap();
        let ca_dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(ca_dir.path(), &[]).unwrap();
        let tls = authority.server_config(&[ALPN]).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let proxy = Proxy::bind(address, tls, Arc::new(upstream), state.clone()).await.unwrap();
        Self { state, proxy, authority, _ca_dir: ca_dir }
    }

    fn token(&self, principal: &str) -> String {
        self.mint(MintRequest { principal: principal.into(), ..MintRequest::default() })
    }

    fn mint(&self, request: MintRequest) -> String {
        self.state.mint(&request).unwrap().token
    }

    async fn encrypted(&self) -> TlsStream<TcpStream> {
        let mut stream = TcpStream::connect(self.proxy.address()).await.unwrap();
        stream.write_all(&SSL_REQUEST).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'S');
        self.connector(&[]).connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
    }

    async fn connect(&self, role: &str, token: &str) -> Result<Client, tokio_postgres::Error> {
        let stream = self.encrypted().await;
        connect_over(stream, role, token).await
    }

    async fn log_in(&self, role: &str, principal: &str) -> Client {
        self.connect(role, &self.token(principal)).await.unwrap_or_else(|error| panic!("{role}: {error:?}"))
    }

    fn connector(&self, protocols: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.authority.ca_file).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    /// Returns SQLSTATE and message of a refused login.
    async fn refused(&self, role: &str, token: &str) -> (String, String) {
        let Err(error) = self.connect(role, token).await else { panic!("{role} was logged in") };
        let error = error.as_db_error().unwrap_or_else(|| panic!("{role}: {error:?}"));
        assert_eq!(error.severity(), "FATAL");
        (error.code().code().to_owned(), error.message().to_owned())
    }

    /// Returns the report as soon as the condition holds.
    async fn report_when(&self, holds: impl Fn(&ProxyReport) -> bool) -> ProxyReport {
        within_limit(async {
            loop {
                let report = self.proxy.report();
                if holds(&report) {
                    return report;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }
}

async fn connect_over<S>(stream: S, role: &str, token: &str) -> Result<Client, tokio_postgres::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut config = tokio_postgres::Config::new();
    config.user(role).password(token).dbname("postgres").application_name("front-proxy-test");
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn within_limit<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

async fn text(client: &Client, query: &str) -> String {
    client.query_one(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
}

async fn sqlstate(client: &Client, statement: &str) -> SqlState {
    client.batch_execute(statement).await.expect_err(statement).code().expect("the server's error").clone()
}

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const GSSENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];

fn startup(minor: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = (0x0003_0000 + minor).to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    body.push(0);
    let mut packet = u32::try_from(body.len() + 4).unwrap().to_be_bytes().to_vec();
    packet.extend(body);
    packet
}

fn password(password: &[u8]) -> Vec<u8> {
    let mut message = vec![b'p'];
    message.extend(u32::try_from(password.len() + 5).unwrap().to_be_bytes());
    message.extend(password);
    message.push(0);
    message
}

/// Returns type and body of a message of the server; `None` if the server has closed the connection.
async fn read_message(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<(u8, Vec<u8>)> {
    let kind = stream.read_u8().await.ok()?;
    let length = stream.read_u32().await.ok()?;
    let mut body = vec![0; length as usize - 4];
    stream.read_exact(&mut body).await.ok()?;
    Some((kind, body))
}

fn error_fields(body: &[u8]) -> BTreeMap<char, String> {
    let fields = body.split(|byte| *byte == 0).filter(|field| !field.is_empty());
    fields.map(|field| (char::from(field[0]), String::from_utf8_lossy(&field[1..]).into_owned())).collect()
}

async fn read_error(stream: &mut (impl AsyncReadExt + Unpin)) -> BTreeMap<char, String> {
    let (kind, body) = within_limit(read_message(stream)).await.expect("an error");
    assert_eq!(kind, b'E');
    assert_eq!(within_limit(read_message(stream)).await, None, "an error is the last message");
    error_fields(&body)
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_login_of_each_principal_kind_is_its_role() {
    let test = TestProxy::new().await;
    let alice = "alice@contoso.example";
    let guest = "bob_home.example#EXT#@contoso.example";
    for (role, principal, kind) in [
        ("app-mi", "app-mi", "service"),
        ("vm-prod", "vm-prod", "service"),
        ("shop/slots/staging", "shop/slots/staging", "service"),
        ("orders-api", "orders-api", "service"),
        (alice, alice, "user"),
        (guest, guest, "user"),
        ("db-readers", alice, "group"),
    ] {
        let client = test.log_in(role, principal).await;
        assert_eq!(text(&client, "SELECT current_user::text").await, role);
        assert_eq!(text(&client, "SELECT session_user::text").await, role);
        assert_eq!(text(&client, "SELECT current_setting('application_name')").await, "front-proxy-test");
        let powers = "SELECT concat_ws(',', rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls)
            FROM pg_roles WHERE rolname = session_user";
        assert_eq!(text(&client, powers).await, "f,f,f,f,f", "{role}");
        let owns = "SELECT pg_has_role(nspowner, 'MEMBER')::text FROM pg_namespace WHERE nspname = 'public'";
        assert_eq!(text(&client, owns).await, "false", "{role}");
        assert_eq!(sqlstate(&client, "SELECT * FROM pgaadauth.labels").await, SqlState::INSUFFICIENT_PRIVILEGE);
        for statement in ["DISCARD ALL", "RESET SESSION AUTHORIZATION", "RESET ROLE"] {
            client.batch_execute(statement).await.unwrap();
        }
        assert_eq!(text(&client, "SELECT current_user::text").await, role);

        let login = test.proxy.report().logins.last().cloned().unwrap();
        assert_eq!((login.outcome, login.role.as_deref()), (LoginOutcome::LoggedIn, Some(role)));
        assert!(login.tls);
        let presented = login.principal.unwrap();
        assert_eq!(presented.name.as_deref(), Some(principal));
        assert_eq!(presented.app_only, kind == "service");
    }
    test.report_when(|report| report.sessions == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_refused_login_returns_its_login_error() {
    let test = TestProxy::new().await;
    let mi = "app-mi";
    let user = "alice@contoso.example";
    let mint = |change: MintRequest| test.mint(MintRequest { principal: mi.into(), ..change });
    let claim = |claims: serde_json::Value| {
        let serde_json::Value::Object(claims) = claims else { unreachable!() };
        mint(MintRequest { claims, ..MintRequest::default() })
    };
    let unlabelled = SERVER.upstream();
    unlabelled.provision(&test.state).await.unwrap();
    let good = test.token(mi);
    let admin = test.log_in("admin@contoso.example", "admin@contoso.example").await;
    admin.batch_execute("DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN PASSWORD 'x'").await.unwrap();

    let table = [
        (mi, mint(MintRequest { lifetime_s: Some(-1), ..MintRequest::default() }), LoginError::TokenExpired),
        (mi, mint(MintRequest { not_before_s: 100, ..MintRequest::default() }), LoginError::TokenNotYetValid),
        (
            mi,
            mint(MintRequest { audience: Some("management".into()), ..MintRequest::default() }),
            LoginError::TokenAudience,
        ),
        (
            mi,
            mint(MintRequest { tenant_id: Some("other".into()), ..MintRequest::default() }),
            LoginError::TokenOfOtherTenant,
        ),
        (mi, mint(MintRequest { forged: true, ..MintRequest::default() }), LoginError::TokenForged),
        (mi, mint(MintRequest { unsigned: true, ..MintRequest::default() }), LoginError::TokenForged),
        (mi, claim(json!({"oid": null})), LoginError::TokenWithoutOid),
        (mi, claim(json!({"oid": "other"})), LoginError::OtherPrincipal),
        (mi, "canary-password".to_owned(), LoginError::TokenMalformed),
        (mi, format!("{good}\n"), LoginError::TokenMalformed),
        (mi, test.token("batch-mi"), LoginError::OtherPrincipal),
        (mi, test.token(user), LoginError::UserTokenForServiceRole),
        (user, good.clone(), LoginError::AppTokenForUserRole),
        ("db-readers", good.clone(), LoginError::NotInGroup),
        ("db-readers", test.token("admin@contoso.example"), LoginError::NotInGroup),
        ("App-MI", good.clone(), LoginError::RoleMissing),
        ("missing-{host}", good.clone(), LoginError::RoleMissing),
        ("plain", good.clone(), LoginError::PasswordFailed),
        ("plain", "x".to_owned(), LoginError::PasswordFailed),
        ("azuresu", good.clone(), LoginError::PasswordFailed),
    ];
    let group = test.state.principal("db-readers").unwrap().oid.clone();
    for (role, token, login_error) in &table {
        let entry = TABLE.iter().find(|entry| entry.login_error == *login_error).unwrap();
        let text = entry.text.replace("{role}", role).replace("{group}", &group);
        assert_eq!(test.refused(role, token).await, (entry.sqlstate.to_owned(), text), "{role}: {login_error:?}");
        let login = test.proxy.report().logins.last().cloned().unwrap();
        assert_eq!((login.outcome, login.refusal), (LoginOutcome::Refused, Some(*login_error)));
    }

    let report = test.proxy.report();
    assert_eq!(report.counters.refusals[&LoginError::TokenForged], 2);
    assert_eq!(report.counters.logins[&LoginOutcome::Refused], table.len() as u64);
    let json = serde_json::to_string(&report).unwrap();
    for (_, token, _) in table.iter().filter(|(_, token, _)| token.len() > 1) {
        assert!(!json.contains(token.trim_end()), "a password is in the report");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_refused_login_returns_the_texts_of_azure() {
    let test = TestProxy::new().await;
    let (state, message) = test.refused("app-mi", &test.token("alice@contoso.example")).await;
    assert_eq!(state, "28000");
    assert_eq!(message, "Service principals cannot generate AAD_AUTH_TOKENTYPE_APP_USER tokens for role \"app-mi\"");
    let (state, message) = test.refused("alice@contoso.example", &test.token("app-mi")).await;
    assert_eq!(state, "28000");
    assert_eq!(
        message,
        "Microsoft Entra user token for role \"alice@contoso.example\" is neither an AAD_AUTH_TOKENTYPE_APP_USER or an \
         AAD_AUTH_TOKENTYPE_APP_OBO token."
    );
    let expired = test.mint(MintRequest { principal: "app-mi".into(), lifetime_s: Some(0), ..MintRequest::default() });
    assert!(test.refused("app-mi", &expired).await.1.starts_with("The access token has expired"));
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_plaintext_client_is_refused_before_its_password() {
    let test = TestProxy::new().await;
    let mut stream = TcpStream::connect(test.proxy.address()).await.unwrap();
    stream.write_all(&startup(0, &[("user", "app-mi"), ("database", "shop")])).await.unwrap();
    let error = read_error(&mut stream).await;
    assert_eq!(error[&'C'], "28000");
    let text = "no pg_hba.conf entry for host \"127.0.0.1\", user \"app-mi\", database \"shop\", no encryption";
    assert_eq!(error[&'M'], text);

    // GSSAPI encryption is declined, and TLS can be requested afterwards.
    let mut stream = TcpStream::connect(test.proxy.address()).await.unwrap();
    stream.write_all(&GSSENC_REQUEST).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'N');
    stream.write_all(&SSL_REQUEST).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'S');
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_without_tls_counts_the_password_bytes() {
    let test = TestProxy::new().await;
    test.proxy.control(ProxyControl { plaintext: Some(true), ..ProxyControl::default() });
    let mut stream = TcpStream::connect(test.proxy.address()).await.unwrap();
    stream.write_all(&SSL_REQUEST).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'N');
    drop(stream);
    assert_eq!(test.proxy.report().counters.plaintext_password_bytes, 0);

    let token = test.token("app-mi");
    let stream = TcpStream::connect(test.proxy.address()).await.unwrap();
    let client = connect_over(stream, "app-mi", &token).await.unwrap();
    assert_eq!(text(&client, "SELECT current_user::text").await, "app-mi");
    let report = test.proxy.report();
    assert_eq!(report.counters.plaintext_password_bytes, token.len() as u64);
    assert!(!report.logins.last().unwrap().tls);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_copy_is_relayed_in_both_directions() {
    const ROWS: usize = 200_000;
    let test = TestProxy::new().await;
    let client = test.log_in("app-mi", "app-mi").await;
    client.batch_execute("CREATE TEMPORARY TABLE numbers (n integer, filler text)").await.unwrap();
    let sink = client.copy_in("COPY numbers FROM STDIN").await.unwrap();
    let mut sink = std::pin::pin!(sink);
    for first in (0..ROWS).step_by(1_000) {
        let rows: String = (first..first + 1_000).map(|n| format!("{n}\tabcdefghijklmnopqrstuvwxyz\n")).collect();
        sink.send(Bytes::from(rows)).await.unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), ROWS as u64);
    let out = client.copy_out("COPY (SELECT * FROM numbers ORDER BY n) TO STDOUT").await.unwrap();
    let out: Vec<Bytes> = within_limit(out.try_collect()).await.unwrap();
    let lines: usize = out.iter().map(|chunk| chunk.iter().filter(|byte| **byte == b'\n').count()).sum();
    assert_eq!(lines, ROWS);
    assert_eq!(&out[0][..], b"0\tabcdefghijklmnopqrstuvwxyz\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_cancel_request_reaches_the_session() {
    let test = TestProxy::new().await;
    let client = Arc::new(test.log_in("app-mi", "app-mi").await);
    for encrypted in [true, false] {
        let sleeper = client.clone();
        let sleeping = tokio::spawn(async move { sleeper.batch_execute("SELECT pg_sleep(60)").await });
        let watcher = test.log_in("app-mi", "app-mi").await;
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app-mi' AND wait_event = 'PgSleep'";
        within_limit(async {
            while watcher.query_one(asleep, &[]).await.unwrap().get::<_, i64>(0) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        if encrypted {
            client.cancel_token().cancel_query_raw(test.encrypted().await, NoTls).await.unwrap();
        } else {
            let stream = TcpStream::connect(test.proxy.address()).await.unwrap();
            client.cancel_token().cancel_query_raw(stream, NoTls).await.unwrap();
        }
        let error = within_limit(sleeping).await.unwrap().unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
    }
    assert_eq!(test.proxy.report().counters.cancels, 2);
    assert_eq!(text(&client, "SELECT 'still here'").await, "still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_password_is_limited_as_by_postgresql() {
    let test = TestProxy::new().await;
    let long = |filler: usize| {
        let claims = json!({"filler": "x".repeat(filler)}).as_object().unwrap().clone();
        test.mint(MintRequest { principal: "app-mi".into(), claims, ..MintRequest::default() })
    };
    // Base64 encodes three bytes as four.
    let token = long((65_530 - long(0).len()) / 4 * 3);
    assert!((65_520..=65_530).contains(&token.len()), "{}", token.len());
    let client = test.connect("app-mi", &token).await.unwrap();
    assert_eq!(text(&client, "SELECT current_user::text").await, "app-mi");

    assert_eq!(test.refused("app-mi", &"a".repeat(65_530)).await.0, "28000");
    let (state, message) = test.refused("app-mi", &"a".repeat(65_531)).await;
    assert_eq!((state.as_str(), message.as_str()), ("08P01", "invalid message length"));
    assert_eq!(test.refused("app-mi", &"a".repeat(900_000)).await.0, "08P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_control_refuses_delays_and_drops_logins() {
    let test = TestProxy::new().await;
    let token = test.token("app-mi");
    let control = |control: serde_json::Value| test.proxy.control(serde_json::from_value(control).unwrap());

    control(json!({"refuse_next": 2, "refuse_with": "starting_up"}));
    for _ in 0..2 {
        let expected = ("57P03".to_owned(), "the database system is starting up".to_owned());
        assert_eq!(test.refused("app-mi", &token).await, expected);
    }
    let client = test.connect("app-mi", &token).await.unwrap();

    for (stage, tls) in [(DropStage::Accept, false), (DropStage::Startup, true), (DropStage::Password, true)] {
        control(json!({"drop_next": 1, "drop_at": stage}));
        if tls {
            let error = test.connect("app-mi", &token).await.expect_err("dropped");
            assert!(error.as_db_error().is_none(), "{error:?}");
        } else {
            let mut stream = TcpStream::connect(test.proxy.address()).await.unwrap();
            let _ = stream.write_all(&SSL_REQUEST).await;
            assert!(within_limit(stream.read_u8()).await.is_err());
        }
        assert_eq!(test.proxy.report().faults.drop_next, 0);
    }

    control(json!({"delay_ms": 300}));
    let begun = std::time::Instant::now();
    let delayed = test.connect("app-mi", &token).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(300));

    control(json!({"disconnect": true, "delay_ms": 0}));
    for client in [client, delayed] {
        within_limit(async {
            while !client.is_closed() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
    let report = test.report_when(|report| report.sessions == 0).await;
    assert_eq!(report.counters.logins[&LoginOutcome::Dropped], 3);
    assert_eq!(report.counters.logins[&LoginOutcome::LoggedIn], 2);
    assert_eq!(report.counters.refusals[&LoginError::StartingUp], 2);

    control(json!({"reset": true}));
    let report = test.proxy.report();
    assert!(report.logins.is_empty() && report.counters.logins.is_empty());
    test.connect("app-mi", &token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_functions_of_administrators_manage_principals() {
    let test = TestProxy::new().await;
    let admin = test.log_in("admin@contoso.example", "admin@contoso.example").await;
    admin
        .batch_execute("DROP ROLE IF EXISTS \"no-role-api\", \"renamed\", \"own name\", \"second-admin\"")
        .await
        .unwrap();

    let api = test.token("no-role-api");
    assert_eq!(
        test.refused("no-role-api", &api).await.1,
        "role \"no-role-api\" does not exist",
        "never made by a login"
    );
    let create = "SELECT * FROM pgaadauth_create_principal('no-role-api', false, false)";
    assert_eq!(text(&admin, create).await, "Created role for no-role-api");
    assert_eq!(sqlstate(&admin, create).await, SqlState::DUPLICATE_OBJECT);
    test.connect("no-role-api", &api).await.unwrap();

    let oid = test.state.principal("no-role-api").unwrap().oid.clone();
    let with_oid =
        format!("SELECT pg_catalog.pgaadauth_create_principal_with_oid('own name', '{oid}', 'service', false, false)");
    assert_eq!(text(&admin, &with_oid).await, "Created role for own name");
    let client = test.connect("own name", &api).await.unwrap();
    assert_eq!(text(&client, "SELECT current_user::text").await, "own name");

    let listed = "SELECT principaltype || ' ' || objectid || ' ' || tenantid || ' ' || ismfa || ' ' || isadmin
        FROM pgaadauth_list_principals(false) WHERE rolname = 'own name'";
    assert_eq!(text(&admin, listed).await, format!("service {oid} {} 0 0", test.state.tenant_id()));
    let admins = "SELECT string_agg(rolname, ' ') FROM pgaadauth_list_principals(true)";
    assert_eq!(text(&admin, admins).await, "admin@contoso.example");

    // A second administrator has the powers that Azure gives it, and is not a superuser.
    let user = test.state.principal("alice@contoso.example").unwrap().oid.clone();
    let second = format!("SELECT pgaadauth_create_principal_with_oid('second-admin', '{user}', 'user', true, true)");
    text(&admin, &second).await;
    let second = test.connect("second-admin", &test.token("alice@contoso.example")).await.unwrap();
    let powers = "SELECT concat_ws(',', rolsuper, rolcreaterole, rolcreatedb, pg_has_role('azure_pg_admin', 'MEMBER'))
        FROM pg_roles WHERE rolname = session_user";
    assert_eq!(text(&second, powers).await, "f,t,t,t");
    assert_eq!(sqlstate(&second, "SELECT * FROM pgaadauth.labels").await, SqlState::INSUFFICIENT_PRIVILEGE);
    assert_eq!(
        text(&second, "SELECT ismfa::text FROM pgaadauth_list_principals(true) WHERE isadmin = 1 AND ismfa = 1").await,
        "1"
    );

    for statement in [
        "SELECT pgaadauth_create_principal('app-mi', true, false)",
        "SELECT pgaadauth_create_principal_with_oid('x', 'aaaaaaaa-0000-0000-0000-00000000000a', 'user', false, false)",
        "SELECT pgaadauth_list_principals(false)",
    ] {
        assert_eq!(sqlstate(&client, statement).await, SqlState::INSUFFICIENT_PRIVILEGE, "{statement}");
    }
    for (statement, says) in [
        (
            "SELECT pgaadauth_create_principal('nobody', false, false)",
            "Could not validate AAD user <nobody> because its name is not found",
        ),
        ("SELECT pgaadauth_create_principal_with_oid('x', 'y', 'user', false, false)", "invalid object id"),
        (
            "SELECT pgaadauth_create_principal_with_oid('x', 'aaaaaaaa-0000-0000-0000-00000000000a', 'robot', false, false)",
            "invalid object type",
        ),
        (
            "SELECT pgaadauth_create_principal_with_oid(NULL, 'aaaaaaaa-0000-0000-0000-00000000000a', 'user', false, false)",
            "must not be null",
        ),
    ] {
        let error = admin.batch_execute(statement).await.unwrap_err();
        assert!(error.as_db_error().unwrap().message().contains(says), "{statement}: {error:?}");
    }

    // A label belongs to the role, not to its name.
    drop(client);
    admin.batch_execute("ALTER ROLE \"own name\" RENAME TO renamed; CREATE ROLE \"own name\" LOGIN").await.unwrap();
    test.connect("renamed", &api).await.unwrap();
    assert_eq!(test.refused("own name", &api).await.0, "28P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_direct_tls_requires_alpn() {
    let test = TestProxy::new().await;
    let direct = |protocols: &'static [&'static str]| {
        let (address, connector) = (test.proxy.address(), test.connector(protocols));
        async move {
            let stream = TcpStream::connect(address).await.unwrap();
            connector.connect(ServerName::try_from("localhost").unwrap(), stream).await
        }
    };
    let client = connect_over(direct(&[ALPN]).await.unwrap(), "app-mi", &test.token("app-mi")).await.unwrap();
    assert_eq!(text(&client, "SELECT current_user::text").await, "app-mi");
    if let Ok(mut stream) = direct(&[]).await {
        let _ = stream.write_all(&startup(0, &[("user", "app-mi")])).await;
        assert_eq!(within_limit(read_message(&mut stream)).await, None);
    }
    assert!(direct(&["http/1.1"]).await.is_err());
    let report = test.report_when(|report| report.counters.logins.get(&LoginOutcome::TlsFailed) == Some(&2)).await;
    assert!(report.logins.iter().any(|login| login.message.as_deref().is_some_and(|message| message.contains("ALPN"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_startup_message_is_forwarded_unchanged() {
    let test = TestProxy::new().await;
    for minor in [0, 2] {
        let mut stream = test.encrypted().await;
        let parameters =
            [("user", "app-mi"), ("database", "postgres"), ("options", "-c work_mem=7MB"), ("TimeZone", "Asia/Tokyo")];
        stream.write_all(&startup(minor, &parameters)).await.unwrap();
        assert_eq!(within_limit(read_message(&mut stream)).await, Some((b'R', vec![0, 0, 0, 3])));
        stream.write_all(&password(test.token("app-mi").as_bytes())).await.unwrap();
        let (mut kinds, mut zone, mut version) = (String::new(), None, String::new());
        loop {
            let (kind, body) = within_limit(read_message(&mut stream)).await.expect("a session");
            kinds.push(char::from(kind));
            let text = String::from_utf8_lossy(&body).into_owned();
            match text.split_once('\0') {
                Some(("TimeZone", value)) => zone = Some(value.trim_end_matches('\0').to_owned()),
                Some(("server_version", value)) => version = value.to_owned(),
                _ => {}
            }
            if kind == b'Z' {
                break;
            }
        }
        assert_eq!(zone.as_deref(), Some("Asia/Tokyo"));
        let major: u32 = version.split(['.', 'b', 'r']).next().unwrap().parse().unwrap();
        // Servers up to 17 respond to a request for 3.2 with the version that they support.
        assert_eq!(kinds.starts_with("vR"), minor == 2 && major < 18, "{kinds}");
        assert!(kinds.contains("RS") && kinds.ends_with("KZ"), "{kinds}");
        let query = b"SHOW work_mem\0";
        let mut message = vec![b'Q'];
        message.extend(u32::try_from(query.len() + 4).unwrap().to_be_bytes());
        message.extend(query);
        stream.write_all(&message).await.unwrap();
        within_limit(read_message(&mut stream)).await.unwrap();
        let (kind, body) = within_limit(read_message(&mut stream)).await.unwrap();
        assert_eq!((kind, &body[6..]), (b'D', &b"7MB"[..]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_long_role_name_is_truncated_as_by_postgresql() {
    let name = format!("{}_home.example#EXT#@contoso.example", "x".repeat(50));
    // The server is shared, so the other principals must stay in the configuration.
    let mut config = Config::default();
    config.principals.push(Principal::new(&name, PrincipalKind::Guest));
    let test = TestProxy::with(config, SERVER.upstream()).await;
    let client = test.log_in(&name, &name).await;
    assert_eq!(text(&client, "SELECT current_user::text").await, name[..63]);
}

/// The clock is paused, and advances to the next timer only.
#[tokio::test]
async fn proxy_silent_client_is_disconnected() {
    let test = TestProxy::new().await;
    tokio::time::pause();
    let mut streams = Vec::new();
    for sent in [&[][..], &SSL_REQUEST[..], &SSL_REQUEST[..4], &[0x16, 3]] {
        let mut stream = TcpStream::connect(test.proxy.address()).await.unwrap();
        stream.write_all(sent).await.unwrap();
        streams.push(stream);
    }
    for mut stream in streams {
        let mut received = Vec::new();
        let _ = within_limit(stream.read_to_end(&mut received)).await;
        assert!(received.is_empty() || received == b"S");
    }
    assert_eq!(test.proxy.report().counters.logins[&LoginOutcome::TimedOut], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_error_of_the_server_is_forwarded() {
    let test = TestProxy::new().await;
    let mut stream = test.encrypted().await;
    stream.write_all(&startup(0, &[("user", "app-mi"), ("database", "nowhere")])).await.unwrap();
    within_limit(read_message(&mut stream)).await.unwrap();
    stream.write_all(&password(test.token("app-mi").as_bytes())).await.unwrap();
    // The server has accepted the login before the error.
    let mut last = within_limit(read_message(&mut stream)).await.unwrap();
    while last.0 != b'E' {
        last = within_limit(read_message(&mut stream)).await.unwrap();
    }
    assert_eq!(error_fields(&last.1)[&'C'], "3D000");
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_random_bytes_never_log_in() {
    let test = TestProxy::new().await;
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let begin = startup(0, &[("user", "app-mi"), ("database", "postgres")]);
    for round in 0..400 {
        let length = usize::try_from(random() % 300).unwrap();
        let mut noise: Vec<u8> = (0..length).map(|_| u8::try_from(random() & 0xff).unwrap()).collect();
        // Half of the packets have a valid length.
        if round % 2 == 0 && noise.len() >= 8 {
            let (length, place) = (u32::try_from(noise.len()).unwrap().to_be_bytes(), usize::from(round % 8 == 6));
            noise[place..place + 4].copy_from_slice(&length);
            if round % 8 == 0 {
                noise[4..8].copy_from_slice(&[0, 3, 0, 0]);
            }
            if round % 8 == 6 {
                noise[0] = b'p';
            }
        }
        let reply = match round % 4 {
            0 => {
                let mut stream = TcpStream::connect(test.proxy.address()).await.unwrap();
                let _ = stream.write_all(&noise).await;
                let _ = stream.shutdown().await;
                drain(stream).await
            }
            1 => {
                let mut stream = TcpStream::connect(test.proxy.address()).await.unwrap();
                let _ = stream.write_all(&[&SSL_REQUEST[..], &noise].concat()).await;
                let _ = stream.shutdown().await;
                drain(stream).await
            }
            stage => {
                let mut stream = test.encrypted().await;
                let begin = if stage == 3 { &begin[..] } else { b"" };
                let _ = stream.write_all(&[begin, &noise].concat()).await;
                let _ = stream.shutdown().await;
                drain(stream).await
            }
        };
        assert!(!reply.windows(9).any(|window| window == [b'R', 0, 0, 0, 8, 0, 0, 0, 0]), "noise logged in: {noise:?}");
    }
    let client = test.log_in("app-mi", "app-mi").await;
    assert_eq!(text(&client, "SELECT current_user::text").await, "app-mi");
}

async fn drain(mut stream: impl AsyncReadExt + Unpin) -> Vec<u8> {
    let mut reply = Vec::new();
    let _ = within_limit(stream.read_to_end(&mut reply)).await;
    reply
}

/// A server that requires passwords, like a user's own server, with a TCP port.
async fn server_with_passwords(method: &str) -> (Server, String) {
    let server = Server::start().await.unwrap();
    let mut config = tokio_postgres::Config::new();
    config.host_path(server.directory()).user("azuresu").dbname("postgres");
    let socket = server.directory().join(".s.PGSQL.5432");
    let (client, connection) = config.connect_raw(UnixStream::connect(&socket).await.unwrap(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
        .batch_execute(&format!(
            "CREATE ROLE boss SUPERUSER LOGIN PASSWORD 'canary-password & more';
             CREATE ROLE \"vm-prod\" LOGIN PASSWORD 'its own';
             COPY (SELECT 'local all all {method}') TO '{}/data/pg_hba.conf';",
            server.directory().display()
        ))
        .await
        .unwrap();
    // Only later connections need a password.
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    within_limit(async {
        while config.connect_raw(UnixStream::connect(&socket).await.unwrap(), NoTls).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let Ok(mut server) = UnixStream::connect(&socket).await else { return };
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut server).await });
        }
    });
    (server, format!("postgres://boss:canary-password%20%26%20more@127.0.0.1:{port}/anything"))
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_with_passwords_logs_in_as_the_role() {
    for method in ["scram-sha-256", "password"] {
        let (server, url) = server_with_passwords(method).await;
        let test = TestProxy::with(Config::default(), Upstream::parse(&url).unwrap()).await;
        let client = test.log_in("app-mi", "app-mi").await;
        assert_eq!(text(&client, "SELECT current_user::text").await, "app-mi");
        assert_eq!(text(&client, "SELECT session_user::text").await, "app-mi");
        let sleeping = {
            let token = client.cancel_token();
            let sleeping = tokio::spawn(async move { client.batch_execute("SELECT pg_sleep(60)").await });
            while !sleeping.is_finished() {
                let _ = token.cancel_query_raw(test.encrypted().await, NoTls).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            sleeping
        };
        assert_eq!(within_limit(sleeping).await.unwrap().unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));

        // A role that existed before gets a label and keeps its own password.
        let (state, message) = test.refused("vm-prod", &test.token("vm-prod")).await;
        assert_eq!(state, "28000");
        assert!(message.contains("requests the password of role \"vm-prod\""), "{message}");
        let admin = test.log_in("admin@contoso.example", "admin@contoso.example").await;
        admin.batch_execute("ALTER ROLE \"batch-mi\" PASSWORD 'changed'").await.unwrap();
        let (state, message) = test.refused("batch-mi", &test.token("batch-mi")).await;
        assert_eq!(state, "28000");
        assert!(message.contains("requests the password"), "{message}");

        // At the second start all objects exist.
        let again = TestProxy::with(Config::default(), Upstream::parse(&url).unwrap()).await;
        again.log_in("orders-api", "orders-api").await;
        again.log_in("db-readers", "alice@contoso.example").await;

        let error = Upstream::parse(&format!("{url}?sslmode=require")).unwrap().check().await.unwrap_err().to_string();
        assert!(error.contains("does not support TLS"), "no fallback to plaintext: {error}");

        let boss = Config {
            principals: vec![Principal {
                role: RoleSetting::Named("boss".into()),
                ..Principal::new("u@x", PrincipalKind::User)
            }],
            app_service: Default::default(),
            imds: Default::default(),
            ..Config::default()
        };
        let state = State::new(boss, KeySet::generate()).unwrap();
        let error = Upstream::parse(&url).unwrap().provision(&state).await.unwrap_err().to_string();
        assert!(error.contains("is a superuser of this server"), "{error}");
        assert!(!error.contains("canary-password"), "{error}");

        let directory = server.directory().to_owned();
        within_limit(server.stop()).await;
        assert!(!directory.exists());
        let (state, message) = test.refused("app-mi", &test.token("app-mi")).await;
        assert_eq!(state, "57P03", "{message}");
        assert_eq!(test.proxy.report().logins.last().unwrap().outcome, LoginOutcome::UpstreamFailed);
    }
}

/// Not a test: the process that the next test kills.
#[tokio::test]
#[ignore = "run in a separate process by server_of_a_killed_process_is_removed"]
async fn helper_process_with_a_server() {
    let server = Server::start().await.unwrap();
    println!("\ndirectory={}", server.directory().display());
    std::io::stdout().flush().unwrap();
    let mut end = String::new();
    let _ = std::io::stdin().read_line(&mut end);
}

#[test]
fn server_of_a_killed_process_is_removed() {
    for signal in [libc::SIGKILL, libc::SIGINT] {
        let mut holder = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "helper_process_with_a_server", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        let directory = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("directory=").map(PathBuf::from));
        let directory = directory.expect("a started server");
        let postmaster = std::fs::read_to_string(directory.join("data/postmaster.pid")).unwrap();
        let pid: i32 = postmaster.lines().next().unwrap().parse().unwrap();
        assert!(is_alive(pid));
        // SAFETY: only sends a signal, to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(holder.id().try_into().unwrap(), signal) }, 0);
        holder.wait().unwrap();
        let deadline = std::time::Instant::now() + LIMIT;
        while is_alive(pid) || directory.exists() {
            assert!(std::time::Instant::now() < deadline, "still there: {} or process {pid}", directory.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn is_alive(pid: i32) -> bool {
    // SAFETY: signal 0 is never delivered.
    unsafe { libc::kill(pid, 0) == 0 }
}
