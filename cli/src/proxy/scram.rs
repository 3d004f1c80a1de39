//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), as PostgreSQL uses it: the client's name is that of the
//! startup message, and there is no channel binding.

use std::num::NonZeroU32;

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{digest, hmac, pbkdf2};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The name of the mechanism.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// PostgreSQL's number of iterations.
pub const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

/// The length of a salt that is generated.
pub const SALT: usize = 16;

/// The length of a digest.
const KEY: usize = digest::SHA256_OUTPUT_LEN;

type Key = [u8; KEY];

/// What a server stores in place of a password.
#[derive(Clone)]
pub struct Verifier {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    stored_key: Key,
    server_key: Zeroizing<Key>,
}

impl Verifier {
    /// Reads PostgreSQL's form `SCRAM-SHA-256$ITERATIONS:SALT$STORED_KEY:SERVER_KEY`.
    pub fn parse(text: &str) -> Option<Verifier> {
        let (numbers, keys) = text.strip_prefix(MECHANISM)?.strip_prefix('$')?.split_once('$')?;
        let (iterations, salt) = numbers.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let key = |text: &str| -> Option<Key> { BASE64_STANDARD.decode(text).ok()?.try_into().ok() };
        Some(Verifier {
            iterations: iterations.parse().ok()?,
            salt: BASE64_STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?,
            stored_key: key(stored_key)?,
            server_key: Zeroizing::new(key(server_key)?),
        })
    }

    /// Returns the verifier of a password. This takes milliseconds.
    pub fn new(password: &str, salt: &[u8], iterations: NonZeroU32) -> Verifier {
        // As PostgreSQL does, a password that SASLprep does not allow is used as it is.
        let prepared = Zeroizing::new(stringprep::saslprep(password).unwrap_or(password.into()).into_owned());
        let mut salted = Zeroizing::new([0; KEY]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, prepared.as_bytes(), salted.as_mut());
        let client_key = Zeroizing::new(mac(salted.as_ref(), b"Client Key"));
        Verifier {
            iterations,
            salt: salt.to_vec(),
            stored_key: sha256(client_key.as_ref()),
            server_key: Zeroizing::new(mac(salted.as_ref(), b"Server Key")),
        }
    }

    /// Returns a verifier that no password matches, with the costs and the form of this one.
    pub fn unmatchable(&self, salt: &[u8; 32], key: Key) -> Verifier {
        let salt: Vec<u8> = salt.iter().copied().cycle().take(self.salt.len()).collect();
        Verifier { iterations: self.iterations, salt, stored_key: key, server_key: Zeroizing::new(key) }
    }
}

/// Why an exchange fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramError {
    /// The client's message is not one of the protocol.
    Malformed(&'static str),
    /// The client selected something that is not supported.
    Unsupported(&'static str),
    /// The client does not know the password.
    WrongPassword,
}

/// An exchange after the client's first message.
pub struct Exchange {
    verifier: Verifier,
    /// What the client's last message must contain for the missing channel binding.
    binding: String,
    nonce: String,
    client_first: String,
    server_first: String,
}

impl Exchange {
    /// Reads the client's first message. `nonce` is the server's part of the nonce: random, printable, without commas.
    ///
    /// # Errors
    /// Fails if the message is malformed or requests channel binding.
    pub fn start(verifier: Verifier, message: &[u8], nonce: &str) -> Result<Exchange, ScramError> {
        let text = std::str::from_utf8(message).map_err(|_| ScramError::Malformed("not UTF-8"))?;
        let mut parts = text.splitn(3, ',');
        let (flag, authzid, bare) = (parts.next(), parts.next(), parts.next());
        match flag {
            // `y`: the client supports channel binding, and has seen that this server does not offer it.
            Some("n" | "y") => {}
            Some(flag) if flag.starts_with("p=") => {
                return Err(ScramError::Malformed("channel binding was selected, which is not offered"));
            }
            _ => return Err(ScramError::Malformed("unexpected channel-binding flag")),
        }
        match authzid {
            Some("") => {}
            Some(name) if name.starts_with("a=") => {
                return Err(ScramError::Unsupported("an authorization identity is not supported"));
            }
            _ => return Err(ScramError::Malformed("unexpected attribute")),
        }
        let bare = bare.ok_or(ScramError::Malformed("incomplete message"))?;
        if bare.starts_with("m=") {
            return Err(ScramError::Unsupported("a mandatory extension is not supported"));
        }
        let mut attributes = bare.split(',');
        let user = attributes.next().and_then(|user| user.strip_prefix("n="));
        let client_nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r="));
        let (Some(_), Some(client_nonce)) = (user, client_nonce) else {
            return Err(ScramError::Malformed("unexpected attribute"));
        };
        if client_nonce.is_empty() || !client_nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ScramError::Malformed("invalid nonce"));
        }
        let nonce = format!("{client_nonce}{nonce}");
        let salt = BASE64_STANDARD.encode(&verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations);
        let binding = format!("c={}", BASE64_STANDARD.encode(format!("{},,", flag.unwrap_or_default())));
        Ok(Exchange { verifier, binding, nonce, client_first: bare.to_owned(), server_first })
    }

    /// Returns the server's first message.
    pub fn first(&self) -> &str {
        &self.server_first
    }

    /// Reads the client's last message, and returns the server's last message.
    ///
    /// # Errors
    /// Fails if the message is malformed, or without the password.
    pub fn finish(&self, message: &[u8]) -> Result<String, ScramError> {
        let text = std::str::from_utf8(message).map_err(|_| ScramError::Malformed("not UTF-8"))?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed("the proof is missing"))?;
        let mut attributes = without_proof.split(',');
        let (binding, nonce) = (attributes.next(), attributes.next().and_then(|nonce| nonce.strip_prefix("r=")));
        if binding != Some(&self.binding) {
            return Err(ScramError::Malformed("unexpected channel binding"));
        }
        if nonce != Some(&self.nonce) {
            return Err(ScramError::Malformed("the nonce does not match"));
        }
        let proof = BASE64_STANDARD.decode(proof).ok().and_then(|proof| Key::try_from(proof).ok());
        let proof = Zeroizing::new(proof.ok_or(ScramError::Malformed("malformed proof"))?);
        let auth = format!("{},{},{without_proof}", self.client_first, self.server_first);
        let signature = mac(&self.verifier.stored_key, auth.as_bytes());
        let mut client_key = Zeroizing::new([0; KEY]);
        for (key, (proof, signature)) in client_key.iter_mut().zip(proof.iter().zip(signature)) {
            *key = proof ^ signature;
        }
        if !bool::from(sha256(client_key.as_ref()).ct_eq(&self.verifier.stored_key)) {
            return Err(ScramError::WrongPassword);
        }
        let signature = mac(self.verifier.server_key.as_ref(), auth.as_bytes());
        Ok(format!("v={}", BASE64_STANDARD.encode(signature)))
    }
}

/// Returns an HMAC of SHA-256.
pub fn mac(key: &[u8], message: &[u8]) -> Key {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let mut bytes = [0; KEY];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

fn sha256(bytes: &[u8]) -> Key {
    let mut key = [0; KEY];
    key.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    // The exchange of RFC 7677, section 3.
    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SERVER_LAST: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn verifier(password: &str) -> Verifier {
        Verifier::new(password, &BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64"), ITERATIONS)
    }

    fn form(verifier: &Verifier) -> String {
        let encode = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        let Verifier { iterations, salt, stored_key, server_key } = verifier;
        format!("SCRAM-SHA-256${iterations}:{}${}:{}", encode(salt), encode(stored_key), encode(server_key.as_ref()))
    }

    #[test]
    fn exchange_of_rfc_7677_succeeds() {
        let parsed = Verifier::parse(&form(&verifier("pencil"))).expect("readable");
        for verifier in [verifier("pencil"), parsed] {
            let exchange = Exchange::start(verifier, FIRST.as_bytes(), NONCE).expect("started");
            assert_eq!(exchange.first(), SERVER_FIRST);
            assert_eq!(exchange.finish(LAST.as_bytes()).as_deref(), Ok(SERVER_LAST));
        }
    }

    #[test]
    fn exchange_with_another_password_fails() {
        let known = verifier("pencil");
        for verifier in [verifier("Pencil"), known.unmatchable(&[1; 32], [2; KEY])] {
            let exchange = Exchange::start(verifier, FIRST.as_bytes(), NONCE).expect("started");
            let outcome = exchange.finish(LAST.as_bytes());
            assert_eq!(outcome, Err(ScramError::WrongPassword));
        }
    }

    #[test]
    fn exchange_refuses_malformed_first_messages() {
        use ScramError::{Malformed, Unsupported};
        for (message, expected) in [
            ("p=tls-server-end-point,,n=,r=x", Malformed("channel binding was selected, which is not offered")),
            ("x,,n=,r=x", Malformed("unexpected channel-binding flag")),
            ("n,a=other,n=,r=x", Unsupported("an authorization identity is not supported")),
            ("n,b,n=,r=x", Malformed("unexpected attribute")),
            ("n,,m=x,n=,r=x", Unsupported("a mandatory extension is not supported")),
            ("n,,r=x", Malformed("unexpected attribute")),
            ("n,,n=user", Malformed("unexpected attribute")),
            ("n,,n=,r=", Malformed("invalid nonce")),
            ("n,,n=,r=a b", Malformed("invalid nonce")),
            ("n,", Malformed("incomplete message")),
            ("n", Malformed("unexpected attribute")),
            ("", Malformed("unexpected channel-binding flag")),
        ] {
            let outcome = Exchange::start(verifier("pencil"), message.as_bytes(), NONCE).map(drop);
            assert_eq!(outcome, Err(expected), "{message}");
        }
        assert!(Exchange::start(verifier("pencil"), b"n,,n=\xff,r=x", NONCE).is_err());
        // The client supports channel binding, and was offered none.
        let exchange = Exchange::start(verifier("pencil"), b"y,,n=,r=x", NONCE).expect("started");
        assert_eq!(exchange.binding, "c=eSws");
    }

    #[test]
    fn exchange_refuses_malformed_last_messages() {
        let exchange = Exchange::start(verifier("pencil"), FIRST.as_bytes(), NONCE).expect("started");
        for message in [
            "",
            "c=biws",
            &LAST.replace("c=biws", "c=eSws"),
            &LAST.replace("$k0", "$k1"),
            &LAST.replace(",p=", ",q="),
            &LAST.replace("p=dHzb", "p=*"),
            &LAST.replace("p=dHzb", "p="),
            &format!("{LAST},x=1"),
        ] {
            assert!(matches!(exchange.finish(message.as_bytes()), Err(ScramError::Malformed(_))), "{message}");
        }
        assert!(exchange.finish(b"c=\xff").is_err());
    }

    #[test]
    fn verifier_parse_refuses_other_forms() {
        let text = form(&verifier("pencil"));
        for wrong in [
            text.replace("SCRAM-SHA-256", "SCRAM-SHA-1"),
            text.replace("4096", "0"),
            text.replace("4096", "-1"),
            text.replace("W22Z", "*22Z"),
            text.replace("$4096:W22ZaJ0SNY7soEsUEjb6gQ==", "$4096:"),
            text.trim_end_matches('=').to_owned(),
            text[..text.len() - 8].to_owned(),
            "SCRAM-SHA-256$".to_owned(),
            "md5d41d8cd98f00b204e9800998ecf8427e".to_owned(),
        ] {
            assert!(Verifier::parse(&wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn verifier_of_a_password_is_prepared_as_in_postgresql() {
        // U+00AA is normalized to "a", U+00AD is removed; a control character is not allowed, and used as it is.
        assert_eq!(form(&verifier("\u{aa}\u{ad}")), form(&verifier("a")));
        assert_ne!(form(&verifier("a\u{7}")), form(&verifier("a")));
    }

    proptest::proptest! {
        #[test]
        fn exchange_with_any_messages_does_not_panic(
            flag in "(n|y|p=x|)",
            first in "[nrma=,+/0-9 \\PC]{0,40}",
            last in "[crp=,+/0-9bisw\\PC]{0,60}",
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..40),
        ) {
            let verifier = verifier("pencil");
            let _ = Exchange::start(verifier.clone(), &bytes, NONCE);
            let _ = Exchange::start(verifier.clone(), format!("{flag},,{first}").as_bytes(), NONCE);
            let exchange = Exchange::start(verifier, FIRST.as_bytes(), NONCE).expect("started");
            for message in [last.as_bytes(), &bytes, format!("c=biws,r={last},p={last}").as_bytes()] {
                assert!(exchange.finish(message).is_err());
            }
            let _ = Verifier::parse(&format!("SCRAM-SHA-256${last}"));
        }

        #[test]
        fn exchange_succeeds_with_the_password_alone(password in "\\PC{1,20}", other in "\\PC{1,20}", iterations in 1..9_u32) {
            use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
            let iterations = NonZeroU32::new(iterations).expect("a number");
            let verifier = Verifier::new(&password, b"salt", iterations);
            for text in [&password, &other] {
                let is_same = Verifier::new(text, b"salt", iterations).stored_key == verifier.stored_key;
                let mut client = ScramSha256::new(text.as_bytes(), ChannelBinding::unrequested());
                let exchange = Exchange::start(verifier.clone(), client.message(), NONCE).expect("started");
                client.update(exchange.first().as_bytes()).expect("a challenge");
                match exchange.finish(client.message()) {
                    Ok(last) => {
                        assert!(is_same);
                        client.finish(last.as_bytes()).expect("the server's signature");
                    }
                    Err(error) => assert_eq!((error, is_same), (ScramError::WrongPassword, false)),
                }
            }
        }
    }
}
