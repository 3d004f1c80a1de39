//! The server behind the proxy: connections to it, with verified TLS.

use std::{fmt, io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use pgentra::{bindings::diagnostics, config, postgres::Host};
use pgentra_proxy::{
    ALPN, BoxedStream,
    tokio_rustls::TlsConnector,
    upstream::{self, negotiate_tls},
};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{net::TcpStream, time::timeout};

use super::arguments::{SslMode, SslNegotiation, UpstreamOptions};
use crate::{
    connection::{Connection, port_of},
    failure::{Exit, Failure, Result},
};

/// The time limit for a connection to the server: name resolution, TCP and TLS.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A server with one or more hosts.
pub struct UpstreamServer {
    hosts: Vec<UpstreamHost>,
    tls: Option<TlsConnector>,
    is_direct: bool,
}

/// One host of a server.
#[derive(Clone, Debug)]
struct UpstreamHost {
    /// The name that is shown.
    name: String,
    /// What is resolved, or the directory of a socket.
    address: String,
    port: u16,
    /// The name in the certificate.
    certificate: Option<ServerName<'static>>,
}

/// An address of the server, for cancel requests.
#[derive(Clone, Debug, Default)]
pub struct Target {
    host: usize,
    /// Without it, the host is a Unix socket.
    address: Option<SocketAddr>,
}

/// Why there is no connection to the server.
#[derive(Debug)]
pub struct ConnectError {
    /// Whether it can succeed later.
    pub is_transient: bool,
    /// What failed.
    pub message: String,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl UpstreamServer {
    /// Reads the settings of the server.
    ///
    /// # Errors
    /// Fails for settings with which a token could reach another server, unless that is allowed.
    pub fn new(connection: &Connection, options: &UpstreamOptions) -> Result<UpstreamServer> {
        let mode = sslmode(connection, options)?;
        let is_direct = match (options.sslnegotiation, connection.plan.resolved.get("sslnegotiation")) {
            (Some(how), _) => how == SslNegotiation::Direct,
            (None, how) => how == Some("direct"),
        };
        let verifies_name = matches!(mode, SslMode::VerifyFull);
        let mut hosts = Vec::new();
        for host in connection.hosts()? {
            let is_socket = host.address().starts_with(['/', '@']);
            if is_socket && mode != SslMode::Disable {
                return Err(Failure::new(
                    Exit::Usage,
                    "insecure_transport",
                    format!("{}: a Unix socket has no TLS", host.address()),
                    "Add --sslmode disable and --allow-insecure-transport, if the server is the right one.",
                ));
            }
            hosts.push(UpstreamHost {
                name: name_of(host).to_owned(),
                address: host.address().to_owned(),
                port: port_of(host)?,
                certificate: certificate_name(host, verifies_name)?,
            });
        }
        let tls = match mode {
            SslMode::Disable => None,
            mode => Some(connector(connection, mode)?),
        };
        Ok(UpstreamServer { hosts, tls, is_direct })
    }

    /// Returns the name of the first host.
    pub fn name(&self) -> &str {
        self.hosts.first().map_or("", |host| host.name.as_str())
    }

    /// Connects to the first host that can be reached.
    ///
    /// # Errors
    /// Fails with the reason of each host.
    pub async fn connect(&self) -> std::result::Result<(BoxedStream, Target), ConnectError> {
        let mut failure = ConnectError { is_transient: true, message: String::new() };
        for (index, host) in self.hosts.iter().enumerate() {
            let connected = match timeout(CONNECT_LIMIT, self.connect_to_host(index, host)).await {
                Ok(connected) => connected,
                Err(_) => Err(ConnectError {
                    is_transient: true,
                    message: format!("no response within {} s", CONNECT_LIMIT.as_secs()),
                }),
            };
            match connected {
                Ok(connected) => return Ok(connected),
                Err(error) => {
                    let separator = if failure.message.is_empty() { "" } else { "; " };
                    let described = format!("{separator}{}:{}: {}", host.name, host.port, error.message);
                    failure.message.push_str(&described);
                    failure.is_transient &= error.is_transient;
                }
            }
        }
        Err(failure)
    }

    /// Connects to the address of a session.
    ///
    /// # Errors
    /// Fails if the address cannot be reached, or if TLS cannot be verified.
    pub async fn connect_again(&self, target: &Target) -> io::Result<BoxedStream> {
        let host = self.hosts.get(target.host).ok_or(io::ErrorKind::NotFound)?;
        let connecting = async {
            let Some(address) = target.address else { return self.connect_to_socket(host).await };
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            self.encrypt(host, stream).await
        };
        timeout(CONNECT_LIMIT, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn connect_to_host(
        &self,
        index: usize,
        host: &UpstreamHost,
    ) -> std::result::Result<(BoxedStream, Target), ConnectError> {
        let unreachable = |error: io::Error| ConnectError { is_transient: true, message: error.to_string() };
        if host.address.starts_with(['/', '@']) {
            let stream = self.connect_to_socket(host).await.map_err(unreachable)?;
            return Ok((stream, Target { host: index, address: None }));
        }
        let stream = TcpStream::connect((host.address.as_str(), host.port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let address = stream.peer_addr().map_err(unreachable)?;
        let not_encrypted = |error: io::Error| ConnectError {
            is_transient: is_connection_error(&error),
            message: describe_tls_error(&error),
        };
        let stream = self.encrypt(host, stream).await.map_err(not_encrypted)?;
        Ok((stream, Target { host: index, address: Some(address) }))
    }

    async fn connect_to_socket(&self, host: &UpstreamHost) -> io::Result<BoxedStream> {
        let directory = host.address.clone().into();
        upstream::connect(&upstream::ServerAddress::UnixSocket { directory, port: host.port }).await
    }

    async fn encrypt(&self, host: &UpstreamHost, stream: TcpStream) -> io::Result<BoxedStream> {
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = host.certificate.clone().ok_or(io::ErrorKind::InvalidInput)?;
        if self.is_direct {
            return Ok(Box::new(tls.connect(name, stream).await?));
        }
        Ok(Box::new(negotiate_tls(stream, tls, name).await?))
    }
}

/// Returns the name of a host, and without it the address.
fn name_of(host: &Host) -> &str {
    if host.host.is_empty() { host.address() } else { &host.host }
}

fn certificate_name(host: &Host, verifies_name: bool) -> Result<Option<ServerName<'static>>> {
    if host.address().starts_with(['/', '@']) {
        return Ok(None);
    }
    let name = name_of(host);
    match ServerName::try_from(name.to_owned()) {
        Ok(name) => Ok(Some(name)),
        // It is sent to the server, but not compared.
        Err(_) if !verifies_name => Ok(ServerName::try_from("localhost").ok()),
        Err(_) => Err(Failure::usage(format!("{name} is not a name that a certificate can have"), "Correct SERVER.")),
    }
}

/// Returns the mode of TLS. Modes without verification need a flag; other sources than the option that name one are
/// raised to `verify-full`.
fn sslmode(connection: &Connection, options: &UpstreamOptions) -> Result<SslMode> {
    let given = match (options.sslmode, connection.plan.resolved.get("sslmode")) {
        (Some(mode), _) => mode,
        (None, Some("verify-ca")) => SslMode::VerifyCa,
        (None, Some("require")) if options.allow_insecure_transport => SslMode::Require,
        (None, Some("disable")) if options.allow_insecure_transport => SslMode::Disable,
        (None, _) => SslMode::VerifyFull,
    };
    let (flag, danger) = match given {
        SslMode::VerifyFull | SslMode::VerifyCa => return Ok(given),
        SslMode::Require => ("require", "the token could reach a false server"),
        SslMode::Disable => ("disable", "the token would be sent unencrypted"),
    };
    if options.allow_insecure_transport {
        return Ok(given);
    }
    Err(Failure::new(
        Exit::Usage,
        "insecure_transport",
        format!("--sslmode {flag}: {danger}"),
        "Use verify-full, or verify-ca for a name that is not in the certificate. For a server of your own machine, add \
         --allow-insecure-transport.",
    ))
}

/// Returns whether a server without a usable TLS can be one that just ended the connection.
fn is_connection_error(error: &io::Error) -> bool {
    error.get_ref().is_none() && !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
}

fn describe_tls_error(error: &io::Error) -> String {
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(error)) => format!("the certificate cannot be verified: {error}"),
        Some(error) => format!("TLS failed: {error}"),
        None => error.to_string(),
    }
}

fn connector(connection: &Connection, mode: SslMode) -> Result<TlsConnector> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::usage(format!("TLS cannot be set up: {error}"), ""))?;
    let mut config = match mode {
        SslMode::VerifyFull => builder.with_root_certificates(roots(connection)?).with_no_client_auth(),
        mode => {
            let authorities = match mode {
                SslMode::VerifyCa => {
                    let roots = Arc::new(roots(connection)?);
                    let built = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
                    Some(built.map_err(|error| Failure::usage(format!("--sslrootcert: {error}"), ""))?)
                }
                _ => None,
            };
            let verifier = Arc::new(AnyName { authorities, provider });
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        }
    };
    // Needed for direct TLS; ignored otherwise.
    config.alpn_protocols = vec![ALPN.as_bytes().to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Returns the certificate authorities as libpq would use them.
fn roots(connection: &Connection) -> Result<RootCertStore> {
    let found = match connection.plan.resolved.get("sslrootcert") {
        Some(path) if path != "system" => diagnostics::root_store_of(Path::new(path)),
        _ => diagnostics::root_store(&config::environment_of_process(), None),
    };
    found.map_err(|error| Failure::from(error).about("the server's certificate authorities"))
}

/// Accepts a certificate for any name; without `authorities`, any certificate.
#[derive(Debug)]
struct AnyName {
    authorities: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let Some(authorities) = &self.authorities else { return Ok(ServerCertVerified::assertion()) };
        match authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is compared last, after the chain was verified.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
