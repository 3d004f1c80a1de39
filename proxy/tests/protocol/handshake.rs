//! The client's side of the start.

use pgentra_proxy::startup::{Opening, StartupMessage};
use pgentra_proxy::{ALPN, BoxedStream, Handshake, HandshakeError, authenticate};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::{
    GSSENC_REQUEST, Random, SSL_REQUEST, Split, SplitReads, acceptor, connector, localhost, startup, within_limit,
};

/// More than the bytes that a TLS handshake and a startup message have.
const BUFFER: usize = 1 << 16;

/// The result of a handshake, and whether it is encrypted.
type Accepted = (Result<(BoxedStream, Opening), HandshakeError>, bool);

async fn accept(stream: SplitReads<DuplexStream>, offers_tls: bool) -> Accepted {
    let acceptor = acceptor();
    let mut handshake = Handshake::new(offers_tls.then_some(&acceptor));
    let result = handshake.accept(stream).await;
    (result, handshake.is_encrypted())
}

fn error(result: Result<(BoxedStream, Opening), HandshakeError>) -> String {
    match result {
        Ok((_, opening)) => panic!("accepted: {opening:?}"),
        Err(HandshakeError::Closed) => "closed".into(),
        Err(HandshakeError::Tls(_)) => "tls".into(),
        Err(HandshakeError::NoAlpn) => "no alpn".into(),
        Err(HandshakeError::Protocol(_, error)) => error.sqlstate.into(),
    }
}

fn message(accepted: Accepted) -> (StartupMessage, bool) {
    match accepted {
        (Ok((_, Opening::Startup(message))), is_encrypted) => (message, is_encrypted),
        (result, _) => {
            panic!("{}", result.map_or_else(|error| self::error(Err(error)), |(_, other)| format!("{other:?}")))
        }
    }
}

/// How a client starts its session.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Start {
    Plain,
    /// After TLS and GSSAPI encryption were declined.
    Declined,
    Tls,
    DirectTls,
}

/// Starts a session, and returns what the proxy has read.
async fn start(start: Start, split: Split) -> (StartupMessage, bool) {
    let (mut client, server) = duplex(BUFFER);
    let packet = startup(&[("user", "me"), ("application_name", "test"), ("options", "-c a=b")]);
    let client_side = async {
        match start {
            Start::Plain => client.write_all(&packet).await.unwrap(),
            Start::Declined => {
                for request in [GSSENC_REQUEST, SSL_REQUEST] {
                    client.write_all(&request).await.unwrap();
                    assert_eq!(client.read_u8().await.unwrap(), b'N');
                }
                client.write_all(&packet).await.unwrap();
            }
            Start::Tls | Start::DirectTls => {
                if start == Start::Tls {
                    client.write_all(&GSSENC_REQUEST).await.unwrap();
                    assert_eq!(client.read_u8().await.unwrap(), b'N');
                    client.write_all(&SSL_REQUEST).await.unwrap();
                    assert_eq!(client.read_u8().await.unwrap(), b'S');
                }
                let mut client = connector(&[ALPN]).connect(localhost(), &mut client).await.unwrap();
                client.write_all(&packet).await.unwrap();
                client.flush().await.unwrap();
            }
        }
    };
    let offers_tls = start != Start::Declined;
    let (accepted, ()) =
        within_limit(async { tokio::join!(accept(SplitReads::new(server, split), offers_tls), client_side) }).await;
    message(accepted)
}

#[tokio::test]
async fn handshake_with_reads_split_at_every_byte_reads_the_startup_message() {
    let packet = startup(&[("user", "me"), ("application_name", "test"), ("options", "-c a=b")]);
    for kind in [Start::Plain, Start::Declined, Start::Tls, Start::DirectTls] {
        let splits = (0..=2 * SSL_REQUEST.len() + packet.len()).map(Split::At);
        for split in splits.chain([Split::EveryByte]) {
            let (message, is_encrypted) = start(kind, split).await;
            assert_eq!(message.packet(), packet, "{kind:?}");
            assert_eq!((message.user(), message.application_name()), ("me", "test"), "{kind:?}");
            assert_eq!(is_encrypted, matches!(kind, Start::Tls | Start::DirectTls), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn handshake_that_ends_within_an_opening_is_closed() {
    let packet = [&GSSENC_REQUEST[..], &startup(&[("user", "me")])].concat();
    for length in 0..packet.len() {
        let (mut client, server) = duplex(BUFFER);
        client.write_all(&packet[..length]).await.unwrap();
        drop(client);
        let (result, is_encrypted) = within_limit(accept(SplitReads::new(server, Split::EveryByte), true)).await;
        assert_eq!((error(result).as_str(), is_encrypted), ("closed", false), "{length} bytes");
    }
}

#[tokio::test]
async fn handshake_with_bytes_ahead_of_tls_fails() {
    let ahead = startup(&[("user", "attacker"), ("database", "postgres")]);
    for length in [1, 8, ahead.len()] {
        let (mut client, server) = duplex(BUFFER);
        let client_side = async {
            // The bytes arrive together with the request, before the response.
            client.write_all(&[&SSL_REQUEST[..], &ahead[..length]].concat()).await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), b'S');
            assert!(connector(&[ALPN]).connect(localhost(), &mut client).await.is_err());
        };
        let (accepted, ()) =
            within_limit(async { tokio::join!(accept(SplitReads::new(server, Split::At(0)), true), client_side) })
                .await;
        assert_eq!((error(accepted.0).as_str(), accepted.1), ("tls", false), "{length} bytes");
    }
}

#[tokio::test]
async fn handshake_with_direct_tls_requires_alpn() {
    for (alpn, expected) in [(&[][..], "no alpn"), (&["http/1.1"], "tls")] {
        let (client, server) = duplex(BUFFER);
        let client_side = connector(alpn).connect(localhost(), client);
        let (accepted, _client) =
            within_limit(async { tokio::join!(accept(SplitReads::new(server, Split::At(0)), true), client_side) })
                .await;
        assert_eq!((error(accepted.0).as_str(), accepted.1), (expected, false), "{alpn:?}");
    }
    // Without TLS, the first bytes of TLS are an opening with an invalid length.
    let (mut client, server) = duplex(BUFFER);
    client.write_all(&[0x16, 3, 1, 0, 5, 1, 0, 0]).await.unwrap();
    assert_eq!(error(accept(SplitReads::new(server, Split::At(0)), false).await.0), "08P01");
}

#[tokio::test]
async fn handshake_with_repeated_requests_returns_the_second_one() {
    for (request, opening) in [(SSL_REQUEST, Opening::Ssl), (GSSENC_REQUEST, Opening::Gss)] {
        let (mut client, server) = duplex(BUFFER);
        client.write_all(&[request, request].concat()).await.unwrap();
        let (result, _) = within_limit(accept(SplitReads::new(server, Split::EveryByte), false)).await;
        assert_eq!(result.ok().map(|(_, opening)| opening), Some(opening));
    }
}

#[tokio::test]
async fn handshake_within_tls_accepts_cancel_requests_and_no_further_encryption() {
    let cancel = [&[0, 0, 0, 16, 0x04, 0xd2, 0x16, 0x2e][..], &[7; 8]].concat();
    for (packet, is_cancel) in [(&cancel[..], true), (&SSL_REQUEST, false)] {
        let (mut client, server) = duplex(BUFFER);
        let client_side = async {
            client.write_all(&SSL_REQUEST).await.unwrap();
            client.read_u8().await.unwrap();
            let mut client = connector(&[]).connect(localhost(), &mut client).await.unwrap();
            client.write_all(packet).await.unwrap();
            client.flush().await.unwrap();
        };
        let ((result, is_encrypted), ()) =
            within_limit(async { tokio::join!(accept(SplitReads::new(server, Split::EveryByte), true), client_side) })
                .await;
        let opening = result.ok().map(|(_, opening)| opening);
        match opening {
            Some(Opening::Cancel(request)) => assert!(is_cancel && request.packet() == packet),
            other => assert_eq!((other, is_cancel), (Some(Opening::Ssl), false)),
        }
        assert!(is_encrypted);
    }
}

#[tokio::test]
async fn handshake_of_random_bytes_never_accepts_a_session() {
    let acceptor = acceptor();
    let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
    let valid = startup(&[("user", "me"), ("database", "mine")]);
    for round in 0..10_000_u32 {
        let mut packet = random.bytes(300);
        match round % 5 {
            // A valid length with random contents, also as protocol 3.0 or as a cancel request.
            0 | 1 if packet.len() >= 8 => {
                let length = u32::try_from(packet.len()).unwrap().to_be_bytes();
                packet[..4].copy_from_slice(&length);
                if round % 5 == 1 {
                    packet[4..8].copy_from_slice(&[0, 3, 0, 0]);
                }
            }
            2 => packet = [&SSL_REQUEST[..], &packet].concat(),
            // The first byte of direct TLS.
            3 => packet.insert(0, 0x16),
            // A valid message without its end, or with a changed byte.
            4 => {
                packet = valid.clone();
                let at = usize::try_from(random.next()).unwrap() % (packet.len() - 1);
                if random.next().is_multiple_of(2) {
                    packet.truncate(at);
                } else {
                    // The length or the version, so that the message is not valid.
                    packet[at % 6] ^= 0x40;
                }
            }
            _ => {}
        }
        let (mut client, server) = duplex(BUFFER);
        client.write_all(&packet).await.unwrap();
        client.shutdown().await.unwrap();
        let mut handshake = Handshake::new(Some(&acceptor));
        if let Ok((_, Opening::Startup(message))) = within_limit(handshake.accept(server)).await {
            // Random bytes can be a startup message with a user.
            assert!(round % 5 == 1 && !message.user().is_empty(), "{packet:?}");
        }
        assert!(!handshake.is_encrypted());
    }
}

#[tokio::test]
async fn request_password_sends_the_request_and_reads_the_password() {
    let (mut client, mut server) = duplex(BUFFER);
    let client_side = async {
        let mut request = [0; 9];
        client.read_exact(&mut request).await.unwrap();
        client.write_all(b"p\0\0\0\x0btoken1\0").await.unwrap();
        request
    };
    let (password, request) =
        within_limit(async { tokio::join!(authenticate::request_password(&mut server), client_side) }).await;
    assert_eq!((password.unwrap(), request), (b"token1".to_vec(), [b'R', 0, 0, 0, 8, 0, 0, 0, 3]));
}
