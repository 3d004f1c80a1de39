//! Whether a session is idle: the messages of both directions are counted by their headers.

/// The length of a message's header: its type and its length.
const HEADER: usize = 5;

/// Finds the messages in the bytes of one direction. Bodies are skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Scanner {
    /// The bytes of the header that are known. Equal states have equal values, so it is zero between two messages.
    header: [u8; HEADER],
    /// How many bytes of the header are known; 0 between two messages.
    filled: u8,
    is_malformed: bool,
    /// How many bytes of the body are missing.
    body: u32,
}

impl Scanner {
    /// Returns whether no message is incomplete.
    fn is_between_messages(&self) -> bool {
        self.filled == 0 && !self.is_malformed
    }

    /// Reads further bytes, and calls `complete` for each message that they complete, with its type, the length
    /// of its body, and the end of its body.
    #[inline]
    fn scan(&mut self, mut bytes: &[u8], mut complete: impl FnMut(u8, u32, &[u8])) {
        if self.filled > 0 {
            let Some((header, body, rest)) = self.finish(bytes) else { return };
            complete(header[0], body_length(header).unwrap_or_default(), body);
            bytes = rest;
        }
        if self.is_malformed {
            return;
        }
        // Messages that are complete in these bytes do not change the state.
        while let Some((header, rest)) = bytes.split_first_chunk() {
            let Some(length) = body_length(*header) else { return self.set_malformed() };
            let Some((body, rest)) = rest.split_at_checked(length as usize) else { break };
            complete(header[0], length, body);
            bytes = rest;
        }
        if !bytes.is_empty() {
            // It is not complete.
            self.finish(bytes);
        }
    }

    /// Reads further bytes of one message. Returns its header, the end of its body and the bytes after it if they
    /// complete it.
    fn finish<'a>(&mut self, mut bytes: &'a [u8]) -> Option<([u8; HEADER], &'a [u8], &'a [u8])> {
        let known = usize::from(self.filled);
        if known < HEADER {
            let (part, rest) = bytes.split_at(bytes.len().min(HEADER - known));
            self.header[known..known + part.len()].copy_from_slice(part);
            self.filled += part.len() as u8;
            bytes = rest;
            if usize::from(self.filled) < HEADER {
                return None;
            }
            let Some(length) = body_length(self.header) else {
                self.set_malformed();
                return None;
            };
            self.body = length;
        }
        let (body, rest) = bytes.split_at(bytes.len().min(self.body as usize));
        self.body -= body.len() as u32;
        if self.body > 0 {
            return None;
        }
        let header = self.header;
        *self = Self::default();
        Some((header, body, rest))
    }

    fn set_malformed(&mut self) {
        *self = Self { is_malformed: true, ..Self::default() };
    }
}

/// Returns the length of a message's body, or `None` for a header that no message has.
#[inline]
fn body_length(header: [u8; HEADER]) -> Option<u32> {
    let [_, length @ ..] = header;
    // PostgreSQL reads the length as a signed integer, and it includes its own four bytes.
    let length = u32::from_be_bytes(length);
    (4..=i32::MAX as u32).contains(&length).then(|| length - 4)
}

/// A `COPY ... FROM STDIN` that the server has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum CopyIn {
    #[default]
    None,
    /// The server receives data. `ignored_sync` is known at the client's end of the data: whether the only request
    /// without a `ReadyForQuery` is a Sync that precedes the end.
    Active { ignored_sync: Option<bool>, has_failed: bool },
    /// After a failed one: the server's next message shows whether it ignored the Sync.
    Failed,
}

/// Counts the messages of a session, and so finds out when it is idle.
///
/// A session is idle if these conditions hold:
///
/// - No message is incomplete, in either direction.
/// - The server's last message was `ReadyForQuery` outside of a transaction. Messages that a server sends to an idle
///   session (`NoticeResponse`, `NotificationResponse`, `ParameterStatus`) do not change this. Any other message does.
/// - The server has sent one `ReadyForQuery` for the start of the session, and one for each Query, Sync and
///   FunctionCall of the client.
/// - After its last Query, Sync or FunctionCall, the client has sent nothing that a server responds to. Flush is allowed,
///   and the messages of COPY are, because a server ignores them outside of COPY.
///
/// A `COPY ... FROM STDIN` by the extended query protocol is an exception of the protocol: the server ignores a Sync that
/// arrives while it waits for data. Such a Sync is not counted if the server's messages prove that it was ignored.
///
/// A session whose bytes are not messages, or whose server sends a `ReadyForQuery` without a request, is never idle. Nothing here fails, and nothing is kept but counts: about 60
/// bytes.
///
/// ```
/// use pgentra_proxy::tracker::MessageTracker;
///
/// let mut tracker = MessageTracker::new();
/// tracker.server(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I");
/// assert!(tracker.is_idle());
/// tracker.client(b"Q\0\0\0\x0dselect 1\0");
/// assert!(!tracker.is_idle());
/// tracker.server(b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I");
/// assert!(tracker.is_idle());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageTracker {
    client: Scanner,
    server: Scanner,
    /// The client's requests that each lead to a `ReadyForQuery`, less those that arrived.
    outstanding: i64,
    /// Whether the server has sent a `ReadyForQuery` without a request. The counts mean nothing then.
    is_unexpected: bool,
    /// Whether the server's last message was `ReadyForQuery` outside of a transaction.
    is_ready: bool,
    /// Whether the client has sent messages that a later Sync would complete.
    is_unsynced: bool,
    /// Whether the last request was a Sync.
    last_is_sync: bool,
    copy_in: CopyIn,
}

impl Default for MessageTracker {
    fn default() -> Self {
        Self::new()
    }
}

impl MessageTracker {
    /// Creates the state before the server's first message, so that the `ReadyForQuery` of the start is still to come.
    pub const fn new() -> Self {
        const SCANNER: Scanner = Scanner { header: [0; HEADER], filled: 0, is_malformed: false, body: 0 };
        Self {
            client: SCANNER,
            server: SCANNER,
            outstanding: 1,
            is_unexpected: false,
            is_ready: false,
            is_unsynced: false,
            last_is_sync: false,
            copy_in: CopyIn::None,
        }
    }

    /// Returns whether the session is idle.
    pub fn is_idle(&self) -> bool {
        self.is_ready
            && self.outstanding == 0
            && !self.is_unexpected
            && !self.is_unsynced
            && self.client.is_between_messages()
            && self.server.is_between_messages()
    }

    /// Returns whether the server's last message is complete.
    pub(crate) fn is_between_server_messages(&self) -> bool {
        self.server.is_between_messages()
    }

    /// Reads further bytes of the client, after its startup message and its passwords.
    pub fn client(&mut self, bytes: &[u8]) {
        let Self { client, outstanding, is_unsynced, last_is_sync, copy_in, .. } = self;
        client.scan(bytes, |kind, _, _| match kind {
            b'Q' | b'S' | b'F' => {
                *outstanding += 1;
                *is_unsynced = false;
                *last_is_sync = kind == b'S';
            }
            // The server does not respond to these. Drivers send Flush also after Sync.
            b'd' | b'H' => {}
            b'c' | b'f' => {
                if let CopyIn::Active { ignored_sync: ignored_sync @ None, .. } = copy_in {
                    *ignored_sync = Some(*outstanding == 1 && *last_is_sync);
                }
            }
            _ => *is_unsynced = true,
        });
    }

    /// Reads further bytes of the server, from its first message on.
    pub fn server(&mut self, bytes: &[u8]) {
        let Self { server, outstanding, is_unexpected, is_ready, copy_in, .. } = self;
        server.scan(bytes, |kind, length, body| {
            match kind {
                // They can arrive at any time.
                b'N' | b'A' | b'S' => return,
                b'Z' => {
                    *outstanding -= 1;
                    *is_unexpected |= *outstanding < 0;
                    *is_ready = length == 1 && body == b"I";
                    *copy_in = match *copy_in {
                        CopyIn::Active { ignored_sync: Some(true), has_failed: true } if *outstanding > 0 => {
                            CopyIn::Failed
                        }
                        _ => CopyIn::None,
                    };
                    return;
                }
                b'G' => *copy_in = CopyIn::Active { ignored_sync: None, has_failed: false },
                // The end of the data was read, and so was what precedes it.
                b'C' if *copy_in == (CopyIn::Active { ignored_sync: Some(true), has_failed: false }) => {
                    *outstanding -= 1;
                    *copy_in = CopyIn::None;
                }
                b'E' => {
                    if let CopyIn::Active { has_failed, .. } = copy_in {
                        *has_failed = true;
                    }
                }
                _ => {}
            }
            if *copy_in == CopyIn::Failed {
                // A Sync that was not ignored leads to a ReadyForQuery without another message before it.
                *outstanding -= 1;
                *copy_in = CopyIn::None;
            }
            *is_ready = false;
        });
    }
}
