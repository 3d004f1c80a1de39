//! The end of a connection that gets no session.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::stream::BoxedStream;

/// How long, and for how many bytes, the client's own bytes are still read. With unread bytes the system would reset the
/// connection, and the error would be lost.
const LIMIT: Duration = Duration::from_secs(1);
const MAX_BYTES: u64 = 1 << 20;

/// Sends `message`, usually an [`error_response`](crate::message::error_response), and closes the connection. This takes
/// at most a second. The client can have disconnected, so errors are ignored.
///
/// A cancel request is ended with an empty message: without TLS's closing message, libpq treats the request as failed.
pub async fn reject(stream: BoxedStream, message: &[u8]) {
    let _ = timeout(LIMIT, send_and_close(stream, message)).await;
}

async fn send_and_close(mut stream: BoxedStream, message: &[u8]) -> io::Result<()> {
    stream.write_all(message).await?;
    stream.flush().await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(MAX_BYTES), &mut tokio::io::sink()).await.map(drop)
}
