//! Shared by all tests of the running emulator.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::pin::Pin;
use std::process::{Child, ChildStdout, Command};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pgentra_emulator::config::ORDERS_API_SECRET;
use pgentra_emulator::{Addresses, Emulator};
use reqwest::{Client, Method, RequestBuilder, Response};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{NoTls, Socket};
use tokio_rustls::TlsConnector;

pub const DATABASE: &str = "https://ossrdbms-aad.database.windows.net";
pub const MANAGEMENT: &str = "https://management.azure.com";
pub const ORDERS_API: &str = "11111111-0000-0000-0000-000000000005";
/// A time limit that only a test that hangs reaches.
pub const LIMIT: Duration = Duration::from_secs(30);
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_pgentra-emulator");

pub async fn start() -> Emulator {
    Emulator::builder().start().await.unwrap()
}

/// Returns a client that trusts only the certificates in this PEM file.
pub fn client_trusting(file: &Path) -> Client {
    Client::builder().tls_backend_preconfigured(trusting(file)).no_proxy().timeout(LIMIT).build().unwrap()
}

pub fn trusting(file: &Path) -> rustls::ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A program under test. It is killed if the test fails.
pub struct Started {
    pub child: Child,
    pub stdout: BufReader<ChildStdout>,
    /// The first line of its output.
    pub ready: Value,
}

impl Started {
    pub fn new(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        Self { child, stdout, ready: serde_json::from_str(&line).unwrap() }
    }

    pub fn control(&self) -> &str {
        self.ready["control"].as_str().unwrap().strip_prefix("http://").unwrap()
    }

    pub fn wait(&mut self) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the emulator does not end");
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        }
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Logs in through the proxy, verified by the authority in this PEM file.
pub async fn log_in(
    port: u16,
    ca_file: &Path,
    role: &str,
    token: &str,
) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // The request for TLS.
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'S');
    let connector = TlsConnector::from(Arc::new(trusting(ca_file)));
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let mut config = tokio_postgres::Config::new();
    config.user(role).dbname("postgres").password(token).ssl_mode(SslMode::Disable);
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// TLS for tokio-postgres, which verifies the server's certificate and name.
#[derive(Clone)]
pub struct Rustls(TlsConnector, Option<ServerName<'static>>);

impl Rustls {
    /// Trusts the authorities in this PEM file.
    pub fn trusting(file: &Path) -> Self {
        Self(TlsConnector::from(Arc::new(trusting(file))), None)
    }
}

impl MakeTlsConnect<Socket> for Rustls {
    type Stream = Encrypted;
    type TlsConnect = Self;
    type Error = InvalidDnsNameError;

    fn make_tls_connect(&mut self, host: &str) -> Result<Self, Self::Error> {
        Ok(Self(self.0.clone(), Some(ServerName::try_from(host)?.to_owned())))
    }
}

impl TlsConnect<Socket> for Rustls {
    type Stream = Encrypted;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Encrypted>> + Send>>;

    fn connect(self, stream: Socket) -> Self::Future {
        let name = self.1.expect("made for a host");
        Box::pin(async move { self.0.connect(name, stream).await.map(Encrypted) })
    }
}

pub struct Encrypted(tokio_rustls::client::TlsStream<Socket>);

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, to)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Returns the role of a connection.
pub async fn current_user(client: &tokio_postgres::Client) -> String {
    client.query_one("select current_user::text", &[]).await.unwrap().get(0)
}

/// The emulator with an HTTP client.
pub struct Emulated {
    pub running: Emulator,
    pub client: Client,
}

impl Emulated {
    pub async fn start() -> Self {
        let running = start().await;
        let client = client_trusting(&running.addresses().ca_file);
        Self { running, client }
    }

    pub fn addresses(&self) -> &Addresses {
        self.running.addresses()
    }

    /// Returns a client secret request with changes to its form; `null` removes a field.
    pub fn token_request(&self, changes: Value) -> RequestBuilder {
        let mut form = json!({
            "grant_type": "client_credentials", "client_id": ORDERS_API, "client_secret": ORDERS_API_SECRET,
            "scope": format!("{DATABASE}/.default"),
        });
        merge(&mut form, changes);
        self.client.post(&self.addresses().token_url).form(&form)
    }

    pub async fn token(&self, changes: Value) -> (u16, Value) {
        response_of(self.token_request(changes).send().await.unwrap()).await
    }

    pub fn imds_request(&self, changes: Value) -> RequestBuilder {
        let url = format!("{}/metadata/identity/oauth2/token", self.addresses().imds_host);
        self.client.get(url).query(&query("2018-02-01", changes))
    }

    pub async fn imds(&self, changes: Value) -> (u16, Value) {
        response_of(self.imds_request(changes).header("Metadata", "true").send().await.unwrap()).await
    }

    pub fn app_service_request(&self, changes: Value) -> RequestBuilder {
        self.client.get(&self.addresses().app_service.endpoint).query(&query("2019-08-01", changes))
    }

    pub async fn app_service(&self, changes: Value) -> (u16, Value) {
        let header = &self.addresses().app_service.header;
        response_of(self.app_service_request(changes).header("X-IDENTITY-HEADER", header).send().await.unwrap()).await
    }

    pub async fn control(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}{path}", self.addresses().control);
        let mut request = self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), url);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        response_of(request.send().await.unwrap()).await
    }

    /// Sends a control request that must succeed.
    pub async fn set(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, body) = self.control(method, path, Some(body)).await;
        assert_eq!(status, 200, "{body}");
        body
    }
}

fn query(api_version: &str, changes: Value) -> Value {
    let mut query = json!({ "api-version": api_version, "resource": DATABASE });
    merge(&mut query, changes);
    query
}

fn merge(document: &mut Value, changes: Value) {
    let (Value::Object(document), Value::Object(changes)) = (document, changes) else { panic!("objects are merged") };
    document.extend(changes);
    document.retain(|_, value| !value.is_null());
}

pub async fn response_of(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Returns the claims of a token, unverified.
pub fn claims(token: &Value) -> Map<String, Value> {
    let payload = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

pub fn names(claims: &Map<String, Value>) -> Vec<&str> {
    claims.keys().map(String::as_str).collect()
}
