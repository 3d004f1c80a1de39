//! Encryption under a password: PKCS#5's two schemes, those of PKCS#12, and OpenSSL's of PEM files.
//!
//! The ciphers, hashes, PBKDF2 and scrypt are RustCrypto's. The key derivation of PKCS#12 is written here because the
//! maintained one (`pkcs12`) is a pre-release that brings all of `cms` and `x509-cert`.

use std::fmt;

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::{BlockModeDecrypt, InnerIvInit, KeyInit, KeyIvInit, StreamCipher, block_padding::Pkcs7};
use des::{Des, TdesEde2, TdesEde3};
use hmac::{
    Hmac, Mac,
    digest::{Digest, block_api::BlockSizeUser},
};
use md5::Md5;
use rc2::Rc2;
use rc4::Rc4;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};
use zeroize::Zeroizing;

use super::{
    Fault,
    ber::{self, Algorithm, Parsed, Value},
};
use crate::secret::Secret;

/// More rounds than any tool asks for (NSS: 600,000): a file must not keep the machine busy.
const MOST_ROUNDS: u64 = 1_000_000;
/// The rounds of a whole file, with those of every form of a password that is tried.
const MOST_WORK: u64 = 8 * MOST_ROUNDS;
const MOST_SCRYPT_MEMORY: u64 = 1 << 28;
/// A derived key is at most as long as the longest that a cipher or MAC takes.
const MOST_KEY: u64 = 128;

type Bytes = Zeroizing<Vec<u8>>;

/// Why something could not be decrypted or verified.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The password is another one, or the bytes are not those that were encrypted.
    Mismatch,
    /// The algorithm, by its name.
    Unsupported(String),
    TooCostly,
    Malformed,
}

impl<E> From<ber::DecodeError<E>> for Obstacle
where
    ber::DecodeError<E>: fmt::Display,
{
    fn from(_: ber::DecodeError<E>) -> Obstacle {
        Obstacle::Malformed
    }
}

/// A password in every form that a tool may have used, and the work that is left to spend on them.
pub(super) struct Password {
    /// For PKCS#5: as bytes.
    bytes: Vec<Bytes>,
    /// For the key derivation of PKCS#12: UTF-16 with a terminator.
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
        if text.is_empty() {
            // Windows, .NET and Azure Key Vault derive from nothing at all where there is no password.
            forms.utf16.push(Zeroizing::default());
            return forms;
        }
        if !text.is_ascii() {
            // OpenSSL before 1.1 took each byte of the text for a character.
            forms.utf16.push(terminated(&mut text.bytes().map(u16::from)));
            // Tools that know Latin-1 alone.
            if text.chars().all(|character| u32::from(character) < 0x100) {
                let latin1 = text.chars().filter_map(|character| u8::try_from(u32::from(character)).ok());
                forms.bytes.push(Zeroizing::new(latin1.collect()));
            }
        }
        // NSS gave PBES2 what PKCS#12's own key derivation takes, for years.
        forms.bytes.push(utf16);
        forms
    }

    /// The end of a sentence about `what` that begins with the file.
    pub(super) fn fault(&self, what: &str, obstacle: Obstacle) -> Fault {
        let why = match obstacle {
            Obstacle::Mismatch if self.is_given => format!(
                "cannot be opened with the password given: {what} is encrypted with another one, or is damaged"
            ),
            Obstacle::Mismatch => format!("is encrypted ({what}), and no password is given"),
            Obstacle::Unsupported(name) => format!("cannot be opened: {what} is encrypted with {name}, which is not supported"),
            Obstacle::TooCostly => format!(
                "takes too much time or memory to decrypt: {what} asks for more than {MOST_ROUNDS} rounds or {} MB of \
                 memory, or all of the file for more than {MOST_WORK} rounds",
                MOST_SCRYPT_MEMORY >> 20
            ),
            Obstacle::Malformed => format!("cannot be opened: {what} is encrypted in a form that cannot be read"),
        };
        Fault::from(why)
    }

    /// What `algorithm` made `data` from: one ASN.1 element.
    pub(super) fn decrypt(&mut self, algorithm: &Algorithm, data: &[u8]) -> Result<Bytes, Obstacle> {
        let scheme = Scheme::read(algorithm)?;
        let forms = if matches!(scheme.derivation, Derivation::Pkcs12 { .. }) { &self.utf16 } else { &self.bytes };
        for form in forms {
            spend(&mut self.work_left, &scheme.derivation, scheme.cipher.key_length())?;
            let decrypted = scheme.decrypt(form, data)?;
            // A wrong password can by chance end in proper padding, but not in an element of just that length.
            if let Some(plain) = decrypted.filter(|plain| ber::first_element(plain) == Some(plain.len())) {
                return Ok(plain);
            }
        }
        Err(Obstacle::Mismatch)
    }

    /// Whether `mac` is that of `data`.
    pub(super) fn verify(&mut self, mac: &FileMac, data: &[u8]) -> Result<(), Obstacle> {
        let (hash, derivation, key_length) = mac.scheme()?;
        let forms = if matches!(derivation, Derivation::Pkcs12 { .. }) { &self.utf16 } else { &self.bytes };
        for form in forms {
            spend(&mut self.work_left, &derivation, key_length)?;
            let key = derivation.derive(form, Purpose::Mac, key_length).ok_or(Obstacle::Malformed)?;
            if hash.is_mac(&key, data, &mac.value) {
                return Ok(());
            }
        }
        Err(Obstacle::Mismatch)
    }

    /// OpenSSL's encryption of PEM files: `DEK-Info: AES-256-CBC,<initialisation vector>`.
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
            other => return Err(Obstacle::Unsupported(other.chars().take(40).collect())),
        };
        let vector = from_hex(vector.trim()).ok_or(Obstacle::Malformed)?;
        let salt = vector.get(..8).ok_or(Obstacle::Malformed)?;
        for form in &self.bytes {
            // `EVP_BytesToKey` with MD5 and one round.
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

/// Takes the work of one derivation off what is left.
fn spend(left: &mut u64, derivation: &Derivation, length: usize) -> Result<(), Obstacle> {
    let length = length as u64;
    let (rounds, work) = match derivation {
        // The initialisation vector is derived like a key.
        Derivation::Pkcs12 { hash, rounds, .. } => (*rounds, rounds.saturating_mul(length.div_ceil(hash.size()) + 1)),
        Derivation::Pbkdf1 { rounds, .. } => (*rounds, *rounds),
        Derivation::Pbkdf2 { hash, rounds, .. } => (*rounds, rounds.saturating_mul(length.div_ceil(hash.size()))),
        Derivation::Scrypt { cost, block, parallel, .. } => {
            let memory = cost.saturating_add(*parallel).saturating_mul(128).saturating_mul(*block);
            if memory > MOST_SCRYPT_MEMORY {
                return Err(Obstacle::TooCostly);
            }
            (0, cost.saturating_mul(*block).saturating_mul(*parallel))
        }
    };
    if rounds > MOST_ROUNDS {
        return Err(Obstacle::TooCostly);
    }
    *left = left.checked_sub(work).ok_or(Obstacle::TooCostly)?;
    Ok(())
}

/// `MacData` of a PFX file.
pub(super) struct FileMac {
    algorithm: Algorithm,
    value: Vec<u8>,
    salt: Vec<u8>,
    rounds: u64,
}

impl FileMac {
    /// The content of the sequence.
    pub(super) fn content(value: &mut Value<'_, '_>) -> Parsed<FileMac> {
        let (algorithm, digest) = value.take_sequence(|value| Ok((Algorithm::take(value)?, ber::octets(value)?)))?;
        let salt = ber::octets(value)?;
        Ok(FileMac { algorithm, value: digest, salt, rounds: ber::optional_count(value)?.unwrap_or(1) })
    }

    fn scheme(&self) -> Result<(Hash, Derivation, usize), Obstacle> {
        let unsupported = |id: &str| Obstacle::Unsupported(format!("a MAC by {}", name_of(id)));
        if self.algorithm.id == "1.2.840.113549.1.5.14" {
            // PBMAC1 (RFC 9579): salt and rounds beside the digest are not used.
            let (derivation, scheme) = two_algorithms(&self.algorithm.parameters)?;
            let hash = Hash::read(&scheme.id).ok_or_else(|| unsupported(&scheme.id))?;
            let (derivation, length) = Derivation::read(&derivation)?;
            let length = length.filter(|length| *length <= MOST_KEY).ok_or(Obstacle::Malformed)?;
            return Ok((hash, derivation, length as usize));
        }
        let hash = Hash::read(&self.algorithm.id).ok_or_else(|| unsupported(&self.algorithm.id))?;
        let derivation = Derivation::Pkcs12 { hash, salt: self.salt.clone(), rounds: self.rounds };
        Ok((hash, derivation, hash.size() as usize))
    }
}

struct Scheme {
    derivation: Derivation,
    cipher: Cipher,
    /// Where it is not derived with the key.
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
    /// In CBC mode, by the length of the key.
    Aes(usize),
    AesGcm(usize),
    TripleDes,
    TwoKeyTripleDes,
    Des,
    /// The length of the key, and how many bits of it count.
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
            (None, None) => return Err(Obstacle::Unsupported(name_of(id))),
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
                // The bits that count are written as RFC 8018, appendix B.2.3, has them.
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
            other => return Err(Obstacle::Unsupported(name_of(other))),
        };
        if length.is_some_and(|length| length != cipher.key_length() as u64) {
            return Err(Obstacle::Malformed);
        }
        let vector = match (vector, cipher) {
            (Some(vector), _) => vector,
            // RFC 5084 has a sequence, RustCrypto and Botan the nonce alone.
            (None, Cipher::AesGcm(_)) => plain_vector()
                .or_else(|_| ber::parse(&encryption.parameters, |value| {
                    value.take_sequence(|value| {
                        let nonce = ber::octets(value)?;
                        value.skip_all()?;
                        Ok(nonce)
                    })
                }))?,
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

/// PBES2 and PBMAC1 both name a key derivation and what is done with the key.
fn two_algorithms(parameters: &[u8]) -> Parsed<(Algorithm, Algorithm)> {
    ber::parse(parameters, |value| value.take_sequence(|value| Ok((Algorithm::take(value)?, Algorithm::take(value)?))))
}

impl Derivation {
    /// With the length of the key, where it is written.
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
                    Some(function) => Hash::read(&function.id)
                        .ok_or_else(|| Obstacle::Unsupported(format!("PBKDF2 with {}", name_of(&function.id))))?,
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
            other => Err(Obstacle::Unsupported(name_of(other))),
        }
    }

    /// `None` for parameters that the function does not allow.
    fn derive(&self, password: &[u8], purpose: Purpose, length: usize) -> Option<Bytes> {
        let mut key = Zeroizing::new(vec![0; length]);
        match self {
            Derivation::Pkcs12 { hash, salt, rounds } => {
                return Some(hash.pkcs12_key(password, salt, *rounds, purpose, length));
            }
            Derivation::Pbkdf1 { hash, salt, rounds } => {
                let derived = hash.pbkdf1_key(password, salt, *rounds);
                let part = if matches!(purpose, Purpose::Vector) { derived.get(8..) } else { derived.get(..) };
                key.copy_from_slice(part?.get(..length)?);
            }
            Derivation::Pbkdf2 { hash, salt, rounds } => {
                hash.pbkdf2_key(password, salt, u32::try_from(*rounds).ok()?, &mut key);
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

    /// `None` where the padding or the tag is wrong.
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

/// Runs the same code for whichever hash it is.
macro_rules! with_hash {
    ($hash:expr, $Digest:ident => $run:expr) => {
        match $hash {
            Hash::Md5 => { type $Digest = Md5; $run }
            Hash::Sha1 => { type $Digest = Sha1; $run }
            Hash::Sha224 => { type $Digest = Sha224; $run }
            Hash::Sha256 => { type $Digest = Sha256; $run }
            Hash::Sha384 => { type $Digest = Sha384; $run }
            Hash::Sha512 => { type $Digest = Sha512; $run }
            Hash::Sha512_224 => { type $Digest = Sha512_224; $run }
            Hash::Sha512_256 => { type $Digest = Sha512_256; $run }
        }
    };
}

impl Hash {
    /// By the identifier of the hash, or of its HMAC.
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

    /// In bytes.
    fn size(self) -> u64 {
        with_hash!(self, D => <D as Digest>::output_size() as u64)
    }

    fn is_mac(self, key: &[u8], data: &[u8], value: &[u8]) -> bool {
        with_hash!(self, D => Hmac::<D>::new_from_slice(key).is_ok_and(|mac| mac.chain_update(data).verify_slice(value).is_ok()))
    }

    fn pbkdf2_key(self, password: &[u8], salt: &[u8], rounds: u32, key: &mut [u8]) {
        with_hash!(self, D => pbkdf2::pbkdf2_hmac::<D>(password, salt, rounds, key));
    }

    fn pbkdf1_key(self, password: &[u8], salt: &[u8], rounds: u64) -> Bytes {
        with_hash!(self, D => {
            let mut digest = D::new().chain_update(password).chain_update(salt).finalize();
            for _ in 1..rounds {
                digest = D::digest(digest);
            }
            Zeroizing::new(digest.to_vec())
        })
    }

    fn pkcs12_key(self, password: &[u8], salt: &[u8], rounds: u64, purpose: Purpose, length: usize) -> Bytes {
        with_hash!(self, D => pkcs12_key::<D>(password, salt, rounds, purpose, length))
    }
}

/// RFC 7292, appendix B.2.
fn pkcs12_key<D: Digest + BlockSizeUser>(
    password: &[u8],
    salt: &[u8],
    rounds: u64,
    purpose: Purpose,
    length: usize,
) -> Bytes {
    let block = D::block_size();
    let diversifier = vec![purpose as u8; block];
    let mut input = Zeroizing::new(Vec::new());
    for part in [salt, password] {
        input.extend(part.iter().cycle().take(part.len().next_multiple_of(block)));
    }
    let mut key = Zeroizing::new(Vec::with_capacity(length + 64));
    loop {
        let mut digest = D::new().chain_update(&diversifier).chain_update(&*input).finalize();
        for _ in 1..rounds {
            digest = D::digest(&digest);
        }
        key.extend_from_slice(&digest);
        if key.len() >= length {
            key.truncate(length);
            return key;
        }
        // Each block of the input + the digest, repeated to the length of a block, + 1.
        for part in input.chunks_mut(block) {
            let added = digest.iter().cycle().take(block).collect::<Vec<_>>();
            let mut carry = 1;
            for (byte, added) in part.iter_mut().zip(added).rev() {
                carry += u16::from(*byte) + u16::from(*added);
                *byte = carry.to_be_bytes()[1];
                carry >>= 8;
            }
        }
    }
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// An algorithm that is not supported, as people call it.
fn name_of(id: &str) -> String {
    let name = match id {
        "1.2.392.200011.61.1.1.1.2" => "Camellia-128-CBC",
        "1.2.392.200011.61.1.1.1.3" => "Camellia-192-CBC",
        "1.2.392.200011.61.1.1.1.4" => "Camellia-256-CBC",
        "1.2.410.200046.1.1.2" => "ARIA-128-CBC",
        "1.2.410.200046.1.1.7" => "ARIA-192-CBC",
        "1.2.410.200046.1.1.12" => "ARIA-256-CBC",
        "1.2.410.200004.1.4" => "SEED-CBC",
        "1.3.6.1.4.1.188.7.1.1.2" => "IDEA-CBC",
        "1.2.840.113533.7.66.10" => "CAST5-CBC",
        "1.3.6.1.4.1.3029.1.2" => "Blowfish-CBC",
        "1.2.840.113549.3.8" | "1.2.840.113549.3.9" => "RC5-CBC",
        "1.2.156.10197.1.104.2" => "SM4-CBC",
        "1.2.156.10197.1.401" | "1.2.156.10197.1.401.2" => "SM3",
        "1.2.643.2.2.21" => "GOST 28147-89",
        "1.2.643.7.1.1.2.2" | "1.2.643.7.1.1.2.3" | "1.2.643.2.2.9" => "a GOST hash",
        "1.3.36.3.2.1" => "RIPEMD-160",
        "2.16.840.1.101.3.4.2.7" | "2.16.840.1.101.3.4.2.13" => "SHA3-224",
        "2.16.840.1.101.3.4.2.8" | "2.16.840.1.101.3.4.2.14" => "SHA3-256",
        "2.16.840.1.101.3.4.2.9" | "2.16.840.1.101.3.4.2.15" => "SHA3-384",
        "2.16.840.1.101.3.4.2.10" | "2.16.840.1.101.3.4.2.16" => "SHA3-512",
        "1.2.840.113549.1.5.1" => "PBE-MD2-DES",
        "1.2.840.113549.1.5.4" => "PBE-MD2-RC2",
        _ => return format!("the algorithm {id}"),
    };
    format!("{name} ({id})")
}
