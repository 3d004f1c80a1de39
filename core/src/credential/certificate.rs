//! An application's certificate with its key: read from PEM or PFX, and the assertion that it signs.

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
    error::{Error, ErrorKind, Result},
    runtime::{lost_work, now},
    secret::Secret,
};

/// Larger than any file with a key and a chain.
const MAX_FILE: u64 = 1 << 20;

/// How long an assertion is good, in seconds: as long as Entra advises at most.
const ASSERTION_LIFETIME: i64 = 600;

/// A certificate by its settings.
pub(super) struct Certificate {
    source: Source,
    password: Option<Secret>,
    send_chain: bool,
    /// A forked child reads its parent's, copied with the memory.
    loaded: ArcSwapOption<Loaded>,
}

enum Source {
    File(PathBuf),
    Inline,
}

struct Loaded {
    identity: Identity,
    /// The file that it was read from, as it was then.
    version: Option<Version>,
}

/// What tells whether a file changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    modified: Option<SystemTime>,
    length: u64,
    /// Mounted secrets are replaced by a link to another file, which may have the times of the old one.
    inode: u64,
}

/// Why a certificate cannot be used: the end of a sentence that begins with what it was read from.
type Fault = String;

impl Certificate {
    /// From a file, or from the text of one: PEM, or either kind in base64.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for a text that cannot be used. A file is first read when it is wanted.
    pub(super) fn new(
        path: Option<&str>,
        text: Option<&Secret>,
        password: Option<&Secret>,
        send_chain: bool,
    ) -> Result<Certificate> {
        let (source, loaded) = match (path, text) {
            (Some(path), _) => (Source::File(PathBuf::from(path)), None),
            (None, text) => {
                let text = text.map_or("", Secret::expose);
                let identity = Identity::read(text.as_bytes(), password)
                    .map_err(|fault| unusable(&format!("the certificate {fault}")))?;
                (Source::Inline, Some(Arc::new(Loaded { identity, version: None })))
            }
        };
        Ok(Certificate { source, password: password.cloned(), send_chain, loaded: ArcSwapOption::new(loaded) })
    }

    /// A signed assertion of `client_id` for the token endpoint `audience`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for a file that cannot be used, and a certificate outside its validity.
    pub(super) async fn assertion(&self, client_id: &str, audience: &str) -> Result<Secret> {
        let loaded = self.current().await?;
        let seconds = now().wall_ms / 1000;
        loaded.identity.check_validity(seconds).map_err(|fault| unusable(&format!("{} {fault}", self.source)))?;
        loaded.identity.sign(client_id, audience, seconds, self.send_chain)
    }

    /// The certificate of the file as it is now.
    async fn current(&self) -> Result<Arc<Loaded>> {
        let kept = self.loaded.load_full();
        let path = match (&self.source, kept) {
            (Source::Inline, Some(kept)) => return Ok(kept),
            (Source::Inline, None) => return Err(lost_work()),
            (Source::File(path), Some(kept)) if kept.version.is_some() && kept.version == version_of(path) => {
                return Ok(kept);
            }
            (Source::File(path), _) => path.clone(),
        };
        let password = self.password.clone();
        // Deriving a key from a password can take a second.
        let read = tokio::task::spawn_blocking(move || Loaded::from_file(&path, password.as_ref()));
        let loaded = read.await.map_err(|_| lost_work())?;
        let loaded = Arc::new(loaded.map_err(|fault| unusable(&format!("{} {fault}", self.source)))?);
        self.loaded.store(Some(Arc::clone(&loaded)));
        Ok(loaded)
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::File(path) => write!(f, "the certificate file {}", path.display()),
            Source::Inline => f.write_str("the certificate"),
        }
    }
}

fn unusable(why: &str) -> Error {
    Error::new(ErrorKind::InvalidConfiguration, why).with_advice(
        "Pass a PEM file with key and certificate or a PFX file, and its password (among the variables: \
         AZURE_CLIENT_CERTIFICATE_PATH and AZURE_CLIENT_CERTIFICATE_PASSWORD).",
    )
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
        // Looked at before it is read: what changes in between is read again the next time.
        let version = version_of(path);
        let content = file::read(path, MAX_FILE).map_err(|error| format!("cannot be read: {error}"))?;
        Ok(Loaded { identity: Identity::read(&content, password)?, version })
    }
}

/// What a file holds: private keys and certificates, not yet put together.
#[derive(Default)]
struct Contents {
    keys: Vec<PrivateKey>,
    /// In DER.
    certificates: Vec<Vec<u8>>,
}

enum PrivateKey {
    Pkcs8(Zeroizing<Vec<u8>>),
    /// RSA alone.
    Pkcs1(Zeroizing<Vec<u8>>),
    /// A kind of key that Entra takes no signatures of.
    Other,
}

/// A key with its certificate and those above it.
struct Identity {
    key: RsaKeyPair,
    /// Base64 of the DER, the key's own certificate first.
    chain: Vec<String>,
    /// `x5t#S256`.
    thumbprint: String,
    /// Seconds since the epoch.
    not_before: i64,
    not_after: i64,
}

impl Identity {
    fn read(content: &[u8], password: Option<&Secret>) -> Result<Identity, Fault> {
        let decoded = decode_base64(content).filter(|decoded| !decoded.is_empty());
        let content = decoded.as_deref().map_or(content, Vec::as_slice);
        let is_pem = content.windows(10).any(|window| window == b"-----BEGIN");
        let contents = match content.first() {
            _ if is_pem => pem_file::read(content, password)?,
            None => return Err("is empty".to_owned()),
            Some(0x30) => pfx_file::read(content, password)?,
            Some(_) => return Err("is neither PEM nor PFX".to_owned()),
        };
        let key = match contents.keys.as_slice() {
            [key] => key.parse()?,
            [] => return Err("holds no private key".to_owned()),
            keys => {
                return Err(format!("holds {} private keys, and which of them is meant it does not say", keys.len()));
            }
        };
        Identity::assemble(key, &contents.certificates)
    }

    fn assemble(key: RsaKeyPair, certificates: &[Vec<u8>]) -> Result<Identity, Fault> {
        if certificates.is_empty() {
            return Err("holds no certificate".to_owned());
        }
        let parsed = certificates
            .iter()
            .map(|der| match X509Certificate::from_der(der) {
                Ok(([], certificate)) => Ok(certificate),
                Ok((rest, _)) => Err(format!("holds a certificate with {} bytes after its end", rest.len())),
                Err(_) => Err("holds a certificate that cannot be read".to_owned()),
            })
            .collect::<Result<Vec<_>, Fault>>()?;
        let own = parsed.iter().position(|certificate| is_of(certificate, &key));
        let own = own.ok_or_else(|| "holds no certificate of its private key".to_owned())?;
        // From each to the one that issued it, as far as they are there.
        let mut chain = vec![own];
        while let Some(last) = chain.last() {
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
            return Err(format!("expired on {} by this machine's clock", day(self.not_after)));
        }
        // Entra's clock counts, and it may be ahead of this one.
        if seconds + ASSERTION_LIFETIME < self.not_before {
            return Err(format!("is valid from {} on only, by this machine's clock", day(self.not_before)));
        }
        Ok(())
    }

    /// A client assertion as Entra documents it: PS256, the certificate by its SHA-256.
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
        let parsed = match self {
            PrivateKey::Pkcs8(der) => RsaKeyPair::from_pkcs8(der),
            PrivateKey::Pkcs1(der) => RsaKeyPair::from_der(der),
            PrivateKey::Other => return Err(NOT_RSA.to_owned()),
        };
        parsed.map_err(|rejected| match rejected.to_string().as_str() {
            "WrongAlgorithm" => NOT_RSA.to_owned(),
            "TooSmall" | "TooLarge" => "holds an RSA key that is not of 2048 to 4096 bits".to_owned(),
            _ => "holds a private key that cannot be read".to_owned(),
        })
    }
}

const NOT_RSA: &str = "holds a private key that is no RSA key: Entra takes RSA keys of 2048 to 4096 bits";

/// Whether the certificate is for this key. Both write the public key in the one way that DER allows.
fn is_of(certificate: &X509Certificate<'_>, key: &RsaKeyPair) -> bool {
    certificate.public_key().subject_public_key.data == key.public_key().as_ref()
}

/// The bytes behind base64 with line breaks or without.
fn decode_base64(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let packed: Zeroizing<Vec<u8>> =
        Zeroizing::new(text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect());
    STANDARD.decode(&*packed).ok().map(Zeroizing::new)
}

/// A random UUID.
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
    use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};

    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        let path = format!("{}/../tests/vectors/certificates/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).expect("a file of the vectors")
    }

    fn fault(content: &[u8], password: Option<&Secret>) -> String {
        Identity::read(content, password).err().expect("a fault")
    }

    /// What no common tool writes.
    #[test]
    fn a_pfx_file_with_two_keys_does_not_say_which() {
        let password = Secret::new("p");
        let store = |name: &str, password: &str| {
            KeyStore::from_pkcs12(&fixture(name), password, Pkcs12ImportPolicy::Strict).expect("a PFX file")
        };
        let mut both = KeyStore::new();
        for name in ["app.pfx", "chain.pfx"] {
            let one = store(name, "planted-password");
            let (_, entry) = one.entries().next().expect("an entry");
            let KeyStoreEntry::PrivateKeyChain(_) = entry else { panic!("{name} has a key") };
            both.add_entry(name, entry.clone());
        }
        let written = both.writer(password.expose()).write().expect("it is written");
        assert!(fault(&written, Some(&password)).starts_with("holds 2 private keys"));
    }

    #[test]
    fn nothing_from_outside_brings_it_down() {
        let password = Secret::new("planted-password");
        for name in ["app.pem", "encrypted.pem", "traditional-aes256.pem", "app.pfx", "legacy.pfx"] {
            let whole = fixture(name);
            for cut in (0..whole.len()).step_by(whole.len() / 40) {
                let _ = Identity::read(&whole[..cut], Some(&password));
                let mut changed = whole.clone();
                changed[cut] ^= 0x20;
                // A change that is not noticed may be in a name; the key still is the certificate's.
                let _ = Identity::read(&changed, Some(&password));
            }
        }
        for short in [&b""[..], b"0", b"0\x80", b"0\x84\xff\xff\xff\xff", b"0\x82\x01", b"-----BEGIN", b"\xff\xfe"] {
            fault(short, None);
        }
    }

    #[test]
    fn assertions_are_signed_for_ten_minutes_and_differ() {
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
