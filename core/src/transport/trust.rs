//! Servers whose certificate is not verified by their host name and the usual certificate authorities.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use reqwest::dns::{Name, Resolve, Resolving};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::roots;
use crate::error::{Error, ErrorKind, Result};

/// How a server's certificate is verified. Requests to such a server never go through a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// By the SHA-1 digest of the certificate itself, whatever its issuer.
    Thumbprint([u8; 20]),
    /// By its own certificate authorities, by a name other than its host's, or both.
    Private {
        /// Certificate authorities that replace all others. Default: the usual ones.
        authorities: Option<Authorities>,
        /// The server's name in TLS and in its certificate. Default: the name of its host.
        server_name: Option<String>,
        /// The host to connect to.
        host: String,
    },
}

/// Certificate authorities as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorities {
    /// A file that is read again whenever it has changed.
    File(PathBuf),
    /// The text itself.
    Pem(String),
}

impl Trust {
    /// Returns the current PEM text of the server's own certificate authorities.
    pub(super) fn pem(&self) -> Option<std::io::Result<Vec<u8>>> {
        match self {
            Trust::Private { authorities: Some(Authorities::File(path)), .. } => Some(std::fs::read(path)),
            Trust::Private { authorities: Some(Authorities::Pem(text)), .. } => Some(Ok(text.clone().into_bytes())),
            _ => None,
        }
    }

    /// Returns whether it specifies a certificate or certificate authorities.
    pub(crate) fn has_authorities(&self) -> bool {
        matches!(self, Trust::Thumbprint(_) | Trust::Private { authorities: Some(_), .. })
    }

    /// Returns the name that replaces the host's.
    pub(super) fn server_name(&self) -> Option<&str> {
        match self {
            Trust::Private { server_name, .. } => server_name.as_deref(),
            Trust::Thumbprint(_) => None,
        }
    }

    /// Returns a resolver for the name that replaces the host's.
    pub(super) fn resolver(&self) -> Option<Arc<dyn Resolve>> {
        match self {
            Trust::Private { server_name: Some(_), host, .. } => {
                Some(Arc::new(Redirect(host.trim_matches(['[', ']']).to_owned())))
            }
            _ => None,
        }
    }
}

/// Returns the certificate authorities in a PEM text.
///
/// # Errors
/// [`ErrorKind::InvalidConfiguration`] if it does not contain any.
pub(super) fn authorities(pem: &[u8]) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    match store.add_parsable_certificates(roots::certificates(pem)).0 {
        0 => Err(Error::new(ErrorKind::InvalidConfiguration, "no certificate authority could be read")
            .with_advice("Pass a PEM file, or PEM text, of certificate authorities.")),
        _ => Ok(store),
    }
}

/// Returns a TLS configuration that accepts only this certificate.
///
/// # Errors
/// [`ErrorKind::Internal`] if the cryptography provider lacks what TLS needs.
pub(super) fn pinned(thumbprint: [u8; 20]) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(ErrorKind::Internal, format!("TLS cannot be set up: {e}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pin { thumbprint, provider }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[derive(Debug)]
struct Pin {
    thumbprint: [u8; 20],
    provider: Arc<CryptoProvider>,
}

/// The handshake still proves that the server has the certificate's key; only the path to a certificate authority is
/// not verified.
impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, end_entity);
        match digest.as_ref() == self.thumbprint {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Resolves every name to one host.
struct Redirect(String);

impl Resolve for Redirect {
    fn resolve(&self, _name: Name) -> Resolving {
        let host = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}
