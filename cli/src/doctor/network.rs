//! The checks of the way to the server: DNS, TCP, TLS.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use pgentra::{bindings::diagnostics, config, postgres::Host};
use pgentra_proxy::{BoxedStream, stream::Stream, tokio_rustls::TlsConnector, upstream::negotiate_tls};
use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    client::{
        WebPkiServerVerifier,
        danger::{ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{net::TcpStream, time::timeout};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::report::{Check, Status};
use crate::{
    connection::{Connection, port_of},
    failure::Result,
    server_certificate::{CertificateRule, RuleVerifier},
};

/// The time limit for name resolution, and for one connection.
const LIMIT: Duration = Duration::from_secs(10);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Resolves the server's name.
pub async fn dns(host: &Host) -> Result<(Check, Vec<SocketAddr>)> {
    let port = port_of(host)?;
    let address = host.address();
    if let Ok(ip) = address.parse::<IpAddr>() {
        return Ok((Check::ok("dns", format!("{ip} is given ({})", kind(ip))), vec![SocketAddr::new(ip, port)]));
    }
    let started = Instant::now();
    let found = timeout(LIMIT, tokio::net::lookup_host((address, port))).await;
    let elapsed = started.elapsed().as_millis();
    let advice = "Check the name. For a private endpoint, link the private DNS zone to this network.";
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => {
            return Ok((Check::fail("dns", format!("{address} cannot be resolved: {error}")).do_this(advice), vec![]));
        }
        Err(_) => {
            let seconds = LIMIT.as_secs();
            return Ok((
                Check::fail("dns", format!("no response for {address} in {seconds} s")).do_this(advice),
                vec![],
            ));
        }
    };
    let shown: Vec<String> = addresses.iter().map(|one| format!("{} ({})", one.ip(), kind(one.ip()))).collect();
    let mut check = Check::ok("dns", format!("{} in {elapsed} ms", shown.join(", ")));
    if address.contains(".privatelink.") {
        check.warn(
            format!("{address} is a private link name, which is not in the server's certificate."),
            format!("Connect to {}, which resolves to the same address.", address.replacen(".privatelink.", ".", 1)),
        );
    }
    Ok((check, addresses))
}

fn kind(address: IpAddr) -> &'static str {
    match address.to_canonical() {
        address if address.is_loopback() => "loopback",
        IpAddr::V4(v4) if v4.is_private() || v4.is_link_local() => "private",
        IpAddr::V6(v6) if v6.is_unique_local() || v6.is_unicast_link_local() => "private",
        _ => "public",
    }
}

/// Connects to each address, and returns the first connection.
pub async fn tcp(addresses: &[SocketAddr]) -> (Check, Option<TcpStream>) {
    let mut stream = None;
    let (mut reached, mut failed) = (Vec::new(), Vec::new());
    for address in addresses {
        let started = Instant::now();
        match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
            Ok(Ok(connected)) => {
                reached.push(format!("{address} in {} ms", started.elapsed().as_millis()));
                stream = stream.or(Some(connected));
            }
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                failed.push(format!("{address} refuses connections"));
            }
            Ok(Err(error)) => failed.push(format!("{address}: {error}")),
            Err(_) => failed.push(format!("{address} does not respond within {} s", CONNECT_LIMIT.as_secs())),
        }
    }
    let advice = "Check the server's firewall rules and network, and the port: 5432, or 6432 for the server's pooler.";
    let check = match (reached.is_empty(), failed.is_empty()) {
        (true, _) => Check::fail("tcp", failed.join(", ")).do_this(advice),
        (false, true) => Check::ok("tcp", reached.join(", ")),
        (false, false) => {
            let mut check = Check::ok("tcp", reached.join(", "));
            check.warn(failed.join(", "), "Programs that try this address first are delayed.");
            check
        }
    };
    (check, stream)
}

/// Starts TLS and verifies the server's certificate. Returns the encrypted connection if a token may be sent over it.
pub async fn tls(connection: &Connection, host: &Host, stream: TcpStream) -> Result<(Check, Option<BoxedStream>)> {
    let is_local_without = connection.sslmode() == Some("disable");
    if is_local_without {
        return Ok((Check::skip("tls", "sslmode is disable"), Some(Box::new(stream))));
    }
    let name = if host.host.is_empty() { host.address() } else { &host.host };
    let Ok(name) = ServerName::try_from(name.to_owned()) else {
        return Ok((Check::fail("tls", format!("{name} is not a name that a certificate can have")), None));
    };
    let roots = match roots(connection) {
        Ok(roots) => roots,
        Err(error) => return Ok((Check::fail("tls", error.headline()).do_this(error.advice()), None)),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let recorder = Arc::new(RuleVerifier::new(Recorder::default(), Arc::clone(&provider)));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| crate::failure::Failure::usage(format!("TLS cannot be set up: {error}"), ""))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&recorder) as _)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = match timeout(LIMIT, negotiate_tls(stream, &connector, name.clone())).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let check = Check::fail("tls", error.to_string()).do_this(
                "Azure always supports TLS: check that this is the server, and not a proxy or another service.",
            );
            return Ok((check, None));
        }
        Err(_) => return Ok((Check::fail("tls", format!("no response within {} s", LIMIT.as_secs())), None)),
    };
    let version = match stream.get_ref().1.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    let chain = recorder.rule.chain.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let check = judge(version, &chain, &name, roots, connection.sslmode());
    let may_continue = check.status != Status::Fail;
    Ok((check, may_continue.then(|| Box::new(stream) as BoxedStream)))
}

/// Returns the certificate authorities as libpq would use them.
fn roots(connection: &Connection) -> pgentra::Result<RootCertStore> {
    match connection.plan.resolved.get("sslrootcert") {
        Some(path) if path != "system" => diagnostics::root_store_of(Path::new(path)),
        _ => diagnostics::root_store(&config::environment_of_process(), None),
    }
}

/// Verifies the chain with the configured authorities, and after a failure with the bundled ones.
fn judge(
    version: &str,
    chain: &[CertificateDer<'static>],
    name: &ServerName<'static>,
    roots: RootCertStore,
    sslmode: Option<&str>,
) -> Check {
    let Some((first, intermediates)) = chain.split_first() else {
        return Check::fail("tls", format!("{version}, but the server has no certificate"));
    };
    let now = UnixTime::now();
    let verify = |roots: RootCertStore| -> std::result::Result<(), String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| error.to_string())?;
        match verifier.verify_server_cert(first, intermediates, name, &[], now) {
            Ok(_) => Ok(()),
            Err(rustls::Error::InvalidCertificate(error)) => Err(reason(&error).to_owned()),
            Err(error) => Err(error.to_string()),
        }
    };
    let facts = Facts::read(first, chain.last().unwrap_or(first), now);
    let Err(problem) = verify(roots) else {
        let mut check =
            Check::ok("tls", format!("{version}, issued by {}, name matches, {}", facts.issuer, facts.life()));
        if facts.days_left < 14 {
            check.warn("The certificate ends soon.", "Renew the server's certificate.");
        }
        return check;
    };
    if problem == WRONG_NAME && sslmode == Some("verify-ca") {
        let mut check = Check::ok("tls", format!("{version}, issued by {}, {}", facts.issuer, facts.life()));
        check.warn(
            format!("The certificate is for {}; sslmode=verify-ca accepts this.", facts.names()),
            "Use a name of the certificate with sslmode=verify-full.",
        );
        return check;
    }
    let check = Check::fail("tls", format!("{version}, but {problem}")).found(format!(
        "Issuer: {}. Names: {}. {}.",
        facts.issuer,
        facts.names(),
        facts.life()
    ));
    match problem.as_str() {
        WRONG_NAME => check.do_this(
            "Connect by a name of the certificate: for Azure NAME.postgres.database.azure.com, also for private endpoints.",
        ),
        UNKNOWN_ISSUER if verify(diagnostics::bundled_root_store()).is_ok() => check.do_this(
            "The issuer is one of Mozilla's authorities, so the configured ones are incomplete: set sslrootcert to the \
             system's bundle, with root certificates and without intermediate ones.",
        ),
        UNKNOWN_ISSUER => check.do_this(
            "Set sslrootcert (PGSSLROOTCERT) to a PEM file with the issuer's root certificate, if the server is the right one.",
        ),
        _ => check.do_this("Renew the server's certificate, and check this machine's clock."),
    }
}

const WRONG_NAME: &str = "the certificate is for another name";
const UNKNOWN_ISSUER: &str = "the certificate's issuer is not trusted";

fn reason(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => WRONG_NAME,
        CertificateError::UnknownIssuer => UNKNOWN_ISSUER,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "the certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet"
        }
        CertificateError::Revoked => "the certificate was revoked",
        _ => "the certificate cannot be verified",
    }
}

/// What a certificate says.
struct Facts {
    issuer: String,
    names: Vec<String>,
    days_left: i64,
}

impl Facts {
    fn read(first: &CertificateDer<'_>, last: &CertificateDer<'_>, now: UnixTime) -> Facts {
        let mut facts = Facts { issuer: "an unreadable issuer".to_owned(), names: Vec::new(), days_left: 0 };
        if let Ok((_, root)) = X509Certificate::from_der(last) {
            facts.issuer = common_name(root.issuer());
        }
        if let Ok((_, certificate)) = X509Certificate::from_der(first) {
            let ends = certificate.validity().not_after.timestamp();
            facts.days_left = ends.saturating_sub(i64::try_from(now.as_secs()).unwrap_or(i64::MAX)) / 86_400;
            if let Ok(Some(names)) = certificate.subject_alternative_name() {
                facts.names = names.value.general_names.iter().filter_map(name_of).collect();
            }
        }
        facts
    }

    fn life(&self) -> String {
        match self.days_left {
            ..0 => format!("ended {} days ago", -self.days_left),
            days => format!("{days} days left"),
        }
    }

    fn names(&self) -> String {
        match self.names.len() {
            0 => "none".to_owned(),
            // A certificate of a service can have hundreds.
            _ => self.names.iter().take(8).cloned().collect::<Vec<_>>().join(", "),
        }
    }
}

fn common_name(name: &x509_parser::x509::X509Name<'_>) -> String {
    let text = name.iter_common_name().next().and_then(|attribute| attribute.as_str().ok());
    printable(text.map_or_else(|| name.to_string(), str::to_owned))
}

fn name_of(name: &x509_parser::extensions::GeneralName<'_>) -> Option<String> {
    use x509_parser::extensions::GeneralName;
    match name {
        GeneralName::DNSName(name) => Some(printable((*name).to_owned())),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// Replaces control characters, because a certificate is a text from outside.
fn printable(text: String) -> String {
    text.chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Accepts every certificate and keeps the chain, which is judged afterwards. No password is sent before that.
#[derive(Debug, Default)]
struct Recorder {
    chain: Mutex<Vec<CertificateDer<'static>>>,
}

impl CertificateRule for Recorder {
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(end_entity).chain(intermediates).map(|one| one.clone().into_owned()).collect();
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        Ok(ServerCertVerified::assertion())
    }
}

/// Connects to a Unix socket.
pub async fn socket(directory: &str, port: u16) -> std::io::Result<BoxedStream> {
    let path = Path::new(directory).join(format!(".s.PGSQL.{port}"));
    let stream: Box<dyn Stream> = Box::new(tokio::net::UnixStream::connect(path).await?);
    Ok(stream)
}
