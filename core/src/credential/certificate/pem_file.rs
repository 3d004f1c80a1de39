//! PEM: a key, encrypted in one of two ways or not at all, and certificates.

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::{BlockModeDecrypt, KeyIvInit, block_padding::Pkcs7};
use des::TdesEde3;
use md5::{Digest, Md5};
use pem::Pem;
use pkcs8::{EncryptedPrivateKeyInfoRef, pkcs5::pbes2::Kdf};
use zeroize::Zeroizing;

use super::{Contents, Fault, PrivateKey};
use crate::secret::Secret;

/// More rounds, or more memory, than any tool asks for: a file must not keep the machine busy.
pub(super) const MOST_ROUNDS: u32 = 1_000_000;
const MOST_SCRYPT_MEMORY: u64 = 1 << 28;

pub(super) fn read(content: &[u8], password: Option<&Secret>) -> Result<Contents, Fault> {
    let sections = pem::parse_many(content).map_err(|_| "is broken PEM".to_owned())?;
    let mut contents = Contents::default();
    for section in sections {
        match section.tag() {
            "CERTIFICATE" | "X509 CERTIFICATE" => contents.certificates.push(section.into_contents()),
            "PRIVATE KEY" => contents.keys.push(PrivateKey::Pkcs8(Zeroizing::new(section.into_contents()))),
            "ENCRYPTED PRIVATE KEY" => contents.keys.push(decrypted(section.contents(), password)?),
            "RSA PRIVATE KEY" => {
                let key = match section.headers().get("DEK-Info") {
                    Some(method) => traditionally_decrypted(&section, method, password)?,
                    None => Zeroizing::new(section.into_contents()),
                };
                contents.keys.push(PrivateKey::Pkcs1(key));
            }
            tag if tag.ends_with("PRIVATE KEY") => contents.keys.push(PrivateKey::Other),
            _ => {}
        }
    }
    Ok(contents)
}

fn needed(password: Option<&Secret>) -> Result<&str, Fault> {
    password
        .map(Secret::expose)
        .filter(|password| !password.is_empty())
        .ok_or_else(|| "holds an encrypted private key, and no password is given".to_owned())
}

/// PKCS#8, encrypted as PKCS#5 says.
fn decrypted(der: &[u8], password: Option<&Secret>) -> Result<PrivateKey, Fault> {
    let password = needed(password)?;
    let unknown = || "holds a private key that is encrypted in a way that is not known here".to_owned();
    let key = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| unknown())?;
    let method = key.encryption_algorithm.pbes2().ok_or_else(unknown)?;
    let is_reasonable = match &method.kdf {
        Kdf::Pbkdf2(parameters) => parameters.iteration_count <= MOST_ROUNDS,
        Kdf::Scrypt(parameters) => {
            let memory = parameters.cost_parameter.saturating_mul(128 * u64::from(parameters.block_size));
            memory <= MOST_SCRYPT_MEMORY && parameters.parallelization <= 16
        }
        _ => return Err(unknown()),
    };
    if !is_reasonable {
        return Err("holds a private key whose decryption takes too much time or memory".to_owned());
    }
    match key.decrypt(password) {
        Ok(document) => Ok(PrivateKey::Pkcs8(document.to_bytes())),
        // What a wrong password makes of it can by chance end well, and is no key then.
        Err(
            pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::DecryptFailed)
            | pkcs8::Error::Asn1(_)
            | pkcs8::Error::KeyMalformed(_),
        ) => Err(WRONG_PASSWORD.to_owned()),
        Err(_) => Err(unknown()),
    }
}

pub(super) const WRONG_PASSWORD: &str = "is encrypted with another password than the one given";

/// The way of OpenSSL before PKCS#8: `DEK-Info: AES-256-CBC,<initialisation vector>`.
fn traditionally_decrypted(
    section: &Pem,
    method: &str,
    password: Option<&Secret>,
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let password = needed(password)?.as_bytes();
    let unknown = || "holds a private key that is encrypted in a way that is not known here".to_owned();
    let (cipher, vector) = method.split_once(',').ok_or_else(unknown)?;
    let vector = bytes_of(vector.trim()).ok_or_else(unknown)?;
    let salt = vector.get(..8).ok_or_else(unknown)?;
    let body = section.contents();
    let key = match cipher.trim() {
        "AES-128-CBC" => decrypt::<cbc::Decryptor<Aes128>>(&derived(password, salt, 16), &vector, body),
        "AES-192-CBC" => decrypt::<cbc::Decryptor<Aes192>>(&derived(password, salt, 24), &vector, body),
        "AES-256-CBC" => decrypt::<cbc::Decryptor<Aes256>>(&derived(password, salt, 32), &vector, body),
        "DES-EDE3-CBC" => decrypt::<cbc::Decryptor<TdesEde3>>(&derived(password, salt, 24), &vector, body),
        _ => return Err(unknown()),
    };
    // Without a check of its own, a wrong password can by chance end in something; a key begins as a sequence.
    key.filter(|key| key.first() == Some(&0x30)).ok_or_else(|| WRONG_PASSWORD.to_owned())
}

fn decrypt<D: KeyIvInit + BlockModeDecrypt>(key: &[u8], vector: &[u8], body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(body.to_vec());
    let length = D::new_from_slices(key, vector).ok()?.decrypt_padded::<Pkcs7>(&mut buffer).ok()?.len();
    buffer.truncate(length);
    Some(buffer)
}

/// OpenSSL's `EVP_BytesToKey` with MD5 and one round.
fn derived(password: &[u8], salt: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(length + 16));
    let mut block = Zeroizing::new(Vec::new());
    while key.len() < length {
        let digest = Md5::new().chain_update(&*block).chain_update(password).chain_update(salt).finalize();
        block = Zeroizing::new(digest.to_vec());
        key.extend_from_slice(&block);
    }
    key.truncate(length);
    key
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
