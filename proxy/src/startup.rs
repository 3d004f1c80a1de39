//! The first messages of a client: requests for encryption, cancel requests, and the start of a session.

use tokio::io::AsyncRead;

use crate::message::{ProtocolError, ReadError, read_packet};

/// PostgreSQL's limit for the first message, including its length field.
const MAX_OPENING: usize = 10_000;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST_CODE: u32 = 80_877_103;
const GSSENC_REQUEST_CODE: u32 = 80_877_104;

/// The message of the [`ProtocolError`] for first bytes that are not an opening, such as those of HTTP. PostgreSQL
/// closes the connection without a response then.
pub const INVALID_LENGTH: &str = "invalid length of startup packet";

/// The message `SSLRequest`.
pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// A message without a type, with which a client opens a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// A request for TLS.
    Ssl,
    /// A request for GSSAPI encryption.
    Gss,
    /// A cancel request.
    Cancel(CancelRequest),
    /// The start of a session.
    Startup(StartupMessage),
}

impl Opening {
    /// Reads an opening from its packet, which begins with the length.
    ///
    /// # Errors
    /// Fails with PostgreSQL's own errors if the packet is not an opening, if it has an unsupported version, or if it
    /// is a start of a session without a user.
    pub fn parse(packet: Vec<u8>) -> Result<Self, ProtocolError> {
        let Some(code) = packet.get(4..8).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes) else {
            return Err(ProtocolError::violation(INVALID_LENGTH));
        };
        match code {
            SSL_REQUEST_CODE => Ok(Self::Ssl),
            GSSENC_REQUEST_CODE => Ok(Self::Gss),
            CANCEL_REQUEST => Ok(Self::Cancel(CancelRequest { packet })),
            _ if code >> 16 == 3 => Ok(Self::Startup(StartupMessage::parse(packet)?)),
            _ => {
                let (major, minor) = (code >> 16, code & 0xffff);
                let message = format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2");
                Err(ProtocolError::new("0A000", message))
            }
        }
    }
}

/// Reads one opening: its length, and then exactly the rest of it.
///
/// # Errors
/// See [`Opening::parse`]. A length of less than 8 or more than 10,000 bytes is refused before the rest is read.
pub async fn read_opening(stream: &mut (impl AsyncRead + Unpin)) -> Result<Opening, ReadError> {
    let packet = read_packet(stream, MAX_OPENING).await?.unwrap_or_default();
    Ok(Opening::parse(packet)?)
}

/// The key of a session: the server process and the secret key. A session's `BackendKeyData` contains it, and a cancel
/// request for the session contains the same bytes. It is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionKey(Box<[u8]>);

impl SessionKey {
    /// Reads the body of `BackendKeyData`. Returns `None` if it is not the process and a key of 4 to 256 bytes.
    pub fn parse(body: &[u8]) -> Option<Self> {
        (8..=260).contains(&body.len()).then(|| Self(body.into()))
    }
}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SessionKey")
    }
}

/// A cancel request. It contains the secret key of a session, which is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct CancelRequest {
    packet: Vec<u8>,
}

impl CancelRequest {
    /// Returns the packet as it was received.
    pub fn packet(&self) -> &[u8] {
        &self.packet
    }

    /// Returns the body: the server process and the secret key, as in the session's `BackendKeyData`.
    pub fn key(&self) -> &[u8] {
        self.packet.get(8..).unwrap_or_default()
    }

    /// Returns the key of the session to cancel, or `None` if no session can have it.
    pub fn session_key(&self) -> Option<SessionKey> {
        SessionKey::parse(self.key())
    }
}

impl std::fmt::Debug for CancelRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CancelRequest").finish_non_exhaustive()
    }
}

/// The name and the value of a parameter.
pub type Parameter<'a> = (&'a [u8], &'a [u8]);

/// A `StartupMessage` of any minor version. `Debug` shows the user and the database only, because options can contain
/// secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct StartupMessage {
    packet: Vec<u8>,
    user: String,
    database: String,
    application_name: String,
}

impl StartupMessage {
    fn parse(packet: Vec<u8>) -> Result<Self, ProtocolError> {
        let (mut user, mut database, mut application_name) = (None, None, None);
        for (name, value) in parameters(&packet)? {
            let parameter = match name {
                b"user" => &mut user,
                b"database" => &mut database,
                b"application_name" => &mut application_name,
                _ => continue,
            };
            *parameter = Some(String::from_utf8_lossy(value).into_owned());
        }
        let user = user.filter(|user| !user.is_empty());
        let user =
            user.ok_or_else(|| ProtocolError::new("28000", "no PostgreSQL user name specified in startup packet"))?;
        let database = database.filter(|database| !database.is_empty()).unwrap_or_else(|| user.clone());
        Ok(Self { packet, user, database, application_name: application_name.unwrap_or_default() })
    }

    /// Returns the packet, as it was received or changed.
    pub fn packet(&self) -> &[u8] {
        &self.packet
    }

    /// Returns the `user`, which is not empty. Bytes that are not UTF-8 are replaced.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Returns the `database`, by default the user.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Returns the `application_name`; empty if it is absent.
    pub fn application_name(&self) -> &str {
        &self.application_name
    }

    /// Returns all parameters, in the client's order.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter<'_>> {
        parameters(&self.packet).unwrap_or_default().into_iter()
    }

    /// Returns the message for another role and database. The version, the other parameters and their order stay the
    /// same.
    ///
    /// # Errors
    /// Fails if the user is empty, if a name contains a NUL byte, or if the packet would exceed 10,000 bytes.
    pub fn with_login(&self, user: &str, database: &str) -> Result<Self, ProtocolError> {
        if user.contains('\0') || database.contains('\0') {
            return Err(ProtocolError::violation("a user or database name contains a NUL byte"));
        }
        let mut packet = self.packet[..8].to_vec();
        let mut append = |name: &[u8], value: &[u8]| {
            for text in [name, value] {
                packet.extend(text);
                packet.push(0);
            }
        };
        let mut has_database = false;
        for (name, value) in self.parameters() {
            match name {
                b"user" => append(name, user.as_bytes()),
                b"database" => {
                    has_database = true;
                    append(name, database.as_bytes());
                }
                _ => append(name, value),
            }
        }
        if !has_database {
            append(b"database", database.as_bytes());
        }
        packet.push(0);
        let length = u32::try_from(packet.len()).ok().filter(|length| *length as usize <= MAX_OPENING);
        let length = length.ok_or_else(|| ProtocolError::violation(INVALID_LENGTH))?;
        packet[..4].copy_from_slice(&length.to_be_bytes());
        Self::parse(packet)
    }
}

impl std::fmt::Debug for StartupMessage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("StartupMessage")
            .field("user", &self.user)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// Returns the names and values in the packet of a `StartupMessage`.
fn parameters(packet: &[u8]) -> Result<Vec<Parameter<'_>>, ProtocolError> {
    let invalid = || ProtocolError::violation("invalid startup packet layout: expected terminator as last byte");
    let body = packet.get(8..).and_then(|body| body.strip_suffix(&[0])).ok_or_else(invalid)?;
    let mut fields = body.split(|byte| *byte == 0);
    let mut parameters = Vec::new();
    // Only the last field is an empty name.
    loop {
        let name = fields.next().ok_or_else(invalid)?;
        if name.is_empty() {
            break;
        }
        parameters.push((name, fields.next().ok_or_else(invalid)?));
    }
    if fields.next().is_some() {
        return Err(invalid());
    }
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn startup(parameters: &[u8]) -> Vec<u8> {
        let mut packet = u32::try_from(parameters.len() + 8).unwrap().to_be_bytes().to_vec();
        packet.extend(196_610_u32.to_be_bytes());
        packet.extend(parameters);
        packet
    }

    async fn open(packet: &[u8]) -> Result<Opening, ReadError> {
        read_opening(&mut &*packet).await
    }

    #[tokio::test]
    async fn read_opening_of_a_session_returns_its_parameters() {
        let packet = startup(b"user\0me\0options\0-c x=\0database\0\0\0");
        let Ok(Opening::Startup(message)) = open(&packet).await else { panic!("not read") };
        assert_eq!((message.user(), message.database(), message.application_name()), ("me", "me", ""));
        assert_eq!(message.packet(), packet);
        let parameters: Vec<_> = message.parameters().collect();
        assert_eq!(parameters, [(&b"user"[..], &b"me"[..]), (b"options", b"-c x="), (b"database", b"")]);
    }

    #[tokio::test]
    async fn read_opening_of_an_invalid_packet_fails_with_postgresqls_error() {
        for (parameters, sqlstate) in [
            (&b"user\0me"[..], "08P01"),
            (b"user\0me\0", "08P01"),
            (b"user\0me\0\0more\0", "08P01"),
            (b"user\0\0\0", "28000"),
            (b"\0", "28000"),
            (b"", "08P01"),
        ] {
            let Err(ReadError::Protocol(error)) = open(&startup(parameters)).await else {
                panic!("read: {parameters:?}")
            };
            assert_eq!(error.sqlstate, sqlstate, "{parameters:?}: {error}");
        }
        let sqlstate = |result: Result<Opening, ReadError>| match result {
            Err(ReadError::Protocol(error)) => error.sqlstate,
            other => panic!("{other:?}"),
        };
        assert_eq!(sqlstate(open(&[0, 0, 0x27, 0x11, 0, 3, 0, 0]).await), "08P01", "10,001 bytes");
        assert_eq!(sqlstate(open(&[0, 0, 0, 7, 0, 3, 0]).await), "08P01", "7 bytes");
        assert_eq!(sqlstate(open(b"GET / HTTP/1.1\r\n\r\n").await), "08P01", "HTTP");
        assert_eq!(sqlstate(open(&[0, 0, 0, 8, 0, 2, 0, 0]).await), "0A000");
        assert_eq!(open(&[0, 0, 0, 8, 4, 0xd2]).await, Err(ReadError::Closed));
    }

    #[tokio::test]
    async fn read_opening_of_requests_returns_their_kind() {
        assert_eq!(open(&SSL_REQUEST).await, Ok(Opening::Ssl));
        assert_eq!(open(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30]).await, Ok(Opening::Gss));
        for length in [4, 32, 256] {
            let mut packet = u32::try_from(12 + length).unwrap().to_be_bytes().to_vec();
            packet.extend([0x04, 0xd2, 0x16, 0x2e, 0, 0, 0, 7]);
            packet.extend(vec![42; length]);
            let Ok(Opening::Cancel(request)) = open(&packet).await else { panic!("a key of {length} bytes") };
            assert_eq!((request.packet(), &request.key()[..4]), (&packet[..], &[0, 0, 0, 7][..]));
            assert!(!format!("{request:?}").contains("42"), "{request:?}");
        }
    }

    #[test]
    fn with_login_of_invalid_names_fails() {
        let Ok(Opening::Startup(message)) = Opening::parse(startup(b"user\0me\0\0")) else { panic!("not read") };
        assert!(message.with_login("a\0b", "c").is_err());
        assert!(message.with_login("a", "b\0c").is_err());
        assert!(message.with_login("", "c").is_err());
        assert!(message.with_login(&"a".repeat(10_000), "c").is_err());
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(1_u8.., 1..20)
    }

    proptest! {
        #[test]
        fn with_login_keeps_all_other_parameters(
            before in prop::collection::vec((text(), text()), 0..5),
            after in prop::collection::vec((text(), text()), 0..5),
            has_database: bool,
            user in "[^\0]{1,63}",
            database in "[^\0]{1,63}",
        ) {
            let other = |(name, _): &(Vec<u8>, Vec<u8>)| name != b"user" && name != b"database";
            let before: Vec<_> = before.into_iter().filter(other).collect();
            let after: Vec<_> = after.into_iter().filter(other).collect();
            let parameters = |user: &str, database: Option<&str>| {
                let mut all = before.clone();
                all.push((b"user".to_vec(), user.into()));
                all.extend(after.clone());
                all.extend(database.map(|database| (b"database".to_vec(), database.into())));
                all
            };
            let body: Vec<u8> = parameters("me", has_database.then_some("mine"))
                .into_iter()
                .flat_map(|(name, value)| [name, vec![0], value, vec![0]].concat())
                .chain([0])
                .collect();
            let Ok(Opening::Startup(message)) = Opening::parse(startup(&body)) else { panic!("not read") };
            let changed = message.with_login(&user, &database).unwrap();
            prop_assert_eq!((changed.user(), changed.database()), (user.as_str(), database.as_str()));
            let found: Vec<_> = changed.parameters().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            prop_assert_eq!(found, parameters(&user, Some(&database)));
            prop_assert_eq!(&changed.packet()[4..8], &message.packet()[4..8]);
            prop_assert_eq!(Opening::parse(changed.packet().to_vec()), Ok(Opening::Startup(changed)));
        }

        #[test]
        fn opening_parse_of_any_bytes_returns(packet in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Opening::parse(packet.clone());
            let _ = Opening::parse([&[0, 0, 0, 0, 0, 3, 0, 0][..], &packet].concat());
        }
    }
}
