//! The key of a cache entry. Two credentials with equal keys share their tokens.

use once_cell::race::OnceBox;
use ring::hmac;
use serde::Serialize;

use crate::{
    config::{BuildInputs, CredentialConfig, Input},
    runtime::random_seed,
    secret::Secret,
};

/// The key of a cache entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// Returns the key of a credential's document and of the other values that identify the credential. Secrets enter
    /// through an HMAC whose key exists only in this process, so that a digest cannot be used elsewhere.
    pub(crate) fn of_document(config: &CredentialConfig, beside: &impl Serialize) -> Key {
        // Neither call can fail, because both values are plain data with text keys. Secrets in them are redacted.
        let plain = [serde_json::to_vec(config), serde_json::to_vec(beside)].map(Result::unwrap_or_default);
        let secrets = config.secrets().into_iter().map(|secret| secret.expose().as_bytes());
        Self::of(plain.iter().map(Vec::as_slice).chain(secrets))
    }

    /// Returns the key of a document together with the inputs that its credential used when it was built. An input that
    /// is not set counts too, because setting it would build another credential.
    pub(crate) fn with_inputs<'a>(&self, inputs: &BuildInputs<'_>, used: impl IntoIterator<Item = &'a Input>) -> Key {
        let used = used.into_iter().flat_map(|input| {
            let value = inputs.value(input);
            let is_set: &[u8] = if value.is_some() { b"set" } else { b"unset" };
            [input.name().as_bytes(), is_set, value.unwrap_or_default().as_bytes()]
        });
        Self::of([self.0.as_slice()].into_iter().chain(used))
    }

    /// Returns the key for one user of the credential that this key stands for.
    pub(crate) fn of_user(&self, assertion: &Secret) -> Key {
        Self::of([self.0.as_slice(), assertion.expose().as_bytes()].into_iter())
    }

    fn of<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Key {
        static PROCESS_KEY: OnceBox<hmac::Key> = OnceBox::new();
        let mut context = hmac::Context::with_key(PROCESS_KEY.get_or_init(|| {
            let random = ring::rand::SystemRandom::new();
            let key = hmac::Key::generate(hmac::HMAC_SHA256, &random);
            Box::new(key.unwrap_or_else(|_| hmac::Key::new(hmac::HMAC_SHA256, &random_seed().to_ne_bytes())))
        }));
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        Key(digest)
    }
}
