//! The server's side of the start.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use pgentra_proxy::ALPN;
use pgentra_proxy::authenticate::CleartextPassword;
use pgentra_proxy::message::error_response;
use pgentra_proxy::startup::{CancelRequest, Opening, SessionKey, StartupMessage};
use pgentra_proxy::upstream::{
    self, ConnectError, ServerAddress, ServerTls, SessionStart, TlsNegotiation, UpstreamLogin,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};

use crate::tracker::server as server_messages;
use crate::{SSL_REQUEST, Split, SplitReads, acceptor, connector, localhost, message as framed, startup, within_limit};

const OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";
const CLEARTEXT: &[u8] = b"R\0\0\0\x08\0\0\0\x03";
const SCRAM: &[u8] = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";
const NOTICE: &[u8] = b"N\0\0\0\x0cSNOTICE\0";

const TOKEN: &[u8] = b"canary-token";

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
    let login = within_limit(upstream::log_in(&mut stream, &message(), &mut CleartextPassword::new(TOKEN))).await;
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
async fn log_in_without_a_cleartext_request_sends_no_password_bytes() {
    for (request, declined) in [
        (SCRAM, "a SCRAM password"),
        (b"R\0\0\0\x0c\0\0\0\x05salt", "an MD5 password"),
        (b"R\0\0\0\x08\0\0\0\x07", "another kind of authentication"),
        (b"R\0\0\0\x08\0\0\0\x63", "another kind of authentication"),
    ] {
        for messages in [request.to_vec(), [NOTICE, request].concat()] {
            let (mut server, mut stream) = duplex(1 << 16);
            server.write_all(&messages).await.unwrap();
            let mut authenticator = CleartextPassword::new(TOKEN);
            let login = within_limit(upstream::log_in(&mut stream, &message(), &mut authenticator)).await;
            assert_eq!(login.unwrap(), UpstreamLogin::Declined);
            assert_eq!((authenticator.declined(), authenticator.is_sent()), (Some(declined), false));
            drop(stream);
            assert_eq!(after_startup(server).await, b"", "{request:?}");
        }
    }
    // A server that accepts the login without a password.
    let (login, sent) = log_in(OK, Split::EveryByte).await;
    assert_eq!((login.unwrap(), sent), (UpstreamLogin::Accepted { messages: OK.to_vec() }, vec![]));
    // A server that requests the password again.
    let (login, sent) = log_in(&[CLEARTEXT, CLEARTEXT].concat(), Split::EveryByte).await;
    assert_eq!((login.unwrap(), sent.len()), (UpstreamLogin::Declined, 18));
    // A password that the protocol cannot transfer.
    let mut authenticator = CleartextPassword::new(&[b'x'; 70_000]);
    let (mut server, mut stream) = duplex(1 << 16);
    server.write_all(CLEARTEXT).await.unwrap();
    let login = within_limit(upstream::log_in(&mut stream, &message(), &mut authenticator)).await;
    assert_eq!(login.unwrap(), UpstreamLogin::Declined);
    assert!(!authenticator.is_sent() && authenticator.declined().is_some());
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
        let login = within_limit(upstream::log_in(&mut stream, &message(), &mut CleartextPassword::new(TOKEN))).await;
        assert_eq!(login.unwrap_err().kind(), kind, "{messages:?}");
    }
    let messages = [&endless[..], &endless].concat();
    let (mut server, mut stream) = duplex(1 << 22);
    server.write_all(&messages).await.unwrap();
    let login = within_limit(upstream::log_in(&mut stream, &message(), &mut CleartextPassword::new(TOKEN))).await;
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

#[tokio::test(start_paused = true)]
async fn cancel_of_a_server_that_closes_in_any_way_succeeds() {
    for last in [&b""[..], b"E\0\0\0\x04"] {
        let (mut server, mut stream) = duplex(64);
        let request = cancel_request();
        let server_side = async {
            server.read_exact(&mut [0; 16]).await.unwrap();
            server.write_all(last).await.unwrap();
            drop(server);
        };
        let (result, ()) =
            within_limit(async { tokio::join!(upstream::cancel(&mut stream, &request), server_side) }).await;
        result.unwrap();
    }
}

/// The messages of a session's start, with a key of this length after the process.
fn session_start(key: usize) -> Vec<u8> {
    let parameters =
        [&b"server_version\x0015.18\0"[..], b"in_hot_standby\0on\0"].map(|body| framed(b'S', body)).concat();
    let key = framed(b'K', &[&[0, 0, 0, 1][..], &vec![9; key]].concat());
    [NOTICE, &parameters, &key, &server_messages("Z")].concat()
}

async fn read_start(messages: &[u8], split: Split) -> io::Result<SessionStart> {
    let (mut server, stream) = duplex(1 << 22);
    server.write_all(messages).await.unwrap();
    server.shutdown().await.unwrap();
    within_limit(upstream::read_session_start(&mut SplitReads::new(stream, split))).await
}

#[tokio::test]
async fn read_session_start_returns_key_and_parameters() {
    for (length, has_key) in [(4, true), (32, true), (256, true), (0, false), (3, false), (257, false)] {
        let messages = session_start(length);
        let further = [&messages[..], &server_messages("T")].concat();
        for split in (0..messages.len()).step_by(7).map(Split::At).chain([Split::EveryByte]) {
            let start = read_start(&further, split).await.unwrap();
            let SessionStart::Ready { messages: read, key, parameters } = start else { panic!("refused") };
            assert_eq!(read, messages, "what follows ReadyForQuery stays in the stream");
            assert_eq!((parameters.get("server_version"), parameters.in_hot_standby()), (Some("15.18"), Some(true)));
            assert_eq!(parameters.get("TimeZone"), None);
            let expected = [&[0, 0, 0, 1][..], &vec![9; length]].concat();
            assert_eq!(key, SessionKey::parse(&expected));
            assert_eq!(key.is_some(), has_key, "{length}");
            assert!(!format!("{key:?}").contains('9'));
        }
    }
    let packet = [&[0, 0, 0, 16, 0x04, 0xd2, 0x16, 0x2e][..], &[0, 0, 0, 1], &[9; 4]].concat();
    let Ok(Opening::Cancel(request)) = Opening::parse(packet) else { panic!("not a cancel request") };
    let SessionStart::Ready { key, .. } = read_start(&session_start(4), Split::At(0)).await.unwrap() else {
        panic!("refused")
    };
    assert_eq!(request.session_key(), key);
}

#[tokio::test]
async fn read_session_start_refused_returns_the_error() {
    for (sqlstate, text) in
        [("3D000", "database \"x\" does not exist"), ("53300", "too many connections for role \"me\"")]
    {
        let error = error_response(sqlstate, text, None);
        let messages = [NOTICE, &error].concat();
        for split in (0..messages.len()).map(Split::At).chain([Split::EveryByte]) {
            let start = read_start(&messages, split).await.unwrap();
            let SessionStart::Refused { messages: read, error: fields } = start else { panic!("started") };
            assert_eq!(read, messages);
            assert_eq!((fields.sqlstate.as_str(), fields.message.as_str()), (sqlstate, text));
            assert_eq!(fields.to_message(), error);
        }
    }
}

#[tokio::test]
async fn read_session_start_of_a_server_that_violates_the_protocol_fails() {
    let endless = framed(b'N', &[b'x'; 60_000]).repeat(20);
    for (messages, kind) in [
        (&b""[..], io::ErrorKind::UnexpectedEof),
        (b"Z\0\0\0\x05", io::ErrorKind::UnexpectedEof),
        (b"Z\0\0\0\x03", io::ErrorKind::InvalidData),
        (b"S\x7f\xff\xff\xff", io::ErrorKind::InvalidData),
        (&endless, io::ErrorKind::InvalidData),
    ] {
        assert_eq!(read_start(messages, Split::At(0)).await.unwrap_err().kind(), kind, "{} bytes", messages.len());
    }
}

/// Listens, and serves one connection.
async fn listen<F: Future<Output = ()> + Send + 'static>(
    serve: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(async move { serve(listener.accept().await.unwrap().0).await }))
}

fn server_at(host: &str, address: SocketAddr, tls: Option<ServerTls>) -> ServerAddress {
    ServerAddress::Tcp { host: host.into(), hostaddr: Some(address.ip()), port: address.port(), tls }
}

async fn accept_tls(mut stream: TcpStream, negotiation: TlsNegotiation) -> Option<impl AsyncRead + AsyncWrite + Unpin> {
    if negotiation == TlsNegotiation::Postgres {
        let mut request = [0; 8];
        stream.read_exact(&mut request).await.unwrap();
        assert_eq!(request, SSL_REQUEST);
        stream.write_all(b"S").await.unwrap();
    }
    acceptor().accept(stream).await.ok()
}

#[tokio::test]
async fn connect_verifies_the_name_and_not_the_address() {
    let name = |name: &str| Some(name.to_owned().try_into().unwrap());
    for negotiation in [TlsNegotiation::Postgres, TlsNegotiation::Direct] {
        for (host, name, is_valid) in [
            ("localhost", None, true),
            ("server.invalid", name("localhost"), true),
            ("server.invalid", None, false),
            ("localhost", name("server.invalid"), false),
            ("127.0.0.1", None, false),
        ] {
            let (address, serving) = listen(move |stream| async move {
                if let Some(mut stream) = accept_tls(stream, negotiation).await {
                    stream.write_all(b"x").await.unwrap();
                    stream.flush().await.unwrap();
                }
            })
            .await;
            let tls = ServerTls { connector: connector(&[ALPN]), name: name.clone(), negotiation };
            let connected = within_limit(upstream::connect(&server_at(host, address, Some(tls)))).await;
            match connected {
                Ok(mut connection) => {
                    assert!(is_valid && connection.is_encrypted, "{host}, {name:?}");
                    assert_eq!(connection.address, Some(address));
                    assert_eq!(within_limit(connection.stream.read_u8()).await.unwrap(), b'x');
                }
                Err(error) => assert!(!is_valid && matches!(error, ConnectError::Tls(_)), "{host}, {name:?}: {error}"),
            }
            within_limit(serving).await.unwrap();
        }
    }
}

#[tokio::test]
async fn connect_to_a_server_without_tls_sends_nothing_else() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let (address, _serving) = listen(|mut stream| async move {
        stream.read_exact(&mut [0; 8]).await.unwrap();
        stream.write_all(b"N").await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        sender.send(rest).unwrap();
    })
    .await;
    let server = server_at("localhost", address, Some(ServerTls::new(connector(&[]))));
    let error = within_limit(upstream::connect(&server)).await.err().unwrap();
    assert!(matches!(error, ConnectError::NoTls), "{error}");
    assert_eq!(within_limit(receiver).await.unwrap(), b"");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::Unsupported);
}

#[tokio::test]
async fn connect_that_fails_says_why() {
    let closed = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        listener.local_addr().unwrap()
    };
    let error = within_limit(upstream::connect(&server_at("db.example", closed, None))).await.err().unwrap();
    assert!(error.to_string().starts_with(&format!("cannot connect to {closed}: ")), "{error}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::ConnectionRefused);
    // No resolver accepts a label of more than 63 bytes, so that no request leaves the machine.
    let host = format!("{}.invalid", "a".repeat(80));
    let server = ServerAddress::Tcp { host: host.clone(), hostaddr: None, port: 1, tls: None };
    let error = within_limit(upstream::connect(&server)).await.err().unwrap();
    assert!(error.to_string().starts_with(&format!("cannot resolve {host}: ")), "{error}");
}

#[tokio::test]
async fn connect_sets_the_options_of_the_socket() {
    use pgentra_proxy::socket;

    let (address, _serving) = listen(|stream| async move { drop(stream) }).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let options = socket2::SockRef::from(&stream);
    socket::configure_client(&stream).unwrap();
    assert!(stream.nodelay().unwrap() && options.keepalive().unwrap());
    assert_eq!(options.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
    assert_eq!(options.tcp_keepalive_interval().unwrap(), Duration::from_secs(15));
    assert_eq!(options.tcp_keepalive_retries().unwrap(), 4);
    #[cfg(target_os = "linux")]
    {
        assert_eq!(options.tcp_user_timeout().unwrap(), None, "a client that does not read stays connected");
        socket::configure_server(&stream).unwrap();
        assert_eq!(options.tcp_user_timeout().unwrap(), Some(Duration::from_secs(120)));
    }
}

#[tokio::test]
async fn cancel_session_reaches_the_address_of_the_session() {
    for encrypts in [false, true] {
        let (address, serving) = listen(move |mut stream| async move {
            let mut received = vec![0; 16];
            if encrypts {
                let mut stream = accept_tls(stream, TlsNegotiation::Postgres).await.unwrap();
                stream.read_exact(&mut received).await.unwrap();
                // PostgreSQL closes the connection without TLS's closing message.
            } else {
                stream.read_exact(&mut received).await.unwrap();
            }
            assert_eq!(received, cancel_request().packet());
        })
        .await;
        // The name now has another address.
        let server = ServerAddress::Tcp {
            host: "localhost".into(),
            hostaddr: Some(IpAddr::V4(Ipv4Addr::new(127, 9, 9, 9))),
            port: 1,
            tls: encrypts.then(|| ServerTls::new(connector(&[]))),
        };
        within_limit(upstream::cancel_session(&server, Some(address), &cancel_request())).await.unwrap();
        within_limit(serving).await.unwrap();
    }
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
