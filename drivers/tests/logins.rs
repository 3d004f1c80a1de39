//! Logins of every driver and pool against the emulator with a real PostgreSQL.

use std::{
    error::Error as StdError,
    path::Path,
    time::{Duration, Instant},
};

use deadpool_postgres::RecyclingMethod;
use diesel::sql_types::Text;
use diesel_async::{
    AsyncPgConnection, RunQueryDsl,
    pooled_connection::{bb8, deadpool},
};
use pgentra::{
    Config, CredentialConfig, ErrorKind,
    config::{Environment, RefreshMode},
    postgres::ServiceConnector,
};
use pgentra_drivers::{
    EntraDataSource, EntraDataSourceBuilder, Error, deadpool_postgres as pools, diesel_async as diesel_hooks,
    find_entra_error,
    sqlx::{EntraPool, connect as connect_sqlx},
    tokio_postgres::connect,
};
use pgentra_emulator::{
    Emulator, Postgres,
    config::{Config as Tenant, ORDERS_API_SECRET},
    fault::Fault,
    principal::Principal,
};
use serde_json::{Value, json};
use sqlx::{Connection, postgres::PgPoolOptions};

/// The result of a login: the role.
type Outcome = Result<String, Box<dyn StdError + Send + Sync>>;

/// A time limit that only a test that hangs reaches.
const LIMIT: Duration = Duration::from_secs(120);

/// A name of this machine that does not count as local.
const NOT_LOCAL: &str = "0.0.0.0";

const CURRENT_USER: &str = "select current_user::text";

// The drivers

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driver {
    TokioPostgres,
    DeadpoolPostgres,
    DieselAsync,
    DieselBb8,
    DieselDeadpool,
    Sqlx,
    SqlxPool,
}

const DRIVERS: [Driver; 7] = [
    Driver::TokioPostgres,
    Driver::DeadpoolPostgres,
    Driver::DieselAsync,
    Driver::DieselBb8,
    Driver::DieselDeadpool,
    Driver::Sqlx,
    Driver::SqlxPool,
];

/// A driver with its pool, if it has one.
enum Running {
    TokioPostgres(EntraDataSource),
    DeadpoolPostgres(pools::Pool),
    DieselAsync(EntraDataSource),
    DieselBb8(bb8::Pool<AsyncPgConnection>),
    DieselDeadpool(deadpool::Pool<AsyncPgConnection>),
    Sqlx(EntraDataSource),
    SqlxPool(EntraPool),
}

impl Driver {
    fn run(self, source: &EntraDataSource) -> Result<Running, Error> {
        let source = source.clone();
        Ok(match self {
            Driver::TokioPostgres => Running::TokioPostgres(source),
            Driver::DeadpoolPostgres => {
                let manager = pools::Manager::new(source).recycling_method(RecyclingMethod::Verified);
                Running::DeadpoolPostgres(pools::Pool::builder(manager).max_size(2).build().expect("a pool"))
            }
            Driver::DieselAsync => Running::DieselAsync(source),
            Driver::DieselBb8 => {
                let builder = bb8::Pool::builder().connection_timeout(LIMIT);
                Running::DieselBb8(builder.build_unchecked(diesel_hooks::manager(source)))
            }
            Driver::DieselDeadpool => {
                let pool = deadpool::Pool::builder(diesel_hooks::manager(source)).max_size(2).build();
                Running::DieselDeadpool(pool.expect("a pool"))
            }
            Driver::Sqlx => Running::Sqlx(source),
            Driver::SqlxPool => {
                Running::SqlxPool(EntraPool::connect_lazy(&source, PgPoolOptions::new().max_connections(2))?)
            }
        })
    }

    /// Opens one connection.
    async fn log_in(self, source: &EntraDataSource) -> Outcome {
        self.run(source)?.log_in().await
    }
}

#[derive(diesel::QueryableByName)]
struct Role {
    #[diesel(sql_type = Text)]
    current_user: String,
}

async fn role_of(connection: &mut AsyncPgConnection) -> Outcome {
    let query = diesel::sql_query("select current_user::text as current_user");
    Ok(query.get_result::<Role>(connection).await?.current_user)
}

impl Running {
    /// Opens a new connection, returns its role, and closes it.
    async fn log_in(&self) -> Outcome {
        match self {
            Running::TokioPostgres(source) => {
                let (client, connection) = connect(source).await?;
                tokio::spawn(connection);
                Ok(client.query_one(CURRENT_USER, &[]).await?.get(0))
            }
            Running::DeadpoolPostgres(pool) => {
                let client = pools::Object::take(pool.get().await?);
                Ok(client.query_one(CURRENT_USER, &[]).await?.get(0))
            }
            Running::DieselAsync(source) => role_of(&mut diesel_hooks::connect(source).await?).await,
            Running::DieselBb8(pool) => role_of(&mut pool.dedicated_connection().await?).await,
            Running::DieselDeadpool(pool) => role_of(&mut deadpool::Object::take(pool.get().await?)).await,
            Running::Sqlx(source) => {
                let mut connection = connect_sqlx(source).await?;
                let role = sqlx::query_scalar(CURRENT_USER).fetch_one(&mut connection).await?;
                connection.close().await?;
                Ok(role)
            }
            Running::SqlxPool(pool) => {
                let mut connection = pool.acquire().await?.detach();
                let role = sqlx::query_scalar(CURRENT_USER).fetch_one(&mut connection).await?;
                connection.close().await?;
                Ok(role)
            }
        }
    }
}

// The emulator

async fn start(principals: Vec<Value>, lifetime_s: Option<i64>) -> Emulator {
    let mut tenant = Tenant::default();
    tenant
        .principals
        .extend(principals.into_iter().map(|one| serde_json::from_value::<Principal>(one).expect("valid")));
    tenant.tokens.lifetime_s = lifetime_s;
    Emulator::builder().config(tenant).postgres(Postgres::Own).start().await.expect("starts")
}

/// The variables of an App Service, and the certificate authorities of the emulator.
fn environment(emulator: &Emulator) -> Environment {
    let addresses = emulator.addresses();
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    [
        ("IDENTITY_ENDPOINT", addresses.app_service.endpoint.clone()),
        ("IDENTITY_HEADER", addresses.app_service.header.clone()),
        ("AZURE_AUTHORITY_HOST", addresses.authority_host.clone()),
        ("SSL_CERT_FILE", path(&addresses.bundle_file)),
        ("PGSSLROOTCERT", path(&addresses.ca_file)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.into()))
    .collect()
}

fn builder(emulator: &Emulator, settings: &str) -> EntraDataSourceBuilder {
    let port = emulator.addresses().postgres.as_ref().expect("PostgreSQL").port;
    let text = format!("host=localhost port={port} dbname=postgres sslmode=verify-full {settings}");
    EntraDataSource::builder(text).environment(environment(emulator))
}

fn managed_identity(client_id: &str) -> Config {
    let document = json!({"type": "managed_identity", "client_id": client_id});
    Config { credential: CredentialConfig::from_value(document).expect("valid"), ..Config::default() }
}

fn control(emulator: &Emulator, document: Value) {
    emulator.database().expect("PostgreSQL").proxy.control(serde_json::from_value(document).expect("valid"));
}

fn report(emulator: &Emulator) -> Value {
    serde_json::to_value(emulator.database().expect("PostgreSQL").proxy.report()).expect("JSON")
}

/// The client id of a test's own principal.
fn client_id(number: usize) -> String {
    format!("22222222-0000-0000-0000-{number:012}")
}

fn identity(number: usize) -> Value {
    json!({"name": format!("own-mi-{number}"), "kind": "user_assigned", "appid": client_id(number)})
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

// The tests

#[tokio::test(flavor = "multi_thread")]
async fn pools_log_in_across_expiry_and_report_an_outage() {
    let emulator = start(vec![], Some(6)).await;
    let source = builder(&emulator, "").build().unwrap();
    let running: Vec<Running> = DRIVERS.iter().map(|driver| driver.run(&source).unwrap()).collect();
    // Connections that stay open need no token.
    let (kept, connection) = connect(&source).await.unwrap();
    tokio::spawn(connection);
    let Running::SqlxPool(sqlx_pool) = &running[6] else { unreachable!() };

    // Each driver logs in with at least four tokens, of which the first ones have expired.
    let began = Instant::now();
    let mut logins = 0;
    let tokens = || emulator.state().requests.counters("app_service").total;
    while tokens() < 5 || began.elapsed() < Duration::from_secs(8) {
        for (driver, running) in DRIVERS.iter().zip(&running) {
            assert_eq!(running.log_in().await.unwrap_or_else(|e| panic!("{driver:?}: {e}")), "app-mi");
            logins += 1;
        }
        // A `PgPool` that is used itself has the current token too.
        let role: String = sqlx::query_scalar(CURRENT_USER).fetch_one(&**sqlx_pool).await.unwrap();
        assert_eq!(role, "app-mi");
        sqlx_pool.acquire().await.unwrap().close_on_drop();
        assert!(began.elapsed() < LIMIT);
        pause().await;
    }
    println!("{logins} logins, {} token requests in {:.1} s", tokens(), began.elapsed().as_secs_f64());

    // An outage: no error while the token is usable, then the error of the token source.
    let idle: i64 = sqlx::query_scalar("select 1::int8").fetch_one(&**sqlx_pool).await.unwrap();
    assert_eq!(idle, 1);
    emulator.state().add_fault(Fault { status: Some(503), ..Fault::at("*") });
    for (driver, running) in DRIVERS.iter().zip(&running) {
        assert_eq!(running.log_in().await.unwrap_or_else(|e| panic!("{driver:?}: {e}")), "app-mi");
    }
    let began = Instant::now();
    // Around the expiry, the server may reject the token before the engine does.
    while Driver::TokioPostgres.log_in(&source).await.err().is_none_or(|error| find_entra_error(&*error).is_none()) {
        assert!(began.elapsed() < LIMIT);
        pause().await;
    }
    for (driver, running) in DRIVERS.iter().zip(&running) {
        // The pool of sqlx has an idle connection, which needs no token, until the first login takes it.
        let failed = match running.log_in().await {
            Ok(_) if *driver == Driver::SqlxPool => running.log_in().await.unwrap_err(),
            outcome => outcome.unwrap_err(),
        };
        let entra = find_entra_error(&*failed).unwrap_or_else(|| panic!("{driver:?}: {failed:?}"));
        assert_eq!(entra.kind(), ErrorKind::ServiceUnavailable, "{driver:?}");
        assert!(failed.to_string().contains("HTTP 503"), "{driver:?}: {failed}");
        assert!(Error::find(&*failed).unwrap().is_transient(), "{driver:?}");
    }
    assert_eq!(kept.query_one(CURRENT_USER, &[]).await.unwrap().get::<_, String>(0), "app-mi");

    // After the outage all of them log in again by themselves.
    emulator.state().clear_faults(None);
    let began = Instant::now();
    for (driver, running) in DRIVERS.iter().zip(&running) {
        while let Err(error) = running.log_in().await {
            assert!(began.elapsed() < LIMIT, "{driver:?}: {error}");
            pause().await;
        }
    }
    emulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_source_decides_on_the_user_and_the_password() {
    let emulator = start(vec![], None).await;
    // The role of the token's principal, and an explicit one.
    let cases = [
        ("", "app-mi", None),
        ("user=app-mi", "app-mi", Some("user")),
        ("user=app-mi password=unused", "app-mi", Some("user")),
    ];
    for driver in DRIVERS {
        for (settings, role, user_source) in cases {
            let source = builder(&emulator, settings).ignore_password(true).build().unwrap();
            assert_eq!(source.plan().user_source.as_deref(), user_source);
            assert_eq!(driver.log_in(&source).await.unwrap(), role, "{driver:?} {settings}");
        }
        // The explicit user wins over the token's, also if the server rejects it.
        for (settings, variable) in [("user=no-such-role", None), ("", Some("no-such-role"))] {
            let mut environment = environment(&emulator);
            environment.extend(variable.map(|user| ("PGUSER".to_owned(), user.into())));
            let source = builder(&emulator, settings).environment(environment).build().unwrap();
            let failed = driver.log_in(&source).await.unwrap_err();
            let text = failed.to_string();
            assert!(matches!(Error::find(&*failed), Some(Error::Login { .. })), "{driver:?}: {failed:?}");
            assert!(text.contains("Role tried: 'no-such-role' (from the "), "{driver:?}: {text}");
            assert!(text.contains("pgaadauth_create_principal_with_oid('no-such-role'"), "{driver:?}: {text}");
            assert!(find_entra_error(&*failed).is_none());
        }
    }
    let required = builder(&emulator, "user=alice password=secret").require_entra(true).build().unwrap_err();
    assert_eq!(required.entra().unwrap().kind(), ErrorKind::InvalidConnection);
    assert!(!format!("{required} {required:?}").contains("secret"));
    // A login by password uses no token, and the server's error says so.
    let before = emulator.state().requests.counters("app_service").total;
    let own = builder(&emulator, "user=alice password=wrong").build().unwrap();
    assert!(own.provider().is_none());
    for driver in DRIVERS {
        let failed = driver.log_in(&own).await.unwrap_err();
        assert!(failed.to_string().contains("Entra was not used"), "{driver:?}: {failed}");
    }
    assert_eq!(emulator.state().requests.counters("app_service").total, before);
    emulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_retry_once_with_a_newer_token() {
    let emulator = start((0..DRIVERS.len()).map(identity).collect(), Some(8)).await;
    for (number, driver) in DRIVERS.into_iter().enumerate() {
        let source = builder(&emulator, "").config(managed_identity(&client_id(number))).build().unwrap();
        let role = format!("own-mi-{number}");
        let running = driver.run(&source).unwrap();
        assert_eq!(running.log_in().await.unwrap(), role);
        // A token that has just arrived is not replaced.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        control(&emulator, json!({"reset": true, "refuse_next": 1}));
        assert_eq!(running.log_in().await.unwrap_or_else(|e| panic!("{driver:?}: {e}")), role);
        let logins = report(&emulator)["logins"].clone();
        let outcomes: Vec<&str> =
            logins.as_array().unwrap().iter().map(|one| one["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes.len(), 2, "{driver:?}: {logins}");
        assert_eq!((outcomes[0] == "logged_in", outcomes[1]), (false, "logged_in"), "{driver:?}: {logins}");

        // Two refusals: the second one is the error.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        control(&emulator, json!({"reset": true, "refuse_next": 3}));
        let failed = running.log_in().await.unwrap_err();
        let text = failed.to_string();
        assert!(matches!(Error::find(&*failed), Some(Error::Login { .. })), "{driver:?}: {failed:?}");
        assert!(text.contains(&format!("Role tried: '{role}'")), "{driver:?}: {text}");
        assert!(text.contains("Token of: ") && text.contains("expired"), "{driver:?}: {text}");
        assert!(!text.contains("eyJ") && !format!("{failed:?}").contains("eyJ"), "{driver:?}");
        assert_eq!(report(&emulator)["logins"].as_array().unwrap().len(), 2, "{driver:?}");
        control(&emulator, json!({"reset": true}));
    }
    emulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_send_no_byte_of_a_token_without_tls() {
    let emulator = start(vec![], None).await;
    let port = emulator.addresses().postgres.as_ref().unwrap().port;
    control(&emulator, json!({"plaintext": true}));
    let sent = || report(&emulator)["counters"]["plaintext_password_bytes"].as_u64().unwrap();
    let source = |host: &str, sslmode: &str| {
        EntraDataSource::builder(format!("host={host} port={port} dbname=postgres {sslmode}"))
            .environment(environment(&emulator))
            .build()
    };
    for driver in DRIVERS {
        for sslmode in ["", "sslmode=allow", "sslmode=prefer", "sslmode=require", "sslmode=verify-full"] {
            let failed = driver.log_in(&source(NOT_LOCAL, sslmode).unwrap()).await.unwrap_err();
            assert!(failed.to_string().contains("TLS"), "{driver:?} {sslmode}: {failed}");
        }
        assert_eq!(sent(), 0, "{driver:?}");
    }
    let refused = source(NOT_LOCAL, "sslmode=disable").unwrap_err();
    assert_eq!(refused.entra().unwrap().kind(), ErrorKind::InsecureTransport);
    // The counter works: a local server gets the token without TLS.
    for driver in DRIVERS {
        let before = sent();
        assert_eq!(driver.log_in(&source("localhost", "").unwrap()).await.unwrap(), "app-mi", "{driver:?}");
        assert!(sent() > before + 500, "{driver:?}");
    }
    emulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_verify_the_certificate_in_every_mode() {
    let emulator = start(vec![], None).await;
    let port = emulator.addresses().postgres.as_ref().unwrap().port;
    for driver in DRIVERS {
        for sslmode in ["require", "verify-ca", "verify-full"] {
            // The certificate has no such name.
            let text = format!("host={NOT_LOCAL} port={port} dbname=postgres sslmode={sslmode}");
            let source = EntraDataSource::builder(text).environment(environment(&emulator)).build().unwrap();
            let failed = driver.log_in(&source).await.unwrap_err();
            assert!(failed.to_string().to_lowercase().contains("certificate"), "{driver:?} {sslmode}: {failed}");
        }
        // The system's authorities do not include the emulator's.
        let mut system = environment(&emulator);
        system.remove("PGSSLROOTCERT");
        system.remove("SSL_CERT_FILE");
        let failed = driver.log_in(&builder(&emulator, "").environment(system).build().unwrap()).await.unwrap_err();
        assert!(failed.to_string().to_lowercase().contains("certificate"), "{driver:?}: {failed}");
    }
    let logins = report(&emulator)["logins"].clone();
    assert!(logins.as_array().unwrap().iter().all(|login| login["outcome"] == "tls_failed"), "{logins}");
    emulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn service_connector_logs_in_by_its_variables_alone() {
    let principals = [
        ("rust-system", "system_assigned", None),
        ("rust-user", "user_assigned", None),
        ("rust-service", "service_principal", Some(ORDERS_API_SECRET)),
    ];
    let principals = principals.iter().enumerate().map(|(number, (name, kind, secret))| {
        json!({"name": name, "kind": kind, "role": format!("aad_{name}"), "appid": client_id(number), "client_secret": secret})
    });
    let mut tenant = Tenant::default();
    tenant.principals.extend(principals.map(|one| serde_json::from_value::<Principal>(one).unwrap()));
    tenant.app_service = serde_json::from_value(json!({"default": "rust-system"})).unwrap();
    let emulator = Emulator::builder().config(tenant).postgres(Postgres::Own).start().await.unwrap();
    let addresses = emulator.addresses();
    let postgres = addresses.postgres.as_ref().unwrap();
    let (host, port, database) = (&postgres.host, postgres.port, &postgres.database);
    // The formats of the client types go, nodejs and java.
    let cases = [
        (
            "system-assigned",
            "aad_rust-system",
            json!({"CONNECTIONSTRING": format!("host={host} port={port} dbname={database} sslmode=require user=aad_rust-system")}),
        ),
        (
            "user-assigned",
            "aad_rust-user",
            json!({"HOST": host, "PORT": port.to_string(), "DATABASE": database, "USER": "aad_rust-user", "SSL": "true",
                   "CLIENTID": client_id(1)}),
        ),
        (
            "service-principal",
            "aad_rust-service",
            json!({"CONNECTIONSTRING":
                   format!("jdbc:postgresql://{host}:{port}/{database}?sslmode=require&user=aad_rust-service"),
                   "CLIENTID": client_id(2), "CLIENTSECRET": ORDERS_API_SECRET, "TENANTID": addresses.tenant_id}),
        ),
    ];
    for (kind, role, variables) in cases {
        let mut environment = environment(&emulator);
        for (name, value) in variables.as_object().unwrap() {
            environment.insert(format!("AZURE_POSTGRESQL_{name}"), value.as_str().unwrap().into());
        }
        let source = EntraDataSource::builder("").service_connector(ServiceConnector::Only).environment(environment);
        let source = source.build().unwrap();
        for (driver, name) in [
            (Driver::DeadpoolPostgres, "deadpool-postgres"),
            (Driver::DieselAsync, "diesel-async"),
            (Driver::DieselBb8, "diesel-async"),
            (Driver::Sqlx, "sqlx"),
            (Driver::SqlxPool, "sqlx"),
        ] {
            assert_eq!(driver.log_in(&source).await.unwrap_or_else(|e| panic!("{driver:?} {kind}: {e}")), role);
            println!("connector: {kind} / {name} / Rust");
        }
    }
    emulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlx_pool_into_pool_keeps_the_token_fresh_until_it_is_closed() {
    let emulator = start(vec![], Some(4)).await;
    let source = builder(&emulator, "").build().unwrap();
    let pool = EntraPool::connect(&source, PgPoolOptions::new()).await.unwrap();
    assert_eq!(source.provider().unwrap().stats().mode, RefreshMode::Background);
    let pool = pool.into_pool();
    let tokens = || emulator.state().requests.counters("app_service").total;
    let began = Instant::now();
    // Nothing but the pool requests tokens.
    while tokens() < 5 {
        assert!(began.elapsed() < LIMIT);
        pause().await;
    }
    let mut connection = pool.acquire().await.unwrap();
    connection.close_on_drop();
    let role: String = sqlx::query_scalar(CURRENT_USER).fetch_one(&mut *connection).await.unwrap();
    assert_eq!(role, "app-mi");
    drop(connection);
    pool.close().await;
    emulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlx_pool_explains_an_error_of_the_inner_pool() {
    let emulator = start(vec![], None).await;
    let pool = EntraPool::connect(&builder(&emulator, "").build().unwrap(), PgPoolOptions::new()).await.unwrap();
    control(&emulator, json!({"refuse_next": 1, "disconnect": true}));
    let failed = loop {
        // The first query may only find that its connection was closed.
        match sqlx::query(CURRENT_USER).execute(&*pool).await {
            Err(error @ sqlx::Error::Database(_)) if pool.explain(&error).is_some() => break error,
            _ => pause().await,
        }
    };
    assert!(pool.explain(&failed).unwrap().starts_with("Role tried: 'app-mi'"));
    assert!(pool.explain(&sqlx::Error::PoolClosed).is_none());
    let inner: sqlx::Error = Error::Driver(Box::new(failed)).into();
    assert!(matches!(inner, sqlx::Error::Database(_)));
    emulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_report_a_credential_that_is_not_set_up() {
    let emulator = start(vec![], None).await;
    let mut bare = environment(&emulator);
    bare.remove("IDENTITY_ENDPOINT");
    let document = json!({"type": "environment"});
    let config = Config { credential: CredentialConfig::from_value(document).unwrap(), ..Config::default() };
    let source = builder(&emulator, "").environment(bare).config(config).build().unwrap();
    for driver in DRIVERS {
        let failed = driver.log_in(&source).await.unwrap_err();
        let entra = find_entra_error(&*failed).unwrap_or_else(|| panic!("{driver:?}: {failed:?}"));
        assert_eq!(entra.kind(), ErrorKind::CredentialUnavailable, "{driver:?}");
    }
    let pool = Driver::DieselDeadpool.run(&source).unwrap();
    assert!(pool.log_in().await.unwrap_err().to_string().contains("EnvironmentCredential"));
    emulator.stop().await;
}

/// `cargo test` builds the examples too, unless one test is selected.
#[tokio::test(flavor = "multi_thread")]
async fn examples_log_in_across_expiry() {
    let emulator = start(vec![], Some(4)).await;
    let programs = std::env::current_exe().unwrap();
    let programs = programs.ancestors().nth(2).unwrap().join("examples");
    let port = emulator.addresses().postgres.as_ref().unwrap().port.to_string();
    let run = |name: &str| {
        let program = programs.join(name);
        assert!(program.exists(), "{name} is not built: run `cargo test -p pgentra-drivers --all-features`");
        let mut command = std::process::Command::new(program);
        command.arg("9").env("PGHOST", "localhost").env("PGPORT", &port).env("PGDATABASE", "postgres");
        command.env("NO_PROXY", "localhost,127.0.0.1").stderr(std::process::Stdio::inherit());
        command.envs(environment(&emulator).iter().map(|(name, value)| (name, value.expose())));
        tokio::task::spawn_blocking(move || command.output())
    };
    let running = ["sqlx", "deadpool_postgres", "diesel_async"].map(|name| (name, run(name)));
    for (name, running) in running {
        let output = running.await.unwrap().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{name}: {text}");
        assert!(
            text.lines().filter(|line| line.contains(": logged in as app-mi after ")).count() > 2,
            "{name}: {text}"
        );
    }
    assert!(emulator.state().requests.counters("app_service").total > 6);
    emulator.stop().await;
}
