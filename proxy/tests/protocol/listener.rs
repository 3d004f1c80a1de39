//! The listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pgentra_proxy::Listener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::within_limit;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Returns every byte to the client.
async fn echo(mut stream: TcpStream) {
    let (mut reader, mut writer) = stream.split();
    let _ = tokio::io::copy(&mut reader, &mut writer).await;
}

async fn echoes(stream: &mut TcpStream) -> bool {
    stream.write_all(b"x").await.is_ok() && stream.read_u8().await.is_ok()
}

#[tokio::test]
async fn listener_serves_no_more_than_the_maximum_at_once() {
    let (served, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counter, maximum) = (served.clone(), most.clone());
    let listener = Listener::bind(ANY_PORT, 2, move |stream, _| {
        let (counter, maximum) = (counter.clone(), maximum.clone());
        async move {
            maximum.fetch_max(counter.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            echo(stream).await;
            counter.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await
    .unwrap();
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let address = listener.address();
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                assert!(echoes(&mut stream).await);
            })
        })
        .collect();
    for client in clients {
        within_limit(client).await.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn listener_shutdown_ends_connections_and_closes_the_socket() {
    let listener = Listener::bind(ANY_PORT, 10, |stream, _| echo(stream)).await.unwrap();
    let address = listener.address();
    let mut client = TcpStream::connect(address).await.unwrap();
    assert!(within_limit(echoes(&mut client)).await);
    within_limit(listener.shutdown()).await;
    assert!(TcpStream::connect(address).await.is_err());
    // The end, or a reset.
    assert!(!matches!(within_limit(client.read(&mut [0; 1])).await, Ok(1..)));
}

#[tokio::test]
async fn listener_that_is_dropped_ends_connections() {
    let listener = Listener::bind(ANY_PORT, 10, |stream, _| echo(stream)).await.unwrap();
    let mut client = TcpStream::connect(listener.address()).await.unwrap();
    assert!(within_limit(echoes(&mut client)).await);
    drop(listener);
    assert!(!matches!(within_limit(client.read(&mut [0; 1])).await, Ok(1..)));
}
