//! Authentication: the request for a client's password, and the responses to a server's requests.

use std::io;

use tokio::io::AsyncWriteExt;

use crate::message::{CLEARTEXT_PASSWORD_REQUEST, Message, ReadError, read_password};
use crate::stream::Stream;

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
}
