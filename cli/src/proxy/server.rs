//! The server behind the proxy: connections to it, with verified TLS.

use std::{net::SocketAddr, path::Path, sync::Arc};

use pgentra::{bindings::diagnostics, config, postgres::Host};
use pgentra_proxy::{
    ALPN,
    startup::CancelRequest,
    tokio_rustls::TlsConnector,
    upstream::{self, ServerAddress, ServerTls, TlsNegotiation},
};
use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    client::{
        WebPkiServerVerifier,
        danger::{ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::arguments::{SslMode, SslNegotiation, UpstreamOptions};
use crate::{
    connection::{Connection, port_of},
    failure::{Exit, Failure, Result},
    server_certificate::{CertificateRule, RuleVerifier},
};

/// A server with one or more hosts.
pub struct UpstreamServer {
    hosts: Vec<ServerAddress>,
    name: String,
    attributes: SessionAttributes,
    /// Whether the token may be sent without TLS.
    allows_plain: bool,
}

/// A host of the server and an address of it, for cancel requests.
#[derive(Clone, Debug, Default)]
pub struct Target {
    host: usize,
    /// Without it, the host is a Unix socket.
    address: Option<SocketAddr>,
}

/// Which hosts a session may have: libpq's `target_session_attrs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionAttributes {
    /// Any one.
    Any,
    /// One that accepts writes.
    Primary,
    /// One that does not.
    Standby,
    /// One that does not, or else any one.
    PreferStandby,
}

impl SessionAttributes {
    fn parse(text: Option<&str>) -> Result<SessionAttributes> {
        Ok(match text {
            None | Some("any") => SessionAttributes::Any,
            Some("read-write" | "primary") => SessionAttributes::Primary,
            Some("read-only" | "standby") => SessionAttributes::Standby,
            Some("prefer-standby") => SessionAttributes::PreferStandby,
            Some(_) => {
                let message = "target_session_attrs is not a value that libpq has";
                return Err(Failure::usage(message, "Use any, read-write, read-only or prefer-standby."));
            }
        })
    }

    /// Returns whether a host may be used, by whether it is a standby. `is_last_pass` is true when each host was tried
    /// before.
    pub fn accepts(self, is_standby: Option<bool>, is_last_pass: bool) -> bool {
        match self {
            SessionAttributes::Any => true,
            SessionAttributes::Primary => is_standby != Some(true),
            SessionAttributes::Standby => is_standby == Some(true),
            SessionAttributes::PreferStandby => is_last_pass || is_standby == Some(true),
        }
    }
}

impl UpstreamServer {
    /// Reads the settings of the server.
    ///
    /// # Errors
    /// Fails for settings with which a token could reach another server, unless that is allowed.
    pub fn new(connection: &Connection, options: &UpstreamOptions) -> Result<UpstreamServer> {
        let mode = sslmode(connection, options)?;
        let is_direct = match options.sslnegotiation {
            Some(how) => how == SslNegotiation::Direct,
            None => setting(connection, "sslnegotiation", "PGSSLNEGOTIATION").as_deref() == Some("direct"),
        };
        let negotiation = if is_direct { TlsNegotiation::Direct } else { TlsNegotiation::Postgres };
        let connector = match mode {
            SslMode::Disable => None,
            mode => Some(connector(connection, mode)?),
        };
        let given = connection.hosts()?;
        let hosts: Result<Vec<ServerAddress>> = given
            .iter()
            .map(|host| {
                if host.address().starts_with(['/', '@']) {
                    return unix_socket(host, mode);
                }
                let name = certificate_name(host, mode)?;
                let tls = connector.clone().map(|connector| ServerTls { connector, name: Some(name), negotiation });
                let hostaddr = host.hostaddr.as_deref().filter(|address| !address.is_empty());
                let hostaddr = hostaddr.map(|address| address.parse().map_err(|_| wrong_address(address)));
                Ok(ServerAddress::Tcp {
                    host: name_of(host).to_owned(),
                    hostaddr: hostaddr.transpose()?,
                    port: port_of(host)?,
                    tls,
                })
            })
            .collect();
        Ok(UpstreamServer {
            hosts: hosts?,
            name: given.first().map(name_of).unwrap_or_default().to_owned(),
            attributes: SessionAttributes::parse(
                setting(connection, "target_session_attrs", "PGTARGETSESSIONATTRS").as_deref(),
            )?,
            allows_plain: mode == SslMode::Disable,
        })
    }

    /// Returns the name of the first host.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the number of hosts.
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// Returns which hosts a session may have.
    pub fn attributes(&self) -> SessionAttributes {
        self.attributes
    }

    /// Returns whether a token may be sent over this connection.
    pub fn is_safe(&self, connection: &upstream::Connection) -> bool {
        connection.is_encrypted || self.allows_plain
    }

    /// Connects to a host.
    ///
    /// # Errors
    /// Fails if it cannot be reached, or if TLS cannot be verified. The error names the host.
    pub async fn connect(&self, host: usize) -> std::result::Result<(upstream::Connection, Target), ConnectFailure> {
        let Some(server) = self.hosts.get(host) else { return Err(ConnectFailure::default()) };
        match upstream::connect(server).await {
            Ok(connection) => {
                let target = Target { host, address: connection.address };
                Ok((connection, target))
            }
            Err(error) => {
                Err(ConnectFailure { is_transient: is_transient(&error), message: format!("{server}: {error}") })
            }
        }
    }

    /// Passes a cancel request to the address of its session.
    ///
    /// # Errors
    /// Fails if the address cannot be reached, or if TLS cannot be verified.
    pub async fn cancel(
        &self,
        target: &Target,
        request: &CancelRequest,
    ) -> std::result::Result<(), upstream::ConnectError> {
        match self.hosts.get(target.host) {
            Some(server) => upstream::cancel_session(server, target.address, request).await,
            None => Ok(()),
        }
    }
}

/// Why a host cannot be reached.
#[derive(Debug)]
pub struct ConnectFailure {
    /// Whether it can succeed later.
    pub is_transient: bool,
    /// The host and the cause.
    pub message: String,
}

impl Default for ConnectFailure {
    fn default() -> Self {
        ConnectFailure { is_transient: true, message: String::new() }
    }
}

/// Returns whether a connection can succeed later. A server without TLS, or with another certificate, is wrong.
fn is_transient(error: &upstream::ConnectError) -> bool {
    match error {
        upstream::ConnectError::NoTls => false,
        upstream::ConnectError::Tls(cause) => !cause.get_ref().is_some_and(|cause| cause.is::<rustls::Error>()),
        _ => true,
    }
}

fn unix_socket(host: &Host, mode: SslMode) -> Result<ServerAddress> {
    if mode == SslMode::Disable {
        return Ok(ServerAddress::UnixSocket { directory: host.address().into(), port: port_of(host)? });
    }
    Err(Failure::new(
        Exit::Usage,
        "insecure_transport",
        format!("{}: a Unix socket has no TLS", host.address()),
        "Add --sslmode disable and --allow-insecure-transport, if the server is the right one.",
    ))
}

fn wrong_address(address: &str) -> Failure {
    Failure::usage(format!("hostaddr {address} is not an IP address"), "Correct hostaddr, or pass a name as the host.")
}

/// Returns a setting of libpq's that the engine does not decide with: from SERVER, or else from the variable.
fn setting(connection: &Connection, keyword: &str, variable: &str) -> Option<String> {
    let given = connection.plan.settings.get(keyword).map(str::to_owned);
    given.or_else(|| std::env::var(variable).ok()).filter(|value| !value.is_empty())
}

/// Returns the name of a host, and without it the address.
fn name_of(host: &Host) -> &str {
    if host.host.is_empty() { host.address() } else { &host.host }
}

fn certificate_name(host: &Host, mode: SslMode) -> Result<ServerName<'static>> {
    let name = name_of(host);
    match ServerName::try_from(name.to_owned()) {
        Ok(name) => Ok(name),
        // It is not compared.
        Err(_) if mode != SslMode::VerifyFull => {
            ServerName::try_from("localhost").map_err(|error| Failure::usage(error.to_string(), ""))
        }
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
            let verifier = Arc::new(RuleVerifier::new(AnyName { authorities }, provider));
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
}

impl CertificateRule for AnyName {
    fn verify(
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_attributes_accept_the_hosts_of_their_kind() {
        use SessionAttributes::{Any, PreferStandby, Primary, Standby};
        let accepts = |attributes: SessionAttributes| {
            [Some(false), Some(true), None].map(|is_standby| attributes.accepts(is_standby, false))
        };
        assert_eq!(accepts(Any), [true, true, true]);
        // Servers before version 14 do not report it.
        assert_eq!(accepts(Primary), [true, false, true]);
        assert_eq!(accepts(Standby), [false, true, false]);
        assert_eq!(accepts(PreferStandby), [false, true, false]);
        assert!(PreferStandby.accepts(Some(false), true));
        assert!(SessionAttributes::parse(Some("standby")).is_ok() && SessionAttributes::parse(Some("x")).is_err());
    }
}
