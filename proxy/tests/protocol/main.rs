//! The steps of a proxy over connections in memory, and over TCP where the listener is tested.

mod handshake;
mod listener;
mod relay;
mod tracker;
mod upstream;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use pgentra_proxy::ALPN;
use pgentra_proxy::tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use pgentra_proxy::tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, crypto};
use pgentra_proxy::tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
pub(crate) const GSSENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];

/// A time limit that only a test that hangs reaches.
const LIMIT: Duration = Duration::from_secs(20);

struct Certificate {
    der: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

static CERTIFICATE: LazyLock<Certificate> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    Certificate { der: made.cert.der().clone(), key }
});

fn protocols(names: &[&str]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.as_bytes().to_vec()).collect()
}

pub(crate) fn acceptor() -> TlsAcceptor {
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CERTIFICATE.der.clone()], CERTIFICATE.key.clone_key())
        .unwrap();
    config.alpn_protocols = protocols(&[ALPN]);
    TlsAcceptor::from(Arc::new(config))
}

pub(crate) fn connector(alpn: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CERTIFICATE.der.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols(alpn);
    TlsConnector::from(Arc::new(config))
}

pub(crate) fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

pub(crate) fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = 0x0003_0000_u32.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    body.push(0);
    let mut packet = u32::try_from(body.len() + 4).unwrap().to_be_bytes().to_vec();
    packet.extend(body);
    packet
}

/// Returns a message with this type and body.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body].concat()
}

pub(crate) async fn within_limit<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

/// Pseudo-random numbers, the same in each run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn bytes(&mut self, limit: u64) -> Vec<u8> {
        (0..self.next() % limit).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

/// A stream whose reads end at some of its bytes.
pub(crate) struct SplitReads<S> {
    inner: S,
    position: usize,
    split: Split,
}

#[derive(Clone, Copy)]
pub(crate) enum Split {
    EveryByte,
    At(usize),
}

impl<S> SplitReads<S> {
    pub(crate) fn new(inner: S, split: Split) -> Self {
        Self { inner, position: 0, split }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for SplitReads<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let limit = match self.split {
            Split::EveryByte => 1,
            Split::At(offset) => offset.checked_sub(self.position).filter(|left| *left > 0).unwrap_or(usize::MAX),
        };
        let mut buffer = vec![0; limit.min(to.remaining())];
        let mut part = ReadBuf::new(&mut buffer);
        std::task::ready!(Pin::new(&mut self.inner).poll_read(context, &mut part))?;
        self.position += part.filled().len();
        to.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SplitReads<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
