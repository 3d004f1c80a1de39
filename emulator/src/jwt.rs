//! Access tokens as signed JWTs (RS256): keys, signing, and verification as a database server does it.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use getrandom::SysRng;
use ring::rand::SystemRandom;
use ring::signature::{self, RsaKeyPair, RsaPublicKeyComponents};
use rsa::pkcs1::EncodeRsaPrivateKey;
use serde_json::{Map, Value, json};

use crate::resource::ResourceKind;

/// The tolerance in seconds for use of a token before its `nbf` or after its `exp`.
pub const LEEWAY_S: i64 = 0;

/// Why a database server refuses a token. The corresponding texts for clients are in the PostgreSQL proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Not three base64url parts with JSON objects in the first two, or claims of a wrong type.
    Malformed,
    /// Unsigned, signed with another algorithm, by an unknown key, or changed afterwards.
    BadSignature,
    /// `aud` is not the PostgreSQL resource of any cloud.
    WrongAudience,
    /// The `exp` is in the past.
    Expired,
    /// The `nbf` is in the future.
    NotYetValid,
    /// The `tid` or `iss` is that of another tenant.
    WrongTenant,
    /// The object id is missing.
    NoOid,
}

/// The claims of a verified token.
#[derive(Clone, Debug)]
pub struct Claims {
    /// The object id of the principal, by which roles are matched.
    pub oid: String,
    /// The tenant id.
    pub tid: String,
    /// Whether the token is an application's own (`idtyp` = `app`), as opposed to a user's.
    pub app_only: bool,
    /// The `nbf`, in seconds since 1970.
    pub not_before: i64,
    /// The `exp`, in seconds since 1970.
    pub expires_on: i64,
    /// All claims.
    pub all: Map<String, Value>,
}

/// Verifies a token as the database server of `tenant_id` does at `now` (seconds since 1970).
///
/// # Errors
/// The refusal of the first check that fails, in this order: form, signature, tenant, audience, time, object id.
pub fn verify(keys: &KeySet, tenant_id: &str, token: &str, now: i64) -> Result<Claims, TokenError> {
    let all = keys.verified_claims(token)?;
    let text = |name: &str| match all.get(name) {
        Some(Value::String(text)) => Ok(Some(text.clone())),
        None => Ok(None),
        Some(_) => Err(TokenError::Malformed),
    };
    let seconds = |name: &str| all.get(name).and_then(Value::as_i64).ok_or(TokenError::Malformed);
    let (tid, issuer, audience) = (text("tid")?, text("iss")?, text("aud")?);
    let (not_before, expires_on) = (seconds("nbf")?, seconds("exp")?);
    if tid.as_deref() != Some(tenant_id) || issuer != Some(issuer_of(tenant_id)) {
        return Err(TokenError::WrongTenant);
    }
    if audience.map(|audience| ResourceKind::of(&audience)) != Some(ResourceKind::Database) {
        return Err(TokenError::WrongAudience);
    }
    if now < not_before - LEEWAY_S {
        return Err(TokenError::NotYetValid);
    }
    if now >= expires_on + LEEWAY_S {
        return Err(TokenError::Expired);
    }
    let oid = text("oid")?.filter(|oid| !oid.is_empty()).ok_or(TokenError::NoOid)?;
    let app_only = text("idtyp")?.as_deref() == Some("app");
    Ok(Claims { oid, tid: tenant_id.into(), app_only, not_before, expires_on, all })
}

/// Returns the `iss` of a tenant's v1 tokens.
pub fn issuer_of(tenant_id: &str) -> String {
    format!("https://sts.windows.net/{tenant_id}/")
}

/// How a token is signed. All values except [`Signing::Current`] are for tests of refusals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signing {
    /// With the newest published key.
    #[default]
    Current,
    /// With a key that was never published, under the newest key's id.
    Forged,
    /// `alg` = `none`, with an empty signature.
    Unsigned,
}

/// The service's RSA keys, newest last. Tokens of older keys are accepted until the keys are retired.
pub struct KeySet {
    keys: Vec<SigningKey>,
    unpublished: OnceLock<SigningKey>,
}

struct SigningKey {
    id: String,
    pair: RsaKeyPair,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl KeySet {
    /// Creates a set of one new key. This takes a few tenths of a second of processor time.
    pub fn generate() -> Self {
        Self { keys: vec![SigningKey::generate()], unpublished: OnceLock::new() }
    }

    /// Adds a new current key. With `retire`, tokens signed by the older keys are refused from now on.
    pub(crate) fn rotate(&mut self, key: NewKey, retire: bool) {
        if retire {
            self.keys.clear();
        }
        self.keys.push(key.0);
    }

    /// Returns the id of the current signing key.
    pub fn current_key_id(&self) -> &str {
        self.keys.last().map_or("", |key| &key.id)
    }

    pub(crate) fn has_key(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }

    /// Returns the published keys as a JSON Web Key Set.
    pub fn jwks(&self, issuer: &str) -> Value {
        let keys: Vec<Value> = self
            .keys
            .iter()
            .map(|key| {
                json!({
                    "kty": "RSA", "use": "sig", "alg": "RS256", "kid": key.id, "x5t": key.id,
                    "n": URL_SAFE_NO_PAD.encode(&key.modulus), "e": URL_SAFE_NO_PAD.encode(&key.exponent),
                    "issuer": issuer,
                })
            })
            .collect();
        json!({ "keys": keys })
    }

    /// Signs claims.
    pub fn sign(&self, claims: &Map<String, Value>, signing: Signing) -> String {
        let kid = self.current_key_id().to_owned();
        let header = match signing {
            Signing::Unsigned => json!({"typ": "JWT", "alg": "none"}),
            _ => json!({"typ": "JWT", "alg": "RS256", "x5t": kid, "kid": kid}),
        };
        let payload = Value::Object(claims.clone());
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&payload));
        let key = match signing {
            Signing::Current => self.keys.last(),
            Signing::Forged => Some(self.unpublished.get_or_init(SigningKey::generate)),
            Signing::Unsigned => None,
        };
        let signature = key.map_or_else(String::new, |key| URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes())));
        format!("{signed}.{signature}")
    }

    /// Returns the claims of a token that one of the published keys signed.
    pub(crate) fn verified_claims(&self, token: &str) -> Result<Map<String, Value>, TokenError> {
        let jws = Jws::parse(token).ok_or(TokenError::Malformed)?;
        let text = |name: &str| jws.header.get(name).and_then(Value::as_str);
        if text("alg") != Some("RS256") {
            return Err(TokenError::BadSignature);
        }
        let key = self.keys.iter().find(|key| text("kid") == Some(&key.id)).ok_or(TokenError::BadSignature)?;
        RsaPublicKeyComponents { n: &key.modulus, e: &key.exponent }
            .verify(&signature::RSA_PKCS1_2048_8192_SHA256, jws.signed.as_bytes(), &jws.signature)
            .map_err(|_| TokenError::BadSignature)?;
        Ok(jws.claims)
    }
}

/// The parts of a token, without any verification.
pub(crate) struct Jws<'t> {
    pub(crate) header: Map<String, Value>,
    pub(crate) claims: Map<String, Value>,
    signed: &'t str,
    signature: Vec<u8>,
}

impl<'t> Jws<'t> {
    /// Returns the signed part of the token.
    pub(crate) fn signed(&self) -> &'t str {
        self.signed
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Parses a token. Returns `None` if it is not a JWS in compact form with a JSON object as payload.
    pub(crate) fn parse(token: &'t str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        // Entra accepts it with and without padding.
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok();
        let object = |part: &str| -> Option<Map<String, Value>> { serde_json::from_slice(&decode(part)?).ok() };
        Some(Self { header: object(header)?, claims: object(payload)?, signed, signature: decode(signature)? })
    }
}

/// A key that is created but not in use yet, because creating one is slow and does not need the lock.
pub(crate) struct NewKey(SigningKey);

impl NewKey {
    pub(crate) fn generate() -> Self {
        Self(SigningKey::generate())
    }
}

impl SigningKey {
    const BITS: usize = 2048;

    fn generate() -> Self {
        let key = rsa::PrivateKey::new(&mut SysRng, Self::BITS).expect("2048 bits are a valid size");
        let der = key.to_pkcs1_der().expect("a key just made can be encoded");
        let pair = RsaKeyPair::from_der(der.as_bytes()).expect("a key just encoded can be read");
        let RsaPublicKeyComponents { n: modulus, e: exponent } = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
        let digest = ring::digest::digest(&ring::digest::SHA256, &modulus);
        let id = URL_SAFE_NO_PAD.encode(&digest.as_ref()[..20]);
        Self { id, pair, modulus, exponent }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair
            .sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .expect("the buffer has the length of the modulus");
        signature
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "99999999-0000-0000-0000-000000000009";
    const NOW: i64 = 1_900_000_000;

    fn claims() -> Map<String, Value> {
        let Value::Object(claims) = json!({
            "aud": "https://ossrdbms-aad.database.windows.net", "iss": issuer_of(TENANT), "tid": TENANT,
            "oid": "o1", "nbf": NOW - 10, "exp": NOW + 10, "idtyp": "app",
        }) else {
            unreachable!()
        };
        claims
    }

    fn with(name: &str, value: Value) -> Map<String, Value> {
        let mut claims = claims();
        claims.insert(name.into(), value);
        claims
    }

    #[test]
    fn verify_invalid_token_returns_its_error() {
        let keys = KeySet::generate();
        let table = [
            (claims(), None),
            (with("aud", json!("https://ossrdbms-aad.database.windows.net/")), None),
            (with("aud", json!("123cd850-d9df-40bd-94d5-c9f07b7fa203")), None),
            (with("aud", json!("https://ossrdbms-aad.database.chinacloudapi.cn")), None),
            (with("aud", json!("https://management.azure.com")), Some(TokenError::WrongAudience)),
            (with("aud", json!(["https://ossrdbms-aad.database.windows.net"])), Some(TokenError::Malformed)),
            (with("tid", json!("other")), Some(TokenError::WrongTenant)),
            (with("iss", json!("https://sts.windows.net/other/")), Some(TokenError::WrongTenant)),
            (with("exp", json!(NOW)), Some(TokenError::Expired)),
            (with("exp", json!("soon")), Some(TokenError::Malformed)),
            (with("nbf", json!(NOW + 1)), Some(TokenError::NotYetValid)),
            (with("oid", json!("")), Some(TokenError::NoOid)),
        ];
        for (claims, refusal) in table {
            let token = keys.sign(&claims, Signing::Current);
            assert_eq!(verify(&keys, TENANT, &token, NOW).err(), refusal, "{claims:?}");
        }
    }

    #[test]
    fn verify_accepts_only_published_keys() {
        let mut keys = KeySet::generate();
        for signing in [Signing::Forged, Signing::Unsigned] {
            let token = keys.sign(&claims(), signing);
            assert_eq!(verify(&keys, TENANT, &token, NOW).err(), Some(TokenError::BadSignature), "{signing:?}");
        }
        let token = keys.sign(&claims(), Signing::Current);
        let changed = token.replacen('.', ".e30", 1);
        assert!(matches!(verify(&keys, TENANT, &changed, NOW), Err(TokenError::BadSignature | TokenError::Malformed)));
        for garbage in ["", "a.b", "a.b.c", "....", "{}", &token[..token.len() / 2]] {
            assert_eq!(verify(&keys, TENANT, garbage, NOW).err(), Some(TokenError::Malformed), "{garbage}");
        }
        keys.rotate(NewKey::generate(), false);
        assert!(verify(&keys, TENANT, &token, NOW).is_ok());
        keys.rotate(NewKey::generate(), true);
        assert_eq!(verify(&keys, TENANT, &token, NOW).err(), Some(TokenError::BadSignature));
    }
}
