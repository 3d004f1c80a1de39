//! Messages of the PostgreSQL protocol (3.x) that a proxy reads and writes before it relays bytes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// PostgreSQL's limit for a password message, including its length field: 65,530 bytes of password.
const MAX_PASSWORD_MESSAGE: usize = 65_535;

/// The limit for a server's messages before the first query, which are much smaller.
const MAX_SERVER_MESSAGE: usize = 1 << 16;

/// The message `AuthenticationCleartextPassword`.
pub const CLEARTEXT_PASSWORD_REQUEST: [u8; 9] = [b'R', 0, 0, 0, 8, 0, 0, 0, 3];

/// Why a client's messages cannot be read further.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The connection was closed or has failed.
    #[error("the connection was closed")]
    Closed,
    /// The client violated the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

impl From<io::Error> for ReadError {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// A violation of the protocol, to be reported to the client with [`error_response`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({sqlstate})")]
pub struct ProtocolError {
    /// The SQLSTATE, as PostgreSQL reports it.
    pub sqlstate: &'static str,
    /// The message, as PostgreSQL reports it. Contains no password.
    pub message: String,
}

impl ProtocolError {
    pub(crate) fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { sqlstate, message: message.into() }
    }

    /// Returns an error with the SQLSTATE `protocol_violation`.
    pub(crate) fn violation(message: impl Into<String>) -> Self {
        Self::new("08P01", message)
    }
}

/// Reads the length and the rest of a message that has no type, or whose type was already read. Returns `None` if the
/// length is not within 4 and `limit`.
pub(crate) async fn read_packet(stream: &mut (impl AsyncRead + Unpin), limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut packet = vec![0; 4];
    stream.read_exact(&mut packet).await?;
    let length = u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]]) as usize;
    if !(4..=limit).contains(&length) {
        return Ok(None);
    }
    packet.resize(length, 0);
    stream.read_exact(&mut packet[4..]).await?;
    Ok(Some(packet))
}

/// Reads a client's `PasswordMessage` and returns the password.
///
/// # Errors
/// Fails for any other message, and for a password that PostgreSQL does not accept either: an empty one, one with a
/// NUL byte, or one of more than 65,530 bytes.
pub async fn read_password(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, ReadError> {
    let kind = stream.read_u8().await?;
    if kind != b'p' {
        let message = format!("expected password response, got message type {kind}");
        return Err(ProtocolError::violation(message).into());
    }
    // PostgreSQL only logs this and closes the connection.
    let packet = read_packet(stream, MAX_PASSWORD_MESSAGE)
        .await?
        .ok_or_else(|| ProtocolError::violation("invalid message length"))?;
    match packet[4..].split_last() {
        Some((0, [])) => Err(ProtocolError::new("28P01", "empty password returned by client").into()),
        Some((0, password)) if !password.contains(&0) => Ok(password.to_vec()),
        _ => Err(ProtocolError::violation("invalid password packet size").into()),
    }
}

/// Returns a `PasswordMessage`, or `None` if PostgreSQL cannot read the password: it contains a NUL byte, or is longer
/// than 65,530 bytes.
pub fn password_message(password: &[u8]) -> Option<Vec<u8>> {
    let length = password.len() + 5;
    if length > MAX_PASSWORD_MESSAGE || password.contains(&0) {
        return None;
    }
    let mut message = vec![b'p'];
    message.extend(u32::try_from(length).ok()?.to_be_bytes());
    message.extend(password);
    message.push(0);
    Some(message)
}

/// A message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The type.
    pub kind: u8,
    /// All bytes, including type and length.
    pub bytes: Vec<u8>,
}

impl Message {
    /// Returns the bytes after type and length.
    pub fn body(&self) -> &[u8] {
        self.bytes.get(5..).unwrap_or_default()
    }
}

/// Reads one message of the server. Only messages before the first query are supported: their size is limited to
/// 64 kB.
///
/// # Errors
/// Fails if the connection ends, or if the length is not that of a message.
pub async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Message> {
    let kind = stream.read_u8().await?;
    let packet = read_packet(stream, MAX_SERVER_MESSAGE).await?;
    let packet = packet.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "the server sent a message with an invalid length")
    })?;
    let mut bytes = vec![kind];
    bytes.extend(packet);
    Ok(Message { kind, bytes })
}

/// The fields of an `ErrorResponse`.
///
/// The texts are what a program decides with: bytes that are not UTF-8 are replaced in them. All fields are kept as they
/// were received, and [`to_message`](Self::to_message) returns them unchanged, except for those that were replaced.
///
/// ```
/// use pgentra_proxy::message::ErrorFields;
///
/// let error = ErrorFields::parse(b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed\0Fauth.c\0\0");
/// assert_eq!(error.sqlstate, "28P01");
/// let explained = error.with_detail("The role does not exist.").to_message();
/// assert_eq!(ErrorFields::parse(&explained[5..]).detail.as_deref(), Some("The role does not exist."));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorFields {
    /// The severity, which is not translated; empty if it is absent.
    pub severity: String,
    /// The SQLSTATE; empty if it is absent.
    pub sqlstate: String,
    /// The message; empty if it is absent.
    pub message: String,
    /// The detail.
    pub detail: Option<String>,
    /// The hint.
    pub hint: Option<String>,
    /// All fields by their types, in the server's order.
    fields: Vec<(u8, Vec<u8>)>,
}

impl ErrorFields {
    /// Creates the fields of a fatal error. NUL bytes, which end a field, are left out of the texts.
    pub fn fatal(sqlstate: &str, message: &str) -> Self {
        let mut fields = Self::default();
        for (kind, text) in [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', sqlstate), (b'M', message)] {
            fields.append(kind, &without_nul(text));
        }
        fields
    }

    /// Reads the body of an `ErrorResponse` or a `NoticeResponse`.
    pub fn parse(body: &[u8]) -> Self {
        let mut fields = Self::default();
        for field in body.split(|byte| *byte == 0) {
            // An empty field ends the message.
            let Some((kind, value)) = field.split_first() else { break };
            fields.append(*kind, value);
        }
        fields
    }

    /// Returns the fields with another detail. It follows the message.
    #[must_use]
    pub fn with_detail(self, detail: &str) -> Self {
        self.with(b'D', detail)
    }

    /// Returns the fields with another hint. It follows the detail, or else the message.
    #[must_use]
    pub fn with_hint(self, hint: &str) -> Self {
        self.with(b'H', hint)
    }

    /// Returns the value of a field by its type, as it was received.
    pub fn field(&self, kind: u8) -> Option<&[u8]> {
        self.fields.iter().rev().find(|(field, _)| *field == kind).map(|(_, value)| value.as_slice())
    }

    /// Returns the `ErrorResponse` with these fields.
    pub fn to_message(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, value) in &self.fields {
            body.push(*kind);
            body.extend(value);
            body.push(0);
        }
        body.push(0);
        framed(b'E', &body)
    }

    fn append(&mut self, kind: u8, value: &[u8]) {
        let text = || String::from_utf8_lossy(value).into_owned();
        match kind {
            // The severity of `S` is translated, and servers before 9.6 have only that.
            b'S' if self.severity.is_empty() => self.severity = text(),
            b'V' => self.severity = text(),
            b'C' => self.sqlstate = text(),
            b'M' => self.message = text(),
            b'D' => self.detail = Some(text()),
            b'H' => self.hint = Some(text()),
            _ => {}
        }
        self.fields.push((kind, value.to_vec()));
    }

    fn with(self, kind: u8, text: &str) -> Self {
        let mut fields: Vec<_> = self.fields.into_iter().filter(|(field, _)| *field != kind).collect();
        let before: &[u8] = if kind == b'D' { b"SVCM" } else { b"SVCMD" };
        let position = fields.iter().rposition(|(field, _)| before.contains(field)).map_or(0, |last| last + 1);
        fields.insert(position, (kind, without_nul(text)));
        let mut changed = Self::default();
        for (kind, value) in fields {
            changed.append(kind, &value);
        }
        changed
    }
}

fn without_nul(text: &str) -> Vec<u8> {
    text.bytes().filter(|byte| *byte != 0).collect()
}

/// Returns a message with this type and body.
pub(crate) fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend(u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_be_bytes());
    message.extend(body);
    message
}

/// Returns a fatal `ErrorResponse`: a short form of [`ErrorFields::fatal`].
pub fn error_response(sqlstate: &str, message: &str, hint: Option<&str>) -> Vec<u8> {
    let error = ErrorFields::fatal(sqlstate, message);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
    .to_message()
}

/// Returns the `ErrorResponse` for an idle session that is ended: FATAL 57P01, as a server sends it when it is shut
/// down. Connection pools open another connection then.
pub fn session_ended() -> Vec<u8> {
    error_response("57P01", "terminating connection due to administrator command", None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn read_password_at_the_limits_accepts_what_postgresql_accepts() {
        // `password_message` refuses some of these.
        let message = |password: &[u8]| {
            let mut message = vec![b'p'];
            message.extend(u32::try_from(password.len() + 5).unwrap().to_be_bytes());
            message.extend(password);
            message.push(0);
            message
        };
        let longest = vec![b'a'; 65_530];
        assert_eq!(read_password(&mut &*message(&longest)).await.unwrap(), longest);
        for (bytes, sqlstate) in [
            (message(&[b'a'; 65_531]), "08P01"),
            (message(b""), "28P01"),
            (message(b"a\0b"), "08P01"),
            (b"p\0\0\0\x04".to_vec(), "08P01"),
            (b"p\0\0\0\x03".to_vec(), "08P01"),
            (b"Q\0\0\0\x05\0".to_vec(), "08P01"),
        ] {
            let Err(ReadError::Protocol(error)) = read_password(&mut &*bytes).await else { panic!("read: {bytes:?}") };
            assert_eq!(error.sqlstate, sqlstate);
        }
    }

    #[tokio::test]
    async fn password_message_round_trip_returns_the_password() {
        let longest = vec![b'a'; 65_530];
        for password in [&b"x"[..], b"a b'\\", &longest] {
            assert_eq!(read_password(&mut &*password_message(password).unwrap()).await.unwrap(), password);
        }
        assert_eq!(password_message(&[b'a'; 65_531]), None);
        assert_eq!(password_message(b"a\0b"), None);
    }

    #[tokio::test]
    async fn read_message_with_an_invalid_length_fails() {
        assert_eq!(read_message(&mut &b"S\0\0\0\x07a\0b"[..]).await.unwrap().body(), b"a\0b");
        assert_eq!(read_message(&mut &b"S\0\0\0\x04"[..]).await.unwrap().body(), b"");
        for (bytes, kind) in [
            (&b"S\0\0\0\x03"[..], io::ErrorKind::InvalidData),
            (b"S\0\x01\0\x01", io::ErrorKind::InvalidData),
            (b"S\xff\xff\xff\xff", io::ErrorKind::InvalidData),
            (b"S\0\0\0\x07a", io::ErrorKind::UnexpectedEof),
            (b"", io::ErrorKind::UnexpectedEof),
        ] {
            assert_eq!(read_message(&mut &*bytes).await.unwrap_err().kind(), kind, "{bytes:?}");
        }
    }

    #[test]
    fn error_response_round_trip_returns_the_fields() {
        let bytes = error_response("28000", "no \"x\"\0", Some("try"));
        let fields = ErrorFields::parse(&bytes[5..]);
        assert_eq!((fields.sqlstate.as_str(), fields.message.as_str()), ("28000", "no \"x\""));
        assert_eq!((fields.detail, fields.hint.as_deref()), (None, Some("try")));
        assert_eq!(ErrorFields::parse(b""), ErrorFields::default());
        assert_eq!(ErrorFields::parse(b"SFATAL\0C28P01").sqlstate, "28P01");
        assert_eq!(ErrorFields::parse(b"C28000\0\0C28P01\0").sqlstate, "28000");
    }

    #[test]
    fn error_fields_to_message_returns_all_fields_as_they_were() {
        let body = b"SFEHLER\0VERROR\0C28000\0M\xe4\0Dold\0p12\0Fauth.c\0L1\0R\0?unknown\0\0";
        let error = ErrorFields::parse(body);
        assert_eq!((error.severity.as_str(), error.message.as_str()), ("ERROR", "\u{fffd}"));
        assert_eq!(error.to_message(), framed(b'E', body));
        assert_eq!((error.field(b'F'), error.field(b'x')), (Some(&b"auth.c"[..]), None));
        assert_eq!(ErrorFields::parse(b"SFATAL\0C28P01\0").severity, "FATAL");
    }

    #[test]
    fn error_fields_with_detail_and_hint_replaces_only_these() {
        for (body, expected) in [
            (&b"SFATAL\0C28P01\0Mm\0Fauth.c\0\0"[..], &b"SFATAL\0C28P01\0Mm\0Ddetail\0Hhint\0Fauth.c\0\0"[..]),
            (b"SFATAL\0Mm\0Dold\0Hold\0p1\0\0", b"SFATAL\0Mm\0Ddetail\0Hhint\0p1\0\0"),
            (b"Hold\0Mm\xff\0Dold\0\0", b"Mm\xff\0Ddetail\0Hhint\0\0"),
            (b"\0", b"Ddetail\0Hhint\0\0"),
        ] {
            let changed = ErrorFields::parse(body).with_detail("det\0ail").with_hint("hint");
            assert_eq!(changed.to_message(), framed(b'E', expected), "{body:?}");
            assert_eq!((changed.detail.as_deref(), changed.hint.as_deref()), (Some("detail"), Some("hint")));
            let reverse = ErrorFields::parse(body).with_hint("hint").with_detail("detail");
            assert_eq!(reverse.to_message(), framed(b'E', expected), "{body:?}");
        }
        assert_eq!(ErrorFields::parse(&session_ended()[5..]).sqlstate, "57P01");
    }
}
