//! PEM files: a key, in plain form or encrypted in one of two ways, and certificates.

use zeroize::Zeroizing;

use super::{
    Contents, Conversion, Fault, PrivateKey,
    ber::{self, Algorithm},
    encryption::{Obstacle, Password},
    pfx_file,
};
use crate::secret::Secret;

pub(super) fn read(content: &[u8], secret: Option<&Secret>) -> Result<Contents, Fault> {
    let sections = pem::parse_many(content).or_else(|_| {
        // Tools that treat CR and LF as two line ends leave empty lines, which look like the end of a header.
        let lines = content.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.trim_ascii().is_empty());
        pem::parse_many(Zeroizing::new(lines.collect::<Vec<_>>().join(&b'\n')))
    });
    let sections = sections.map_err(|_| Fault::from("is not valid PEM"))?;
    let mut password = Password::new(secret);
    let mut contents = Contents::default();
    for section in sections {
        match section.tag() {
            "CERTIFICATE" | "X509 CERTIFICATE" => contents.certificates.push(section.into_contents()),
            // OpenSSL's form has trust attributes after the certificate. They concern only certificate authorities.
            "TRUSTED CERTIFICATE" => {
                let mut certificate = section.into_contents();
                certificate.truncate(ber::first_element(&certificate).unwrap_or(certificate.len()));
                contents.certificates.push(certificate);
            }
            "PRIVATE KEY" => contents.keys.push(PrivateKey::Pkcs8(Zeroizing::new(section.into_contents()))),
            "ENCRYPTED PRIVATE KEY" => {
                let der = Zeroizing::new(section.into_contents());
                let key = decrypted(&der, &mut password).map_err(|obstacle| fault(&password, obstacle))?;
                contents.keys.push(PrivateKey::Pkcs8(key));
            }
            "RSA PRIVATE KEY" => {
                let key = match section.headers().get("DEK-Info") {
                    Some(method) => password
                        .decrypt_traditional(method, section.contents())
                        .map_err(|obstacle| fault(&password, obstacle))?,
                    None => Zeroizing::new(section.into_contents()),
                };
                contents.keys.push(PrivateKey::Pkcs1(key));
            }
            "OPENSSH PRIVATE KEY" => contents.keys.push(PrivateKey::OpenSsh),
            tag if tag.ends_with("PRIVATE KEY") => {
                contents.keys.push(PrivateKey::Other(tag.trim_end_matches("PRIVATE KEY").trim_end().to_owned()));
            }
            // This is GnuTLS's text form of a PFX file.
            "PKCS12" => {
                let pfx = pfx_file::read(section.contents(), secret)?;
                contents.keys.extend(pfx.keys);
                contents.certificates.extend(pfx.certificates);
            }
            _ => {}
        }
    }
    Ok(contents)
}

/// Decrypts PKCS#8, which is encrypted as in PKCS#5 or PKCS#12.
fn decrypted(der: &[u8], password: &mut Password) -> Result<Zeroizing<Vec<u8>>, Obstacle> {
    let (algorithm, data) =
        ber::parse(der, |value| value.take_sequence(|value| Ok((Algorithm::take(value)?, ber::octets(value)?))))?;
    password.decrypt(&algorithm, &data)
}

fn fault(password: &Password, obstacle: Obstacle) -> Fault {
    let is_converted = obstacle.is_for_openssl();
    let fault = password.fault("its private key", obstacle);
    if is_converted { fault.converted(Conversion::Pem) } else { fault }
}
