//! PFX (PKCS#12): one file with key and certificates, under a password.

use p12_keystore::{Pkcs12Archive, error::Error};
use zeroize::Zeroizing;

use super::{Contents, Fault, PrivateKey, pem_file::WRONG_PASSWORD};
use crate::secret::Secret;

pub(super) fn read(der: &[u8], password: Option<&Secret>) -> Result<Contents, Fault> {
    match length(der) {
        Some(length) if length < der.len() => {
            return Err(format!("has {} bytes after its end", der.len() - length));
        }
        Some(length) if length == der.len() => {}
        _ => return Err("breaks off before its end".to_owned()),
    }
    if x509_parser::parse_x509_certificate(der).is_ok() {
        return Err("is a certificate without its private key".to_owned());
    }
    let archive =
        Pkcs12Archive::from_pkcs12(der, password.map_or("", Secret::expose)).map_err(|error| match error {
            Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) => match password {
                Some(_) => WRONG_PASSWORD.to_owned(),
                None => "is encrypted, and no password is given".to_owned(),
            },
            Error::UnsupportedEncryptionScheme | Error::UnsupportedMacAlgorithm => {
                "is encrypted in a way that is not known here".to_owned()
            }
            Error::InvalidParameters => "takes too much time or memory to decrypt".to_owned(),
            Error::X509Error(_) => "holds a certificate that cannot be read".to_owned(),
            Error::InvalidPrivateKey => "holds a private key that cannot be read".to_owned(),
            _ => "is no PFX file that can be read".to_owned(),
        })?;
    Ok(Contents {
        keys: archive.keys.iter().map(|bag| PrivateKey::Pkcs8(Zeroizing::new(bag.key.as_der().to_vec()))).collect(),
        certificates: archive.certs.iter().map(|bag| bag.cert.as_der().to_vec()).collect(),
    })
}

/// The whole length of the outermost element, by its header.
fn length(der: &[u8]) -> Option<usize> {
    let first = usize::from(*der.get(1)?);
    let (header, body) = match first {
        0..=0x7f => (2, first),
        0x81..=0x84 => {
            let digits = der.get(2..2 + (first & 0x7f))?;
            (2 + digits.len(), digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)))
        }
        _ => return None,
    };
    header.checked_add(body)
}
