//! Which clients may use the proxy: processes of this user and of root, those of `--allow-uid`, and those with a
//! password.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::Arc,
};

use clap::{Args, ValueEnum};
use pgentra_proxy::Stream;
use rustix::process::geteuid;

use super::{
    password::Passwords,
    socket_owner::{self, Owner},
};

pub use super::refusal::{Denied, Refusal, RefusalCause};
use crate::failure::{Failure, Result};

/// Which clients may connect, and how.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Clients")]
pub struct AccessOptions {
    /// User whose processes may connect without a password, besides this user and root: an id, a name of /etc/passwd,
    /// or `any` for every process that reaches the socket or the loopback address
    #[arg(long, value_name = "UID|NAME|any", value_delimiter = ',')]
    pub allow_uid: Vec<String>,
    /// File with lines USER:PASSWORD, for clients that are not allowed by their user id
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Certificate for clients with TLS, in PEM form, with its intermediate certificates
    #[arg(long, value_name = "FILE", requires = "tls_key", conflicts_with = "tls")]
    pub tls_cert: Option<PathBuf>,
    /// Key of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// TLS for clients with a certificate that is made at the start
    #[arg(long, value_enum, value_name = "self-signed")]
    pub tls: Option<TlsMode>,
}

/// The certificate for clients, if none is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TlsMode {
    /// A new one, which clients cannot verify
    SelfSigned,
}

/// A client's process, and whether it may use the proxy.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The user id of its process, as far as it is known.
    pub uid: Option<u32>,
    /// Its address, if it is connected by TCP.
    pub address: Option<SocketAddr>,
    access: Access,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "{address}")?,
            None => write!(f, "Unix socket")?,
        }
        match self.uid {
            Some(uid) => write!(f, " (uid {uid})"),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Access {
    Allowed,
    /// A password is needed; without a password file, the client is refused like this.
    Password {
        needs_tls: bool,
        otherwise: Refusal,
    },
}

/// Decides which clients may use the proxy.
pub struct Guard {
    own_uid: u32,
    unmapped_uid: u32,
    /// Whether every process that reaches a local address is allowed.
    allows_all: bool,
    allowed_uids: Vec<u32>,
    passwords: Option<Arc<Passwords>>,
}

impl Guard {
    /// Reads the options.
    ///
    /// # Errors
    /// Fails for an unknown user name, and for a password file that cannot be used.
    pub fn new(options: &AccessOptions) -> Result<Guard> {
        let mut guard = Guard {
            own_uid: geteuid().as_raw(),
            unmapped_uid: socket_owner::overflow_uid(),
            allows_all: false,
            allowed_uids: Vec::new(),
            passwords: None,
        };
        for name in &options.allow_uid {
            match name.trim() {
                "any" => guard.allows_all = true,
                name => guard.allowed_uids.push(uid_of(name)?),
            }
        }
        if let Some(path) = &options.password_file {
            guard.passwords = Some(Arc::new(Passwords::load(path)?));
        }
        Ok(guard)
    }

    /// Checks, before a TCP address is listened at, that clients there can be told apart. `has_tls` is whether clients
    /// can use TLS. A Unix socket needs no check.
    ///
    /// # Errors
    /// Fails with the option that is missing.
    pub fn check_address(&self, listen: SocketAddr, has_tls: bool) -> Result<()> {
        if !is_loopback(listen.ip()) {
            if self.passwords.is_none() {
                return Err(Failure::usage(
                    format!("{listen} can be reached from other machines, and clients have no password"),
                    "Pass --password-file FILE, or listen at 127.0.0.1 or a Unix socket.",
                ));
            }
            if !has_tls {
                return Err(Failure::usage(
                    format!("{listen} can be reached from other machines, and clients have no TLS"),
                    "Pass --tls-cert FILE and --tls-key FILE, or --tls self-signed.",
                ));
            }
            return Ok(());
        }
        if self.allows_all || self.passwords.is_some() {
            return Ok(());
        }
        probe(listen.ip()).map_err(|error| {
            Failure::usage(
                format!("the owners of connections to {listen} cannot be determined here: {error}"),
                "Pass --password-file FILE, or --allow-uid any if every process of this machine or container may log \
                 in, or listen at a Unix socket only (--listen unix:DIR).",
            )
        })
    }

    /// Determines the owner of an accepted TCP connection. Does not block. Call it directly after accepting: later the
    /// client may have ended.
    pub fn check_tcp(&self, stream: &tokio::net::TcpStream) -> Peer {
        let addresses = stream.peer_addr().and_then(|peer| Ok((peer, stream.local_addr()?)));
        let Ok((peer, local)) = addresses else {
            let refusal = Refusal::new(RefusalCause::UnknownOwner, "the connection has ended", "");
            return Peer { uid: None, address: None, access: Access::Password { needs_tls: true, otherwise: refusal } };
        };
        let (uid, access) = self.tcp(peer, local);
        Peer { uid, address: Some(SocketAddr::new(peer.ip().to_canonical(), peer.port())), access }
    }

    fn tcp(&self, peer: SocketAddr, local: SocketAddr) -> (Option<u32>, Access) {
        if !is_loopback(peer.ip()) || !is_loopback(local.ip()) {
            let refusal = Refusal::new(
                RefusalCause::NoPassword,
                "clients of other addresses than loopback need a password",
                "Start pgentra proxy with --password-file FILE.",
            );
            return (None, Access::Password { needs_tls: true, otherwise: refusal });
        }
        let owner = socket_owner::owner(peer, local);
        if let Ok(Owner::Uid(uid)) = owner {
            return (Some(uid), self.of_uid(uid));
        }
        if self.allows_all {
            return (None, Access::Allowed);
        }
        let reason = owner.err().map_or_else(|| "the client has ended".to_owned(), |error| error.to_string());
        let refusal = Refusal::new(
            RefusalCause::UnknownOwner,
            format!("the user of this client's process cannot be determined: {reason}"),
            "Connect to the proxy's Unix socket, or start pgentra proxy with --password-file FILE.",
        );
        (None, Access::Password { needs_tls: false, otherwise: refusal })
    }

    /// Determines the owner of an accepted connection to a Unix socket.
    pub fn check_unix(&self, stream: &tokio::net::UnixStream) -> Peer {
        match stream.peer_cred() {
            Ok(peer) => Peer { uid: Some(peer.uid()), address: None, access: self.of_uid(peer.uid()) },
            Err(error) => {
                let message = format!("the user of this client's process cannot be determined: {error}");
                let otherwise = Refusal::new(RefusalCause::UnknownOwner, message, "Connect again.");
                Peer { uid: None, address: None, access: Access::Password { needs_tls: false, otherwise } }
            }
        }
    }

    fn of_uid(&self, uid: u32) -> Access {
        if self.allows_all || self.allowed_uids.contains(&uid) {
            return Access::Allowed;
        }
        // The id of users of other namespaces says nothing, even if this process itself has it.
        let otherwise = if uid == self.unmapped_uid {
            Refusal::new(
                RefusalCause::UnmappedUid,
                format!("this client's user is not known here: its id is {uid}, which stands for several users"),
                format!(
                    "Run the client in the user namespace of the proxy, or start pgentra proxy with --password-file \
                     FILE. --allow-uid {uid} allows every such user."
                ),
            )
        } else if uid == self.own_uid || uid == 0 {
            return Access::Allowed;
        } else {
            Refusal::new(
                RefusalCause::Uid,
                format!("processes of the user id {uid} may not use this proxy"),
                format!(
                    "Run the client as the user id {}, or start pgentra proxy with --allow-uid {uid} or \
                     --password-file FILE.",
                    self.own_uid
                ),
            )
        };
        Access::Password { needs_tls: false, otherwise }
    }

    /// Admits a client, with a password where one is needed. Does not send `AuthenticationOk`. The caller sets a time
    /// limit.
    ///
    /// # Errors
    /// See [`Denied`].
    pub async fn admit(
        &self,
        peer: &Peer,
        stream: &mut impl Stream,
        user: &str,
        is_encrypted: bool,
    ) -> Result<(), Denied> {
        match (&peer.access, &self.passwords) {
            (Access::Allowed, _) => Ok(()),
            (Access::Password { otherwise, .. }, None) => Err(Denied::Refused(otherwise.clone())),
            (Access::Password { needs_tls: true, .. }, Some(_)) if !is_encrypted => Err(Denied::Refused(Refusal::new(
                RefusalCause::TlsRequired,
                "clients of other addresses than loopback need TLS",
                "Set sslmode=require or a stricter one in the client.",
            ))),
            (Access::Password { .. }, Some(passwords)) => passwords.authenticate(stream, user).await,
        }
    }

    /// Describes in a sentence which clients are allowed, for the log.
    pub fn description(&self) -> String {
        let mut allowed = match self.allows_all {
            true => vec!["every local process".to_owned()],
            false => vec![format!("processes of the user id {} and of root", self.own_uid)],
        };
        allowed.extend(self.allowed_uids.iter().map(|uid| format!("of the user id {uid}")));
        if self.passwords.is_some() {
            allowed.push("clients with a password".to_owned());
        }
        allowed.join(", ")
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Asks for the owner of a connection of this process to itself.
fn probe(ip: IpAddr) -> std::io::Result<()> {
    let ip = ip.to_canonical();
    let listener = TcpListener::bind((ip, 0)).or_else(|_| TcpListener::bind((Ipv6Addr::LOCALHOST, 0)))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    match socket_owner::owner(client.local_addr()?, client.peer_addr()?)? {
        Owner::Uid(_) => Ok(()),
        Owner::Ended => Err(std::io::Error::other("the kernel does not find an open connection")),
    }
}

/// Returns the id of a user. Names are those of `/etc/passwd`: a static program cannot use other sources.
fn uid_of(name: &str) -> Result<u32> {
    if let Ok(uid) = name.parse() {
        return Ok(uid);
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    find_uid(&passwd, name).ok_or_else(|| {
        Failure::usage(
            format!("--allow-uid {name}: /etc/passwd has no user with this name"),
            "Pass the number, which `id -u NAME` prints.",
        )
    })
}

fn find_uid(passwd: &str, name: &str) -> Option<u32> {
    let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = users.find(|fields| !name.is_empty() && fields.first() == Some(&name))?;
    found.get(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allow: &[&str]) -> Guard {
        let allow_uid = allow.iter().map(|&name| name.to_owned()).collect();
        let guard = Guard::new(&AccessOptions { allow_uid, ..AccessOptions::default() }).expect("options");
        Guard { own_uid: 1000, unmapped_uid: 65_534, ..guard }
    }

    fn cause(access: &Access) -> Option<RefusalCause> {
        match access {
            Access::Allowed => None,
            Access::Password { otherwise, .. } => Some(otherwise.cause),
        }
    }

    #[test]
    fn guard_decides_by_user_id() {
        use RefusalCause::{Uid, UnmappedUid};
        for (allow, uid, expected) in [
            (&[][..], 1000, None),
            (&[], 0, None),
            (&[], 1001, Some(Uid)),
            (&[], 65_534, Some(UnmappedUid)),
            (&["1001"], 1001, None),
            (&["1001"], 1000, None),
            (&["1001", " 1002"], 1002, None),
            (&["root"], 1001, Some(Uid)),
            (&["65534"], 65_534, None),
            (&["any"], 1001, None),
            (&["any"], 65_534, None),
        ] {
            assert_eq!(cause(&guard(allow).of_uid(uid)), expected, "{allow:?} {uid}");
        }
        // A proxy with the id of unmapped users does not take them for itself.
        let nobody = Guard { own_uid: 65_534, ..guard(&[]) };
        assert_eq!(cause(&nobody.of_uid(65_534)), Some(UnmappedUid));
    }

    #[test]
    fn guard_of_other_addresses_needs_a_password_and_tls() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        for (peer, local) in [
            ("10.0.0.1:1", "10.0.0.2:2"),
            ("10.0.0.1:1", "127.0.0.1:2"),
            ("127.0.0.1:1", "10.0.0.2:2"),
            ("[::ffff:10.0.0.1]:1", "[::ffff:127.0.0.1]:2"),
        ] {
            let (uid, access) = guard(&["any"]).tcp(address(peer), address(local));
            assert_eq!((uid, cause(&access)), (None, Some(RefusalCause::NoPassword)), "{peer} {local}");
            assert!(matches!(access, Access::Password { needs_tls: true, .. }));
        }
        // No such connection.
        let (uid, access) = guard(&[]).tcp(address("127.0.0.1:1"), address("127.0.0.1:2"));
        assert_eq!((uid, cause(&access)), (None, Some(RefusalCause::UnknownOwner)));
    }

    #[test]
    fn check_address_names_the_missing_option() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("passwords");
        std::fs::write(&path, "user:password").expect("written");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("changed");
        let options = AccessOptions { password_file: Some(path), ..AccessOptions::default() };
        let with_passwords = Guard::new(&options).expect("options");
        let error = |guard: &Guard, listen: &str, has_tls: bool| {
            let outcome = guard.check_address(listen.parse().expect("an address"), has_tls);
            outcome.err().map(|failure| failure.to_string()).unwrap_or_default()
        };
        for listen in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"] {
            assert!(error(&guard(&["any"]), listen, true).contains("--password-file"), "{listen}");
            assert!(error(&with_passwords, listen, false).contains("--tls self-signed"), "{listen}");
            assert_eq!(error(&with_passwords, listen, true), "");
        }
        for listen in ["127.0.0.1:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(error(&guard(&["any"]), listen, false), "");
            assert_eq!(error(&with_passwords, listen, false), "");
            let without = error(&guard(&[]), listen, false);
            if cfg!(target_os = "linux") {
                assert_eq!(without, "", "{listen}");
            } else {
                assert!(without.contains("--password-file") && without.contains("--allow-uid any"), "{without}");
            }
        }
    }

    #[test]
    fn find_uid_reads_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\nbroken\n:x:5:\n";
        for (name, uid) in
            [("root", Some(0)), ("nobody", Some(65_534)), ("nobod", None), ("broken", None), ("", None), ("x", None)]
        {
            assert_eq!(find_uid(passwd, name), uid, "{name}");
        }
        assert!(uid_of("no-such-user").map(drop).expect_err("refused").to_string().contains("no-such-user"));
    }

    #[tokio::test]
    async fn admit_without_a_password_file_refuses_with_what_to_do() {
        let peer = |access| Peer { uid: Some(1001), address: None, access };
        let guard = guard(&[]);
        let (_client, mut server) = tokio::io::duplex(64);
        let Err(Denied::Refused(refusal)) = guard.admit(&peer(guard.of_uid(1001)), &mut server, "u", true).await else {
            panic!("admitted")
        };
        assert_eq!((refusal.sqlstate, refusal.cause), ("28000", RefusalCause::Uid));
        let hint = refusal.hint.as_deref().unwrap_or_default();
        assert!(hint.contains("1000") && hint.contains("--allow-uid 1001"), "{hint}");
        assert!(guard.admit(&peer(guard.of_uid(1000)), &mut server, "u", false).await.is_ok());
    }
}
