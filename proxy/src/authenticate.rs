//! Authentication: the request for a client's password, and the responses to a server's requests.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::message::{
    CLEARTEXT_PASSWORD_REQUEST, Message, ProtocolError, ReadError, framed, password_message, read_packet, read_password,
};
use crate::stream::Stream;

/// PostgreSQL's limit for a client's SASL messages, without their type and length.
const MAX_SASL_MESSAGE: usize = 1024;

/// Requests the client's password in clear text, and returns it. The connection must be encrypted, unless both ends of
/// it are on the same machine.
///
/// # Errors
/// See [`read_password`].
pub async fn request_password(stream: &mut impl Stream) -> Result<Vec<u8>, ReadError> {
    stream.write_all(&CLEARTEXT_PASSWORD_REQUEST).await?;
    stream.flush().await?;
    read_password(stream).await
}

/// Returns the message `AuthenticationSASL`, which offers mechanisms.
pub fn sasl_request(mechanisms: &[&str]) -> Vec<u8> {
    let mut data = Vec::new();
    for mechanism in mechanisms {
        data.extend(mechanism.bytes());
        data.push(0);
    }
    data.push(0);
    authentication_message(10, &data)
}

/// Returns the message `AuthenticationSASLContinue` with the mechanism's data.
pub fn sasl_continue(data: &[u8]) -> Vec<u8> {
    authentication_message(11, data)
}

/// Returns the message `AuthenticationSASLFinal` with the mechanism's data. `AuthenticationOk` follows it: from the
/// server, or as [`AUTHENTICATION_OK`].
pub fn sasl_final(data: &[u8]) -> Vec<u8> {
    authentication_message(12, data)
}

/// The message `AuthenticationOk`.
pub const AUTHENTICATION_OK: [u8; 9] = [b'R', 0, 0, 0, 8, 0, 0, 0, 0];

fn authentication_message(code: u32, data: &[u8]) -> Vec<u8> {
    framed(b'R', &[&code.to_be_bytes(), data].concat())
}

/// A client's message `SASLInitialResponse`.
#[derive(Clone, PartialEq, Eq)]
pub struct SaslInitialResponse {
    /// The mechanism that the client selected.
    pub mechanism: String,
    /// The mechanism's data, if the client has sent some.
    pub data: Option<Vec<u8>>,
}

impl std::fmt::Debug for SaslInitialResponse {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SaslInitialResponse").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

/// Reads a client's `SASLInitialResponse`, the response to [`sasl_request`].
///
/// # Errors
/// Fails for any other message, and for one of more than 1,024 bytes.
pub async fn read_sasl_initial_response(stream: &mut impl Stream) -> Result<SaslInitialResponse, ReadError> {
    let body = read_sasl_response(stream).await?;
    Ok(parse_sasl_initial_response(&body).ok_or_else(|| ProtocolError::violation("invalid SASL response"))?)
}

fn parse_sasl_initial_response(body: &[u8]) -> Option<SaslInitialResponse> {
    let end = body.iter().position(|byte| *byte == 0)?;
    let mechanism = std::str::from_utf8(&body[..end]).ok()?.to_owned();
    let (length, data) = body[end + 1..].split_first_chunk()?;
    let data = match i32::from_be_bytes(*length) {
        -1 if data.is_empty() => None,
        length if usize::try_from(length) == Ok(data.len()) => Some(data.to_vec()),
        _ => return None,
    };
    Some(SaslInitialResponse { mechanism, data })
}

/// Reads a client's `SASLResponse`, the response to [`sasl_continue`], and returns the mechanism's data.
///
/// # Errors
/// Fails for any other message, and for one of more than 1,024 bytes.
pub async fn read_sasl_response(stream: &mut impl Stream) -> Result<Vec<u8>, ReadError> {
    let kind = stream.read_u8().await?;
    if kind != b'p' {
        return Err(ProtocolError::violation(format!("expected SASL response, got message type {kind}")).into());
    }
    let packet = read_packet(stream, MAX_SASL_MESSAGE + 4).await?;
    let mut packet = packet.ok_or_else(|| ProtocolError::violation("invalid message length"))?;
    Ok(packet.split_off(4))
}

/// A server's request for authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationRequest<'a> {
    /// The login was accepted.
    Ok,
    /// The password in clear text.
    CleartextPassword,
    /// The password as an MD5 digest with this salt.
    Md5Password {
        /// The salt.
        salt: [u8; 4],
    },
    /// The first message of one of these SASL mechanisms.
    Sasl {
        /// The names, separated and ended by NUL bytes; see [`offers`](Self::offers).
        mechanisms: &'a [u8],
    },
    /// The next message of the SASL mechanism.
    SaslContinue {
        /// The server's message.
        data: &'a [u8],
    },
    /// The end of the SASL mechanism, which needs no response.
    SaslFinal {
        /// The server's message.
        data: &'a [u8],
    },
    /// Another kind of authentication, by its code.
    Other(u32),
}

impl<'a> AuthenticationRequest<'a> {
    /// Reads the body of a message of type `R`. Returns `None` if it is incomplete or too long for its kind.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let (code, data) = body.split_first_chunk()?;
        Some(match u32::from_be_bytes(*code) {
            0 if data.is_empty() => Self::Ok,
            3 if data.is_empty() => Self::CleartextPassword,
            0 | 3 => return None,
            5 => Self::Md5Password { salt: data.try_into().ok()? },
            10 => Self::Sasl { mechanisms: data },
            11 => Self::SaslContinue { data },
            12 => Self::SaslFinal { data },
            code => Self::Other(code),
        })
    }

    /// Returns whether this is a request for SASL that offers the mechanism.
    pub fn offers(&self, mechanism: &str) -> bool {
        match self {
            Self::Sasl { mechanisms } => {
                mechanisms.split(|byte| *byte == 0).any(|offered| offered == mechanism.as_bytes())
            }
            _ => false,
        }
    }

    pub(crate) fn of(message: &'a Message) -> io::Result<Self> {
        Self::parse(message.body()).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the server sent an invalid authentication request")
        })
    }
}

/// How an [`Authenticator`] responds to the server.
#[derive(PartialEq, Eq)]
pub enum AuthenticationResponse {
    /// Sends this message, which can contain a password.
    Send(Vec<u8>),
    /// Sends nothing and reads the server's next message.
    Wait,
    /// Ends the login. Nothing is sent.
    Decline,
}

/// Responds to a server's requests for authentication, with the role's password or not.
pub trait Authenticator {
    /// Returns the response to a request other than [`AuthenticationRequest::Ok`].
    ///
    /// # Errors
    /// An error ends the login.
    fn respond(&mut self, request: AuthenticationRequest<'_>) -> io::Result<AuthenticationResponse>;
}

/// Sends a password if the server requests it in clear text, and nothing otherwise: a server that requests MD5, SCRAM
/// or anything else gets no byte of it, and the login ends as declined.
///
/// The connection must be encrypted and the server verified, unless both ends are on the same machine.
pub struct CleartextPassword<'a> {
    password: &'a [u8],
    declined: Option<&'static str>,
    is_sent: bool,
}

impl<'a> CleartextPassword<'a> {
    /// Creates the authenticator for one login.
    pub fn new(password: &'a [u8]) -> Self {
        Self { password, declined: None, is_sent: false }
    }

    /// Returns what was declined, such as "a SCRAM password", for an error's text.
    pub fn declined(&self) -> Option<&'static str> {
        self.declined
    }

    /// Returns whether the server has requested the password. A server that accepts a login without it uses `trust` or
    /// a certificate.
    pub fn is_sent(&self) -> bool {
        self.is_sent
    }
}

impl Authenticator for CleartextPassword<'_> {
    fn respond(&mut self, request: AuthenticationRequest<'_>) -> io::Result<AuthenticationResponse> {
        let declined = match request {
            // A second request would be a violation of the protocol.
            AuthenticationRequest::CleartextPassword if !self.is_sent => match password_message(self.password) {
                Some(message) => {
                    self.is_sent = true;
                    return Ok(AuthenticationResponse::Send(message));
                }
                None => "a password of at most 65,530 bytes",
            },
            AuthenticationRequest::Md5Password { .. } => "an MD5 password",
            AuthenticationRequest::Sasl { .. } => "a SCRAM password",
            _ => "another kind of authentication",
        };
        self.declined = Some(declined);
        Ok(AuthenticationResponse::Decline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authentication_request_parse_reads_each_kind() {
        use AuthenticationRequest::*;
        for (body, request) in [
            (&b"\0\0\0\0"[..], Some(Ok)),
            (b"\0\0\0\x03", Some(CleartextPassword)),
            (b"\0\0\0\x05salt", Some(Md5Password { salt: *b"salt" })),
            (b"\0\0\0\x05sal", None),
            (b"\0\0\0\x07", Some(Other(7))),
            (b"\0\0\0\x0aSCRAM-SHA-256\0\0", Some(Sasl { mechanisms: b"SCRAM-SHA-256\0\0" })),
            (b"\0\0\0\x0br=1", Some(SaslContinue { data: b"r=1" })),
            (b"\0\0\0\x0cv=1", Some(SaslFinal { data: b"v=1" })),
            (b"\0\0\0", None),
            (b"\0\0\0\0x", None),
            (b"\0\0\0\x03SCRAM-SHA-256\0\0", None),
            (b"", None),
        ] {
            assert_eq!(AuthenticationRequest::parse(body), request, "{body:?}");
        }
    }

    #[test]
    fn authentication_request_offers_compares_whole_names() {
        let request = AuthenticationRequest::Sasl { mechanisms: b"SCRAM-SHA-256-PLUS\0OAUTHBEARER\0\0" };
        assert!(request.offers("OAUTHBEARER") && request.offers("SCRAM-SHA-256-PLUS"));
        assert!(!request.offers("SCRAM-SHA-256") && !AuthenticationRequest::Ok.offers("OAUTHBEARER"));
    }

    #[test]
    fn sasl_messages_are_read_as_their_requests() {
        let request = |message: &[u8]| {
            assert_eq!(message[0], b'R');
            assert_eq!(u32::from_be_bytes(message[1..5].try_into().unwrap()) as usize, message.len() - 1);
            message[5..].to_vec()
        };
        let body = request(&sasl_request(&["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]));
        let offer = AuthenticationRequest::parse(&body).unwrap();
        assert!(offer.offers("SCRAM-SHA-256") && offer.offers("SCRAM-SHA-256-PLUS") && body.ends_with(b"\0\0"));
        let body = request(&sasl_continue(b"r=1"));
        assert_eq!(AuthenticationRequest::parse(&body), Some(AuthenticationRequest::SaslContinue { data: b"r=1" }));
        let body = request(&sasl_final(b"v=1"));
        assert_eq!(AuthenticationRequest::parse(&body), Some(AuthenticationRequest::SaslFinal { data: b"v=1" }));
        assert_eq!(AuthenticationRequest::parse(&AUTHENTICATION_OK[5..]), Some(AuthenticationRequest::Ok));
    }

    #[tokio::test]
    async fn read_sasl_initial_response_of_each_form_returns_it_or_postgresqls_error() {
        let initial = |body: &[u8]| framed(b'p', body);
        let response = |mechanism: &str, data: Option<&[u8]>| {
            Some(SaslInitialResponse { mechanism: mechanism.into(), data: data.map(<[u8]>::to_vec) })
        };
        for (message, expected) in [
            (initial(b"SCRAM-SHA-256\0\0\0\0\x04n,,x"), response("SCRAM-SHA-256", Some(b"n,,x"))),
            (initial(b"SCRAM-SHA-256\0\xff\xff\xff\xff"), response("SCRAM-SHA-256", None)),
            (initial(b"X\0\0\0\0\0"), response("X", Some(b""))),
            (initial(b"X\0\0\0\0\x01"), None),
            (initial(b"X\0\0\0\0\0x"), None),
            (initial(b"X\0\xff\xff\xff\xffx"), None),
            (initial(b"X\0\xff\xff\xff\xfe"), None),
            (initial(b"X\0\0\0\0"), None),
            (initial(b"X"), None),
            (initial(b""), None),
            (initial(b"\xff\0\0\0\0\0"), None),
            (framed(b'Q', b"X\0\0\0\0\0"), None),
            (framed(b'p', &[b'x'; 1025]), None),
        ] {
            let (mut client, mut stream) = tokio::io::duplex(1 << 12);
            client.write_all(&message).await.unwrap();
            match (read_sasl_initial_response(&mut stream).await, expected) {
                (Ok(read), Some(expected)) => assert!(read == expected, "{read:?}"),
                (Err(ReadError::Protocol(error)), None) => assert_eq!(error.sqlstate, "08P01"),
                (read, _) => panic!("{message:?}: {read:?}"),
            }
        }
    }

    #[tokio::test]
    async fn read_sasl_response_up_to_the_limit_returns_the_data() {
        for length in [0, 1, 1024] {
            let (mut client, mut stream) = tokio::io::duplex(1 << 12);
            let data = vec![b'x'; length];
            client.write_all(&framed(b'p', &data)).await.unwrap();
            assert_eq!(read_sasl_response(&mut stream).await, Ok(data));
        }
        let (client, mut stream) = tokio::io::duplex(1 << 12);
        drop(client);
        assert_eq!(read_sasl_response(&mut stream).await, Err(ReadError::Closed));
    }
}
