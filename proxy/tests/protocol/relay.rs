//! The relay of a session.

use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pgentra_proxy::message::session_ended;
use pgentra_proxy::{SessionEnd, SessionState, Side, reject, relay_session};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::tracker::{client as client_messages, server as server_messages};
use crate::{Split, SplitReads, acceptor, connector, localhost, within_limit};

const TERMINATE: &[u8] = b"X\0\0\0\x04";

/// A chunk, and whether the writer waits before it.
type Chunk = (Vec<u8>, bool);

fn chunks() -> impl Strategy<Value = Vec<Chunk>> {
    prop::collection::vec((prop::collection::vec(any::<u8>(), 0..400), any::<bool>()), 0..12)
}

fn bytes(chunks: &[Chunk]) -> Vec<u8> {
    chunks.iter().flat_map(|(bytes, _)| bytes.clone()).collect()
}

async fn write(mut stream: impl AsyncWrite + Unpin, chunks: &[Chunk]) -> impl AsyncWrite + Unpin {
    for (bytes, waits) in chunks {
        if *waits {
            sleep(Duration::from_millis(1)).await;
        }
        stream.write_all(bytes).await.unwrap();
    }
    stream
}

async fn read_to_end(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    received
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The server closes last, as PostgreSQL does: after it has read the client's end, or all bytes of a client that
    /// stays connected.
    #[test]
    fn relay_session_of_random_chunks_delivers_the_same_bytes(
        first in prop::collection::vec(any::<u8>(), 0..700),
        from_client in chunks(),
        from_server in chunks(),
        client_closes: bool,
        buffer in 1_usize..600,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(within_limit(async {
            let (client, client_side) = duplex(buffer);
            let (server, server_side) = duplex(buffer);
            let expected_at_server = bytes(&from_client);
            let expected_at_client = [first.clone(), bytes(&from_server)].concat();
            let state = SessionState::new();
            let (client_reader, client_writer) = tokio::io::split(client);
            let (mut server_reader, server_writer) = tokio::io::split(server);
            let writing_client = async {
                let mut writer = write(client_writer, &from_client).await;
                if client_closes {
                    writer.shutdown().await.unwrap();
                }
                writer
            };
            let serving = async {
                let reading = async {
                    if client_closes {
                        return read_to_end(&mut server_reader).await;
                    }
                    let mut received = vec![0; expected_at_server.len()];
                    server_reader.read_exact(&mut received).await.unwrap();
                    received
                };
                let (received, mut writer) = tokio::join!(reading, write(server_writer, &from_server));
                writer.shutdown().await.unwrap();
                received
            };
            let (end, received_by_client, _, received_by_server) = tokio::join!(
                relay_session(client_side, server_side, first, &state),
                read_to_end(client_reader),
                writing_client,
                serving
            );
            // A client that closes can be the first one.
            assert!(matches!(end, SessionEnd::ServerClosed) || client_closes && matches!(end, SessionEnd::ClientClosed));
            assert_eq!(state.bytes_to_client(), expected_at_client.len() as u64);
            assert_eq!(state.bytes_to_server(), expected_at_server.len() as u64);
            assert_eq!(received_by_client, expected_at_client);
            assert_eq!(received_by_server, expected_at_server);
        }));
    }
}

#[tokio::test]
async fn relay_session_that_is_dropped_closes_both_sides() {
    let (client, client_side) = duplex(64);
    let (server, server_side) = duplex(64);
    let session = tokio::spawn(async {
        relay_session(client_side, server_side, Vec::new(), &SessionState::new()).await;
    });
    session.abort();
    assert_eq!(within_limit(read_to_end(client)).await, b"");
    assert_eq!(within_limit(read_to_end(server)).await, b"");
}

#[tokio::test(start_paused = true)]
async fn relay_session_with_a_client_that_never_reads_ends_after_the_server() {
    let (client, client_side) = duplex(64);
    let (server, server_side) = duplex(64);
    drop(server);
    within_limit(relay_session(client_side, server_side, Vec::new(), &SessionState::new())).await;
    drop(client);
}

/// A session over connections in memory.
struct Session {
    client: DuplexStream,
    server: DuplexStream,
    state: Arc<SessionState>,
    relay: JoinHandle<SessionEnd>,
}

const BUFFER: usize = 1 << 16;

impl Session {
    /// Starts a session that is idle.
    async fn start() -> Self {
        let (client, client_side) = duplex(BUFFER);
        let (server, server_side) = duplex(BUFFER);
        let state = Arc::new(SessionState::new());
        let shared = state.clone();
        let first = server_messages("R S K Z");
        let expected = first.clone();
        let relay = tokio::spawn(async move { relay_session(client_side, server_side, first, &shared).await });
        let mut session = Self { client, server, state, relay };
        session.expect(Side::Client, &expected).await;
        session.settle().await;
        assert!(session.state.is_idle());
        session
    }

    /// Lets the relay run until it waits.
    async fn settle(&self) {
        sleep(Duration::from_millis(1)).await;
    }

    async fn send(&mut self, from: Side, bytes: &[u8]) {
        match from {
            Side::Client => self.client.write_all(bytes).await.unwrap(),
            Side::Server => self.server.write_all(bytes).await.unwrap(),
        }
    }

    /// Checks that these bytes arrive.
    async fn expect(&mut self, at: Side, bytes: &[u8]) {
        let mut received = vec![0; bytes.len()];
        let stream = match at {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        within_limit(stream.read_exact(&mut received)).await.unwrap();
        assert_eq!(received, bytes);
    }

    /// Checks that the session was ended because it was idle.
    async fn expect_end_when_idle(mut self) {
        assert_eq!(within_limit(read_to_end(&mut self.client)).await, session_ended());
        assert_eq!(within_limit(read_to_end(&mut self.server)).await, TERMINATE);
        drop(self.client);
        assert!(matches!(within_limit(self.relay).await.unwrap(), SessionEnd::EndedWhenIdle));
        assert!(!self.state.is_idle());
    }
}

#[tokio::test(start_paused = true)]
async fn relay_session_that_is_idle_is_ended_with_an_error() {
    let session = Session::start().await;
    session.state.end_when_idle(session_ended());
    session.expect_end_when_idle().await;
}

#[tokio::test(start_paused = true)]
async fn relay_session_with_a_query_is_ended_after_it() {
    for (query, responses) in [
        ("Q", &["T", "D C Z"][..]),
        ("P B D E S", &["1 2 T", "D C", "Z"]),
        ("P B E S P B E S", &["1 2 C Z", "1 2 C", "Z"]),
        ("S S", &["Z", "Z"]),
        ("F", &["V", "Z"]),
        ("Q", &["E", "Z"]),
    ] {
        // The end is requested before the query is read, after it was forwarded, and after a part of the answer.
        for requested in 0..=responses.len() + 1 {
            let mut session = Session::start().await;
            let request = |step: usize, session: &Session| {
                if step == requested {
                    session.state.end_when_idle(session_ended());
                }
            };
            session.send(Side::Client, &client_messages(query)).await;
            request(0, &session);
            session.expect(Side::Server, &client_messages(query)).await;
            for (index, response) in responses.iter().enumerate() {
                request(index + 1, &session);
                session.settle().await;
                assert!(!session.relay.is_finished() && !session.state.is_idle(), "{query}, {requested}");
                session.send(Side::Server, &server_messages(response)).await;
                session.expect(Side::Client, &server_messages(response)).await;
            }
            request(responses.len() + 1, &session);
            session.expect_end_when_idle().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn relay_session_in_a_transaction_or_a_copy_is_not_ended() {
    for (query, response) in
        [("Q", "C ZT"), ("Q", "E ZE"), ("Q", "G"), ("Q", "H d"), ("Q", "W d"), ("P B E H", "1 2 C")]
    {
        let mut session = Session::start().await;
        session.send(Side::Client, &client_messages(query)).await;
        session.send(Side::Server, &server_messages(response)).await;
        session.settle().await;
        session.state.end_when_idle(session_ended());
        sleep(Duration::from_secs(60)).await;
        assert!(!session.relay.is_finished(), "{query}: {response}");
        session.state.cut();
        assert!(matches!(within_limit(session.relay).await.unwrap(), SessionEnd::Cut));
        let expected = [server_messages(response), session_ended()].concat();
        assert_eq!(within_limit(read_to_end(&mut session.client)).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn relay_session_that_is_cut_sends_the_error_only_between_messages() {
    let response = server_messages("T D");
    for length in 0..=response.len() {
        for has_message in [false, true] {
            let mut session = Session::start().await;
            session.send(Side::Client, &client_messages("Q")).await;
            session.send(Side::Server, &response[..length]).await;
            session.settle().await;
            if has_message {
                session.state.end_when_idle(session_ended());
            }
            session.state.cut();
            assert!(matches!(within_limit(session.relay).await.unwrap(), SessionEnd::Cut));
            let is_between = [0, server_messages("T").len(), response.len()].contains(&length);
            let error = if has_message && is_between { session_ended() } else { Vec::new() };
            let expected = [&response[..length], &error].concat();
            assert_eq!(within_limit(read_to_end(&mut session.client)).await, expected, "{length}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn relay_session_whose_end_is_requested_if_idle_ends_only_then() {
    let session = Session::start().await;
    session.state.end_if_idle(session_ended());
    session.expect_end_when_idle().await;

    // A query arrives before the relay runs, or was forwarded before.
    for is_forwarded in [false, true] {
        let mut session = Session::start().await;
        session.send(Side::Client, &client_messages("Q")).await;
        if is_forwarded {
            session.settle().await;
        }
        session.state.end_if_idle(session_ended());
        session.expect(Side::Server, &client_messages("Q")).await;
        session.send(Side::Server, &server_messages("C Z")).await;
        session.expect(Side::Client, &server_messages("C Z")).await;
        sleep(Duration::from_secs(60)).await;
        assert!(!session.relay.is_finished() && session.state.is_idle());
        // The next request is a new one.
        session.state.end_if_idle(session_ended());
        session.expect_end_when_idle().await;
    }

    // A request that goes further stays.
    let mut session = Session::start().await;
    session.send(Side::Client, &client_messages("Q")).await;
    session.state.end_when_idle(session_ended());
    session.state.end_if_idle(*b"another message");
    session.expect(Side::Server, &client_messages("Q")).await;
    session.send(Side::Server, &server_messages("Z")).await;
    session.expect(Side::Client, &server_messages("Z")).await;
    session.expect_end_when_idle().await;
}

#[tokio::test(start_paused = true)]
async fn relay_session_with_a_part_of_a_message_is_not_ended() {
    let query = client_messages("Q");
    for length in 1..query.len() {
        let mut session = Session::start().await;
        session.send(Side::Client, &query[..length]).await;
        session.state.end_when_idle(session_ended());
        sleep(Duration::from_secs(60)).await;
        assert!(!session.relay.is_finished(), "{length} bytes");
        session.send(Side::Client, &query[length..]).await;
        session.expect(Side::Server, &query).await;
        session.send(Side::Server, &server_messages("C Z")).await;
        session.expect(Side::Client, &server_messages("C Z")).await;
        session.expect_end_when_idle().await;
    }
}

/// A query is in the socket, but the runtime has not noticed it when the end is requested.
#[tokio::test]
async fn relay_session_reads_a_query_that_arrives_just_before_the_request() {
    for round in 0..20 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nodelay(true).unwrap();
        let client_side = listener.accept().unwrap().0;
        client_side.set_nonblocking(true).unwrap();
        let (mut server, server_side) = duplex(BUFFER);
        let state = Arc::new(SessionState::new());
        let (shared, first) = (state.clone(), server_messages("R K Z"));
        let relay = tokio::spawn(async move {
            relay_session(TcpStream::from_std(client_side).unwrap(), server_side, first, &shared).await
        });
        within_limit(async {
            while !state.is_idle() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // This blocks the thread, so that the relay cannot run in between.
        client.write_all(&client_messages("Q")).unwrap();
        std::thread::sleep(Duration::from_millis(1));
        state.end_when_idle(session_ended());
        let mut received = vec![0; client_messages("Q").len()];
        within_limit(server.read_exact(&mut received)).await.unwrap();
        assert_eq!(received, client_messages("Q"), "round {round}");
        server.write_all(&server_messages("C Z")).await.unwrap();
        client.set_nonblocking(true).unwrap();
        let received = within_limit(read_to_end(TcpStream::from_std(client).unwrap())).await;
        assert_eq!(received, [server_messages("R K Z C Z"), session_ended()].concat());
        assert_eq!(within_limit(read_to_end(server)).await, TERMINATE);
        assert!(matches!(within_limit(relay).await.unwrap(), SessionEnd::EndedWhenIdle));
    }
}

#[tokio::test(start_paused = true)]
async fn session_state_measures_idle_time_from_the_last_byte() {
    let mut session = Session::start().await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(session.state.idle_for().unwrap().as_secs(), 30);
    session.send(Side::Server, &server_messages("A")).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(session.state.idle_for().unwrap().as_secs(), 10, "after a notification");
    session.send(Side::Client, &client_messages("Q")).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!((session.state.idle_for(), session.state.is_idle()), (None, false));
    session.send(Side::Server, &server_messages("C Z")).await;
    sleep(Duration::from_secs(7)).await;
    assert_eq!(session.state.idle_for().unwrap().as_secs(), 7);
    assert_eq!(session.state.age().as_secs(), 52);
    assert_eq!(session.state.bytes_to_server(), client_messages("Q").len() as u64);
    assert_eq!(session.state.bytes_to_client(), server_messages("R S K Z A C Z").len() as u64);
}

#[tokio::test(start_paused = true)]
async fn relay_session_whose_end_was_requested_before_it_starts_ends() {
    for cuts in [false, true] {
        let (client, client_side) = duplex(BUFFER);
        let (server, server_side) = duplex(BUFFER);
        let state = SessionState::new();
        state.end_when_idle(session_ended());
        if cuts {
            state.cut();
        }
        state.end_when_idle(*b"another message");
        let first = server_messages("R Z");
        let reading = async { tokio::join!(read_to_end(client), read_to_end(server)) };
        let (end, (at_client, at_server)) =
            within_limit(async { tokio::join!(relay_session(client_side, server_side, first, &state), reading) }).await;
        if cuts {
            assert!(matches!(end, SessionEnd::Cut));
            assert_eq!((at_client, at_server), (vec![], vec![]), "the first messages were not sent");
        } else {
            assert!(matches!(end, SessionEnd::EndedWhenIdle));
            assert_eq!(
                (at_client, at_server.as_slice()),
                ([server_messages("R Z"), session_ended()].concat(), TERMINATE)
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn relay_session_after_the_client_has_closed_waits_for_the_server() {
    // A server that never closes is left 10 s after its last byte.
    let mut session = Session::start().await;
    session.send(Side::Client, &client_messages("Q X")).await;
    session.client.shutdown().await.unwrap();
    assert_eq!(within_limit(async { session.server.read(&mut [0; 100]).await.unwrap() }).await, 19);
    assert_eq!(within_limit(session.server.read(&mut [0; 1])).await.unwrap(), 0, "the server is notified");
    let begun = Instant::now();
    for _ in 0..3 {
        sleep(Duration::from_secs(9)).await;
        session.send(Side::Server, &server_messages("D")).await;
        session.expect(Side::Client, &server_messages("D")).await;
    }
    assert!(matches!(within_limit(session.relay).await.unwrap(), SessionEnd::ClientClosed));
    assert_eq!(begun.elapsed().as_secs(), 37);

    // A server that closes is not waited for.
    let mut session = Session::start().await;
    let begun = Instant::now();
    drop(session.client);
    assert_eq!(within_limit(session.server.read(&mut [0; 1])).await.unwrap(), 0);
    drop(session.server);
    assert!(matches!(within_limit(session.relay).await.unwrap(), SessionEnd::ClientClosed));
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn relay_session_whose_server_vanishes_delivers_its_last_bytes() {
    // The client sends while the server closes, so that writing to the server fails.
    for sends in [false, true] {
        let mut session = Session::start().await;
        let last = server_messages("N E");
        session.send(Side::Server, &last).await;
        drop(session.server);
        if sends {
            session.client.write_all(&[b'd'; 50_000]).await.unwrap();
        }
        assert_eq!(within_limit(read_to_end(&mut session.client)).await, last);
        drop(session.client);
        assert!(matches!(within_limit(session.relay).await.unwrap(), SessionEnd::ServerClosed));
    }
}

/// A connection that fails in one direction.
struct Failing {
    stream: DuplexStream,
    side: FailingSide,
}

#[derive(Clone, Copy, Debug)]
enum FailingSide {
    Reads(std::io::ErrorKind),
    Writes(std::io::ErrorKind),
}

impl AsyncRead for Failing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.side {
            FailingSide::Reads(kind) => Poll::Ready(Err(kind.into())),
            FailingSide::Writes(_) => Pin::new(&mut self.stream).poll_read(context, to),
        }
    }
}

impl AsyncWrite for Failing {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.side {
            FailingSide::Writes(kind) => Poll::Ready(Err(kind.into())),
            FailingSide::Reads(_) => Pin::new(&mut self.stream).poll_write(context, from),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[tokio::test(start_paused = true)]
async fn relay_session_with_a_connection_that_fails_names_it() {
    use std::io::ErrorKind::{ConnectionReset, TimedOut, UnexpectedEof};
    for (side, failure, expected) in [
        (Side::Client, FailingSide::Reads(TimedOut), "failed: Client"),
        (Side::Client, FailingSide::Reads(ConnectionReset), "ClientClosed"),
        (Side::Client, FailingSide::Reads(UnexpectedEof), "ClientClosed"),
        (Side::Client, FailingSide::Writes(TimedOut), "failed: Client"),
        (Side::Client, FailingSide::Writes(ConnectionReset), "ClientClosed"),
        (Side::Server, FailingSide::Reads(TimedOut), "failed: Server"),
        (Side::Server, FailingSide::Reads(ConnectionReset), "failed: Server"),
        (Side::Server, FailingSide::Reads(UnexpectedEof), "ServerClosed"),
        (Side::Server, FailingSide::Writes(ConnectionReset), "failed: Server"),
    ] {
        let (mut client, client_side) = duplex(BUFFER);
        let (mut server, server_side) = duplex(BUFFER);
        client.write_all(&client_messages("Q")).await.unwrap();
        server.write_all(&server_messages("E")).await.unwrap();
        let state = SessionState::new();
        let first = server_messages("R Z");
        let end = within_limit(async {
            match side {
                Side::Client => {
                    let client_side = Failing { stream: client_side, side: failure };
                    relay_session(client_side, server_side, first, &state).await
                }
                Side::Server => {
                    let server_side = Failing { stream: server_side, side: failure };
                    relay_session(client_side, server_side, first, &state).await
                }
            }
        })
        .await;
        let end = match end {
            SessionEnd::Failed { side, .. } => format!("failed: {side:?}"),
            end => format!("{end:?}"),
        };
        assert_eq!(end, expected, "{side:?}: {failure:?}");
        if let (Side::Server, FailingSide::Writes(_)) = (side, failure) {
            assert_eq!(within_limit(read_to_end(client)).await, server_messages("R Z E"), "the server's last message");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn relay_session_with_a_side_that_does_not_read_keeps_a_limited_number_of_bytes() {
    for side in [Side::Client, Side::Server] {
        let mut session = Session::start().await;
        let sender = match side {
            Side::Client => &mut session.server,
            Side::Server => &mut session.client,
        };
        let chunk = vec![b'd'; 50_000];
        let mut accepted = 0;
        // No byte is accepted for a minute at the end.
        while let Ok(count) = tokio::time::timeout(Duration::from_secs(60), sender.write(&chunk)).await {
            accepted += count.unwrap();
            assert!(accepted < 1 << 20, "{accepted} bytes were accepted");
        }
        // All of them arrive once the side reads.
        let receiver = match side {
            Side::Client => &mut session.client,
            Side::Server => &mut session.server,
        };
        let mut received = vec![0; accepted];
        within_limit(receiver.read_exact(&mut received)).await.unwrap();
        assert!(received.iter().all(|byte| *byte == b'd'));
        session.state.cut();
        assert!(matches!(within_limit(session.relay).await.unwrap(), SessionEnd::Cut));
    }
}

#[tokio::test]
async fn relay_session_with_tls_on_both_sides_delivers_the_same_bytes() {
    let (client, client_side) = duplex(1000);
    let (server, server_side) = duplex(1000);
    let data: Vec<u8> = (0..600_000_u32).map(|number| (number % 251) as u8).collect();
    let expected = data.clone();
    let relaying = async {
        let client_side = acceptor().accept(client_side).await.unwrap();
        let server_side =
            connector(&[]).connect(localhost(), SplitReads::new(server_side, Split::At(77))).await.unwrap();
        relay_session(client_side, server_side, Vec::new(), &SessionState::new()).await
    };
    // The server returns every byte.
    let serving = async {
        let server = acceptor().accept(server).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(server);
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let using = async {
        let client = connector(&[]).connect(localhost(), client).await.unwrap();
        let (reader, mut writer) = tokio::io::split(client);
        let sending = async {
            writer.write_all(&data).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        tokio::join!(read_to_end(reader), sending).0
    };
    let (end, (), received) = within_limit(async { tokio::join!(relaying, serving, using) }).await;
    assert!(received == expected);
    assert!(matches!(end, SessionEnd::ClientClosed), "{end:?}");
}

/// The memory of an idle session: its task, without the connections.
#[test]
fn relay_session_is_small() {
    fn size<T>(_: &T) -> usize {
        size_of::<T>()
    }
    let (client, server) = duplex(1);
    let state = SessionState::new();
    let relay = relay_session(Box::new(client), Box::new(server), Vec::new(), &state);
    assert!(size(&relay) <= 512, "{} bytes", size(&relay));
    assert!(size(&state) <= 128, "{} bytes", size(&state));
}

#[tokio::test(start_paused = true)]
async fn reject_sends_the_message_and_reads_the_rest() {
    let (mut client, stream) = duplex(1 << 16);
    client.write_all(&[0; 50_000]).await.unwrap();
    let closing = tokio::spawn(async move { reject(Box::new(stream), b"error").await });
    // The connection is closed although the client has not closed its side.
    let begun = Instant::now();
    assert_eq!(within_limit(read_to_end(&mut client)).await, b"error");
    assert_eq!(begun.elapsed().as_millis(), 0, "before the time limit");
    drop(client);
    within_limit(closing).await.unwrap();

    // A client that neither reads nor closes is left after a second.
    let (client, stream) = duplex(2);
    let begun = Instant::now();
    within_limit(reject(Box::new(stream), b"error")).await;
    assert_eq!(begun.elapsed().as_secs(), 1);
    drop(client);
}
