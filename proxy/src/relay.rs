//! The session's bytes.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::stream::BoxedStream;

/// How long the end of a session waits for the client to receive the last bytes.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// Forwards bytes in both directions until the server has closed its side. If the client closes first, the server is
/// notified and its remaining bytes are forwarded.
///
/// Dropping the future ends the session at once.
pub async fn relay(client: BoxedStream, server: BoxedStream) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let to_the_server = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        let _ = to_server.shutdown().await;
        std::future::pending::<()>().await;
    };
    let to_the_client = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        let _ = timeout(CLOSE_LIMIT, to_client.shutdown()).await;
    };
    tokio::select! {
        () = to_the_server => {}
        () = to_the_client => {}
    }
}
