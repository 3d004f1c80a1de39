//! The session's bytes.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use crate::buffers::Buffer;
use crate::session::{SessionEnd, SessionState, Side};
use crate::stream::Stream;
use crate::tracker::MessageTracker;

/// How long the end of a session waits for a connection to accept the last bytes, and then for the client to close.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// How long the server's further bytes are forwarded after the client has closed, from the last of them on.
const SERVER_LIMIT: Duration = Duration::from_secs(10);

/// How many of the client's bytes are discarded while it closes.
const MAX_DISCARDED: u64 = 1 << 20;

/// The message `Terminate`.
const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

/// Forwards the bytes of a session in both directions until it ends, and returns why it ended.
///
/// `first` are the server's messages that were read already and that the client does not have yet, from
/// `AuthenticationOk` on: those of [`log_in`](crate::upstream::log_in), and usually those of
/// [`read_session_start`](crate::upstream::read_session_start). They are counted like those that follow.
///
/// - If the client closes first, the server is notified, and its further bytes are forwarded until it closes. If there
///   is none for 10 s, the session ends.
/// - If the server closes first, the client receives its last bytes, and has then a second to close.
/// - An end when the session is idle is decided here, after both connections were read until they have no more bytes,
///   and once more after the runtime has polled them. A query that arrives later is not forwarded: the client receives
///   the error instead, so that the query was certainly not executed.
///
/// Bytes are not changed, and a connection that does not accept bytes stops the other one: at most 256 kB are kept in
/// each direction. A session without bytes under way has no buffer. Run it in a task of its own, so that the memory of
/// the login is freed.
///
/// Dropping the future ends the session at once.
pub async fn relay_session<C: Stream, S: Stream>(
    client: C,
    server: S,
    first: Vec<u8>,
    state: &SessionState,
) -> SessionEnd {
    let mut session = Session {
        client,
        server,
        state,
        tracker: MessageTracker::new(),
        to_client: Direction::default(),
        to_server: Direction::default(),
        waker: None,
        is_confirmed: false,
    };
    session.start(first);
    let turn = poll_fn(|context| session.poll(context)).await;
    // These futures are large, and the memory of an idle session must not contain them.
    let end = Box::pin(session.close(turn)).await;
    state.set_idle(false);
    state.remove_waker();
    end
}

/// The bytes of one direction.
#[derive(Default)]
struct Direction {
    /// Exists only while there are bytes from `start` to `end`, or while a task runs.
    buffer: Option<Buffer>,
    start: usize,
    end: usize,
    /// Whether the last reads filled the buffer, so that the next one is larger.
    is_filled: bool,
    needs_flush: bool,
    is_closed: bool,
    /// Why reading ended, if it failed.
    error: Option<io::Error>,
}

/// The result of a step of one direction.
enum Step {
    /// Bytes were forwarded.
    Forwarded,
    /// Waits for the reader or the writer.
    Waits,
    /// The reader has closed or failed, and all of its bytes were forwarded.
    Closed(Option<io::Error>),
    /// The writer failed.
    WriteFailed(io::Error),
}

impl Direction {
    /// Returns whether no byte is kept.
    fn is_empty(&self) -> bool {
        self.start == self.end && !self.needs_flush
    }

    /// Reads until the buffer is full or the reader has no more bytes, calls `read` with them, and writes them.
    fn step(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        writer: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
        mut read: impl FnMut(&[u8]),
        mut written: impl FnMut(usize),
    ) -> Step {
        let mut is_waiting = false;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.prepare();
            while !self.is_closed && !is_waiting {
                let buffer = self.buffer.get_or_insert_with(Buffer::small);
                let mut free = ReadBuf::new(&mut buffer.bytes_mut()[self.end..]);
                if free.remaining() == 0 {
                    self.is_filled = true;
                    break;
                }
                match Pin::new(&mut *reader).poll_read(context, &mut free) {
                    Poll::Ready(Ok(())) if free.filled().is_empty() => self.is_closed = true,
                    Poll::Ready(Ok(())) => {
                        read(free.filled());
                        self.end += free.filled().len();
                    }
                    Poll::Ready(Err(error)) => {
                        self.is_closed = true;
                        self.error = Some(error);
                    }
                    Poll::Pending => is_waiting = true,
                }
            }
        }
        let has_bytes = self.start < self.end;
        while self.start < self.end {
            let bytes = self.buffer.as_ref().map(|buffer| &buffer.bytes()[self.start..self.end]).unwrap_or_default();
            match Pin::new(&mut *writer).poll_write(context, bytes) {
                Poll::Ready(Ok(0)) => return Step::WriteFailed(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.start += count;
                    self.needs_flush = true;
                    written(count);
                }
                Poll::Ready(Err(error)) => return Step::WriteFailed(error),
                Poll::Pending => return Step::Waits,
            }
        }
        if has_bytes && !is_waiting && !self.is_closed {
            return Step::Forwarded;
        }
        // Nothing more is there, at least for now.
        if let Some(buffer) = self.buffer.take() {
            buffer.release();
        }
        self.is_filled = false;
        if self.needs_flush {
            match Pin::new(writer).poll_flush(context) {
                Poll::Ready(Ok(())) => self.needs_flush = false,
                Poll::Ready(Err(error)) => return Step::WriteFailed(error),
                Poll::Pending => return Step::Waits,
            }
        }
        if self.is_closed { Step::Closed(self.error.take()) } else { Step::Waits }
    }

    /// Replaces a buffer that reads have filled, and one that has only the first bytes of the session.
    fn prepare(&mut self) {
        let Some(buffer) = self.buffer.take() else { return };
        let is_filled = std::mem::take(&mut self.is_filled);
        let larger = (is_filled && buffer.is_small()).then(Buffer::large).flatten();
        if larger.is_some() || !buffer.is_of_pool() {
            buffer.release();
            self.buffer = larger;
        } else {
            self.buffer = Some(buffer);
        }
    }
}

/// Why the relay itself has ended, before the connections are closed.
enum Turn {
    Cut,
    EndWhenIdle,
    Closed(Side, Option<io::Error>),
    /// Writing to this side failed.
    WriteFailed(Side, io::Error),
}

struct Session<'a, C, S> {
    client: C,
    server: S,
    state: &'a SessionState,
    tracker: MessageTracker,
    to_client: Direction,
    to_server: Direction,
    waker: Option<Waker>,
    /// Whether the runtime has polled the connections since the session was found idle.
    is_confirmed: bool,
}

impl<C: Stream, S: Stream> Session<'_, C, S> {
    fn start(&mut self, first: Vec<u8>) {
        self.tracker.server(&first);
        if !first.is_empty() {
            self.to_client.end = first.len();
            self.to_client.buffer = Some(Buffer::from(first));
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Turn> {
        // A request that is made after this wakes the task.
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
            self.state.set_waker(context.waker().clone());
        }
        if self.state.is_cut_requested() {
            return Poll::Ready(Turn::Cut);
        }
        let mut has_moved = false;
        loop {
            let to_server = self.forward_to_server(context, &mut has_moved);
            let to_client = self.forward_to_client(context, &mut has_moved);
            // The server's end comes first: it explains a client's connection that cannot be written to the server.
            match (to_client, to_server) {
                (Step::Closed(error), _) => return Poll::Ready(Turn::Closed(Side::Server, error)),
                (Step::WriteFailed(error), _) => return Poll::Ready(Turn::WriteFailed(Side::Client, error)),
                (_, Step::Closed(error)) => return Poll::Ready(Turn::Closed(Side::Client, error)),
                (_, Step::WriteFailed(error)) => return Poll::Ready(Turn::WriteFailed(Side::Server, error)),
                (Step::Waits, Step::Waits) => break,
                _ => {}
            }
        }
        self.decide(context, has_moved)
    }

    /// Ends an idle session if that was requested. Both connections have no more bytes.
    fn decide(&mut self, context: &mut Context<'_>, has_moved: bool) -> Poll<Turn> {
        let is_idle = self.to_client.is_empty() && self.to_server.is_empty() && self.tracker.is_idle();
        if has_moved || is_idle != self.state.is_idle() {
            self.state.set_idle(is_idle);
            self.is_confirmed = false;
        }
        if has_moved || !is_idle {
            self.state.withdraw_end_if_idle();
        }
        if !is_idle || !self.state.is_end_requested() {
            return Poll::Pending;
        }
        if self.is_confirmed {
            return Poll::Ready(Turn::EndWhenIdle);
        }
        self.is_confirmed = true;
        // A socket is read only after the runtime has found it readable. This wakes the task after the runtime has
        // polled all sockets.
        let _ = pin!(tokio::task::yield_now()).poll(context);
        Poll::Pending
    }

    fn forward_to_server(&mut self, context: &mut Context<'_>, has_moved: &mut bool) -> Step {
        let Self { client, server, state, tracker, to_server, .. } = self;
        to_server.step(
            client,
            server,
            context,
            |bytes| {
                *has_moved = true;
                tracker.client(bytes);
            },
            |count| state.sent_to(Side::Server, count),
        )
    }

    fn forward_to_client(&mut self, context: &mut Context<'_>, has_moved: &mut bool) -> Step {
        let Self { client, server, state, tracker, to_client, .. } = self;
        let moved = std::cell::Cell::new(false);
        let step = to_client.step(
            server,
            client,
            context,
            |bytes| {
                moved.set(true);
                tracker.server(bytes);
            },
            |count| {
                moved.set(true);
                state.sent_to(Side::Client, count);
            },
        );
        *has_moved |= moved.get();
        step
    }

    /// Closes both connections.
    async fn close(mut self, turn: Turn) -> SessionEnd {
        self.state.set_idle(false);
        match turn {
            Turn::Cut => {
                let message = self.state.end_message();
                if !message.is_empty() && self.to_client.is_empty() && self.tracker.is_between_server_messages() {
                    send_and_shut_down(&mut self.client, &message).await;
                }
                SessionEnd::Cut
            }
            Turn::EndWhenIdle => {
                let message = self.state.end_message();
                let to_client = send_and_shut_down(&mut self.client, &message);
                let to_server = send_and_shut_down(&mut self.server, &TERMINATE);
                tokio::join!(to_client, to_server);
                drop(self.server);
                discard(self.client).await;
                SessionEnd::EndedWhenIdle
            }
            Turn::Closed(Side::Server, error) => {
                drop(self.server);
                send_and_shut_down(&mut self.client, &[]).await;
                discard(self.client).await;
                ended(Side::Server, error)
            }
            Turn::Closed(Side::Client, error) => {
                self.finish_server().await;
                ended(Side::Client, error)
            }
            Turn::WriteFailed(Side::Client, error) => {
                send_and_shut_down(&mut self.server, &[]).await;
                ended(Side::Client, Some(error))
            }
            Turn::WriteFailed(Side::Server, error) => {
                // A server that ends a session sends the reason before it closes.
                let is_closed = self.receive_the_rest().await;
                drop(self.server);
                send_and_shut_down(&mut self.client, &[]).await;
                discard(self.client).await;
                if is_closed { SessionEnd::ServerClosed } else { ended(Side::Server, Some(error)) }
            }
        }
    }

    /// Notifies the server that the client has closed, and forwards its further bytes.
    async fn finish_server(&mut self) {
        let mut is_shut_down = false;
        let mut is_closed = false;
        while !is_closed {
            let progress = poll_fn(|context| {
                if !is_shut_down && Pin::new(&mut self.server).poll_shutdown(context).is_ready() {
                    is_shut_down = true;
                }
                self.poll_rest(context)
            });
            match timeout(SERVER_LIMIT, progress).await {
                Ok(ended) => is_closed = ended,
                Err(_) => return,
            }
        }
        send_and_shut_down(&mut self.client, &[]).await;
    }

    /// Forwards the server's further bytes until it closes. Returns whether it did.
    async fn receive_the_rest(&mut self) -> bool {
        loop {
            match timeout(SERVER_LIMIT, poll_fn(|context| self.poll_rest(context))).await {
                Ok(true) => return true,
                Ok(false) => {}
                Err(_) => return false,
            }
        }
    }

    /// Forwards some of the server's bytes. Returns whether one of both connections has ended.
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let mut has_moved = false;
        match self.forward_to_client(context, &mut has_moved) {
            Step::Closed(_) | Step::WriteFailed(_) => Poll::Ready(true),
            Step::Forwarded => Poll::Ready(false),
            Step::Waits if has_moved => Poll::Ready(false),
            Step::Waits => Poll::Pending,
        }
    }
}

/// Returns the end of a session by one side. A connection that was closed without TLS's closing message counts as
/// closed, and so does a client's that was reset: programs that end without closing their connection cause it.
fn ended(side: Side, error: Option<io::Error>) -> SessionEnd {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match (side, error) {
        (Side::Client, Some(error)) if !matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof) => {
            SessionEnd::Failed { side, error }
        }
        (Side::Server, Some(error)) if error.kind() != UnexpectedEof => SessionEnd::Failed { side, error },
        (Side::Client, _) => SessionEnd::ClientClosed,
        (Side::Server, _) => SessionEnd::ServerClosed,
    }
}

/// Sends the last bytes of a connection. Errors are ignored, because the session has ended.
async fn send_and_shut_down(stream: &mut impl Stream, message: &[u8]) {
    let sending = async {
        stream.write_all(message).await?;
        stream.flush().await?;
        stream.shutdown().await
    };
    let _ = timeout(CLOSE_LIMIT, sending).await;
}

/// Reads what the client still sends. With unread bytes the system would reset the connection, and the client could
/// lose the last message.
async fn discard(client: impl Stream) {
    let _ = timeout(CLOSE_LIMIT, tokio::io::copy(&mut client.take(MAX_DISCARDED), &mut tokio::io::sink())).await;
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::duplex;

    use super::*;
    use crate::buffers::{LARGE, SMALL};

    /// The length of a direction's buffer; 0 without one.
    fn held(direction: &Direction) -> usize {
        direction.buffer.as_ref().map_or(0, |buffer| buffer.bytes().len())
    }

    #[tokio::test]
    async fn session_holds_buffers_only_for_bytes_under_way() {
        // The session is polled by hand, and tokio's limit for one poll of a task must not stop it.
        tokio::task::unconstrained(check_buffers()).await;
    }

    async fn check_buffers() {
        let state = SessionState::new();
        let (mut client, client_side) = duplex(1 << 12);
        let (mut server, server_side) = duplex(1 << 20);
        let mut session = Session {
            client: client_side,
            server: server_side,
            state: &state,
            tracker: MessageTracker::new(),
            to_client: Direction::default(),
            to_server: Direction::default(),
            waker: None,
            is_confirmed: false,
        };
        session.start(vec![b'x'; 1 << 13]);
        let mut context = Context::from_waker(Waker::noop());
        assert!(session.poll(&mut context).is_pending());
        assert_eq!((held(&session.to_client), held(&session.to_server)), (1 << 13, 0), "the first bytes");
        let mut received = vec![0; 1 << 20];
        client.read_exact(&mut received[..1 << 12]).await.unwrap();
        assert!(session.poll(&mut context).is_pending());
        assert_eq!((held(&session.to_client), held(&session.to_server)), (0, 0));
        client.read_exact(&mut received[..1 << 12]).await.unwrap();

        // The client reads less than the server sends: the buffer grows, and goes when the client has read everything.
        server.write_all(&vec![b'y'; 600_000]).await.unwrap();
        let mut sizes = Vec::new();
        let mut missing: usize = 600_000;
        while missing > 0 {
            assert!(session.poll(&mut context).is_pending());
            sizes.push(held(&session.to_client));
            let length = missing.min(1 << 12);
            client.read_exact(&mut received[..length]).await.unwrap();
            missing -= length;
        }
        assert!(session.poll(&mut context).is_pending());
        sizes.dedup();
        assert_eq!(sizes, [SMALL, LARGE, 0]);
        assert_eq!((held(&session.to_client), held(&session.to_server)), (0, 0));
    }
}
