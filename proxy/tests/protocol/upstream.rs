//! The server's side of the start.

use std::io;

use pgentra_proxy::authenticate::{AuthenticationRequest, AuthenticationResponse, Authenticator};
use pgentra_proxy::message::{error_response, password_message};
use pgentra_proxy::startup::{CancelRequest, Opening, StartupMessage};
use pgentra_proxy::upstream::{self, UpstreamLogin};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::{SSL_REQUEST, Split, SplitReads, acceptor, connector, localhost, startup, within_limit};

const OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";
const CLEARTEXT: &[u8] = b"R\0\0\0\x08\0\0\0\x03";
const SCRAM: &[u8] = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";
const NOTICE: &[u8] = b"N\0\0\0\x0cSNOTICE\0";

/// Sends a password if the server requests it in clear text.
struct Cleartext(&'static str);

impl Authenticator for Cleartext {
    fn respond(&mut self, request: AuthenticationRequest<'_>) -> io::Result<AuthenticationResponse> {
        Ok(match request {
            AuthenticationRequest::CleartextPassword => {
                AuthenticationResponse::Send(password_message(self.0.as_bytes()).unwrap())
            }
            _ => AuthenticationResponse::Decline,
        })
    }
}

fn message() -> StartupMessage {
    match Opening::parse(startup(&[("user", "me")])) {
        Ok(Opening::Startup(message)) => message,
        other => panic!("{other:?}"),
    }
}

fn cancel_request() -> CancelRequest {
    match Opening::parse([&[0, 0, 0, 16, 0x04, 0xd2, 0x16, 0x2e][..], &[7; 8]].concat()) {
        Ok(Opening::Cancel(request)) => request,
        other => panic!("{other:?}"),
    }
}

/// Logs in to a server that sends `messages`, and returns also the bytes that it received after the startup message.
async fn log_in(messages: &[u8], split: Split) -> (io::Result<UpstreamLogin>, Vec<u8>) {
    let (mut server, stream) = duplex(1 << 20);
    server.write_all(messages).await.unwrap();
    let mut stream = SplitReads::new(stream, split);
    let login = within_limit(upstream::log_in(&mut stream, &message(), &mut Cleartext("canary-token"))).await;
    drop(stream);
    (login, after_startup(server).await)
}

async fn after_startup(mut server: DuplexStream) -> Vec<u8> {
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.unwrap();
    let (startup, rest) = received.split_at(message().packet().len());
    assert_eq!(startup, message().packet());
    rest.to_vec()
}

#[tokio::test]
async fn log_in_accepted_returns_the_messages_for_the_client() {
    let messages = [NOTICE, CLEARTEXT, NOTICE, OK, b"S\0\0\0\x08a\0b\0"].concat();
    for split in (0..messages.len()).map(Split::At).chain([Split::EveryByte]) {
        let (login, sent) = log_in(&messages, split).await;
        // What follows `AuthenticationOk` stays in the stream.
        assert_eq!(login.unwrap(), UpstreamLogin::Accepted { messages: [NOTICE, NOTICE, OK].concat() });
        assert_eq!(sent, b"p\0\0\0\x11canary-token\0");
    }
}

#[tokio::test]
async fn log_in_refused_returns_the_error_and_its_messages() {
    let error = error_response("28P01", "password authentication failed", None);
    let (login, _) = log_in(&[NOTICE, CLEARTEXT, &error].concat(), Split::EveryByte).await;
    let UpstreamLogin::Refused { messages, error: fields } = login.unwrap() else { panic!("accepted") };
    assert_eq!(messages, [NOTICE, &error].concat());
    assert_eq!((fields.sqlstate.as_str(), fields.message.as_str()), ("28P01", "password authentication failed"));
}

#[tokio::test]
async fn log_in_declined_sends_no_password_bytes() {
    let (login, sent) = log_in(SCRAM, Split::EveryByte).await;
    assert_eq!(login.unwrap(), UpstreamLogin::Declined);
    assert_eq!(sent, b"");
}

#[tokio::test]
async fn log_in_to_a_server_that_violates_the_protocol_fails() {
    let endless: Vec<u8> =
        std::iter::repeat_n([&b"N\0\0\xff\xff"[..], &[b'x'; 0xfffb]].concat(), 15).flatten().collect();
    for (messages, kind) in [
        (&b""[..], io::ErrorKind::UnexpectedEof),
        (b"R\0\0\0\x07\0\0\0", io::ErrorKind::InvalidData),
        (b"R\0\0\0\x03", io::ErrorKind::InvalidData),
        (b"HTTP/1.1 400 Bad Request\r\n", io::ErrorKind::InvalidData),
    ] {
        let (mut server, mut stream) = duplex(1 << 16);
        server.write_all(messages).await.unwrap();
        server.shutdown().await.unwrap();
        let login = within_limit(upstream::log_in(&mut stream, &message(), &mut Cleartext("canary-token"))).await;
        assert_eq!(login.unwrap_err().kind(), kind, "{messages:?}");
    }
    let messages = [&endless[..], &endless].concat();
    let (mut server, mut stream) = duplex(1 << 22);
    server.write_all(&messages).await.unwrap();
    let login = within_limit(upstream::log_in(&mut stream, &message(), &mut Cleartext("canary-token"))).await;
    assert_eq!(login.unwrap_err().kind(), io::ErrorKind::InvalidData, "more than 1 MB of messages");
}

#[tokio::test(start_paused = true)]
async fn cancel_sends_the_request_and_waits_for_the_end() {
    let (mut server, mut stream) = duplex(64);
    let request = cancel_request();
    let server_side = async {
        let mut received = vec![0; 16];
        server.read_exact(&mut received).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        drop(server);
        received
    };
    let begun = tokio::time::Instant::now();
    let cancelled = async {
        upstream::cancel(&mut stream, &request).await.unwrap();
        begun.elapsed()
    };
    let (elapsed, received) = within_limit(async { tokio::join!(cancelled, server_side) }).await;
    assert_eq!(elapsed.as_secs(), 1, "until the server closes");
    assert_eq!(received, request.packet());
}

#[tokio::test]
async fn negotiate_tls_with_bytes_ahead_or_without_tls_fails() {
    for response in [&b"N"[..], b"E\0\0\0\x04", b"SR\0\0\0\x08\0\0\0\x03", b""] {
        let (mut server, stream) = duplex(1 << 16);
        server.write_all(response).await.unwrap();
        let server_side = async {
            let mut request = [0; 8];
            server.read_exact(&mut request).await.unwrap();
            assert_eq!(request, SSL_REQUEST);
            if response.is_empty() {
                server.shutdown().await.unwrap();
            } else {
                let _ = acceptor().accept(server).await;
            }
        };
        let tls = connector(&[]);
        let (result, ()) =
            within_limit(async { tokio::join!(upstream::negotiate_tls(stream, &tls, localhost()), server_side) }).await;
        let error = result.err().unwrap_or_else(|| panic!("encrypted: {response:?}")).to_string();
        assert_eq!(error.contains("does not support TLS"), matches!(response.first(), Some(b'N' | b'E')), "{error}");
    }
}

#[tokio::test]
async fn negotiate_tls_of_a_server_with_tls_encrypts() {
    let (mut server, stream) = duplex(1 << 16);
    let server_side = async {
        let mut request = [0; 8];
        server.read_exact(&mut request).await.unwrap();
        server.write_all(b"S").await.unwrap();
        let mut server = acceptor().accept(server).await.unwrap();
        server.read_u8().await.unwrap()
    };
    let client_side = async {
        let mut stream = upstream::negotiate_tls(stream, &connector(&[]), localhost()).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        stream.flush().await.unwrap();
        stream
    };
    let (received, _) = within_limit(async { tokio::join!(server_side, client_side) }).await;
    assert_eq!(received, b'x');
}
