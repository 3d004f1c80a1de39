//! The relay of a session.

use pgentra_proxy::{reject, relay};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};

use crate::within_limit;

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
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
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
    fn relay_of_random_chunks_delivers_the_same_bytes(
        from_client in chunks(),
        from_server in chunks(),
        client_closes: bool,
        buffer in 1_usize..600,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(within_limit(async {
            let (client, client_side) = duplex(buffer);
            let (server, server_side) = duplex(buffer);
            let (expected_at_server, expected_at_client) = (bytes(&from_client), bytes(&from_server));
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
            let ((), received_by_client, _, received_by_server) = tokio::join!(
                relay(Box::new(client_side), Box::new(server_side)),
                read_to_end(client_reader),
                writing_client,
                serving
            );
            assert_eq!(received_by_client, expected_at_client);
            assert_eq!(received_by_server, expected_at_server);
        }));
    }
}

#[tokio::test]
async fn relay_that_is_dropped_closes_both_sides() {
    let (client, client_side) = duplex(64);
    let (server, server_side) = duplex(64);
    let session = tokio::spawn(relay(Box::new(client_side), Box::new(server_side)));
    session.abort();
    assert_eq!(within_limit(read_to_end(client)).await, b"");
    assert_eq!(within_limit(read_to_end(server)).await, b"");
}

#[tokio::test(start_paused = true)]
async fn relay_with_a_client_that_never_reads_ends_after_the_server() {
    let (client, client_side) = duplex(64);
    let (server, server_side) = duplex(64);
    drop(server);
    within_limit(relay(Box::new(client_side), Box::new(server_side))).await;
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn reject_sends_the_message_and_reads_the_rest() {
    let (mut client, stream) = duplex(1 << 16);
    client.write_all(&[0; 50_000]).await.unwrap();
    let closing = tokio::spawn(async move { reject(Box::new(stream), b"error").await });
    // The connection is closed although the client has not closed its side.
    let begun = tokio::time::Instant::now();
    assert_eq!(within_limit(read_to_end(&mut client)).await, b"error");
    assert_eq!(begun.elapsed().as_millis(), 0, "before the time limit");
    drop(client);
    within_limit(closing).await.unwrap();

    // A client that neither reads nor closes is left after a second.
    let (client, stream) = duplex(2);
    let begun = tokio::time::Instant::now();
    within_limit(reject(Box::new(stream), b"error")).await;
    assert_eq!(begun.elapsed().as_secs(), 1);
    drop(client);
}
