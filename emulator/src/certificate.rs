//! Certificates of applications: reads them from a configuration, finds them by their thumbprints, and verifies their
//! signatures.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use ring::digest;
use ring::signature::{self, RsaParameters, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// A certificate, as PEM text. In a configuration it can be the path of a PEM file, whose first certificate is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Certificate {
    der: Vec<u8>,
}

/// A rule by which an application trusts certificates other than its own: those that this authority issued for this
/// subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedSubject {
    /// The common name.
    pub subject: String,
    /// The authority's own certificate.
    pub issuer: Certificate,
}

impl TryFrom<String> for Certificate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let text = match text.contains("-----BEGIN") {
            true => text,
            false => std::fs::read_to_string(&text).map_err(|error| format!("certificate file {text}: {error}"))?,
        };
        let sections = pem::parse_many(&text).map_err(|error| format!("a certificate is no PEM: {error}"))?;
        let section = sections.into_iter().find(|section| section.tag() == "CERTIFICATE");
        let der = section.ok_or("there is no certificate in the PEM")?.into_contents();
        Self::from_der(der).ok_or_else(|| "a certificate cannot be read".into())
    }
}

impl From<Certificate> for String {
    fn from(certificate: Certificate) -> Self {
        pem::encode(&pem::Pem::new("CERTIFICATE", certificate.der))
    }
}

impl Certificate {
    /// Reads a certificate. Returns `None` for bytes that are not a certificate, or that continue after its end.
    pub(crate) fn from_der(der: Vec<u8>) -> Option<Self> {
        let is_one = matches!(X509Certificate::from_der(&der), Ok(([], _)));
        is_one.then_some(Self { der })
    }

    /// Reads one entry of an assertion's `x5c`.
    pub(crate) fn from_x5c(entry: &str) -> Result<Self, X5cFault> {
        let bytes = STANDARD.decode(entry).map_err(|_| X5cFault::NotBase64)?;
        if bytes.starts_with(b"-----BEGIN") {
            return Err(X5cFault::PemText);
        }
        Self::from_der(bytes).ok_or(X5cFault::NotACertificate)
    }

    fn parsed(&self) -> X509Certificate<'_> {
        X509Certificate::from_der(&self.der).expect("it was read when it was made").1
    }

    /// Returns the thumbprint in hexadecimal digits, as the portal shows it.
    pub fn thumbprint(&self) -> String {
        digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.der)
            .as_ref()
            .iter()
            .map(|b| format!("{b:02X}"))
            .collect()
    }

    /// Returns whether a header's `x5t` (SHA-1) or `x5t#S256`, in either alphabet, matches this certificate.
    pub(crate) fn has_thumbprint(&self, encoded: &str) -> bool {
        let Some(bytes) = decode_either(encoded) else { return false };
        [&digest::SHA256, &digest::SHA1_FOR_LEGACY_USE_ONLY]
            .into_iter()
            .any(|algorithm| digest::digest(algorithm, &self.der).as_ref() == bytes)
    }

    /// Returns whether the certificate has expired, or is not valid yet, at `now` (seconds since 1970).
    pub(crate) fn is_outside_validity(&self, now: i64) -> bool {
        let certificate = self.parsed();
        let validity = certificate.validity();
        now < validity.not_before.timestamp() || now > validity.not_after.timestamp()
    }

    pub(crate) fn common_name(&self) -> Option<String> {
        let certificate = self.parsed();
        certificate.subject().iter_common_name().next()?.as_str().ok().map(str::to_owned)
    }

    /// Returns whether the issuer's key signed this certificate.
    pub(crate) fn is_issued_by(&self, issuer: &Self) -> bool {
        let (certificate, issuer) = (self.parsed(), issuer.parsed());
        certificate.issuer() == issuer.subject() && certificate.verify_signature(Some(issuer.public_key())).is_ok()
    }

    /// Returns whether the certificate's key made this signature.
    pub(crate) fn verifies(&self, algorithm: &'static RsaParameters, message: &[u8], signature: &[u8]) -> bool {
        let certificate = self.parsed();
        let key = &certificate.public_key().subject_public_key.data;
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
    }
}

/// The error in an entry of `x5c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum X5cFault {
    NotBase64,
    /// A known error of libraries: the text of the file instead of the certificate.
    PemText,
    NotACertificate,
}

impl X5cFault {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NotBase64 => "not standard base64",
            Self::PemText => "base64 of PEM text in place of DER",
            Self::NotACertificate => "no certificate",
        }
    }
}

/// Returns the algorithm of an assertion's `alg`, if it is accepted.
pub(crate) fn algorithm(name: &str) -> Option<&'static RsaParameters> {
    match name {
        "RS256" => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        "PS256" => Some(&signature::RSA_PSS_2048_8192_SHA256),
        _ => None,
    }
}

/// Decodes a thumbprint. Libraries write it in base64 for URLs, as the standard requires, or in standard base64.
fn decode_either(encoded: &str) -> Option<Vec<u8>> {
    [&URL_SAFE_NO_PAD, &STANDARD, &STANDARD_NO_PAD, &URL_SAFE].iter().find_map(|base64| base64.decode(encoded).ok())
}
