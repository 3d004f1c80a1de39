//! The certificate and key of an application: reads them from PEM or PFX, and signs the client assertion.

mod ber;
mod encryption;
mod pem_file;
mod pfx_file;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use arc_swap::ArcSwapOption;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    digest,
    rand::{SecureRandom, SystemRandom},
    signature::{KeyPair, RSA_PSS_SHA256, RsaKeyPair},
};
use serde_json::json;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};
use zeroize::Zeroizing;

use super::file;
use crate::{
    byte_order_mark::unmarked,
    error::{Error, ErrorKind, Result},
    runtime::{lost_work, now},
    secret::Secret,
};

/// The maximum size of a file. Files with a key and a chain are smaller.
const MAX_FILE: u64 = 1 << 20;

/// The maximum length of a chain, which limits the work for a file with many certificates.
const LONGEST_CHAIN: usize = 16;

/// The lifetime of an assertion in seconds: the longest that Entra recommends.
const ASSERTION_LIFETIME: i64 = 600;

/// A certificate with its settings.
pub(super) struct Certificate {
    source: CertificateSource,
    password: Option<Secret>,
    send_chain: bool,
    /// A forked child reads its parent's value, which was copied with the memory.
    loaded: ArcSwapOption<Loaded>,
}

enum CertificateSource {
    File(PathBuf),
    Inline,
}

struct Loaded {
    identity: Identity,
    /// The version of the file at the time when it was read.
    version: Option<Version>,
}

/// The properties by which a change of a file is detected.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    modified: Option<SystemTime>,
    length: u64,
    /// Mounted secrets are replaced by a link to another file, which can have the times of the old one.
    inode: u64,
}

/// Why a certificate cannot be used.
#[derive(Debug)]
struct Fault {
    /// The end of a sentence that begins with the source of the certificate.
    why: String,
    remedy: Remedy,
}

#[derive(Debug)]
enum Remedy {
    Pass,
    /// The file has a form that is not supported; another program can convert it.
    Convert(Conversion),
    NewKey,
    OneKey,
}

/// The program that converts a file to a supported form.
#[derive(Debug)]
enum Conversion {
    Pfx,
    Pem,
    OpenSsh,
    JavaKeyStore,
}

impl From<String> for Fault {
    fn from(why: String) -> Fault {
        Fault { why, remedy: Remedy::Pass }
    }
}

impl From<&str> for Fault {
    fn from(why: &str) -> Fault {
        why.to_owned().into()
    }
}

impl Fault {
    fn with(self, remedy: Remedy) -> Fault {
        Fault { remedy, ..self }
    }

    fn converted(self, conversion: Conversion) -> Fault {
        self.with(Remedy::Convert(conversion))
    }

    /// Returns the error about the certificate of `source`.
    fn of(self, source: &CertificateSource) -> Error {
        let file = match source {
            CertificateSource::File(path) => format!("\"{}\"", path.display()),
            CertificateSource::Inline => "FILE".to_owned(),
        };
        let advice = match self.remedy {
            Remedy::Pass => "Pass a PEM file with key and certificate or a PFX file, and its password (as variables: \
                             AZURE_CLIENT_CERTIFICATE_PATH and AZURE_CLIENT_CERTIFICATE_PASSWORD)."
                .to_owned(),
            Remedy::Convert(conversion) => {
                let command = match conversion {
                    Conversion::Pfx => format!("openssl pkcs12 -legacy -in {file} -out new.pem"),
                    Conversion::Pem => {
                        format!("openssl pkcs12 -export -provider legacy -provider default -in {file} -out new.pfx")
                    }
                    Conversion::OpenSsh => format!("ssh-keygen -p -m PKCS8 -f {file}"),
                    Conversion::JavaKeyStore => format!(
                        "keytool -importkeystore -srckeystore {file} -destkeystore new.pfx -deststoretype pkcs12"
                    ),
                };
                match conversion {
                    Conversion::OpenSsh => {
                        format!(
                            "Convert a copy of the key with `{command}` and store it in one file with its \
                                 certificate."
                        )
                    }
                    _ => format!("Convert it with `{command}` and pass the new file."),
                }
            }
            Remedy::NewKey => "Create a supported key and certificate, for example with `openssl req -x509 -newkey \
                               rsa:2048 -noenc -days 365 -subj /CN=app -keyout app.pem -out app.crt`, register the \
                               certificate with the application and pass both in one file."
                .to_owned(),
            Remedy::OneKey => "Pass a file with one key and its certificate.".to_owned(),
        };
        Error::new(ErrorKind::InvalidConfiguration, format!("{source} {}", self.why)).with_advice(advice)
    }
}

impl Certificate {
    /// Creates a certificate from a file, or from the contents of one: PEM, or either kind in base64.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for contents that cannot be used. A file is read at the first use.
    pub(super) fn new(
        path: Option<&str>,
        text: Option<&Secret>,
        password: Option<&Secret>,
        send_chain: bool,
    ) -> Result<Certificate> {
        let (source, loaded) = match (path, text) {
            (Some(path), _) => (CertificateSource::File(PathBuf::from(path)), None),
            (None, text) => {
                let text = text.map_or("", Secret::expose);
                let identity =
                    Identity::read(text.as_bytes(), password).map_err(|fault| fault.of(&CertificateSource::Inline))?;
                (CertificateSource::Inline, Some(Arc::new(Loaded { identity, version: None })))
            }
        };
        Ok(Certificate { source, password: password.cloned(), send_chain, loaded: ArcSwapOption::new(loaded) })
    }

    /// Returns a signed assertion of `client_id` for the token endpoint `audience`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for a file that cannot be used, and for a certificate outside its validity.
    pub(super) async fn assertion(&self, client_id: &str, audience: &str) -> Result<Secret> {
        let loaded = self.current().await?;
        let seconds = now().wall_ms / 1000;
        loaded.identity.check_validity(seconds).map_err(|fault| fault.of(&self.source))?;
        loaded.identity.sign(client_id, audience, seconds, self.send_chain)
    }

    /// Returns the certificate of the file in its current version.
    async fn current(&self) -> Result<Arc<Loaded>> {
        let kept = self.loaded.load_full();
        let path = match (&self.source, kept) {
            (CertificateSource::Inline, Some(kept)) => return Ok(kept),
            (CertificateSource::Inline, None) => return Err(lost_work()),
            (CertificateSource::File(path), Some(kept))
                if kept.version.is_some() && kept.version == version_of(path) =>
            {
                return Ok(kept);
            }
            (CertificateSource::File(path), _) => path.clone(),
        };
        let password = self.password.clone();
        // Deriving a key from a password can take a second.
        let read = tokio::task::spawn_blocking(move || Loaded::from_file(&path, password.as_ref()));
        let loaded = read.await.map_err(|_| lost_work())?;
        let loaded = Arc::new(loaded.map_err(|fault| fault.of(&self.source))?);
        self.loaded.store(Some(Arc::clone(&loaded)));
        Ok(loaded)
    }
}

impl std::fmt::Display for CertificateSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CertificateSource::File(path) => write!(f, "the certificate file {}", path.display()),
            CertificateSource::Inline => f.write_str("the certificate"),
        }
    }
}

fn version_of(path: &Path) -> Option<Version> {
    let metadata = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Some(Version { modified: metadata.modified().ok(), length: metadata.len(), inode })
}

impl Loaded {
    fn from_file(path: &Path, password: Option<&Secret>) -> Result<Loaded, Fault> {
        // The version is determined before reading, so that a change in between causes another read the next time.
        let version = version_of(path);
        let content = file::read(path, MAX_FILE).map_err(|error| format!("cannot be read: {error}"))?;
        Ok(Loaded { identity: Identity::read(&content, password)?, version })
    }
}

/// The contents of a file: private keys and certificates, not yet matched.
#[derive(Default)]
struct Contents {
    keys: Vec<PrivateKey>,
    /// The certificates in DER.
    certificates: Vec<Vec<u8>>,
}

enum PrivateKey {
    Pkcs8(Zeroizing<Vec<u8>>),
    /// An RSA key.
    Pkcs1(Zeroizing<Vec<u8>>),
    OpenSsh,
    /// A kind of key whose signatures Entra does not accept, by its name.
    Other(String),
}

/// A key with its certificate and the issuing certificates.
struct Identity {
    key: RsaKeyPair,
    /// The certificates as base64 of their DER, the key's own certificate first.
    chain: Vec<String>,
    /// The value of `x5t#S256`.
    thumbprint: String,
    /// The start of the validity, in seconds since the epoch.
    not_before: i64,
    not_after: i64,
}

impl Identity {
    fn read(content: &[u8], password: Option<&Secret>) -> Result<Identity, Fault> {
        let outer = unmarked(content);
        let content = outer.as_deref().map_or(content, Vec::as_slice);
        let decoded = decode_base64(content).filter(|decoded| !decoded.is_empty());
        let content = decoded.as_deref().map_or(content, Vec::as_slice);
        let inner = unmarked(content);
        let content = inner.as_deref().map_or(content, Vec::as_slice);
        let is_pem = content.windows(10).any(|window| window == b"-----BEGIN");
        let contents = match content {
            _ if is_pem => match with_line_ends(content) {
                Some(content) => pem_file::read(&content, password)?,
                None => pem_file::read(content, password)?,
            },
            [] => return Err("is empty".into()),
            [0x30, ..] => pfx_file::read(content, password)?,
            // The first bytes of JKS and of JCEKS files.
            [0xfe, 0xed, 0xfe, 0xed, ..] | [0xce, 0xce, 0xce, 0xce, ..] => {
                return Err(Fault::from("is a Java key store in an old format (JKS or JCEKS), which is not supported")
                    .converted(Conversion::JavaKeyStore));
            }
            _ => return Err("is neither PEM nor PFX".into()),
        };
        Identity::assemble(contents, now().wall_ms / 1000)
    }

    /// Returns the identity of the key that has a certificate. `seconds` is the current time.
    fn assemble(contents: Contents, seconds: i64) -> Result<Identity, Fault> {
        let mut keys: Vec<RsaKeyPair> = Vec::new();
        let mut unusable = None;
        for key in &contents.keys {
            match key.parse() {
                // A key that occurs twice, for instance in two forms, counts as one.
                Ok(key) if keys.iter().any(|other| other.public_key().as_ref() == key.public_key().as_ref()) => {}
                Ok(key) => keys.push(key),
                Err(fault) => unusable = unusable.or(Some(fault)),
            }
        }
        if keys.is_empty() {
            return Err(unusable.unwrap_or_else(|| "contains no private key".into()));
        }
        let certificates = &contents.certificates;
        if certificates.is_empty() {
            return Err("contains no certificate".into());
        }
        let parsed = certificates
            .iter()
            .map(|der| match X509Certificate::from_der(der) {
                Ok(([], certificate)) => Ok(certificate),
                Ok((rest, _)) => Err(format!("contains a certificate with {} bytes after its end", rest.len()).into()),
                Err(_) => Err("contains an unreadable certificate".into()),
            })
            .collect::<Result<Vec<_>, Fault>>()?;
        keys.retain(|key| parsed.iter().any(|certificate| is_of(certificate, key)));
        let key = match keys.len() {
            0 => return Err("contains no certificate for its private key".into()),
            1 => keys.remove(0),
            count => {
                let why = format!("contains {count} private keys with certificates, so the key to use is ambiguous");
                return Err(Fault::from(why).with(Remedy::OneKey));
            }
        };
        // If a renewed certificate is in the file with the old one, the renewed one is used.
        let own = || (0..parsed.len()).filter(|index| is_of(&parsed[*index], &key));
        let current = own().find(|index| parsed[*index].validity().not_after.timestamp() >= seconds);
        let own =
            current.or_else(|| own().next()).ok_or_else(|| "contains no certificate for its private key".to_owned())?;
        // Follows the issuers as far as they are in the file.
        let mut chain = vec![own];
        while let Some(last) = chain.last().filter(|_| chain.len() < LONGEST_CHAIN) {
            let issuer = parsed[*last].issuer();
            let next = (0..parsed.len()).find(|index| !chain.contains(index) && parsed[*index].subject() == issuer);
            chain.extend(next);
            if next.is_none() {
                break;
            }
        }
        let validity = parsed[own].validity();
        Ok(Identity {
            key,
            chain: chain.iter().map(|index| STANDARD.encode(&certificates[*index])).collect(),
            thumbprint: URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &certificates[own])),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }

    fn check_validity(&self, seconds: i64) -> Result<(), Fault> {
        let day = |seconds| time::OffsetDateTime::from_unix_timestamp(seconds).map(|at| at.date().to_string());
        let day = |seconds| day(seconds).unwrap_or_else(|_| "another age".to_owned());
        if seconds > self.not_after {
            return Err(format!("expired on {} by this machine's clock", day(self.not_after)).into());
        }
        // Entra's clock decides, and it can be ahead of this machine's.
        if seconds + ASSERTION_LIFETIME < self.not_before {
            return Err(format!("is not valid before {} by this machine's clock", day(self.not_before)).into());
        }
        Ok(())
    }

    /// Signs a client assertion as Entra documents it: PS256, with the SHA-256 of the certificate.
    fn sign(&self, client_id: &str, audience: &str, seconds: i64, with_chain: bool) -> Result<Secret> {
        let random = SystemRandom::new();
        let failed = |_| Error::new(ErrorKind::Internal, "signing with the certificate's key failed");
        let mut header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": self.thumbprint});
        if with_chain {
            header["x5c"] = json!(self.chain);
        }
        let claims = json!({
            "aud": audience,
            "iss": client_id,
            "sub": client_id,
            "jti": uuid(&random).map_err(failed)?,
            "nbf": seconds,
            "exp": seconds + ASSERTION_LIFETIME,
        });
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let mut jwt = Zeroizing::new(String::with_capacity(header.len() + claims.len() + 2 + 4 * 512 / 3 + 4));
        jwt.push_str(&header);
        jwt.push('.');
        jwt.push_str(&claims);
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key.sign(&RSA_PSS_SHA256, &random, jwt.as_bytes(), &mut signature).map_err(failed)?;
        jwt.push('.');
        URL_SAFE_NO_PAD.encode_string(&signature, &mut jwt);
        Ok(Secret::new(std::mem::take(&mut *jwt)))
    }
}

impl PrivateKey {
    fn parse(&self) -> Result<RsaKeyPair, Fault> {
        let not_rsa = |name: &str| {
            let why = format!(
                "contains a private key that is not an RSA key but {name}: Entra accepts RSA keys of 2048 to \
                         4096 bits"
            );
            Err(Fault::from(why).with(Remedy::NewKey))
        };
        let unreadable = || Fault::from("contains an unreadable private key");
        match self {
            PrivateKey::Pkcs1(der) => rsa_key(der),
            PrivateKey::Pkcs8(der) => {
                let read = |value: &mut ber::Value<'_, '_>| {
                    ber::count(value)?;
                    let content = (ber::Algorithm::take(value)?.id, Zeroizing::new(ber::octets(value)?));
                    ber::skip_rest(value)?;
                    Ok(content)
                };
                let (algorithm, key) = ber::parse(der, |value| value.take_sequence(read)).map_err(|_| unreadable())?;
                match algorithm.as_str() {
                    "1.2.840.113549.1.1.1" => rsa_key(&key),
                    "1.2.840.113549.1.1.10" => Err(Fault::from(
                        "contains an RSA-PSS key: only RSA keys without that restriction (rsaEncryption) are supported",
                    )
                    .with(Remedy::NewKey)),
                    "1.2.840.10045.2.1" => not_rsa("one of an elliptic curve"),
                    "1.3.101.112" | "1.3.101.113" => not_rsa("one of Ed25519 or Ed448"),
                    "1.2.840.10040.4.1" => not_rsa("one of DSA"),
                    other => not_rsa(&format!("one of the algorithm {other}")),
                }
            }
            PrivateKey::OpenSsh => Err(Fault::from("contains a private key in OpenSSH format, which is not supported")
                .converted(Conversion::OpenSsh)),
            PrivateKey::Other(name) if name.is_empty() => Err(unreadable()),
            PrivateKey::Other(name) => not_rsa(&format!("one of {name}")),
        }
    }
}

/// Returns a key in the form of PKCS#1, or the reason why it cannot be used.
fn rsa_key(der: &[u8]) -> Result<RsaKeyPair, Fault> {
    let rejected = match RsaKeyPair::from_der(der) {
        Ok(key) => return Ok(key),
        Err(rejected) => rejected.to_string(),
    };
    let read = |value: &mut ber::Value<'_, '_>| {
        let version = ber::count(value)?;
        let bits = value.take_primitive_if(ber::Tag::INTEGER, |modulus| {
            let bytes = modulus.take_all()?;
            let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
            let unused = bytes.get(first).map_or(0, |byte| byte.leading_zeros() as usize);
            Ok((bytes.len() - first) * 8 - unused)
        })?;
        let exponent = ber::count(value)?;
        ber::skip_rest(value)?;
        Ok((version, bits, exponent))
    };
    let Ok((version, bits, exponent)) = ber::parse(der, |value| value.take_sequence(read)) else {
        return Err("contains an unreadable private key".into());
    };
    let why = match rejected.as_str() {
        _ if version != 0 => "contains an RSA key of more than two prime numbers, which is not supported".to_owned(),
        "TooSmall" | "TooLarge" | "InvalidComponent" if exponent < 65_537 => {
            format!(
                "contains an RSA key with the public exponent {exponent}; only 65537 and larger exponents are supported"
            )
        }
        "TooLarge" if exponent >= 1 << 33 => {
            "contains an RSA key with a public exponent of more than 33 bits, which is not supported".to_owned()
        }
        "TooSmall" | "TooLarge" | "PrivateModulusLenNotMultipleOf512Bits" => {
            format!("contains an RSA key of {bits} bits, which is not one of 2048 to 4096 bits in steps of 512")
        }
        _ => return Err("contains a damaged private key: its numbers are inconsistent".into()),
    };
    Err(Fault::from(why).with(Remedy::NewKey))
}

/// Returns whether the certificate is for this key. Both write the public key in the only way that DER allows.
fn is_of(certificate: &X509Certificate<'_>, key: &RsaKeyPair) -> bool {
    certificate.public_key().subject_public_key.data == key.public_key().as_ref()
}

/// Decodes base64 with or without line breaks.
fn decode_base64(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let packed: Zeroizing<Vec<u8>> =
        Zeroizing::new(text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect());
    STANDARD.decode(&*packed).ok().map(Zeroizing::new)
}

/// Returns PEM with line ends where an environment variable or a YAML file contained them as `\\n`.
fn with_line_ends(pem: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let is_escaped = pem.windows(7).any(|window| matches!(window, b"-----\\n" | b"-----\\r"));
    is_escaped.then(|| {
        let mut text = Zeroizing::new(Vec::with_capacity(pem.len()));
        let mut rest = pem;
        while let [first, after @ ..] = rest {
            let (byte, after) = match rest {
                [b'\\', b'n', after @ ..] => (b'\n', after),
                [b'\\', b'r', after @ ..] => (b'\r', after),
                _ => (*first, after),
            };
            text.push(byte);
            rest = after;
        }
        text
    })
}

/// Returns a random UUID.
fn uuid(random: &SystemRandom) -> Result<String, ring::error::Unspecified> {
    let mut bytes = [0; 16];
    random.fill(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        let path = format!("{}/../tests/vectors/certificates/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).expect("a file of the vectors")
    }

    fn fault(content: &[u8], password: Option<&Secret>) -> String {
        Identity::read(content, password).err().expect("a fault").why
    }

    #[test]
    fn certificate_read_of_any_bytes_does_not_panic() {
        let password = Secret::new("canary-password");
        for name in
            ["app.pem", "encrypted.pem", "traditional-aes256.pem", "app.pfx", "legacy.pfx", "no-mac.pfx", "rc2.pem"]
        {
            let whole = fixture(name);
            for cut in (0..whole.len()).step_by(whole.len() / 40) {
                let _ = Identity::read(&whole[..cut], Some(&password));
                let mut changed = whole.clone();
                changed[cut] ^= 0x20;
                // A change that is not detected can be in a name; the key still belongs to the certificate.
                let _ = Identity::read(&changed, Some(&password));
            }
        }
        for short in [&b""[..], b"0", b"0\x80", b"0\x84\xff\xff\xff\xff", b"0\x82\x01", b"-----BEGIN", b"\xff\xfe"] {
            fault(short, None);
        }
    }

    #[test]
    fn certificate_read_of_base64_decodes_utf16_inside() {
        let text = STANDARD.encode(fixture("utf16.pem"));
        assert!(Identity::read(text.as_bytes(), None).is_ok());
    }

    /// Elements nested more deeply than any stack.
    #[test]
    fn certificate_read_of_endless_nesting_fails_at_once() {
        for element in [&b"0\x80"[..], b"\x24\x80", b"\xa0\x80"] {
            let mut content = b"0\x80\x02\x01\x030\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01\xa0\x80".to_vec();
            content.extend(element.repeat(400_000));
            fault(&content, None);
            fault(&element.repeat(500_000), None);
        }
    }

    #[test]
    fn certificate_assertions_last_ten_minutes_and_differ() {
        let identity = Identity::read(&fixture("app.pem"), None).expect("a key and its certificate");
        let sign = || identity.sign("c", "a", 1_900_000_000, false).expect("signed").expose().to_owned();
        let (one, other) = (sign(), sign());
        assert_ne!(one.split('.').nth(1), other.split('.').nth(1), "each has an id of its own");
        assert!(identity.check_validity(identity.not_after).is_ok());
        assert!(identity.check_validity(identity.not_after + 1).is_err());
        assert!(identity.check_validity(identity.not_before - ASSERTION_LIFETIME).is_ok(), "clocks differ");
        assert!(identity.check_validity(identity.not_before - ASSERTION_LIFETIME - 1).is_err());
    }
}
