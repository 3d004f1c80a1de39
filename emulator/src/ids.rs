//! Identifiers: random ones, and ones that are the same at every start.

use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};

/// Returns a random GUID.
pub(crate) fn random() -> String {
    guid(random_bytes())
}

/// Returns a GUID that depends only on `seed`, so that a role's security label still matches after a restart.
pub(crate) fn derived(seed: &str) -> String {
    let digest = digest::digest(&digest::SHA256, seed.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_ref()[..16]);
    guid(bytes)
}

/// Returns a random text for a secret header.
pub(crate) fn secret() -> String {
    random().replace('-', "").to_uppercase()
}

fn random_bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    // Without the system's random numbers TLS could not have started either.
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

fn guid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
