//! The packets with which clients and servers start, in `pgentra-proxy`.

use std::io;

use pgentra_proxy::authenticate::{
    AuthenticationRequest, AuthenticationResponse, Authenticator, CleartextPassword, read_sasl_initial_response,
};
use pgentra_proxy::message::{ErrorFields, password_message, read_message, read_password};
use pgentra_proxy::startup::{Opening, StartupMessage, read_opening};
use pgentra_proxy::upstream::{SessionStart, UpstreamLogin, log_in, read_session_start};
use pgentra_proxy::{Handshake, HandshakeError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::{SECRET, block_on, select};

/// Reads the input as the bytes of a client, or of a server.
pub fn run(data: &[u8]) {
    let Some((side, rest)) = select(data, &["client", "packet", "server", "password", "fields"]) else { return };
    match side {
        "client" => block_on(client(rest)),
        "packet" => packet(rest),
        "server" => block_on(server(rest)),
        "password" => block_on(async {
            if let Ok(password) = read_password(&mut &*rest).await {
                assert_eq!(password_message(&password).as_deref(), rest.get(..password.len() + 6));
            }
            let _ = read_message(&mut &*rest).await;
            sasl(rest).await;
        }),
        _ => {
            let _ = ErrorFields::parse(rest);
            if let Some(request) = AuthenticationRequest::parse(rest) {
                let _ = request.offers("SCRAM-SHA-256");
            }
        }
    }
}

/// Reads the message of a client that uses SASL.
async fn sasl(bytes: &[u8]) {
    let (mut client, mut stream) = duplex(1 << 16);
    client.write_all(&bytes[..bytes.len().min(1 << 16)]).await.expect("the buffer is large enough");
    client.shutdown().await.expect("the stream is open");
    if let Ok(response) = read_sasl_initial_response(&mut stream).await {
        assert!(bytes.get(5..).is_some_and(|body| body.starts_with(response.mechanism.as_bytes())));
        assert!(
            response.data.is_none_or(|data| bytes.windows(data.len().max(1)).any(|window| window.ends_with(&data)))
        );
    }
}

/// Reads an opening, and changes a startup message.
fn packet(packet: &[u8]) {
    let read = block_on(read_opening(&mut &*packet));
    let Ok(opening) = Opening::parse(packet.to_vec()) else { return };
    if packet.len() <= 10_000 && packet.get(..4) == Some(&u32::try_from(packet.len()).unwrap_or(0).to_be_bytes()) {
        assert_eq!(read.ok().as_ref(), Some(&opening));
    }
    let Opening::Startup(message) = opening else { return };
    assert!(!message.user().is_empty() && !message.database().is_empty());
    let changed = match message.with_login("role", "other") {
        Ok(changed) => changed,
        Err(_) => return assert!(packet.len() > 9_900, "a message of {} bytes", packet.len()),
    };
    assert_eq!((changed.user(), changed.database()), ("role", "other"));
    let others = |message: &StartupMessage| -> Vec<(Vec<u8>, Vec<u8>)> {
        let is_other = |name: &[u8]| name != b"user" && name != b"database";
        message
            .parameters()
            .filter(|(name, _)| is_other(name))
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    };
    assert_eq!(others(&message), others(&changed));
    assert_eq!(changed.packet()[4..8], packet[4..8]);
}

/// Starts as a client of a proxy without TLS.
async fn client(bytes: &[u8]) {
    let (mut client, stream) = duplex(1 << 16);
    let bytes = &bytes[..bytes.len().min(1 << 16)];
    client.write_all(bytes).await.expect("the buffer is large enough");
    client.shutdown().await.expect("the stream is open");
    let mut handshake = Handshake::new(None);
    let result = handshake.accept(stream).await;
    assert!(!handshake.is_encrypted());
    let rest = match result {
        Ok((mut stream, _)) => {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.expect("the stream is readable");
            rest
        }
        Err(HandshakeError::Closed | HandshakeError::Protocol(..)) => return,
        Err(HandshakeError::Tls(_) | HandshakeError::NoAlpn) => panic!("TLS was not offered"),
    };
    // What follows the opening stays in the stream.
    assert!(bytes.ends_with(&rest));
}

struct Cleartext;

impl Authenticator for Cleartext {
    fn respond(&mut self, request: AuthenticationRequest<'_>) -> io::Result<AuthenticationResponse> {
        Ok(match request {
            AuthenticationRequest::CleartextPassword => {
                AuthenticationResponse::Send(password_message(SECRET.as_bytes()).ok_or(io::ErrorKind::InvalidInput)?)
            }
            AuthenticationRequest::SaslFinal { .. } => AuthenticationResponse::Wait,
            _ => AuthenticationResponse::Decline,
        })
    }
}

/// Logs in to a server with these messages. The password is sent only for `AuthenticationCleartextPassword`.
async fn server(messages: &[u8]) {
    let Ok(Opening::Startup(startup)) = Opening::parse(b"\0\0\0\x12\0\x03\0\0user\0me\0\0".to_vec()) else {
        panic!("the startup message is valid")
    };
    let (mut server, mut stream) = duplex(1 << 21);
    session_start(messages).await;
    proxy_login(&startup, messages).await;
    let messages = &messages[..messages.len().min(1 << 20)];
    server.write_all(messages).await.expect("the buffer is large enough");
    server.shutdown().await.expect("the stream is open");
    let login = log_in(&mut stream, &startup, &mut Cleartext).await;
    drop(stream);
    let mut sent = Vec::new();
    server.read_to_end(&mut sent).await.expect("the stream is readable");
    let requests = messages.windows(9).filter(|window| *window == b"R\0\0\0\x08\0\0\0\x03").count();
    let passwords = sent.windows(SECRET.len()).filter(|window| *window == SECRET.as_bytes()).count();
    assert!(passwords <= requests, "{passwords} passwords for {requests} requests");
    if let Ok(UpstreamLogin::Accepted { messages } | UpstreamLogin::Refused { messages, .. }) = login {
        assert!(messages.len() <= (1 << 20) + (1 << 17));
    }
}

/// Logs in as the proxy does. The password is sent at most once.
async fn proxy_login(startup: &StartupMessage, messages: &[u8]) {
    let (mut server, mut stream) = duplex(1 << 21);
    server.write_all(&messages[..messages.len().min(1 << 20)]).await.expect("the buffer is large enough");
    server.shutdown().await.expect("the stream is open");
    let mut authenticator = CleartextPassword::new(SECRET.as_bytes());
    let login = log_in(&mut stream, startup, &mut authenticator).await;
    if matches!(login, Ok(UpstreamLogin::Accepted { .. })) {
        let _ = read_session_start(&mut stream).await;
    }
    drop(stream);
    let mut sent = Vec::new();
    server.read_to_end(&mut sent).await.expect("the stream is readable");
    let passwords = sent.windows(SECRET.len()).filter(|window| *window == SECRET.as_bytes()).count();
    assert_eq!(passwords, usize::from(authenticator.is_sent()));
    assert!(!authenticator.is_sent() || messages.windows(9).any(|window| window == b"R\0\0\0\x08\0\0\0\x03"));
}

/// Reads the messages between `AuthenticationOk` and `ReadyForQuery`.
async fn session_start(messages: &[u8]) {
    let mut stream = tokio::io::join(messages, tokio::io::sink());
    match read_session_start(&mut stream).await {
        Ok(SessionStart::Ready { messages: read, key, .. }) => {
            assert!(messages.starts_with(&read));
            assert!(key.is_none() || read.contains(&b'K'));
        }
        Ok(SessionStart::Refused { messages: read, .. }) => assert!(messages.starts_with(&read)),
        Err(_) => {}
    }
}
