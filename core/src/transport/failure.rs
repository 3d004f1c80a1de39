//! Converts failures of HTTP requests to errors by their cause.

use std::{error::Error as StdError, io};

use rustls::CertificateError;

use super::{proxy::Proxied, trust::Trust};
use crate::error::{Error, ErrorKind};

/// Returns the error for a request without a response. `endpoint` is host and port.
pub(super) async fn classify(
    error: &reqwest::Error,
    endpoint: &str,
    proxied: Option<&Proxied>,
    trust: Option<&Trust>,
    trust_notes: &[String],
) -> Error {
    let way = match proxied {
        Some(proxy) => format!("{endpoint} through the proxy {} ({})", proxy.endpoint, proxy.variable),
        None => endpoint.to_owned(),
    };
    if let Some(tls) = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        return tls_failure(tls, &way, trust, trust_notes);
    }
    if let Some(proxy) = proxied
        && let Some(refusal) = tunnel_refusal(error)
    {
        let status = match refusal {
            TunnelFailure::Authentication => Some(407),
            TunnelFailure::OtherStatus => proxy.tunnel_status(endpoint).await,
        };
        return refused_by_proxy(&way, proxy, status);
    }
    if error.is_dns() {
        return Error::new(ErrorKind::Network, format!("the name of {way} could not be resolved: {}", text(error)))
            .with_advice("Check the host name and this machine's DNS.");
    }
    let what = match (error.is_connect(), error.is_body() || error.is_decode()) {
        (true, _) => format!("cannot connect to {way}"),
        (_, true) => format!("the response of {way} was interrupted"),
        _ => format!("the request to {way} failed"),
    };
    let timed_out = error.is_timeout() || io_kind(error) == Some(io::ErrorKind::TimedOut);
    let kind = if timed_out { ErrorKind::Timeout } else { ErrorKind::Network };
    let failed =
        Error::new(kind, format!("{what}: {}", if timed_out { "no response in time".to_owned() } else { text(error) }));
    match () {
        () if timed_out => failed.with_advice("Check firewall and proxy variables for this host."),
        () if io_kind(error) == Some(io::ErrorKind::UnexpectedEof) => failed.with_advice(
            "Check the server, and the proxies and firewalls in between. The request is repeated after the back-off.",
        ),
        () => failed,
    }
}

/// Why a proxy did not open a tunnel.
enum TunnelFailure {
    Authentication,
    /// A status that the HTTP client does not report.
    OtherStatus,
}

/// Returns how a proxy refused to open the tunnel, if that is the cause. The client's own error type is private, so its
/// text is compared.
fn tunnel_refusal(error: &reqwest::Error) -> Option<TunnelFailure> {
    causes(error).find_map(|cause| match cause.to_string().as_str() {
        "tunnel error: proxy authorization required" => Some(TunnelFailure::Authentication),
        "tunnel error: unsuccessful" => Some(TunnelFailure::OtherStatus),
        _ => None,
    })
}

/// Returns the error for a proxy that does not open the tunnel, or does not forward a request.
pub(super) fn refused_by_proxy(way: &str, proxy: &Proxied, status: Option<u16>) -> Error {
    let failed = |why: &str| {
        let said = status.map(|status| format!(" (HTTP {status})")).unwrap_or_default();
        Error::new(ErrorKind::Network, format!("cannot connect to {way}: {why}{said}"))
    };
    let variable = proxy.variable;
    match status {
        // A retry with the same password can lock the account.
        Some(407) if proxy.has_password => {
            failed("the proxy rejected the user and password (proxy authentication required)").definite().with_advice(
                format!(
                    "Correct user:password, percent-encoded, in {variable}. Only Basic authentication is supported."
                ),
            )
        }
        Some(407) => failed("the proxy requires a user and password (proxy authentication required)")
            .definite()
            .with_advice(format!("Add user:password, percent-encoded, to {variable}: http://user:password@host:port.")),
        Some(400..=499) => failed("the proxy rejected the connection").definite().with_advice(format!(
            "Allow the host in the proxy of {variable}, or add it to NO_PROXY if it can be reached directly."
        )),
        Some(_) => failed("the proxy could not open the connection").with_advice(format!(
            "Check that the proxy of {variable} can reach this host, or add the host to NO_PROXY."
        )),
        None => failed("the proxy did not open the connection").with_advice(format!(
            "Check the proxy of {variable}, or add the host to NO_PROXY if it can be reached directly."
        )),
    }
}

fn tls_failure(error: &rustls::Error, way: &str, trust: Option<&Trust>, trust_notes: &[String]) -> Error {
    use CertificateError::*;
    let rustls::Error::InvalidCertificate(reason) = error else {
        return Error::new(ErrorKind::Network, format!("TLS with {way} failed: {error}"))
            .with_advice("Check that the port uses TLS and that no proxy or firewall intercepts it.");
    };
    let refused = |why: &str| Error::new(ErrorKind::UntrustedCertificate, format!("the certificate of {way} {why}"));
    match reason {
        UnknownIssuer | BadSignature => {
            let notes: String = trust_notes.iter().map(|note| format!("; {note}")).collect();
            refused(&format!("is signed by an authority that is not trusted{notes}")).with_advice(
                "Add the issuer's certificate with the option for a PEM file of authorities, or with a variable: SSL_CERT_FILE, SSL_CERT_DIR, \
                 REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, NODE_EXTRA_CA_CERTS.",
            )
        }
        NotValidForName | NotValidForNameContext { .. } if matches!(trust, Some(Trust::Private { .. })) => {
            let name = trust.and_then(Trust::server_name).map(|name| format!(" than {name}")).unwrap_or_default();
            refused(&format!("is for another host name{name}")).with_advice(
                "Set AZURE_KUBERNETES_SNI_NAME to the name in the certificate of the cluster's token proxy, and check \
                 AZURE_KUBERNETES_TOKEN_PROXY.",
            )
        }
        NotValidForName | NotValidForNameContext { .. } => refused("is for another host name")
            .with_advice("Check the name of the authority host, and which server responds under that name."),
        Expired | ExpiredContext { .. } => {
            refused("has expired").with_advice("Check this machine's clock, and the server's certificate.")
        }
        NotValidYet | NotValidYetContext { .. } => {
            refused("is not valid yet").with_advice("Check this machine's clock, and the server's certificate.")
        }
        ApplicationVerificationFailure => refused("has another thumbprint than the platform specifies").with_advice(
            "Restart the program if the platform's certificate was renewed. Otherwise check which server responds at \
             that address.",
        ),
        Revoked => refused("has been revoked").with_advice("Check which server responds instead of the service."),
        other => {
            let (why, advice) = other_reason(other);
            refused(&why).with_advice(advice)
        }
    }
}

const CHECK: &str = "Replace the server's certificate, or check which server responds instead of the service.";

/// Describes the rare reasons in words instead of rustls's names.
#[allow(deprecated, reason = "rustls still builds the variants without a context")]
fn other_reason(reason: &CertificateError) -> (String, &'static str) {
    use CertificateError::*;
    let why = match reason {
        BadEncoding => "is not a valid X.509 certificate",
        UnhandledCriticalExtension => "has a critical extension that is not supported",
        UnsupportedSignatureAlgorithm
        | UnsupportedSignatureAlgorithmContext { .. }
        | UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "is signed with an algorithm that is not accepted, such as SHA-1"
        }
        InvalidPurpose | InvalidPurposeContext { .. } => {
            return (
                "is not for servers: its extended key usage lacks server authentication (serverAuth)".to_owned(),
                CHECK,
            );
        }
        InvalidOcspResponse => "comes with an invalid OCSP response",
        UnknownRevocationStatus | ExpiredRevocationList | ExpiredRevocationListContext { .. } => {
            "cannot be checked for revocation"
        }
        Other(other) => return webpki_reason(&other.0.to_string()),
        other => return webpki_reason(&format!("{other:?}")),
    };
    (why.to_owned(), CHECK)
}

/// Describes the reason by the name of a variant of `webpki::Error`, which is the text of such an error.
fn webpki_reason(error: &str) -> (String, &'static str) {
    let name = error.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let (why, advice) = match name {
        "CaUsedAsEndEntity" => (
            "is an authority's certificate (CA:TRUE) that the server uses as its own",
            "Create the server's certificate with basicConstraints=CA:FALSE. It can be self-signed and trusted \
             directly.",
        ),
        "EndEntityUsedAsCa" => (
            "is signed with a certificate that is not an authority's (CA:FALSE)",
            "Sign the server's certificate with one that has basicConstraints=CA:TRUE.",
        ),
        "NameConstraintViolation" => (
            "is for a name that its authority is not permitted to sign (name constraints)",
            "Have the certificate signed by a permitted authority, or check which server responds instead of the \
             service.",
        ),
        "PathLenConstraintViolated" => (
            "has more authorities above it than one of them allows (pathlen)",
            "Have the certificate signed by a permitted authority, or check which server responds instead of the \
             service.",
        ),
        _ => (
            match name {
                "UnsupportedCertVersion" => "is not of version 3 of X.509",
                "UnsupportedCriticalExtension" => "has a critical extension that is not supported",
                "EmptyEkuExtension" => "has an extended key usage without a purpose",
                "ExtensionValueInvalid" | "MalformedExtensions" => "has a malformed extension",
                "InvalidSerialNumber" => "has an invalid serial number",
                "MalformedDnsIdentifier" => "contains a malformed DNS name",
                "MalformedNameConstraint" | "InvalidNetworkMaskConstraint" | "UnsupportedNameType" => {
                    "is signed by an authority whose name constraints are malformed or not supported"
                }
                "SignatureAlgorithmMismatch" => "names two signature algorithms that differ",
                "CertDistrusted" => "is distrusted by this machine",
                "MaximumPathDepthExceeded"
                | "MaximumPathBuildCallsExceeded"
                | "MaximumSignatureChecksExceeded"
                | "MaximumNameConstraintComparisonsExceeded" => "has a certificate chain that is too long",
                _ => return (format!("is rejected by the TLS library: {}", in_words(name)), CHECK),
            },
            CHECK,
        ),
    };
    (why.to_owned(), advice)
}

/// Converts a name such as `RequiredEkuNotFound` to `required eku not found`.
fn in_words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 8);
    for character in name.chars() {
        if character.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(character.to_ascii_lowercase());
    }
    if words.is_empty() { "no reason is given".to_owned() } else { words }
}

/// Returns the text of the innermost cause, without addresses: they can contain secrets, and some libraries add an
/// address of their documentation.
pub(super) fn text(error: &(dyn StdError + 'static)) -> String {
    causes(error)
        .last()
        .map(|innermost| without_addresses(&innermost.to_string()))
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| "an unknown cause".to_owned())
}

fn without_addresses(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().filter(|word| !word.contains("://")).collect();
    let clean: String = words.join(" ").chars().filter(|c| !c.is_control()).take(200).collect();
    clean.trim_end_matches([':', ' ', '(', ',', ';']).to_owned()
}

fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).last().map(io::Error::kind)
}

/// Returns the error and its causes, outermost first. The error inside an `io::Error` is included, although `source`
/// skips it.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
        None => error.source(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::OtherError;

    use super::*;

    #[test]
    fn tls_failure_contains_no_names_of_rustls() {
        let other =
            |name: &str| CertificateError::Other(OtherError(Arc::from(Box::<dyn StdError + Send + Sync>::from(name))));
        for (reason, words) in [
            (CertificateError::BadEncoding, "is not a valid X.509 certificate"),
            (CertificateError::UnhandledCriticalExtension, "has a critical extension"),
            (CertificateError::InvalidPurpose, "is not for servers"),
            (CertificateError::InvalidOcspResponse, "invalid OCSP response"),
            (CertificateError::UnknownRevocationStatus, "cannot be checked for revocation"),
            (other("CaUsedAsEndEntity"), "is an authority's certificate"),
            (other("EndEntityUsedAsCa"), "is not an authority's"),
            (other("NameConstraintViolation"), "not permitted to sign"),
            (other("MaximumPathDepthExceeded"), "chain that is too long"),
            (other("SomethingNewHappened { by: 1 }"), "by the TLS library: something new happened"),
            (other(""), "no reason is given"),
        ] {
            let text = tls_failure(&rustls::Error::InvalidCertificate(reason), "entra.test:443", None, &[]).to_string();
            assert!(text.contains(words), "{text}");
            assert!(!text.contains("Error"), "{text}");
        }
    }

    #[test]
    fn cause_contains_no_address() {
        let cases = [
            (
                "peer closed connection without sending TLS close_notify: https://docs.rs/rustls/x",
                "peer closed connection without sending TLS close_notify",
            ),
            ("error for (https://u:canary@h/) here", "error for here"),
            ("https://u:canary@h/", ""),
            ("Connection refused (os error 111)", "Connection refused (os error 111)"),
        ];
        for (text, expected) in cases {
            assert_eq!(without_addresses(text), expected);
        }
    }
}
