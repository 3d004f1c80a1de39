//! Passwords of clients: the file of `--password-file`, and their check by SCRAM-SHA-256.

use std::{collections::HashMap, path::Path, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use pgentra_proxy::Stream;
use rustls::crypto::SecureRandom;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    private_input::{Reloaded, read_private},
    refusal::{Denied, Refusal, RefusalCause},
    scram::{self, Exchange, ITERATIONS, MECHANISM, SALT, ScramError, Verifier, mac},
};
use crate::failure::{Exit, Failure, Result};

/// PostgreSQL's limit for a message of SASL.
const MAX_MESSAGE: usize = 1024;

/// The number of random bytes of a nonce, as in PostgreSQL.
const NONCE: usize = 18;

/// The users of a password file.
pub struct Passwords {
    users: Arc<Reloaded<Users>>,
}

impl Passwords {
    /// Reads the file, which is read again when it changes.
    ///
    /// # Errors
    /// Fails if other users can read the file, and for a line that cannot be read.
    pub fn load(path: &Path) -> Result<Passwords> {
        // Salts that are not in the file depend on it. It stays the same when the file is read again.
        let secret = random::<32>()?;
        let file = path.to_owned();
        let make = move || {
            let text = read_private("the password file", &file)?;
            Users::parse(&text, &secret).map_err(|failure| failure.about(&format!("password file {}", file.display())))
        };
        Ok(Passwords { users: Arc::new(Reloaded::new(vec![path.to_owned()], make)?) })
    }

    /// Requests the client's password and checks it. Does not send `AuthenticationOk`. The caller sets a time limit.
    ///
    /// # Errors
    /// Fails if the client does not know the password, or violates the protocol.
    pub async fn authenticate(&self, stream: &mut impl Stream, user: &str) -> Result<(), Denied> {
        let verifier = self.users().await.verifier(user);
        let request = [MECHANISM.as_bytes(), b"\0\0"].concat();
        send(stream, 10, &request).await?;
        let message = receive(stream).await?;
        let client_first = initial_response(&message)?;
        let nonce = random::<NONCE>().map_err(|_| violation("the operating system returns no random numbers"))?;
        let nonce = BASE64_STANDARD.encode(nonce);
        let wrong = |error| denied(error, user);
        let exchange = Exchange::start(verifier, client_first, &nonce).map_err(wrong)?;
        send(stream, 11, exchange.first().as_bytes()).await?;
        let last = exchange.finish(&receive(stream).await?).map_err(wrong)?;
        send(stream, 12, last.as_bytes()).await
    }

    /// Returns the users. A changed file is read on another thread, because verifiers of many passwords take time.
    async fn users(&self) -> Arc<Users> {
        if self.users.is_changed() {
            let users = Arc::clone(&self.users);
            // A panic there was reported. The earlier users stay.
            let _ = tokio::task::spawn_blocking(move || users.get()).await;
        }
        self.users.get()
    }
}

/// Users by their names.
struct Users {
    verifiers: HashMap<String, Verifier>,
    /// The names in an order, to select one whose form an unknown user gets.
    names: Vec<String>,
    secret: [u8; 32],
}

impl Users {
    /// Reads lines `USER:PASSWORD` or `USER:SCRAM-SHA-256$…`. Empty lines and lines that begin with `#` are skipped.
    fn parse(text: &str, secret: &[u8; 32]) -> Result<Users> {
        let mut verifiers = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            // The line can contain a password, so that an error does not repeat it.
            let wrong = |what: &str| {
                Failure::usage(
                    format!("line {}: {what}", index + 1),
                    "Each line is USER:PASSWORD, or USER: and PostgreSQL's form SCRAM-SHA-256$ITERATIONS:SALT$KEY:KEY.",
                )
            };
            let (user, password) = line.split_once(':').ok_or_else(|| wrong("the colon is missing"))?;
            if user.is_empty() || password.is_empty() || line.contains('\0') {
                return Err(wrong("the user or the password is empty or contains NUL"));
            }
            let verifier = match Verifier::parse(password) {
                Some(verifier) => verifier,
                None if password.starts_with("SCRAM-SHA-256$") => return Err(wrong("the verifier cannot be read")),
                None if is_md5(password) => {
                    return Err(wrong("MD5 digests are not supported"));
                }
                None => Verifier::new(password, &derived(secret, "salt", user)[..SALT], ITERATIONS),
            };
            if verifiers.insert(user.to_owned(), verifier).is_some() {
                return Err(wrong("the user is in an earlier line, too"));
            }
        }
        if verifiers.is_empty() {
            return Err(Failure::usage("it names no users", "Add a line USER:PASSWORD."));
        }
        let mut names: Vec<String> = verifiers.keys().cloned().collect();
        names.sort_unstable();
        Ok(Users { verifiers, names, secret: *secret })
    }

    /// Returns the verifier of a user. That of an unknown user matches no password; a client cannot tell the two apart:
    /// its salt is the same at each attempt, and its number of iterations is that of a user in the file.
    fn verifier(&self, user: &str) -> Verifier {
        let salt = derived(&self.secret, "salt", user);
        let key = derived(&self.secret, "key", user);
        let pick = u64::from_le_bytes([key[0], key[1], key[2], key[3], key[4], key[5], key[6], key[7]]);
        let index = usize::try_from(pick % self.names.len() as u64).unwrap_or(0);
        let unmatchable = self.verifiers.get(&self.names[index]).map(|model| model.unmatchable(&salt, key));
        let known = self.verifiers.get(user).cloned();
        known.or(unmatchable).unwrap_or_else(|| Verifier::new("", &salt[..SALT], ITERATIONS).unmatchable(&salt, key))
    }
}

fn is_md5(password: &str) -> bool {
    let digits = password.strip_prefix("md5").unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn derived(secret: &[u8; 32], purpose: &str, user: &str) -> [u8; 32] {
    mac(secret, format!("{purpose}:{user}").as_bytes())
}

fn random<const LENGTH: usize>() -> Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    let random: &dyn SecureRandom = rustls::crypto::ring::default_provider().secure_random;
    random
        .fill(&mut bytes)
        .map_err(|_| Failure::new(Exit::Failed, "internal", "the operating system returns no random numbers", ""))?;
    Ok(bytes)
}

fn violation(what: &str) -> Denied {
    Denied::Refused(Refusal { cause: RefusalCause::Protocol, sqlstate: "08P01", message: what.to_owned(), hint: None })
}

fn denied(error: ScramError, user: &str) -> Denied {
    match error {
        ScramError::Malformed(what) => violation(&format!("malformed SCRAM message: {what}")),
        ScramError::Unsupported(what) => Denied::Refused(Refusal {
            cause: RefusalCause::Protocol,
            sqlstate: "0A000",
            message: what.to_owned(),
            hint: None,
        }),
        ScramError::WrongPassword => Denied::Refused(Refusal {
            cause: RefusalCause::Password,
            sqlstate: "28P01",
            message: format!("password authentication failed for user \"{user}\""),
            hint: Some("The password is that of the proxy's --password-file, not an Entra token.".to_owned()),
        }),
    }
}

/// Sends an authentication request.
async fn send(stream: &mut impl Stream, code: u32, data: &[u8]) -> Result<(), Denied> {
    let length = u32::try_from(data.len() + 8).unwrap_or(u32::MAX);
    let message = [b"R".as_slice(), &length.to_be_bytes(), &code.to_be_bytes(), data].concat();
    stream.write_all(&message).await.map_err(|_| Denied::Closed)?;
    stream.flush().await.map_err(|_| Denied::Closed)
}

/// Reads a `SASLInitialResponse` or a `SASLResponse`, and returns its body.
async fn receive(stream: &mut impl Stream) -> Result<Vec<u8>, Denied> {
    let kind = stream.read_u8().await.map_err(|_| Denied::Closed)?;
    if kind != b'p' {
        return Err(violation(&format!("expected SASL response, got message type {kind}")));
    }
    let length = stream.read_u32().await.map_err(|_| Denied::Closed)?;
    let length = usize::try_from(length).ok().and_then(|length| length.checked_sub(4));
    let length = length.filter(|length| *length <= MAX_MESSAGE).ok_or_else(|| violation("invalid message length"))?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.map_err(|_| Denied::Closed)?;
    Ok(body)
}

/// Returns the client's first message in a `SASLInitialResponse`.
fn initial_response(message: &[u8]) -> Result<&[u8], Denied> {
    let end = message.iter().position(|byte| *byte == 0);
    let (mechanism, rest) = end.map(|end| (&message[..end], &message[end + 1..])).unwrap_or((message, &[]));
    if mechanism != scram::MECHANISM.as_bytes() {
        return Err(violation("client selected an invalid SASL authentication mechanism"));
    }
    let (length, response) = rest.split_first_chunk().ok_or_else(|| violation("incomplete SASL response"))?;
    if usize::try_from(u32::from_be_bytes(*length)) != Ok(response.len()) {
        return Err(violation("incomplete SASL response"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use postgres_protocol::{
        authentication::sasl::{ChannelBinding, ScramSha256},
        message::frontend,
    };

    use super::*;

    const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
                            wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    fn write(path: &Path, text: &str) {
        std::fs::write(path, text).expect("written");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("changed");
    }

    /// Logs a client in, and returns the server's outcome.
    async fn log_in(passwords: &Passwords, user: &str, password: &str, binding: ChannelBinding) -> Result<(), Denied> {
        let (mut client, mut server) = tokio::io::duplex(4096);
        let dialogue = async {
            let mut scram = ScramSha256::new(password.as_bytes(), binding);
            assert_eq!(read(&mut client).await?, (10, b"SCRAM-SHA-256\0\0".to_vec()));
            let mut message = bytes::BytesMut::new();
            frontend::sasl_initial_response(MECHANISM, scram.message(), &mut message).expect("a message");
            client.write_all(&message).await.ok()?;
            let (code, challenge) = read(&mut client).await?;
            assert_eq!(code, 11);
            scram.update(&challenge).expect("a challenge");
            message.clear();
            frontend::sasl_response(scram.message(), &mut message).expect("a message");
            client.write_all(&message).await.ok()?;
            let (code, last) = read(&mut client).await?;
            assert_eq!(code, 12);
            scram.finish(&last).expect("the server knows the password too");
            Some(())
        };
        let check = async {
            let outcome = passwords.authenticate(&mut server, user).await;
            drop(server);
            outcome
        };
        let (completed, outcome) = tokio::join!(dialogue, check);
        assert_eq!(completed.is_some(), outcome.is_ok());
        outcome
    }

    async fn read(stream: &mut tokio::io::DuplexStream) -> Option<(u32, Vec<u8>)> {
        assert_eq!(stream.read_u8().await.ok()?, b'R');
        let length = stream.read_u32().await.ok()?;
        let code = stream.read_u32().await.ok()?;
        let mut body = vec![0; length as usize - 8];
        stream.read_exact(&mut body).await.ok()?;
        Some((code, body))
    }

    #[tokio::test]
    async fn passwords_authenticate_users_of_both_forms() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("passwords");
        write(&path, &format!("# comment\n\nreader:secret: with colon\nuser:{VERIFIER}\n"));
        let passwords = Passwords::load(&path).expect("read");
        for (user, password, is_right) in [
            ("user", "pencil", true),
            ("user", "Pencil", false),
            ("reader", "secret: with colon", true),
            ("reader", "secret", false),
            ("unknown", "pencil", false),
            ("", "pencil", false),
        ] {
            for binding in [ChannelBinding::unsupported(), ChannelBinding::unrequested()] {
                let outcome = log_in(&passwords, user, password, binding).await;
                match outcome {
                    Ok(()) => assert!(is_right, "{user}"),
                    Err(Denied::Refused(refusal)) => {
                        assert!(!is_right, "{user}: {}", refusal.message);
                        assert_eq!(refusal.sqlstate, "28P01");
                    }
                    Err(Denied::Closed) => panic!("closed"),
                }
            }
        }
        let bound = ChannelBinding::tls_server_end_point(vec![1; 32]);
        let Err(Denied::Refused(refusal)) = log_in(&passwords, "user", "pencil", bound).await else { panic!("let in") };
        assert_eq!((refusal.sqlstate, refusal.message.contains("channel binding")), ("08P01", true));
        // A changed file counts at the next login.
        write(&path, "user:pen\n");
        assert!(log_in(&passwords, "user", "pen", ChannelBinding::unsupported()).await.is_ok());
        assert!(log_in(&passwords, "user", "pencil", ChannelBinding::unsupported()).await.is_err());
        assert!(log_in(&passwords, "reader", "secret: with colon", ChannelBinding::unsupported()).await.is_err());
    }

    #[tokio::test]
    async fn passwords_refuse_other_messages() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("passwords");
        write(&path, "user:pencil");
        let passwords = Passwords::load(&path).expect("read");
        for (message, sqlstate) in [
            (b"Q\0\0\0\x04".to_vec(), Some("08P01")),
            (b"p\0\0\0\x03".to_vec(), Some("08P01")),
            (b"p\xff\xff\xff\xff".to_vec(), Some("08P01")),
            (b"p\0\0\0\x04".to_vec(), Some("08P01")),
            (b"p\0\0\0\x0bsecret\0".to_vec(), Some("08P01")),
            (b"p\0\0\0\x16SCRAM-SHA-256\0\0\0\0\x09".to_vec(), Some("08P01")),
            (b"p\0\0\0\x16SCRAM-SHA-256\0\xff\xff\xff\xff".to_vec(), Some("08P01")),
            (b"p\0\0\0\x16SCRAM".to_vec(), None),
            (Vec::new(), None),
        ] {
            let (mut client, mut server) = tokio::io::duplex(4096);
            client.write_all(&message).await.expect("written");
            client.shutdown().await.expect("closed");
            match passwords.authenticate(&mut server, "user").await {
                Err(Denied::Refused(refusal)) => assert_eq!(Some(refusal.sqlstate), sqlstate, "{message:?}"),
                Err(Denied::Closed) => assert_eq!(None, sqlstate, "{message:?}"),
                Ok(()) => panic!("accepted: {message:?}"),
            }
        }
    }

    #[test]
    fn users_unknown_ones_look_like_known_ones() {
        let text = format!("user:{VERIFIER}\nreader:secret").replace("4096", "5000");
        let users = Users::parse(&text, &[7; 32]).expect("read");
        let first = |user: &str| {
            let exchange = Exchange::start(users.verifier(user), b"n,,n=,r=x", "y").expect("started");
            exchange.first().to_owned()
        };
        // The same at each attempt, of the same length, with a number of iterations that is in the file.
        let firsts: Vec<String> = (0..50).map(|index| first(&format!("unknown-{index}"))).collect();
        assert_eq!(first("unknown-1"), firsts[1]);
        assert!(firsts.iter().all(|text| text.len() == first("user").len()));
        assert!(
            firsts.iter().any(|text| text.ends_with("i=4096")) && firsts.iter().any(|text| text.ends_with("i=5000"))
        );
        assert_eq!(firsts.iter().collect::<std::collections::HashSet<_>>().len(), 50);
    }

    #[test]
    fn users_parse_names_the_line_and_no_password() {
        for (text, expected) in [
            ("a:b\ncanary", "line 2: the colon is missing"),
            ("a:b\na:canary", "line 2: the user is in an earlier line"),
            (":canary", "line 1: the user or the password is empty"),
            ("canary:", "line 1: the user or the password is empty"),
            ("a:SCRAM-SHA-256$canary", "line 1: the verifier cannot be read"),
            ("a:md5d41d8cd98f00b204e9800998ecf8427e", "line 1: MD5"),
            ("# only a comment\n\n", "names no users"),
        ] {
            let failure = Users::parse(text, &[0; 32]).map(drop).expect_err("refused");
            assert!(failure.headline().contains(expected), "{failure}");
            assert!(!failure.to_string().contains("canary"), "{failure}");
        }
        assert!(Users::parse("a:b\r\nc:d\r\n", &[0; 32]).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn initial_response_of_any_bytes_does_not_panic(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..40),
            length in proptest::num::u32::ANY,
        ) {
            let _ = initial_response(&bytes);
            let complete = [MECHANISM.as_bytes(), b"\0", &length.to_be_bytes(), &bytes].concat();
            assert_eq!(initial_response(&complete).is_ok(), length as usize == bytes.len());
        }
    }
}
