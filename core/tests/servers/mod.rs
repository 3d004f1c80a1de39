//! Small servers on loopback: HTTP with and without TLS, and proxies. Each ends with the test's runtime.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig, crypto,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

/// A certificate authority in a file.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    pub fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, "a private authority");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Authority { issuer: Issuer::new(parameters, key), folder }
    }

    pub fn path(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }
}

/// What a server does with each request.
#[derive(Clone)]
pub struct Reply {
    text: Vec<u8>,
    headers: String,
    status: u16,
    cut_after: Option<usize>,
    silent: bool,
    until_close: bool,
}

impl Reply {
    pub fn new(status: u16) -> Reply {
        Reply { text: vec![], headers: String::new(), status, cut_after: None, silent: false, until_close: false }
    }

    pub fn json(status: u16, body: &Value) -> Reply {
        Reply::new(status).header("content-type", "application/json").body(body.to_string())
    }

    /// Never answers.
    pub fn silence() -> Reply {
        Reply { silent: true, ..Reply::new(200) }
    }

    /// Closes the connection in place of an answer.
    pub fn dropped() -> Reply {
        Reply::new(0)
    }

    pub fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Reply {
        self.text = body.into();
        self
    }

    /// Names no length: the end of the connection, which comes without TLS's `close_notify`, ends the body.
    pub fn until_close(mut self) -> Reply {
        self.until_close = true;
        self
    }

    /// Closes the connection after so many bytes of the body.
    pub fn cut_after(mut self, bytes: usize) -> Reply {
        self.cut_after = Some(bytes);
        self
    }
}

/// An HTTP server that gives every request the same reply.
pub struct Server {
    pub port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub async fn plain(reply: Reply) -> Server {
        Server::start(reply, None).await
    }

    pub async fn tls(authority: &Authority, names: &[&str], reply: Reply) -> Server {
        Server::tls_valid(authority, names, (2000, 2099), reply).await
    }

    /// With a certificate that is valid from one year to the other.
    pub async fn tls_valid(authority: &Authority, names: &[&str], (from, to): (i32, i32), reply: Reply) -> Server {
        Server::tls_pinned(authority, names, (from, to), reply).await.0
    }

    /// The same, with the thumbprint of the certificate.
    pub async fn tls_pinned(
        authority: &Authority,
        names: &[&str],
        (from, to): (i32, i32),
        reply: Reply,
    ) -> (Server, [u8; 20]) {
        Server::tls_with(authority, names, reply, |parameters| {
            parameters.not_before = rcgen::date_time_ymd(from, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(to, 1, 1);
        })
        .await
    }

    /// With a certificate that is made in another way.
    pub async fn tls_with(
        authority: &Authority,
        names: &[&str],
        reply: Reply,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (Server, [u8; 20]) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        change(&mut parameters);
        let certificate = parameters.signed_by(&key, &authority.issuer).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate.der());
        let thumbprint = digest.as_ref().try_into().unwrap();
        (Server::start(reply, Some(TlsAcceptor::from(Arc::new(config)))).await, thumbprint)
    }

    async fn start(reply: Reply, tls: Option<TlsAcceptor>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let connections: Arc<AtomicUsize> = Arc::default();
        let (log, count) = (Arc::clone(&requests), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let (reply, tls, log) = (reply.clone(), tls.clone(), Arc::clone(&log));
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &reply, &log).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &reply, &log).await;
                            }
                        }
                    }
                });
            }
        });
        Server { port, requests, connections }
    }

    /// A port on which no server listens.
    pub async fn closed_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
    }

    pub fn url(&self, scheme: &str, host: &str, path: &str) -> String {
        format!("{scheme}://{host}:{}{path}", self.port)
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, reply: &Reply, log: &Mutex<Vec<String>>) {
    while let Some(request) = read_request(&mut stream).await {
        log.lock().unwrap().push(request);
        if reply.silent {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        if reply.status == 0 || reply.silent {
            return;
        }
        let length = match reply.until_close {
            true => "connection: close\r\n".to_owned(),
            false => format!("content-length: {}\r\n", reply.text.len()),
        };
        let head = format!("HTTP/1.1 {} X\r\n{length}{}\r\n", reply.status, reply.headers);
        let body = &reply.text[..reply.cut_after.unwrap_or(reply.text.len())];
        let sent = stream.write_all(&[head.as_bytes(), body].concat()).await.is_ok() && stream.flush().await.is_ok();
        if !sent || reply.cut_after.is_some() || reply.until_close {
            return;
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        read_some(stream, &mut bytes).await?;
        // The response to a TLS handshake is plain text, as from any HTTP server.
        if bytes[0] == 22 {
            return Some("TLS".to_owned());
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.trim().parse().ok());
    while bytes.len() < head + length.unwrap_or(0) {
        read_some(stream, &mut bytes).await?;
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

async fn read_some(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Option<()> {
    match stream.read_buf(bytes).await {
        Ok(1..) => Some(()),
        _ => None,
    }
}

/// A proxy that leads every tunnel to one local port, whatever it is asked for.
pub struct Proxy {
    pub port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Takes `CONNECT`.
    pub async fn http(target: u16) -> Proxy {
        Proxy::start(target, |mut stream, log| async move {
            let request = read_request(&mut stream).await?;
            log.lock().unwrap().push(request);
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
            Some(stream)
        })
        .await
    }

    /// Speaks SOCKS 5 without authentication, for names.
    pub async fn socks(target: u16) -> Proxy {
        Proxy::start(target, |mut stream, log| async move {
            let mut methods = [0; 2];
            stream.read_exact(&mut methods).await.ok()?;
            stream.read_exact(&mut vec![0; usize::from(methods[1])]).await.ok()?;
            stream.write_all(&[5, 0]).await.ok()?;
            let mut head = [0; 5];
            stream.read_exact(&mut head).await.ok()?;
            assert_eq!(head[..4], [5, 1, 0, 3], "a connection to a name");
            let mut rest = vec![0; usize::from(head[4]) + 2];
            stream.read_exact(&mut rest).await.ok()?;
            let (name, port) = rest.split_at(rest.len() - 2);
            let asked = format!("{}:{}", String::from_utf8_lossy(name), u16::from_be_bytes([port[0], port[1]]));
            log.lock().unwrap().push(asked);
            stream.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await.ok()?;
            Some(stream)
        })
        .await
    }

    async fn start<F>(target: u16, accept: impl Fn(TcpStream, Arc<Mutex<Vec<String>>>) -> F + Send + 'static) -> Proxy
    where
        F: Future<Output = Option<TcpStream>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let accepted = accept(stream, Arc::clone(&log));
                tokio::spawn(async move {
                    if let Some(mut stream) = accepted.await
                        && let Ok(mut target) = TcpStream::connect(("127.0.0.1", target)).await
                    {
                        let _ = tokio::io::copy_bidirectional(&mut stream, &mut target).await;
                    }
                });
            }
        });
        Proxy { port, asked }
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}
