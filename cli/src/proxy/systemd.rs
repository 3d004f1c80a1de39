//! systemd.
use crate::failure::Result;

pub fn take_listeners() -> Result<Vec<Activated>> {
    Ok(Vec::new())
}

pub struct Activated {
    pub name: String,
    pub socket: ActivatedSocket,
}

pub enum ActivatedSocket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

pub fn notify_ready(_status: &str) {}

pub fn notify_stopping() {}

pub async fn keep_watchdog() {
    std::future::pending().await
}
