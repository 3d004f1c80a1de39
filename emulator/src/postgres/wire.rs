//! The messages of the PostgreSQL protocol (3.x) that the proxy reads and writes itself.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// An encrypted or a plain connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}
pub(super) type BoxedStream = Box<dyn Stream>;

/// The server's own limit for the first message, including its length field.
const MAX_OPENING: usize = 10_000;

/// The server's own limit for a password message, including its length field: 65,530 bytes of password.
const MAX_PASSWORD_MESSAGE: usize = 65_535;

/// The limit for messages before the first query, which are much smaller.
const MAX_GREETING_MESSAGE: usize = 1 << 16;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;

/// The message `AuthenticationCleartextPassword`.
pub(super) const ASK_FOR_PASSWORD: [u8; 9] = [b'R', 0, 0, 0, 8, 0, 0, 0, 3];

/// Why the connection cannot continue.
#[derive(Debug)]
pub(super) enum WireError {
    /// The connection ended or broke.
    Closed,
    /// The client violated the protocol. It gets this SQLSTATE and message.
    Protocol(&'static str, String),
}

impl From<io::Error> for WireError {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

fn violation(message: impl Into<String>) -> WireError {
    WireError::Protocol("08P01", message.into())
}

/// The first message of a client, or one of the first.
pub(super) enum Opening {
    /// A request for TLS.
    Ssl,
    /// A request for GSSAPI encryption.
    Gss,
    /// A cancel request, as it was received.
    Cancel(Vec<u8>),
    /// The start of a session.
    Startup(Startup),
}

/// A `StartupMessage` of any minor version.
pub(super) struct Startup {
    /// The packet as it was received, to be forwarded.
    pub(super) packet: Vec<u8>,
    /// The `user`; not empty.
    pub(super) user: String,
    /// The `database`, by default the user.
    pub(super) database: String,
    /// The `application_name`; empty if it is absent.
    pub(super) application_name: String,
}

/// Reads the length and the rest of a message that has no type, or whose type was already read.
async fn read_packet(stream: &mut (impl AsyncRead + Unpin), limit: usize) -> Result<Option<Vec<u8>>, WireError> {
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

pub(super) async fn read_opening(stream: &mut (impl AsyncRead + Unpin)) -> Result<Opening, WireError> {
    let packet = read_packet(stream, MAX_OPENING).await?.filter(|packet| packet.len() >= 8);
    let packet = packet.ok_or_else(|| violation("invalid length of startup packet"))?;
    let code = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
    match code {
        SSL_REQUEST => Ok(Opening::Ssl),
        GSSENC_REQUEST => Ok(Opening::Gss),
        CANCEL_REQUEST => Ok(Opening::Cancel(packet)),
        _ if code >> 16 == 3 => Ok(Opening::Startup(parse_startup(packet)?)),
        _ => Err(WireError::Protocol(
            "0A000",
            format!("unsupported frontend protocol {}.{}: server supports 3.0 to 3.2", code >> 16, code & 0xffff),
        )),
    }
}

fn parse_startup(packet: Vec<u8>) -> Result<Startup, WireError> {
    let (mut user, mut database, mut application_name) = (None, None, None);
    let broken = || violation("invalid startup packet layout: expected terminator as last byte");
    let body = packet[8..].strip_suffix(&[0]).ok_or_else(broken)?;
    let mut fields = body.split(|byte| *byte == 0);
    // Only the last part is an empty name.
    loop {
        let name = fields.next().ok_or_else(broken)?;
        if name.is_empty() {
            break;
        }
        let value = fields.next().ok_or_else(broken)?;
        let slot = match name {
            b"user" => &mut user,
            b"database" => &mut database,
            b"application_name" => &mut application_name,
            _ => continue,
        };
        *slot = Some(String::from_utf8_lossy(value).into_owned());
    }
    if fields.next().is_some() {
        return Err(broken());
    }
    let user = user.filter(|user| !user.is_empty());
    let user = user.ok_or_else(|| {
        WireError::Protocol("28000", "no PostgreSQL user name specified in startup packet".to_owned())
    })?;
    let database = database.filter(|database| !database.is_empty()).unwrap_or_else(|| user.clone());
    Ok(Startup { packet, user, database, application_name: application_name.unwrap_or_default() })
}

/// Reads a `PasswordMessage` and returns the password.
pub(super) async fn read_password(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, WireError> {
    let kind = stream.read_u8().await?;
    if kind != b'p' {
        return Err(violation(format!("expected password response, got message type {kind}")));
    }
    // PostgreSQL only logs this and closes the connection.
    let packet = read_packet(stream, MAX_PASSWORD_MESSAGE).await?.ok_or_else(|| violation("invalid message length"))?;
    match packet[4..].split_last() {
        Some((0, [])) => Err(WireError::Protocol("28P01", "empty password returned by client".to_owned())),
        Some((0, password)) if !password.contains(&0) => Ok(password.to_vec()),
        _ => Err(violation("invalid password packet size")),
    }
}

/// A message of the server: its type, and its complete bytes.
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) bytes: Vec<u8>,
}

impl Message {
    /// Returns the bytes after type and length.
    pub(super) fn body(&self) -> &[u8] {
        self.bytes.get(5..).unwrap_or_default()
    }
}

/// Reads one message of the server. Only messages before the first query are supported.
pub(super) async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Message> {
    let kind = stream.read_u8().await?;
    let packet = read_packet(stream, MAX_GREETING_MESSAGE).await.map_err(|_| io::ErrorKind::UnexpectedEof)?;
    let packet = packet.ok_or(io::ErrorKind::InvalidData)?;
    let mut bytes = vec![kind];
    bytes.extend(packet);
    Ok(Message { kind, bytes })
}

/// Returns SQLSTATE and message from the body of an `ErrorResponse`.
pub(super) fn parse_error(body: &[u8]) -> (String, String) {
    let field = |kind: u8| {
        let value = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&kind));
        value.map(|value| String::from_utf8_lossy(&value[1..]).into_owned()).unwrap_or_default()
    };
    (field(b'C'), field(b'M'))
}

/// Builds a fatal `ErrorResponse`.
pub(super) fn error_response(sqlstate: &str, message: &str, hint: Option<&str>) -> Vec<u8> {
    let mut body = Vec::new();
    let fields =
        [(b'S', Some("FATAL")), (b'V', Some("FATAL")), (b'C', Some(sqlstate)), (b'M', Some(message)), (b'H', hint)];
    for (kind, value) in fields {
        if let Some(value) = value {
            body.push(kind);
            body.extend(value.bytes().filter(|byte| *byte != 0));
            body.push(0);
        }
    }
    body.push(0);
    let mut message = vec![b'E'];
    message.extend(u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_be_bytes());
    message.extend(body);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startup(parameters: &[u8]) -> Vec<u8> {
        let mut packet = u32::try_from(parameters.len() + 8).unwrap().to_be_bytes().to_vec();
        packet.extend(196_610_u32.to_be_bytes());
        packet.extend(parameters);
        packet
    }

    async fn open(packet: &[u8]) -> Result<Opening, WireError> {
        read_opening(&mut &*packet).await
    }

    #[tokio::test]
    async fn startup_packets() {
        let Ok(Opening::Startup(read)) = open(&startup(b"user\0me\0options\0-c x=\0database\0\0\0")).await else {
            panic!("not read")
        };
        assert_eq!((read.user.as_str(), read.database.as_str()), ("me", "me"));
        for (parameters, sqlstate) in [
            (&b"user\0me"[..], "08P01"),
            (b"user\0me\0", "08P01"),
            (b"user\0me\0\0more\0", "08P01"),
            (b"user\0\0\0", "28000"),
            (b"\0", "28000"),
            (b"", "08P01"),
        ] {
            let Err(WireError::Protocol(found, message)) = open(&startup(parameters)).await else {
                panic!("read: {parameters:?}")
            };
            assert_eq!(found, sqlstate, "{parameters:?}: {message}");
        }
        assert!(matches!(open(&[0, 0, 0x27, 0x11, 0, 3, 0, 0]).await, Err(WireError::Protocol("08P01", _))), "10,001");
        assert!(matches!(open(&[0, 0, 0, 8, 0, 2, 0, 0]).await, Err(WireError::Protocol("0A000", _))));
        assert!(matches!(open(&[0, 0, 0, 8, 4, 0xd2]).await, Err(WireError::Closed)));
    }

    #[tokio::test]
    async fn password_messages() {
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
            let Err(WireError::Protocol(found, _)) = read_password(&mut &*bytes).await else { panic!("read") };
            assert_eq!(found, sqlstate);
        }
    }

    #[test]
    fn errors_are_read_as_written() {
        let bytes = error_response("28000", "no \"x\"\0", Some("try"));
        assert_eq!(parse_error(&bytes[5..]), ("28000".to_owned(), "no \"x\"".to_owned()));
        assert_eq!(parse_error(b""), (String::new(), String::new()));
    }
}
