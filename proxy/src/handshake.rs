//! The client's side of the start: encryption, up to the first other message.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::message::ReadError;
use crate::startup::{Opening, read_opening};
use crate::stream::{BoxedStream, Rewound, Stream};
use crate::{ALPN, ProtocolError};

/// The first byte of a TLS handshake, which a client sends if it does not request TLS first.
const TLS_HANDSHAKE: u8 = 0x16;

/// Why a connection ends before its first message was read.
pub enum HandshakeError {
    /// The client has closed the connection, or the connection has failed.
    Closed,
    /// The TLS handshake failed.
    Tls(io::Error),
    /// The client started TLS directly, without the protocol [`ALPN`]. PostgreSQL requires it, so that a client of
    /// another protocol cannot be misused to connect to it.
    NoAlpn,
    /// The client violated the protocol. The stream is for the error; see [`reject`](crate::reject()).
    Protocol(BoxedStream, ProtocolError),
}

/// A client's handshake: responds to requests for encryption, and accepts direct TLS.
///
/// The value outlives the future of [`accept`](Self::accept), so that [`is_encrypted`](Self::is_encrypted) is also
/// available after a time limit.
pub struct Handshake<'a> {
    tls: Option<&'a TlsAcceptor>,
    is_encrypted: bool,
}

impl<'a> Handshake<'a> {
    /// Creates a handshake. Without `tls`, requests for TLS are declined. The acceptor should offer the protocol
    /// [`ALPN`] for direct TLS.
    pub fn new(tls: Option<&'a TlsAcceptor>) -> Self {
        Self { tls, is_encrypted: false }
    }

    /// Returns whether a TLS handshake was completed.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Reads up to the first message that does not request encryption, and returns it. Requests for GSSAPI encryption
    /// are declined. Each kind of encryption can be requested once; a further request is returned like any message.
    ///
    /// Bytes that a client or an attacker sends after a request for TLS and before the response are read as part of the
    /// TLS handshake, and make it fail.
    ///
    /// The caller sets a time limit.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub async fn accept<S: Stream + 'static>(
        &mut self,
        mut stream: S,
    ) -> Result<(BoxedStream, Opening), HandshakeError> {
        let first = stream.read_u8().await.map_err(closed)?;
        if let Some(tls) = self.tls.filter(|_| first == TLS_HANDSHAKE) {
            let stream = tls.accept(Rewound::new(first, stream)).await.map_err(HandshakeError::Tls)?;
            if stream.get_ref().1.alpn_protocol() != Some(ALPN.as_bytes()) {
                return Err(HandshakeError::NoAlpn);
            }
            self.is_encrypted = true;
            return read(Box::new(stream)).await;
        }
        let mut first = Some(first);
        let (mut tls_requested, mut gss_requested) = (false, false);
        loop {
            let unread: Vec<u8> = first.take().into_iter().collect();
            let opening = match read_opening(&mut unread.chain(&mut stream)).await {
                Ok(opening) => opening,
                Err(error) => return Err(unreadable(Box::new(stream), error)),
            };
            match (opening, self.tls) {
                (Opening::Ssl, Some(tls)) if !tls_requested => {
                    respond(&mut stream, b"S").await.map_err(closed)?;
                    let stream = tls.accept(stream).await.map_err(HandshakeError::Tls)?;
                    self.is_encrypted = true;
                    return read(Box::new(stream)).await;
                }
                (Opening::Ssl, None) if !tls_requested => {
                    tls_requested = true;
                    respond(&mut stream, b"N").await.map_err(closed)?;
                }
                (Opening::Gss, _) if !gss_requested => {
                    gss_requested = true;
                    respond(&mut stream, b"N").await.map_err(closed)?;
                }
                (opening, _) => return Ok((Box::new(stream), opening)),
            }
        }
    }
}

async fn respond(stream: &mut impl Stream, response: &[u8]) -> io::Result<()> {
    stream.write_all(response).await?;
    stream.flush().await
}

async fn read(mut stream: BoxedStream) -> Result<(BoxedStream, Opening), HandshakeError> {
    match read_opening(&mut stream).await {
        Ok(opening) => Ok((stream, opening)),
        Err(error) => Err(unreadable(stream, error)),
    }
}

fn closed(_: io::Error) -> HandshakeError {
    HandshakeError::Closed
}

fn unreadable(stream: BoxedStream, error: ReadError) -> HandshakeError {
    match error {
        ReadError::Closed => HandshakeError::Closed,
        ReadError::Protocol(error) => HandshakeError::Protocol(stream, error),
    }
}
