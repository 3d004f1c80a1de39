//! The counter of messages with which `pgentra-proxy` finds out when a session is idle.

use pgentra_proxy::tracker::MessageTracker;

/// Reads the input as a conversation. Each part has a byte for its side and its length, and then its bytes.
pub fn run(data: &[u8]) {
    let mut whole = MessageTracker::new();
    let mut chunked = MessageTracker::new();
    let mut reference = Reference::default();
    let mut rest = data;
    while let Some((first, after)) = rest.split_first() {
        let is_client = first & 1 == 1;
        let (bytes, after) = after.split_at(after.len().min(usize::from(first >> 1)));
        rest = after;
        feed(&mut whole, is_client, bytes);
        // Chunks of other lengths, which depend on the input.
        let mut left = bytes;
        while let Some(byte) = left.first() {
            let (chunk, after) = left.split_at(left.len().min(1 + usize::from(byte % 7)));
            feed(&mut chunked, is_client, chunk);
            left = after;
        }
        assert_eq!(chunked, whole);
        reference.feed(is_client, bytes);
        assert!(!whole.is_idle() || reference.can_be_idle(), "idle: {reference:?}");
    }
}

fn feed(tracker: &mut MessageTracker, is_client: bool, bytes: &[u8]) {
    if is_client { tracker.client(bytes) } else { tracker.server(bytes) }
}

/// The conditions without which a session is not idle, computed from all bytes.
#[derive(Debug, Default)]
struct Reference {
    client: Vec<u8>,
    server: Vec<u8>,
}

impl Reference {
    fn feed(&mut self, is_client: bool, bytes: &[u8]) {
        if is_client { self.client.extend(bytes) } else { self.server.extend(bytes) }
    }

    fn can_be_idle(&self) -> bool {
        let (Some(client), Some(server)) = (messages(&self.client), messages(&self.server)) else { return false };
        let count =
            |messages: &[(u8, u8)], kinds: &[u8]| messages.iter().filter(|(kind, _)| kinds.contains(kind)).count();
        let last = server.iter().rfind(|(kind, _)| !b"NAS".contains(kind));
        let (requests, ready) = (count(&client, b"QSF") + 1, count(&server, b"Z"));
        // In COPY from the client, the server ignores a Sync.
        let counts_match = if count(&server, b"G") > 0 { ready <= requests } else { ready == requests };
        last == Some(&(b'Z', b'I')) && counts_match
    }
}

/// Returns type and last byte of each message, or `None` if one is incomplete.
fn messages(mut bytes: &[u8]) -> Option<Vec<(u8, u8)>> {
    let mut messages = Vec::new();
    while let Some((kind, after)) = bytes.split_first() {
        let length = u32::from_be_bytes(*after.first_chunk()?);
        let length = usize::try_from(length).ok().filter(|length| *length >= 4)?;
        let body = after.get(4..length)?;
        messages.push((*kind, body.last().copied().unwrap_or_default()));
        bytes = &after[length..];
    }
    Some(messages)
}
