//! Logins of tokio-postgres by a connection plan: with Azure Service Connector's variables only, and never without TLS.
//!
//! Each login that works prints `connector: IDENTITY / tokio-postgres / Rust`, which `tools/matrix.py` collects.

mod common;

use std::path::Path;

use common::{Emulated, Rustls, client_trusting, current_user};
use pgentra::{
    Error,
    config::Environment,
    postgres::{ConnectionPlan, ConnectionRequest, ServiceConnector},
};
use pgentra_emulator::{Emulator, Postgres, config::ORDERS_API_SECRET};
use serde_json::{Value, json};
use tokio_postgres::{Client, Config, config::SslMode};

/// A name of this machine that does not count as local.
const NOT_LOOPBACK: &str = "0.0.0.0";

async fn with_postgres() -> Emulated {
    let running = Emulator::builder().postgres(Postgres::Own).start().await.unwrap();
    let client = client_trusting(&running.addresses().ca_file);
    Emulated { running, client }
}

fn environment(variables: &Value) -> Environment {
    let variables = variables.as_object().unwrap().iter();
    variables.map(|(name, value)| (name.clone(), value.as_str().unwrap().into())).collect()
}

/// Connects like a program with these variables and its own connection string.
async fn connect(
    emulated: &Emulated,
    request: ConnectionRequest,
    ca_file: &Path,
) -> Result<Client, Box<dyn std::error::Error>> {
    let environment = request.environment.clone();
    let config = json!({"ca_file": emulated.addresses().bundle_file});
    let Value::Object(config) = config else { unreachable!() };
    let plan = ConnectionPlan::new(&ConnectionRequest { config: Some(config), ..request })?;
    let provider = plan.provider()?.environment(environment).build()?;
    let login = provider.login().await?;
    let setting = |keyword| plan.settings.get(keyword);
    let mut config = Config::new();
    config.user(login.user()).password(login.password());
    config.host(setting("host").unwrap_or("localhost")).dbname(setting("dbname").unwrap_or("postgres"));
    config.port(setting("port").unwrap_or("5432").parse()?);
    config.ssl_mode(match plan.sslmode.as_deref().or(setting("sslmode")) {
        Some("disable") => SslMode::Disable,
        None | Some("prefer") => SslMode::Prefer,
        Some(_) => SslMode::Require,
    });
    let (client, connection) = config.connect(Rustls::trusting(ca_file)).await?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::test]
async fn service_connector_logs_in_by_its_variables_alone() {
    let emulated = with_postgres().await;
    let addresses = emulated.addresses();
    let postgres = addresses.postgres.as_ref().unwrap();
    let (host, port, database) = (&postgres.host, postgres.port, &postgres.database);
    let client_id = |number: u8| format!("11111111-0000-0000-0000-{number:012}");
    // The role is the variable's user, not the identity's name. App Service's default is the system-assigned identity.
    for (name, kind, number) in [
        ("rust-system", "system_assigned", 0x51),
        ("rust-user", "user_assigned", 0x52),
        ("rust-service", "service_principal", 0x53),
    ] {
        let secret = (kind == "service_principal").then_some(ORDERS_API_SECRET);
        let principal = json!({"name": name, "kind": kind, "role": format!("aad_{name}"), "appid": client_id(number),
                               "client_secret": secret});
        emulated.set("POST", "/principals", principal).await;
    }
    emulated.set("PUT", "/config", json!({"app_service": {"default": "rust-system"}})).await;
    let cases = [
        // The formats of the client types go, nodejs and java.
        (
            "system-assigned",
            "aad_rust-system",
            json!({"AZURE_POSTGRESQL_CONNECTIONSTRING":
                   format!("host={host} port={port} dbname={database} sslmode=require user=aad_rust-system")}),
        ),
        (
            "user-assigned",
            "aad_rust-user",
            json!({"AZURE_POSTGRESQL_HOST": host, "AZURE_POSTGRESQL_PORT": port.to_string(),
                   "AZURE_POSTGRESQL_DATABASE": database, "AZURE_POSTGRESQL_USER": "aad_rust-user",
                   "AZURE_POSTGRESQL_SSL": "true", "AZURE_POSTGRESQL_CLIENTID": client_id(0x52)}),
        ),
        (
            "service-principal",
            "aad_rust-service",
            json!({"AZURE_POSTGRESQL_CONNECTIONSTRING":
                   format!("jdbc:postgresql://{host}:{port}/{database}?sslmode=require&user=aad_rust-service"),
                   "AZURE_POSTGRESQL_CLIENTID": client_id(0x53), "AZURE_POSTGRESQL_CLIENTSECRET": ORDERS_API_SECRET,
                   "AZURE_POSTGRESQL_TENANTID": addresses.tenant_id}),
        ),
    ];
    for (identity, role, variables) in cases {
        let mut environment = environment(&variables);
        // The platform's own variables, with the emulator as Entra.
        environment.insert("IDENTITY_ENDPOINT".into(), addresses.app_service.endpoint.as_str().into());
        environment.insert("IDENTITY_HEADER".into(), addresses.app_service.header.as_str().into());
        environment.insert("AZURE_AUTHORITY_HOST".into(), addresses.authority_host.as_str().into());
        let request = ConnectionRequest {
            service_connector: Some(ServiceConnector::Only),
            verifies_certificates: true,
            environment,
            ..ConnectionRequest::default()
        };
        let client =
            connect(&emulated, request, &addresses.ca_file).await.unwrap_or_else(|e| panic!("{identity}: {e:?}"));
        assert_eq!(current_user(&client).await, role);
        println!("connector: {identity} / tokio-postgres / Rust");
    }
}

#[tokio::test]
async fn plan_sends_no_byte_of_a_token_without_tls() {
    let emulated = with_postgres().await;
    let addresses = emulated.addresses();
    let postgres = addresses.postgres.as_ref().unwrap();
    emulated.set("POST", "/postgres", json!({"plaintext": true})).await;
    let request = |host: &str, sslmode: &str| ConnectionRequest {
        text: Some(format!("host={host} port={} dbname=postgres {sslmode}", postgres.port).into()),
        environment: environment(&json!({
            "IDENTITY_ENDPOINT": addresses.app_service.endpoint, "IDENTITY_HEADER": addresses.app_service.header,
        })),
        ..ConnectionRequest::default()
    };
    let sent =
        || async { emulated.control("GET", "/postgres", None).await.1["counters"]["plaintext_password_bytes"].clone() };
    for sslmode in ["", "sslmode=prefer", "sslmode=require", "sslmode=verify-full"] {
        let failed = connect(&emulated, request(NOT_LOOPBACK, sslmode), &addresses.ca_file).await.unwrap_err();
        assert!(failed.to_string().contains("TLS"), "{sslmode}: {failed}");
    }
    let refused = connect(&emulated, request(NOT_LOOPBACK, "sslmode=disable"), &addresses.ca_file).await.unwrap_err();
    assert_eq!(refused.downcast_ref::<Error>().unwrap().code(), "insecure_transport");
    assert_eq!(sent().await, json!(0));
    // The counter works: a local server gets the token without TLS.
    connect(&emulated, request("localhost", ""), &addresses.ca_file).await.unwrap();
    assert!(sent().await.as_u64().unwrap() > 500);
}
