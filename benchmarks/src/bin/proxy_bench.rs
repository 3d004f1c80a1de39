//! Tools of `benchmarks/proxy_bench.py`.
//!
//! ```text
//! pgentra-proxy-bench server CERTIFICATE KEY    a server that accepts every password over TLS, and answers nothing else
//! pgentra-proxy-bench clients SOCKET COUNT      that many clients at once; prints a line of JSON when all are logged in,
//!                                               and closes the sessions at the end of standard input
//! pgentra-proxy-bench usage COMMAND...          runs a command; prints its time and its memory as JSON
//! ```

use std::{
    io::Read,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// AuthenticationCleartextPassword.
const PASSWORD_REQUEST: &[u8] = b"R\0\0\0\x08\0\0\0\x03";
/// AuthenticationOk, BackendKeyData and ReadyForQuery.
const LOGGED_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x01\0\0\0\x02Z\0\0\0\x05I";

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    match words.as_slice() {
        ["server", certificate, key] => runtime()?.block_on(serve(certificate, key)),
        ["clients", socket, count] => runtime()?.block_on(open_sessions(socket, count.parse()?)),
        ["usage", program, arguments @ ..] => usage(program, arguments),
        _ => Err("see the source for the arguments".into()),
    }
}

async fn serve(certificate: &str, key: &str) -> Outcome<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", json!({"port": listener.local_addr()?.port()}));
    // Ends with its parent.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let _ = log_in(stream, acceptor).await;
        });
    }
}

/// Logs a client in and waits for its end.
async fn log_in(mut stream: impl AsyncRead + AsyncWrite + Unpin, acceptor: TlsAcceptor) -> Outcome<()> {
    let mut request = [0; 8];
    stream.read_exact(&mut request).await?;
    stream.write_all(b"S").await?;
    let mut stream = acceptor.accept(stream).await?;
    read_packet(&mut stream).await?;
    stream.write_all(PASSWORD_REQUEST).await?;
    stream.flush().await?;
    stream.read_u8().await?;
    read_packet(&mut stream).await?;
    stream.write_all(LOGGED_IN).await?;
    stream.flush().await?;
    let mut rest = [0; 16];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Reads a packet that begins with its length.
async fn read_packet(stream: &mut (impl AsyncRead + Unpin)) -> Outcome<()> {
    let length = stream.read_u32().await? as usize;
    let mut packet = vec![0; length.saturating_sub(4)];
    stream.read_exact(&mut packet).await?;
    Ok(())
}

async fn open_sessions(socket: &str, count: usize) -> Outcome<()> {
    let started = Instant::now();
    let mut logins = JoinSet::new();
    for _ in 0..count {
        let socket = socket.to_owned();
        logins.spawn(async move { open_session(&socket).await });
    }
    let (mut sessions, mut failed, mut problem) = (Vec::new(), 0, String::new());
    while let Some(login) = logins.join_next().await {
        match login? {
            Ok(session) => sessions.push(session),
            Err(error) => {
                failed += 1;
                problem = error.to_string();
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{}", json!({"sessions": sessions.len(), "failed": failed, "error": problem, "seconds": seconds}));
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

/// Opens a session; tries again while the queue of the socket is full.
async fn open_session(socket: &str) -> Outcome<UnixStream> {
    let mut stream = loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => break stream,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    let parameters = b"user\0bench\0database\0bench\0\0";
    let mut startup = Vec::new();
    startup.extend_from_slice(&u32::try_from(parameters.len() + 8)?.to_be_bytes());
    startup.extend_from_slice(&196_608_u32.to_be_bytes());
    startup.extend_from_slice(parameters);
    stream.write_all(&startup).await?;
    loop {
        let kind = stream.read_u8().await?;
        let length = stream.read_u32().await? as usize;
        let mut body = vec![0; length.saturating_sub(4)];
        stream.read_exact(&mut body).await?;
        match kind {
            b'Z' => return Ok(stream),
            b'E' => return Err(String::from_utf8_lossy(&body).replace('\0', " ").into()),
            _ => {}
        }
    }
}

/// A small process is the parent, because a child's most memory is at least that of its parent.
fn usage(program: &str, arguments: &[&str]) -> Outcome<()> {
    let started = Instant::now();
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).status()?;
    let ms = started.elapsed().as_secs_f64() * 1e3;
    // SAFETY: `usage` is a plain structure for which zeros are valid, and getrusage only writes to it.
    let kilobytes = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage.ru_maxrss
    };
    println!("{}", json!({"status": status.code(), "ms": ms, "mb": kilobytes as f64 / 1e3}));
    Ok(())
}
