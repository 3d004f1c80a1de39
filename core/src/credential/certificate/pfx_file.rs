//! PFX files (PKCS#12, RFC 7292): key and certificates in one file, under a password.

use zeroize::Zeroizing;

use super::{
    Contents, Conversion, Fault, PrivateKey,
    ber::{self, Algorithm, Parsed, Tag, Value},
    encryption::{FileMac, Obstacle, Password},
};
use crate::secret::Secret;

/// The maximum nesting of bags in bags. Tools do not write nested bags.
const MOST_NESTED: usize = 4;

const DATA: &str = "1.2.840.113549.1.7.1";
const ENCRYPTED_DATA: &str = "1.2.840.113549.1.7.6";

pub(super) fn read(content: &[u8], password: Option<&Secret>) -> Result<Contents, Fault> {
    match (definite_length(content), ber::first_element(content)) {
        (Some(length), _) if length > content.len() => return Err("is incomplete".into()),
        (_, None) => return Err("is incomplete or damaged".into()),
        // A line end that an editor or a shell appended is ignored.
        (_, Some(length)) if !content[length..].iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0) => {
            return Err(format!("has {} bytes after its end", content.len() - length).into());
        }
        _ => {}
    }
    let pfx = ber::parse(content, Pfx::take).map_err(|_| other_file(content))?;
    let safe = match pfx.safe {
        Content::Data(safe) => safe,
        Content::Encrypted { .. } => return Err("is a PFX file in a format that is not supported".into()),
        Content::Other => {
            return Err("is a PFX file that is signed with a key instead of a password, which is not supported".into());
        }
    };
    let mut password = Password::new(password);
    if let Some(mac) = &pfx.mac {
        password.verify(mac, &safe).map_err(|obstacle| fault(&password, "its content", obstacle))?;
    }
    let mut contents = Contents::default();
    for part in ber::parse(&safe, parts).map_err(|_| damaged())? {
        let bags = match part {
            Content::Data(bags) => Zeroizing::new(bags),
            Content::Encrypted { algorithm, data } => {
                password.decrypt(&algorithm, &data).map_err(|obstacle| fault(&password, "its content", obstacle))?
            }
            Content::Other => {
                let why =
                    "is a PFX file that is encrypted for a certificate instead of a password, which is not supported";
                return Err(why.into());
            }
        };
        take_bags(&bags, &mut password, &mut contents, 0)?;
    }
    Ok(contents)
}

fn take_bags(bags: &[u8], password: &mut Password, contents: &mut Contents, depth: usize) -> Result<(), Fault> {
    if depth > MOST_NESTED {
        return Err(damaged());
    }
    for bag in ber::parse(bags, Bag::take_all).map_err(|_| damaged())? {
        match bag {
            Bag::Key(key) => contents.keys.push(PrivateKey::Pkcs8(key)),
            Bag::EncryptedKey { algorithm, data } => {
                let key = password
                    .decrypt(&algorithm, &data)
                    .map_err(|obstacle| fault(password, "its private key", obstacle))?;
                contents.keys.push(PrivateKey::Pkcs8(key));
            }
            Bag::Certificate(certificate) => contents.certificates.push(certificate),
            Bag::Bags(bags) => take_bags(&bags, password, contents, depth + 1)?,
            Bag::Other => {}
        }
    }
    Ok(())
}

fn fault(password: &Password, what: &str, obstacle: Obstacle) -> Fault {
    let is_converted = obstacle.is_for_openssl();
    let fault = password.fault(what, obstacle);
    if is_converted { fault.converted(Conversion::Pfx) } else { fault }
}

fn damaged() -> Fault {
    Fault::from("is a PFX file with unreadable content: it is damaged, or in a format that is not supported")
        .converted(Conversion::Pfx)
}

struct Pfx {
    safe: Content,
    mac: Option<FileMac>,
}

/// The `ContentInfo` structure.
enum Content {
    Data(Vec<u8>),
    Encrypted { algorithm: Algorithm, data: Vec<u8> },
    Other,
}

impl Pfx {
    fn take(value: &mut Value<'_, '_>) -> Parsed<Pfx> {
        value.take_sequence(|value| {
            ber::count(value)?;
            Ok(Pfx { safe: value.take_sequence(Content::fields)?, mac: value.take_opt_sequence(FileMac::content)? })
        })
    }
}

impl Content {
    fn fields(value: &mut Value<'_, '_>) -> Parsed<Content> {
        match ber::object_id(value)?.as_str() {
            DATA => Ok(Content::Data(value.take_opt_constructed_if(Tag::CTX_0, ber::octets)?.unwrap_or_default())),
            ENCRYPTED_DATA => value.take_constructed_if(Tag::CTX_0, |value| {
                value.take_sequence(|value| {
                    ber::count(value)?;
                    let (algorithm, data) = value.take_sequence(|value| {
                        ber::object_id(value)?;
                        let algorithm = Algorithm::take(value)?;
                        Ok((algorithm, value.take_opt_value_if(Tag::CTX_0, ber::pieces)?.unwrap_or_default()))
                    })?;
                    ber::skip_rest(value)?;
                    Ok(Content::Encrypted { algorithm, data })
                })
            }),
            _ => {
                ber::skip_rest(value)?;
                Ok(Content::Other)
            }
        }
    }
}

/// Reads an `AuthenticatedSafe`.
fn parts(value: &mut Value<'_, '_>) -> Parsed<Vec<Content>> {
    value.take_sequence(|value| {
        let mut parts = Vec::new();
        while let Some(part) = value.take_opt_sequence(Content::fields)? {
            parts.push(part);
        }
        Ok(parts)
    })
}

/// A `SafeBag` without its attributes. The certificate of a key is found by its public key.
enum Bag {
    Key(Zeroizing<Vec<u8>>),
    EncryptedKey {
        algorithm: Algorithm,
        data: Vec<u8>,
    },
    Certificate(Vec<u8>),
    Bags(Zeroizing<Vec<u8>>),
    /// A revocation list, a secret, or a certificate of another kind than X.509.
    Other,
}

impl Bag {
    fn take_all(value: &mut Value<'_, '_>) -> Parsed<Vec<Bag>> {
        value.take_sequence(|value| {
            let mut bags = Vec::new();
            while let Some(bag) = value.take_opt_sequence(Bag::content)? {
                bags.push(bag);
            }
            Ok(bags)
        })
    }

    fn content(value: &mut Value<'_, '_>) -> Parsed<Bag> {
        let id = ber::object_id(value)?;
        let bag =
            value.take_constructed_if(Tag::CTX_0, |value| match id.strip_prefix("1.2.840.113549.1.12.10.1.") {
                Some("1") => Ok(Bag::Key(whole(value)?)),
                Some("2") => value.take_sequence(|value| {
                    Ok(Bag::EncryptedKey { algorithm: Algorithm::take(value)?, data: ber::octets(value)? })
                }),
                Some("3") => value.take_sequence(|value| match ber::object_id(value)?.as_str() {
                    "1.2.840.113549.1.9.22.1" => {
                        Ok(Bag::Certificate(value.take_constructed_if(Tag::CTX_0, ber::octets)?))
                    }
                    _ => {
                        ber::skip_rest(value)?;
                        Ok(Bag::Other)
                    }
                }),
                Some("6") => Ok(Bag::Bags(whole(value)?)),
                _ => {
                    ber::skip_rest(value)?;
                    Ok(Bag::Other)
                }
            })?;
        ber::skip_rest(value)?;
        Ok(bag)
    }
}

fn whole(value: &mut Value<'_, '_>) -> Parsed<Zeroizing<Vec<u8>>> {
    Ok(Zeroizing::new(value.capture_one()?.as_slice().to_vec()))
}

/// Describes a file of ASN.1 that is not a readable PFX file.
fn other_file(content: &[u8]) -> Fault {
    if x509_parser::parse_x509_certificate(content).is_ok() {
        return "is a certificate without its private key".into();
    }
    let first = ber::parse(content, |value| value.take_sequence(First::take));
    match first {
        Ok(First::Pfx) => damaged(),
        Ok(First::Key) => "is a private key in DER, without its certificate".into(),
        Ok(First::Pkcs7) => "is a PKCS#7 file, which contains certificates but no private key".into(),
        Ok(First::Unknown) | Err(_) => "is neither PEM nor PFX".into(),
    }
}

/// The kind of an ASN.1 file by its first elements.
enum First {
    Pfx,
    Key,
    Pkcs7,
    Unknown,
}

impl First {
    fn take(value: &mut Value<'_, '_>) -> Parsed<First> {
        let version = ber::optional_count(value)?;
        let first = match version {
            // PFX and PKCS#8 begin with a version.
            Some(version) => match Algorithm::take_optional(value)? {
                Some(algorithm) if version == 3 && algorithm.id.starts_with("1.2.840.113549.1.7.") => First::Pfx,
                Some(_) => First::Key,
                // This is the modulus of PKCS#1, or the octets of an elliptic curve's key.
                None => First::Key,
            },
            None => match Algorithm::take_optional(value)? {
                Some(_) => First::Key,
                None if ber::object_id(value)?.starts_with("1.2.840.113549.1.7.") => First::Pkcs7,
                None => First::Unknown,
            },
        };
        ber::skip_rest(value)?;
        Ok(first)
    }
}

/// Returns the total length of the outermost element, if its header states it.
fn definite_length(content: &[u8]) -> Option<usize> {
    let first = usize::from(*content.get(1)?);
    let (header, body) = match first {
        0..=0x7f => (2, first),
        0x81..=0x84 => {
            let digits = content.get(2..2 + (first & 0x7f))?;
            (2 + digits.len(), digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)))
        }
        _ => return None,
    };
    header.checked_add(body)
}
