//! The owner of the other end of a loopback connection, by Linux's socket diagnostics (`NETLINK_SOCK_DIAG`).
//!
//! One request of 72 bytes, so there is no dependency: the crates for this protocol would be six, for one message.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

/// The owner of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The user id, as this process's user namespace maps it.
    Uid(u32),
    /// The socket does not exist, or is no longer open in any process.
    Ended,
}

/// The user id that the kernel reports for users without an id in this user namespace.
pub fn overflow_uid() -> u32 {
    const DEFAULT: u32 = 65_534;
    let text = std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT)
}

/// Returns the owner of the socket at `peer` that is connected to `local`, the address of this process's end. Both are of
/// this machine. Does not block: the kernel responds within the request.
///
/// # Errors
/// Fails if the kernel has no socket diagnostics, or does not allow them here.
#[cfg(target_os = "linux")]
pub fn owner(peer: SocketAddr, local: SocketAddr) -> io::Result<Owner> {
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect,
        netlink::{SOCK_DIAG, SocketAddrNetlink},
        recv, send, socket_with,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(SOCK_DIAG))?;
    // Messages of other processes are then not delivered.
    connect(&socket, &SocketAddrNetlink::new(0, 0))?;
    let connection = Connection { source: canonical(peer), destination: canonical(local) };
    send(&socket, &connection.request()?, SendFlags::empty())?;
    let mut response = [0; 1024];
    let (length, _) = recv(&socket, &mut response, RecvFlags::empty())?;
    connection.owner(response.get(..length).unwrap_or_default())
}

/// Fails.
#[cfg(not(target_os = "linux"))]
pub fn owner(_: SocketAddr, _: SocketAddr) -> io::Result<Owner> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this operating system does not report the owner of a connection"))
}

/// Returns an address with IPv4 addresses in their own form, also if a socket of IPv6 is used for them.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

// The layouts are those of `linux/netlink.h`, `linux/sock_diag.h` and `linux/inet_diag.h`. Ports and addresses are in
// network byte order, other numbers in the machine's.
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const TCP_ESTABLISHED: u8 = 1;
const ENOENT: i32 = 2;
const SEQUENCE: u32 = 1;

/// The offsets in the response, after the header.
const STATE: usize = 1;
const ID: usize = 4;
const UID: usize = 64;
const INODE: usize = 68;

/// A connection, seen from the peer.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
struct Connection {
    source: SocketAddr,
    destination: SocketAddr,
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
impl Connection {
    /// Returns the request for this socket alone.
    fn request(&self) -> io::Result<[u8; REQUEST]> {
        let family = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(_), IpAddr::V4(_)) => AF_INET,
            (IpAddr::V6(_), IpAddr::V6(_)) => AF_INET6,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "the addresses are of two families")),
        };
        let mut request = [0; REQUEST];
        let mut put = |at: usize, bytes: &[u8]| request[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &u32::try_from(REQUEST).unwrap_or_default().to_ne_bytes());
        put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        put(6, &NLM_F_REQUEST.to_ne_bytes());
        put(8, &SEQUENCE.to_ne_bytes());
        put(HEADER, &[family, IPPROTO_TCP]);
        // The states do not restrict a request for one socket. All are named, as iproute2 does.
        put(HEADER + 4, &u32::MAX.to_ne_bytes());
        put(HEADER + 8, &self.source.port().to_be_bytes());
        put(HEADER + 10, &self.destination.port().to_be_bytes());
        put(HEADER + 12, &octets(self.source.ip()));
        put(HEADER + 28, &octets(self.destination.ip()));
        // Any interface, and no cookie.
        put(HEADER + 48, &[0xff; 8]);
        Ok(request)
    }

    /// Reads the response.
    fn owner(&self, response: &[u8]) -> io::Result<Owner> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's response cannot be read");
        let number = |at: usize| -> io::Result<u32> {
            let bytes = response.get(at..at + 4).ok_or_else(invalid)?;
            Ok(u32::from_ne_bytes(bytes.try_into().map_err(|_| invalid())?))
        };
        let kind = response.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
        let kind = kind.ok_or_else(invalid)?;
        match kind {
            NLMSG_ERROR => {
                let code = number(HEADER)?.cast_signed().wrapping_neg();
                if code == ENOENT { Ok(Owner::Ended) } else { Err(io::Error::from_raw_os_error(code)) }
            }
            SOCK_DIAG_BY_FAMILY if number(8)? == SEQUENCE => {
                let body = response.get(HEADER..HEADER + INODE + 4).ok_or_else(invalid)?;
                // Without a connection, the kernel returns a listening socket at the peer's port, which can be another
                // user's. An ended socket is reported with uid 0 and inode 0.
                let is_open = body[STATE] == TCP_ESTABLISHED && number(HEADER + INODE)? != 0;
                if !is_open || !self.has_id(body[0], &body[ID..]) {
                    return Ok(Owner::Ended);
                }
                Ok(Owner::Uid(number(HEADER + UID)?))
            }
            _ => Err(invalid()),
        }
    }

    /// Returns whether this is the connection with these ports and addresses.
    fn has_id(&self, family: u8, id: &[u8]) -> bool {
        let address = |port: &[u8], ip: &[u8]| {
            let port = u16::from_be_bytes([port[0], port[1]]);
            let mut octets = [0; 16];
            octets.copy_from_slice(ip);
            let ip = match family {
                AF_INET => IpAddr::from([octets[0], octets[1], octets[2], octets[3]]),
                _ => IpAddr::from(octets).to_canonical(),
            };
            SocketAddr::new(ip, port)
        };
        address(&id[0..2], &id[4..20]) == self.source && address(&id[2..4], &id[20..36]) == self.destination
    }
}

/// Returns the 16 bytes in which an address is sent.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&ip.octets());
            octets
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        io::Read,
        net::{Shutdown, TcpListener, TcpStream},
    };

    use super::*;

    /// A listener at an address, a client's end and this process's end.
    fn connect(listen: &str, to: impl Fn(u16) -> String) -> Option<(TcpListener, TcpStream, TcpStream)> {
        let listener = TcpListener::bind(listen).ok()?;
        let port = listener.local_addr().expect("an address").port();
        let client = TcpStream::connect(to(port)).ok()?;
        let (accepted, _) = listener.accept().expect("accepted");
        Some((listener, client, accepted))
    }

    fn owner_of(accepted: &TcpStream) -> Owner {
        owner(accepted.peer_addr().expect("a peer"), accepted.local_addr().expect("an address")).expect("answered")
    }

    fn own() -> Owner {
        Owner::Uid(rustix::process::geteuid().as_raw())
    }

    #[test]
    fn owner_of_a_connection_of_each_family_is_found() {
        for (listen, host) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("127.0.0.1:0", "[::ffff:127.0.0.1]"),
            ("127.1.2.3:0", "127.1.2.3"),
            ("[::1]:0", "[::1]"),
            // One socket of IPv6 for both families, where the system has one.
            ("[::]:0", "[::1]"),
            ("[::]:0", "127.0.0.1"),
            ("[::]:0", "[::ffff:127.0.0.1]"),
        ] {
            match connect(listen, |port| format!("{host}:{port}")) {
                Some((_listener, _client, accepted)) => assert_eq!(owner_of(&accepted), own(), "{listen} {host}"),
                None => assert!(listen.contains("::") || host.contains("::"), "{listen} {host}"),
            }
        }
    }

    #[test]
    fn owner_of_another_users_connection_is_that_user() {
        const OTHER: u32 = 4711;
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can connect as another user");
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        let connecting = std::thread::spawn(move || {
            let unchanged = libc::c_long::from(-1);
            // SAFETY: the system call has three numbers as arguments. Unlike the function of the C library, it changes the
            // user of this thread alone, which ends after connecting.
            let changed =
                unsafe { libc::syscall(libc::SYS_setresuid, unchanged, libc::c_long::from(OTHER), unchanged) };
            assert_eq!(changed, 0);
            TcpStream::connect(address).expect("connected")
        });
        let _client = connecting.join().expect("connected");
        let (accepted, _) = listener.accept().expect("accepted");
        assert_eq!(owner_of(&accepted), Owner::Uid(OTHER));
    }

    #[test]
    fn owner_of_an_ended_peer_is_not_reported() {
        // FIN_WAIT2: the process has closed its end.
        let (_listener, client, accepted) =
            connect("127.0.0.1:0", |port| format!("127.0.0.1:{port}")).expect("connected");
        drop(client);
        assert_eq!((&accepted).read(&mut [0]).expect("the end"), 0);
        assert_eq!(owner_of(&accepted), Owner::Ended);
        // FIN_WAIT2 of a socket that is still open.
        let (_listener, client, accepted) =
            connect("127.0.0.1:0", |port| format!("127.0.0.1:{port}")).expect("connected");
        client.shutdown(Shutdown::Write).expect("shut down");
        assert_eq!((&accepted).read(&mut [0]).expect("the end"), 0);
        assert_eq!(owner_of(&accepted), Owner::Ended);
        // TIME_WAIT: both ends are closed.
        let (peer, local) = (client.local_addr().expect("an address"), client.peer_addr().expect("an address"));
        drop(accepted);
        assert_eq!((&client).read(&mut [0]).expect("the end"), 0);
        drop(client);
        assert_eq!(owner(peer, local).expect("answered"), Owner::Ended);
    }

    #[test]
    fn owner_of_a_listener_at_the_peers_port_is_not_reported() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        let other = SocketAddr::new(address.ip(), 9);
        assert_eq!(owner(address, other).expect("answered"), Owner::Ended);
    }

    #[test]
    fn owner_with_invalid_responses_fails() {
        let address: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        let connection = Connection { source: address, destination: address };
        let mut response = [0; HEADER + INODE + 4];
        response[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        response[8..12].copy_from_slice(&SEQUENCE.to_ne_bytes());
        for length in 0..response.len() {
            assert!(connection.owner(&response[..length]).is_err(), "{length}");
        }
        assert_eq!(connection.owner(&response).expect("readable"), Owner::Ended);
        let mut refused = [0; HEADER + 4];
        refused[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        for (code, is_answered) in [(-2_i32, true), (-1, false), (-95, false), (i32::MIN, false), (0, false)] {
            refused[HEADER..].copy_from_slice(&code.to_ne_bytes());
            assert_eq!(connection.owner(&refused).is_ok(), is_answered, "{code}");
        }
    }

    #[test]
    fn request_for_two_families_fails() {
        let (four, six) = ("127.0.0.1:1".parse().expect("v4"), "[::1]:1".parse().expect("v6"));
        assert!(owner(four, six).is_err());
    }

    proptest::proptest! {
        #[test]
        fn owner_with_any_response_does_not_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..120)) {
            let address: SocketAddr = "127.0.0.1:1".parse().expect("an address");
            let connection = Connection { source: address, destination: address };
            let mut response = bytes;
            // Not this connection's addresses, whatever the kind of the message.
            for kind in [SOCK_DIAG_BY_FAMILY, NLMSG_ERROR] {
                if let Some(start) = response.get_mut(4..12) {
                    start[..2].copy_from_slice(&kind.to_ne_bytes());
                    start[4..].copy_from_slice(&SEQUENCE.to_ne_bytes());
                }
                assert!(!matches!(connection.owner(&response), Ok(Owner::Uid(_))));
            }
        }
    }
}
