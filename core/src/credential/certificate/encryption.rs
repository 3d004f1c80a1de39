//! Encryption under a password: the two schemes of PKCS#5, those of PKCS#12, and OpenSSL's for PEM files.
//!
//! The ciphers and scrypt come from RustCrypto. The hashes, HMAC and PBKDF2 come from ring, or from RustCrypto if ring
//! does not have them. The key derivation of PKCS#12 is written here, because the maintained one (`pkcs12`) is a
//! pre-release that depends on all of `cms` and `x509-cert`.

use std::{fmt, num::NonZeroU32};

use ::hmac::{EagerHash, Hmac, Mac, digest::Digest};
use ::pbkdf2::pbkdf2_hmac;
use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::{BlockModeDecrypt, InnerIvInit, KeyInit, KeyIvInit, StreamCipher, block_padding::Pkcs7};
use des::{Des, TdesEde2, TdesEde3};
use md5::Md5;
use rc2::Rc2;
use rc4::Rc4;
use ring::{
    aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest, hmac, pbkdf2,
};
use sha2::{Sha224, Sha512_224, Sha512_256};
use zeroize::Zeroizing;

use super::{
    Fault,
    ber::{self, Algorithm, Parsed, Value},
};
use crate::secret::Secret;

/// The maximum number of rounds, above the default of every tool (NSS: 600,000). It limits the work for one file.
const MOST_ROUNDS: u64 = 1_000_000;
/// The maximum number of rounds for a whole file, including those for every form of a password that is tried.
const MOST_WORK: u64 = 12 * MOST_ROUNDS;
const MOST_SCRYPT_MEMORY: u64 = 1 << 28;
/// The maximum length of a derived key: the longest key of a cipher or MAC.
const MOST_KEY: u64 = 128;

type Bytes = Zeroizing<Vec<u8>>;

/// Why a value could not be decrypted or verified.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The password is wrong, or the encrypted bytes were changed.
    Mismatch,
    Unsupported(Unsupported),
    TooCostly,
    Malformed,
}

/// An algorithm that is not supported.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsupported {
    name: String,
    /// Whether OpenSSL 3 supports it.
    is_openssl: bool,
}

impl Obstacle {
    /// Returns whether OpenSSL may be able to read the file.
    pub(super) fn is_for_openssl(&self) -> bool {
        match self {
            Obstacle::Mismatch => false,
            Obstacle::Unsupported(algorithm) => algorithm.is_openssl,
            Obstacle::TooCostly | Obstacle::Malformed => true,
        }
    }
}

impl<E> From<ber::DecodeError<E>> for Obstacle
where
    ber::DecodeError<E>: fmt::Display,
{
    fn from(_: ber::DecodeError<E>) -> Obstacle {
        Obstacle::Malformed
    }
}

/// A password in every form that tools use, and the remaining work for trying them.
pub(super) struct Password {
    /// The forms for PKCS#5: bytes.
    bytes: Vec<Bytes>,
    /// The forms for the key derivation of PKCS#12: UTF-16 with a terminator.
    utf16: Vec<Bytes>,
    is_given: bool,
    work_left: u64,
}

impl Password {
    pub(super) fn new(password: Option<&Secret>) -> Password {
        let text = password.map_or("", Secret::expose);
        let terminated = |units: &mut dyn Iterator<Item = u16>| {
            let mut bytes = Zeroizing::new(Vec::with_capacity(2 * text.len() + 2));
            units.chain([0]).for_each(|unit| bytes.extend_from_slice(&unit.to_be_bytes()));
            bytes
        };
        let utf16 = terminated(&mut text.encode_utf16());
        let mut forms = Password {
            bytes: vec![Zeroizing::new(text.as_bytes().to_vec())],
            utf16: vec![utf16.clone()],
            is_given: !text.is_empty(),
            work_left: MOST_WORK,
        };
        if !text.is_ascii() {
            // OpenSSL before 1.1 used each byte of the text as a character, and Java's older schemes use seven bits of it.
            forms.utf16.push(terminated(&mut text.bytes().map(u16::from)));
            forms.utf16.push(terminated(&mut text.bytes().map(|byte| u16::from(byte & 0x7f))));
            // forge is one of the tools that support only Latin-1.
            if text.chars().all(|character| u32::from(character) < 0x100) {
                let latin1 = text.chars().filter_map(|character| u8::try_from(u32::from(character)).ok());
                forms.bytes.push(Zeroizing::new(latin1.collect()));
            }
        }
        if !text.is_empty() {
            // For years, NSS passed to PBES2 the input of PKCS#12's own key derivation.
            forms.bytes.push(utf16);
            // A file without a password is readable with any given password.
            forms.bytes.push(Bytes::default());
            forms.utf16.push(Zeroizing::new(vec![0, 0]));
        }
        // Without a password, Windows, .NET and Azure Key Vault derive from an empty input.
        forms.utf16.push(Bytes::default());
        forms
    }

    /// Returns the error about `what`: the end of a sentence that begins with the file.
    pub(super) fn fault(&self, what: &str, obstacle: Obstacle) -> Fault {
        let why = match obstacle {
            Obstacle::Mismatch if self.is_given => {
                format!("cannot be opened with this password: {what} is protected with another password, or is damaged")
            }
            Obstacle::Mismatch => {
                format!("cannot be opened: {what} is protected with a password, and no password was given")
            }
            Obstacle::Unsupported(algorithm) => {
                format!("cannot be opened: {what} is protected with {}, which is not supported", algorithm.name)
            }
            Obstacle::TooCostly => format!(
                "exceeds the limits for decryption: {MOST_ROUNDS} rounds, {MOST_WORK} rounds in the whole file, {} \
                 MB of memory",
                MOST_SCRYPT_MEMORY >> 20
            ),
            Obstacle::Malformed => format!("cannot be opened: {what} is protected in an unknown format"),
        };
        Fault::from(why)
    }

    /// Decrypts `data` with `algorithm`. The plain text is one ASN.1 element.
    pub(super) fn decrypt(&mut self, algorithm: &Algorithm, data: &[u8]) -> Result<Bytes, Obstacle> {
        let scheme = Scheme::read(algorithm)?;
        let forms = if matches!(scheme.derivation, Derivation::Pkcs12 { .. }) { &self.utf16 } else { &self.bytes };
        for form in forms {
            let vector = if scheme.vector.is_some() { 0 } else { 8 };
            spend(&mut self.work_left, &scheme.derivation, [scheme.cipher.key_length(), vector])?;
            let decrypted = scheme.decrypt(form, data)?;
            // A wrong password can by chance produce valid padding, but not an element of exactly that length.
            if let Some(plain) = decrypted.filter(|plain| ber::first_element(plain) == Some(plain.len())) {
                return Ok(plain);
            }
        }
        Err(Obstacle::Mismatch)
    }

    /// Verifies that `mac` is that of `data`.
    pub(super) fn verify(&mut self, mac: &FileMac, data: &[u8]) -> Result<(), Obstacle> {
        let (hash, derivation, key_length) = mac.scheme()?;
        let forms = if matches!(derivation, Derivation::Pkcs12 { .. }) { &self.utf16 } else { &self.bytes };
        for form in forms {
            spend(&mut self.work_left, &derivation, [key_length, 0])?;
            let key = derivation.derive(form, Purpose::Mac, key_length).ok_or(Obstacle::Malformed)?;
            if hash.is_mac(&key, data, &mac.value) {
                return Ok(());
            }
        }
        Err(Obstacle::Mismatch)
    }

    /// Decrypts OpenSSL's encryption of PEM files: `DEK-Info: AES-256-CBC,<initialisation vector>`.
    pub(super) fn decrypt_traditional(&self, method: &str, body: &[u8]) -> Result<Bytes, Obstacle> {
        let (name, vector) = method.split_once(',').ok_or(Obstacle::Malformed)?;
        let cipher = match name.trim() {
            "AES-128-CBC" => Cipher::Aes(16),
            "AES-192-CBC" => Cipher::Aes(24),
            "AES-256-CBC" => Cipher::Aes(32),
            "DES-EDE3-CBC" => Cipher::TripleDes,
            "DES-EDE-CBC" => Cipher::TwoKeyTripleDes,
            "DES-CBC" => Cipher::Des,
            "RC2-CBC" => Cipher::Rc2 { length: 16, bits: 128 },
            "RC2-64-CBC" => Cipher::Rc2 { length: 8, bits: 64 },
            "RC2-40-CBC" => Cipher::Rc2 { length: 5, bits: 40 },
            other => {
                return Err(Obstacle::Unsupported(Unsupported {
                    name: other.chars().take(40).collect(),
                    is_openssl: true,
                }));
            }
        };
        let vector = from_hex(vector.trim()).ok_or(Obstacle::Malformed)?;
        let salt = vector.get(..8).ok_or(Obstacle::Malformed)?;
        for form in &self.bytes {
            // This is `EVP_BytesToKey` with MD5 and one round.
            let mut key = Zeroizing::new(Vec::with_capacity(48));
            let mut block = Bytes::default();
            while key.len() < cipher.key_length() {
                let digest = Md5::new().chain_update(&*block).chain_update(form).chain_update(salt).finalize();
                block = Zeroizing::new(digest.to_vec());
                key.extend_from_slice(&block);
            }
            key.truncate(cipher.key_length());
            let decrypted = cipher.decrypt(&key, &vector, body)?;
            if let Some(plain) = decrypted.filter(|plain| ber::first_element(plain) == Some(plain.len())) {
                return Ok(plain);
            }
        }
        Err(Obstacle::Mismatch)
    }
}

/// Subtracts the work of deriving a key and an initialisation vector of these lengths from the remaining work.
fn spend(left: &mut u64, derivation: &Derivation, lengths: [usize; 2]) -> Result<(), Obstacle> {
    let blocks = |hash: &Hash| lengths.iter().map(|length| length.div_ceil(hash.size()) as u64).sum();
    let (rounds, work) = match derivation {
        Derivation::Pbkdf1 { rounds, .. } => (*rounds, 2),
        Derivation::Pkcs12 { hash, rounds, .. } | Derivation::Pbkdf2 { hash, rounds, .. } => (*rounds, blocks(hash)),
        Derivation::Scrypt { cost, block, parallel, .. } => {
            let memory = cost.saturating_add(*parallel).saturating_mul(128).saturating_mul(*block);
            if memory > MOST_SCRYPT_MEMORY {
                return Err(Obstacle::TooCostly);
            }
            // A round of scrypt takes about as long as one of PBKDF2 for each block of 128 bytes.
            (0, cost.saturating_mul(*block).saturating_mul(*parallel))
        }
    };
    let work = if rounds == 0 { work } else { rounds.saturating_mul(work) };
    if rounds > MOST_ROUNDS {
        return Err(Obstacle::TooCostly);
    }
    *left = left.checked_sub(work).ok_or(Obstacle::TooCostly)?;
    Ok(())
}

/// The `MacData` of a PFX file.
pub(super) struct FileMac {
    algorithm: Algorithm,
    value: Vec<u8>,
    salt: Vec<u8>,
    rounds: u64,
}

impl FileMac {
    /// Reads the content of the sequence.
    pub(super) fn content(value: &mut Value<'_, '_>) -> Parsed<FileMac> {
        let (algorithm, digest) = value.take_sequence(|value| Ok((Algorithm::take(value)?, ber::octets(value)?)))?;
        let salt = ber::octets(value)?;
        Ok(FileMac { algorithm, value: digest, salt, rounds: ber::optional_count(value)?.unwrap_or(1) })
    }

    fn scheme(&self) -> Result<(Hash, Derivation, usize), Obstacle> {
        let unsupported = |id: &str| unsupported_algorithm("a MAC of ", id);
        if self.algorithm.id == "1.2.840.113549.1.5.14" {
            // With PBMAC1 (RFC 9579), the salt and the rounds in the outer structure are not used.
            let (derivation, scheme) = two_algorithms(&self.algorithm.parameters)?;
            let hash = Hash::read(&scheme.id).ok_or_else(|| unsupported(&scheme.id))?;
            let (derivation, length) = Derivation::read(&derivation)?;
            let length = length.filter(|length| *length <= MOST_KEY).ok_or(Obstacle::Malformed)?;
            return Ok((hash, derivation, length as usize));
        }
        let hash = Hash::read(&self.algorithm.id).ok_or_else(|| unsupported(&self.algorithm.id))?;
        let (salt, rounds) = (self.salt.clone(), self.rounds);
        if hash.is_of_hmac(&self.algorithm.id) {
            // This is what Java 18 to 25 write with keystore.pkcs12.macAlgorithm=PBEWithHmac...: a key of an eighth of a block.
            return Ok((hash, Derivation::Pbkdf2 { hash, salt, rounds }, hash.block_size() / 8));
        }
        let derivation = Derivation::Pkcs12 { hash, salt, rounds };
        Ok((hash, derivation, hash.size()))
    }
}

struct Scheme {
    derivation: Derivation,
    cipher: Cipher,
    /// The initialisation vector, if it is not derived with the key.
    vector: Option<Vec<u8>>,
}

enum Derivation {
    Pkcs12 { hash: Hash, salt: Vec<u8>, rounds: u64 },
    Pbkdf1 { hash: Hash, salt: Vec<u8>, rounds: u64 },
    Pbkdf2 { hash: Hash, salt: Vec<u8>, rounds: u64 },
    Scrypt { salt: Vec<u8>, cost: u64, block: u64, parallel: u64 },
}

/// The diversifiers of PKCS#12.
#[derive(Clone, Copy)]
enum Purpose {
    Key = 1,
    Vector = 2,
    Mac = 3,
}

#[derive(Clone, Copy)]
enum Cipher {
    /// AES in CBC mode, by the length of the key.
    Aes(usize),
    AesGcm(usize),
    TripleDes,
    TwoKeyTripleDes,
    Des,
    /// RC2, by the length of the key and its effective bits.
    Rc2 {
        length: usize,
        bits: usize,
    },
    Rc4(usize),
}

impl Scheme {
    fn read(algorithm: &Algorithm) -> Result<Scheme, Obstacle> {
        let id = algorithm.id.as_str();
        if id == "1.2.840.113549.1.5.13" {
            return Scheme::pbes2(&algorithm.parameters);
        }
        let pkcs12 = match id.strip_prefix("1.2.840.113549.1.12.1.") {
            Some("1") => Some(Cipher::Rc4(16)),
            Some("2") => Some(Cipher::Rc4(5)),
            Some("3") => Some(Cipher::TripleDes),
            Some("4") => Some(Cipher::TwoKeyTripleDes),
            Some("5") => Some(Cipher::Rc2 { length: 16, bits: 128 }),
            Some("6") => Some(Cipher::Rc2 { length: 5, bits: 40 }),
            _ => None,
        };
        let rc2 = Cipher::Rc2 { length: 8, bits: 64 };
        let pbes1 = match id.strip_prefix("1.2.840.113549.1.5.") {
            Some("3") => Some((Hash::Md5, Cipher::Des)),
            Some("6") => Some((Hash::Md5, rc2)),
            Some("10") => Some((Hash::Sha1, Cipher::Des)),
            Some("11") => Some((Hash::Sha1, rc2)),
            _ => None,
        };
        let salt_and_rounds = || -> Result<(Vec<u8>, u64), Obstacle> {
            let read = |value: &mut Value<'_, '_>| Ok((ber::octets(value)?, ber::count(value)?));
            Ok(ber::parse(&algorithm.parameters, |value| value.take_sequence(read))?)
        };
        let (derivation, cipher) = match (pkcs12, pbes1) {
            (Some(cipher), _) => {
                let (salt, rounds) = salt_and_rounds()?;
                (Derivation::Pkcs12 { hash: Hash::Sha1, salt, rounds }, cipher)
            }
            (None, Some((hash, cipher))) => {
                let (salt, rounds) = salt_and_rounds()?;
                (Derivation::Pbkdf1 { hash, salt, rounds }, cipher)
            }
            (None, None) => return Err(unsupported_algorithm("", id)),
        };
        Ok(Scheme { derivation, cipher, vector: None })
    }

    fn pbes2(parameters: &[u8]) -> Result<Scheme, Obstacle> {
        let (derivation, encryption) = two_algorithms(parameters)?;
        let (derivation, length) = Derivation::read(&derivation)?;
        let plain_vector = || ber::parse(&encryption.parameters, ber::octets);
        let mut vector = None;
        let cipher = match encryption.id.as_str() {
            "2.16.840.1.101.3.4.1.2" => Cipher::Aes(16),
            "2.16.840.1.101.3.4.1.22" => Cipher::Aes(24),
            "2.16.840.1.101.3.4.1.42" => Cipher::Aes(32),
            "2.16.840.1.101.3.4.1.6" => Cipher::AesGcm(16),
            "2.16.840.1.101.3.4.1.46" => Cipher::AesGcm(32),
            "1.2.840.113549.3.7" => Cipher::TripleDes,
            "1.3.14.3.2.7" => Cipher::Des,
            "1.2.840.113549.3.2" => {
                let read = |value: &mut Value<'_, '_>| Ok((ber::optional_count(value)?, ber::octets(value)?));
                let (version, iv) = ber::parse(&encryption.parameters, |value| value.take_sequence(read))?;
                vector = Some(iv);
                // The effective bits are encoded as in RFC 8018, appendix B.2.3.
                let bits = match version {
                    None => 32,
                    Some(160) => 40,
                    Some(120) => 64,
                    Some(58) => 128,
                    Some(bits @ 256..=1024) => bits as usize,
                    Some(_) => return Err(Obstacle::Malformed),
                };
                let length = length.unwrap_or(16);
                if !(1..=MOST_KEY).contains(&length) {
                    return Err(Obstacle::Malformed);
                }
                Cipher::Rc2 { length: length as usize, bits }
            }
            other => return Err(unsupported_algorithm("", other)),
        };
        if length.is_some_and(|length| length != cipher.key_length() as u64) {
            return Err(Obstacle::Malformed);
        }
        let vector = match (vector, cipher) {
            (Some(vector), _) => vector,
            // RFC 5084 specifies a sequence; RustCrypto and Botan write only the nonce.
            (None, Cipher::AesGcm(_)) => plain_vector().or_else(|_| {
                ber::parse(&encryption.parameters, |value| {
                    value.take_sequence(|value| {
                        let nonce = ber::octets(value)?;
                        ber::skip_rest(value)?;
                        Ok(nonce)
                    })
                })
            })?,
            (None, _) => plain_vector()?,
        };
        Ok(Scheme { derivation, cipher, vector: Some(vector) })
    }

    fn decrypt(&self, password: &[u8], data: &[u8]) -> Result<Option<Bytes>, Obstacle> {
        let derive = |purpose, length| self.derivation.derive(password, purpose, length).ok_or(Obstacle::Malformed);
        let key = derive(Purpose::Key, self.cipher.key_length())?;
        let vector = match (&self.vector, &self.derivation) {
            (Some(vector), _) => Zeroizing::new(vector.clone()),
            _ if matches!(self.cipher, Cipher::Rc4(_)) => Bytes::default(),
            _ => derive(Purpose::Vector, 8)?,
        };
        self.cipher.decrypt(&key, &vector, data)
    }
}

/// Reads the two algorithms of PBES2 or PBMAC1: the key derivation, and the use of the key.
fn two_algorithms(parameters: &[u8]) -> Parsed<(Algorithm, Algorithm)> {
    ber::parse(parameters, |value| value.take_sequence(|value| Ok((Algorithm::take(value)?, Algorithm::take(value)?))))
}

impl Derivation {
    /// Reads the key derivation, and the length of the key if it is stated.
    fn read(algorithm: &Algorithm) -> Result<(Derivation, Option<u64>), Obstacle> {
        match algorithm.id.as_str() {
            "1.2.840.113549.1.5.12" => {
                let read = |value: &mut Value<'_, '_>| {
                    let salt = ber::octets(value)?;
                    let rounds = ber::count(value)?;
                    let length = ber::optional_count(value)?;
                    Ok((salt, rounds, length, Algorithm::take_optional(value)?))
                };
                let (salt, rounds, length, function) =
                    ber::parse(&algorithm.parameters, |value| value.take_sequence(read))?;
                let hash = match function {
                    None => Hash::Sha1,
                    Some(function) => {
                        Hash::read(&function.id).ok_or_else(|| unsupported_algorithm("PBKDF2 with ", &function.id))?
                    }
                };
                Ok((Derivation::Pbkdf2 { hash, salt, rounds }, length))
            }
            "1.3.6.1.4.1.11591.4.11" => {
                let read = |value: &mut Value<'_, '_>| {
                    let salt = ber::octets(value)?;
                    let derivation = Derivation::Scrypt {
                        salt,
                        cost: ber::count(value)?,
                        block: ber::count(value)?,
                        parallel: ber::count(value)?,
                    };
                    Ok((derivation, ber::optional_count(value)?))
                };
                Ok(ber::parse(&algorithm.parameters, |value| value.take_sequence(read))?)
            }
            other => Err(unsupported_algorithm("", other)),
        }
    }

    /// Derives a key. Returns `None` for parameters that the function does not allow.
    fn derive(&self, password: &[u8], purpose: Purpose, length: usize) -> Option<Bytes> {
        let mut key = Zeroizing::new(vec![0; length]);
        match self {
            Derivation::Pkcs12 { hash, salt, rounds } => {
                return Some(hash.pkcs12_key(password, salt, *rounds, purpose, length));
            }
            Derivation::Pbkdf1 { hash, salt, rounds } => {
                let derived = hash.repeated(&[password, salt], *rounds);
                let part = if matches!(purpose, Purpose::Vector) { derived.get(8..) } else { derived.get(..) };
                key.copy_from_slice(part?.get(..length)?);
            }
            Derivation::Pbkdf2 { hash, salt, rounds } => {
                let rounds = NonZeroU32::new(u32::try_from(*rounds).ok()?)?;
                hash.pbkdf2_key(password, salt, rounds, &mut key);
            }
            Derivation::Scrypt { salt, cost, block, parallel } => {
                let logarithm = cost.is_power_of_two().then(|| cost.ilog2() as u8)?;
                let (block, parallel) = (u32::try_from(*block).ok()?, u32::try_from(*parallel).ok()?);
                let parameters = scrypt::Params::new(logarithm, block, parallel).ok()?;
                scrypt::scrypt(password, salt, &parameters, &mut key).ok()?;
            }
        }
        Some(key)
    }
}

impl Cipher {
    fn key_length(self) -> usize {
        match self {
            Cipher::Aes(length) | Cipher::AesGcm(length) | Cipher::Rc4(length) | Cipher::Rc2 { length, .. } => length,
            Cipher::TripleDes => 24,
            Cipher::TwoKeyTripleDes => 16,
            Cipher::Des => 8,
        }
    }

    /// Decrypts `data`. Returns `None` if the padding or the tag is wrong.
    fn decrypt(self, key: &[u8], vector: &[u8], data: &[u8]) -> Result<Option<Bytes>, Obstacle> {
        let mut buffer = Zeroizing::new(data.to_vec());
        let length = match self {
            Cipher::Aes(16) => in_cbc::<cbc::Decryptor<Aes128>>(key, vector, &mut buffer)?,
            Cipher::Aes(24) => in_cbc::<cbc::Decryptor<Aes192>>(key, vector, &mut buffer)?,
            Cipher::Aes(_) => in_cbc::<cbc::Decryptor<Aes256>>(key, vector, &mut buffer)?,
            Cipher::TripleDes => in_cbc::<cbc::Decryptor<TdesEde3>>(key, vector, &mut buffer)?,
            Cipher::TwoKeyTripleDes => in_cbc::<cbc::Decryptor<TdesEde2>>(key, vector, &mut buffer)?,
            Cipher::Des => in_cbc::<cbc::Decryptor<Des>>(key, vector, &mut buffer)?,
            Cipher::Rc2 { bits, .. } => {
                let cipher = Rc2::new_with_eff_key_len(key, bits);
                let mode = cbc::Decryptor::inner_iv_slice_init(cipher, vector).map_err(|_| Obstacle::Malformed)?;
                mode.decrypt_padded::<Pkcs7>(&mut buffer).ok().map(<[u8]>::len)
            }
            Cipher::Rc4(_) => {
                let mut cipher = Rc4::new_from_slice(key).map_err(|_| Obstacle::Malformed)?;
                cipher.apply_keystream(&mut buffer);
                Some(buffer.len())
            }
            Cipher::AesGcm(length) => {
                let algorithm = if length == 16 { &AES_128_GCM } else { &AES_256_GCM };
                let key = UnboundKey::new(algorithm, key).map_err(|_| Obstacle::Malformed)?;
                let nonce = Nonce::try_assume_unique_for_key(vector).map_err(|_| Obstacle::Malformed)?;
                let opened = LessSafeKey::new(key).open_in_place(nonce, Aad::empty(), &mut buffer);
                opened.ok().map(|plain| plain.len())
            }
        };
        Ok(length.map(|length| {
            buffer.truncate(length);
            buffer
        }))
    }
}

fn in_cbc<D: KeyIvInit + BlockModeDecrypt>(
    key: &[u8],
    vector: &[u8],
    buffer: &mut [u8],
) -> Result<Option<usize>, Obstacle> {
    let mode = D::new_from_slices(key, vector).map_err(|_| Obstacle::Malformed)?;
    Ok(mode.decrypt_padded::<Pkcs7>(buffer).ok().map(<[u8]>::len))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512_224,
    Sha512_256,
}

/// A buffer for a digest. The longest digest has 64 bytes.
type Digested = [u8; 64];

impl Hash {
    /// Returns the hash for the identifier of a hash or of its HMAC.
    fn read(id: &str) -> Option<Hash> {
        Some(match id {
            "1.2.840.113549.2.5" | "1.2.840.113549.2.6" => Hash::Md5,
            "1.3.14.3.2.26" | "1.2.840.113549.2.7" => Hash::Sha1,
            "2.16.840.1.101.3.4.2.4" | "1.2.840.113549.2.8" => Hash::Sha224,
            "2.16.840.1.101.3.4.2.1" | "1.2.840.113549.2.9" => Hash::Sha256,
            "2.16.840.1.101.3.4.2.2" | "1.2.840.113549.2.10" => Hash::Sha384,
            "2.16.840.1.101.3.4.2.3" | "1.2.840.113549.2.11" => Hash::Sha512,
            "2.16.840.1.101.3.4.2.5" | "1.2.840.113549.2.12" => Hash::Sha512_224,
            "2.16.840.1.101.3.4.2.6" | "1.2.840.113549.2.13" => Hash::Sha512_256,
            _ => return None,
        })
    }

    /// Returns whether the identifier, which is one of this hash, is that of its HMAC.
    fn is_of_hmac(self, id: &str) -> bool {
        self != Hash::Md5 && id.starts_with("1.2.840.113549.2.")
    }

    /// Returns the size of the digest in bytes.
    fn size(self) -> usize {
        match self {
            Hash::Md5 => 16,
            Hash::Sha1 => 20,
            Hash::Sha224 | Hash::Sha512_224 => 28,
            Hash::Sha256 | Hash::Sha512_256 => 32,
            Hash::Sha384 => 48,
            Hash::Sha512 => 64,
        }
    }

    fn block_size(self) -> usize {
        match self {
            Hash::Md5 | Hash::Sha1 | Hash::Sha224 | Hash::Sha256 => 64,
            Hash::Sha384 | Hash::Sha512 | Hash::Sha512_224 | Hash::Sha512_256 => 128,
        }
    }

    /// Returns ring's implementation, which is much faster, if ring has one.
    fn on_ring(self) -> Option<(&'static digest::Algorithm, hmac::Algorithm, pbkdf2::Algorithm)> {
        Some(match self {
            Hash::Sha1 => {
                (&digest::SHA1_FOR_LEGACY_USE_ONLY, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, pbkdf2::PBKDF2_HMAC_SHA1)
            }
            Hash::Sha256 => (&digest::SHA256, hmac::HMAC_SHA256, pbkdf2::PBKDF2_HMAC_SHA256),
            Hash::Sha384 => (&digest::SHA384, hmac::HMAC_SHA384, pbkdf2::PBKDF2_HMAC_SHA384),
            Hash::Sha512 => (&digest::SHA512, hmac::HMAC_SHA512, pbkdf2::PBKDF2_HMAC_SHA512),
            _ => return None,
        })
    }

    /// Writes the digest of all parts together to the beginning of `digested`.
    fn digest(self, parts: &[&[u8]], digested: &mut Digested) {
        fn of<D: Digest>(parts: &[&[u8]], digested: &mut [u8]) {
            let mut hasher = D::new();
            parts.iter().for_each(|part| hasher.update(part));
            digested.copy_from_slice(&hasher.finalize());
        }
        let digested = &mut digested[..self.size()];
        match (self, self.on_ring()) {
            (_, Some((algorithm, ..))) => {
                let mut context = digest::Context::new(algorithm);
                parts.iter().for_each(|part| context.update(part));
                digested.copy_from_slice(context.finish().as_ref());
            }
            (Hash::Md5, _) => of::<Md5>(parts, digested),
            (Hash::Sha512_224, _) => of::<Sha512_224>(parts, digested),
            (Hash::Sha512_256, _) => of::<Sha512_256>(parts, digested),
            _ => of::<Sha224>(parts, digested),
        }
    }

    fn is_mac(self, key: &[u8], data: &[u8], value: &[u8]) -> bool {
        fn is<D: EagerHash>(key: &[u8], data: &[u8], value: &[u8]) -> bool {
            Hmac::<D>::new_from_slice(key).is_ok_and(|mac| mac.chain_update(data).verify_slice(value).is_ok())
        }
        match (self, self.on_ring()) {
            (_, Some((_, algorithm, _))) => hmac::verify(&hmac::Key::new(algorithm, key), data, value).is_ok(),
            (Hash::Md5, _) => is::<Md5>(key, data, value),
            (Hash::Sha512_224, _) => is::<Sha512_224>(key, data, value),
            (Hash::Sha512_256, _) => is::<Sha512_256>(key, data, value),
            _ => is::<Sha224>(key, data, value),
        }
    }

    fn pbkdf2_key(self, password: &[u8], salt: &[u8], rounds: NonZeroU32, key: &mut [u8]) {
        match (self, self.on_ring()) {
            (_, Some((.., algorithm))) => pbkdf2::derive(algorithm, rounds, salt, password, key),
            (Hash::Md5, _) => pbkdf2_hmac::<Md5>(password, salt, rounds.get(), key),
            (Hash::Sha512_224, _) => pbkdf2_hmac::<Sha512_224>(password, salt, rounds.get(), key),
            (Hash::Sha512_256, _) => pbkdf2_hmac::<Sha512_256>(password, salt, rounds.get(), key),
            _ => pbkdf2_hmac::<Sha224>(password, salt, rounds.get(), key),
        }
    }

    /// Returns the result of hashing `rounds` times, first the parts, then each digest.
    fn repeated(self, parts: &[&[u8]], rounds: u64) -> Zeroizing<Digested> {
        let mut digested = Zeroizing::new([0; 64]);
        self.digest(parts, &mut digested);
        for _ in 1..rounds {
            let previous = Zeroizing::new(*digested);
            self.digest(&[&previous[..self.size()]], &mut digested);
        }
        digested
    }

    /// Derives a key as in RFC 7292, appendix B.2.
    fn pkcs12_key(self, password: &[u8], salt: &[u8], rounds: u64, purpose: Purpose, length: usize) -> Bytes {
        let block = self.block_size();
        let diversifier = vec![purpose as u8; block];
        let mut input = Zeroizing::new(Vec::with_capacity(password.len() + salt.len() + 2 * block));
        for part in [salt, password] {
            input.extend(part.iter().cycle().take(part.len().next_multiple_of(block)));
        }
        let mut key = Zeroizing::new(Vec::with_capacity(length + self.size()));
        while key.len() < length {
            let digested = self.repeated(&[&diversifier, &input], rounds);
            let digested = &digested[..self.size()];
            key.extend_from_slice(digested);
            // Each block of the input becomes the block + the digest, repeated to the length of a block, + 1.
            for part in input.chunks_mut(block) {
                let mut carry = 1;
                for (index, byte) in part.iter_mut().enumerate().rev() {
                    carry += u16::from(*byte) + u16::from(digested[index % digested.len()]);
                    *byte = carry.to_be_bytes()[1];
                    carry >>= 8;
                }
            }
        }
        key.truncate(length);
        key
    }
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Returns the error for an algorithm, by its common name.
fn unsupported_algorithm(use_of: &str, id: &str) -> Obstacle {
    let (name, is_openssl) = match id {
        "1.2.392.200011.61.1.1.1.2" => ("Camellia-128-CBC", true),
        "1.2.392.200011.61.1.1.1.3" => ("Camellia-192-CBC", true),
        "1.2.392.200011.61.1.1.1.4" => ("Camellia-256-CBC", true),
        "1.2.410.200046.1.1.2" => ("ARIA-128-CBC", true),
        "1.2.410.200046.1.1.7" => ("ARIA-192-CBC", true),
        "1.2.410.200046.1.1.12" => ("ARIA-256-CBC", true),
        "1.2.410.200004.1.4" => ("SEED-CBC", true),
        "1.3.6.1.4.1.188.7.1.1.2" => ("IDEA-CBC", true),
        "1.2.840.113533.7.66.10" => ("CAST5-CBC", true),
        "1.3.6.1.4.1.3029.1.2" => ("Blowfish-CBC", true),
        "1.2.156.10197.1.104.2" => ("SM4-CBC", true),
        "2.16.840.1.101.3.4.1.3" | "2.16.840.1.101.3.4.1.23" | "2.16.840.1.101.3.4.1.43" => ("AES in OFB mode", true),
        "2.16.840.1.101.3.4.1.4" | "2.16.840.1.101.3.4.1.24" | "2.16.840.1.101.3.4.1.44" => ("AES in CFB mode", true),
        "1.2.156.10197.1.401" | "1.2.156.10197.1.401.2" => ("SM3", true),
        "1.3.36.3.2.1" => ("RIPEMD-160", true),
        "1.0.10118.3.0.55" => ("Whirlpool", true),
        "2.16.840.1.101.3.4.2.7" | "2.16.840.1.101.3.4.2.13" => ("SHA3-224", true),
        "2.16.840.1.101.3.4.2.8" | "2.16.840.1.101.3.4.2.14" => ("SHA3-256", true),
        "2.16.840.1.101.3.4.2.9" | "2.16.840.1.101.3.4.2.15" => ("SHA3-384", true),
        "2.16.840.1.101.3.4.2.10" | "2.16.840.1.101.3.4.2.16" => ("SHA3-512", true),
        "1.2.840.113549.3.8" | "1.2.840.113549.3.9" => ("RC5-CBC", false),
        "1.2.643.2.2.21" => ("GOST 28147-89", false),
        "1.2.643.7.1.1.2.2" | "1.2.643.7.1.1.2.3" | "1.2.643.2.2.9" => ("a GOST hash", false),
        "1.2.840.113549.1.5.1" => ("PBE-MD2-DES", false),
        "1.2.840.113549.1.5.4" => ("PBE-MD2-RC2", false),
        _ => ("an unknown algorithm", false),
    };
    Obstacle::Unsupported(Unsupported { name: format!("{use_of}{name} ({id})"), is_openssl })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds PBES2 with PBKDF2 (`rounds` in three bytes) and triple DES with an initialisation vector.
    fn pbes2(rounds: u32, vector: &[u8]) -> Algorithm {
        let element = |tag: u8, parts: &[&[u8]]| {
            let content = parts.concat();
            [&[tag, content.len() as u8], content.as_slice()].concat()
        };
        let pbkdf2 = element(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12]]);
        let triple_des = element(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 3, 7]]);
        let function = element(0x30, &[&element(4, &[b"salt"]), &element(2, &[&rounds.to_be_bytes()])]);
        let derivation = element(0x30, &[&pbkdf2, &function]);
        let encryption = element(0x30, &[&triple_des, &element(4, &[vector])]);
        let parameters = element(0x30, &[&derivation, &encryption]);
        Algorithm { id: "1.2.840.113549.1.5.13".to_owned(), parameters }
    }

    fn obstacle(algorithm: &Algorithm) -> Obstacle {
        Password::new(Some(&Secret::new("canary"))).decrypt(algorithm, &[0; 16]).expect_err("an obstacle")
    }

    #[test]
    fn decrypt_limits_the_rounds_of_a_file() {
        assert_eq!(obstacle(&pbes2(1, &[0; 8])), Obstacle::Mismatch);
        assert_eq!(obstacle(&pbes2(1, &[0; 7])), Obstacle::Malformed, "a short initialisation vector");
        assert_eq!(obstacle(&pbes2(1, &[])), Obstacle::Malformed);
        assert_eq!(obstacle(&pbes2(0, &[0; 8])), Obstacle::Malformed, "no round");
        assert_eq!(obstacle(&pbes2(1_000_001, &[0; 8])), Obstacle::TooCostly);
        assert_eq!(obstacle(&pbes2(0xffff_ffff, &[0; 8])), Obstacle::TooCostly, "a negative number");
    }

    #[test]
    fn decrypt_limits_the_work_of_a_whole_file() {
        let mut password = Password::new(None);
        password.work_left = 3_000;
        let algorithm = pbes2(1_000, &[0; 8]);
        let first = password.decrypt(&algorithm, &[0; 16]).expect_err("an obstacle");
        assert_eq!(first, Obstacle::Mismatch, "24 bytes are two blocks of SHA-1");
        assert_eq!(password.decrypt(&algorithm, &[0; 16]).expect_err("an obstacle"), Obstacle::TooCostly);
    }

    #[test]
    fn spend_limits_the_memory_of_scrypt() {
        let scrypt = |cost, block, parallel| Derivation::Scrypt { salt: Vec::new(), cost, block, parallel };
        let spent = |derivation| spend(&mut { MOST_WORK }, &derivation, [32, 0]);
        assert_eq!(spent(scrypt(1 << 14, 8, 1)), Ok(()), "OpenSSL's");
        assert_eq!(spent(scrypt(1 << 18, 8, 1)), Err(Obstacle::TooCostly));
        assert_eq!(spent(scrypt(2, 8, 1 << 30)), Err(Obstacle::TooCostly));
        assert_eq!(spent(scrypt(u64::MAX, u64::MAX, u64::MAX)), Err(Obstacle::TooCostly));
    }
}
