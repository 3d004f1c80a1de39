//! When a session is idle.

use pgentra_proxy::Side::{self, Client, Server};
use pgentra_proxy::tracker::MessageTracker;
use proptest::prelude::*;

use crate::message;

pub(crate) fn feed(tracker: &mut MessageTracker, from: Side, bytes: &[u8]) {
    match from {
        Client => tracker.client(bytes),
        Server => tracker.server(bytes),
    }
}

/// A session that has started.
pub(crate) fn started() -> MessageTracker {
    let mut tracker = MessageTracker::new();
    tracker.server(&server("R S K Z"));
    assert!(tracker.is_idle());
    tracker
}

/// Returns a client's messages by their types.
pub(crate) fn client(kinds: &str) -> Vec<u8> {
    messages(kinds, |kind| match kind {
        b'Q' => b"select 1\0",
        b'P' => b"s\0select 1\0\0\0",
        b'd' => b"1\tone\n",
        b'E' => b"\0\0\0\0\0",
        b'f' => b"no\0",
        _ => b"",
    })
}

/// Returns a server's messages by their types; `Z`, `ZT` and `ZE` are the three kinds of `ReadyForQuery`.
pub(crate) fn server(kinds: &str) -> Vec<u8> {
    messages(kinds, |kind| match kind {
        b'R' => &[0; 4],
        b'S' => b"in_hot_standby\0off\0",
        b'K' => &[7; 8],
        b'C' => b"SELECT 1\0",
        b'D' => b"\0\x01\0\0\0\x011",
        b'd' => b"1\tone\n",
        b'E' => b"SERROR\0C42601\0Msyntax error\0\0",
        b'G' | b'H' | b'W' => &[0; 3],
        b'A' => b"\0\0\0\x07channel\0\0",
        b'N' => b"SNOTICE\0C00000\0Mtext\0\0",
        b'Z' => b"I",
        _ => b"",
    })
}

fn messages(kinds: &str, body: impl Fn(u8) -> &'static [u8]) -> Vec<u8> {
    kinds
        .split_whitespace()
        .flat_map(|kind| match kind {
            "ZT" => message(b'Z', b"T"),
            "ZE" => message(b'Z', b"E"),
            kind => message(kind.as_bytes()[0], body(kind.as_bytes()[0])),
        })
        .collect()
}

/// A step of a conversation: who sends which messages, and whether the session is idle afterwards.
type Exchange = (Side, &'static str, bool);

/// Conversations by their names, after the start of the session.
const CONVERSATIONS: &[(&str, &[Exchange])] = &[
    ("a query", &[(Client, "Q", false), (Server, "T D D C", false), (Server, "Z", true)]),
    ("an empty query", &[(Client, "Q", false), (Server, "I Z", true)]),
    ("a query that fails", &[(Client, "Q", false), (Server, "E", false), (Server, "Z", true)]),
    (
        "asynchronous messages",
        &[(Server, "N", true), (Server, "A S", true), (Client, "Q", false), (Server, "N Z", true)],
    ),
    (
        "asynchronous messages do not end a request",
        &[
            (Client, "Q", false),
            (Server, "N A S", false),
            (Server, "C", false),
            (Server, "N", false),
            (Server, "Z N", true),
        ],
    ),
    ("an error while idle", &[(Server, "E", false)]),
    ("a transaction", &[(Client, "Q", false), (Server, "C ZT", false), (Client, "Q", false), (Server, "C Z", true)]),
    (
        "a transaction that fails",
        &[
            (Client, "Q", false),
            (Server, "C ZT", false),
            (Client, "Q", false),
            (Server, "E ZE", false),
            (Client, "Q", false),
            (Server, "C Z", true),
        ],
    ),
    ("an extended query", &[(Client, "P B D E S", false), (Server, "1 2 T D C", false), (Server, "Z", true)]),
    (
        "an extended query without its Sync",
        &[
            (Client, "P B E H", false),
            (Server, "1 2 C", false),
            (Client, "S", false),
            (Server, "Z", true),
            (Client, "P", false),
            (Client, "S", false),
            (Server, "1 Z", true),
        ],
    ),
    (
        "an error within an extended query",
        &[(Client, "P B E P B E S", false), (Server, "1 2 E", false), (Server, "Z", true)],
    ),
    (
        "two pipelined batches",
        &[
            (Client, "P B E S P B E S", false),
            (Server, "1 2 C Z", false),
            (Server, "1 2 C", false),
            (Server, "Z", true),
        ],
    ),
    (
        "a pipelined batch after the first answer",
        &[
            (Client, "P B E S", false),
            (Server, "1 2 C", false),
            (Client, "P B E S", false),
            (Server, "Z 1 2 C Z", true),
        ],
    ),
    ("two pipelined queries", &[(Client, "Q Q", false), (Server, "C Z", false), (Server, "C Z", true)]),
    ("Sync alone", &[(Client, "S S", false), (Server, "Z", false), (Server, "Z", true)]),
    ("a function call", &[(Client, "F", false), (Server, "V", false), (Server, "Z", true)]),
    ("COPY to the client", &[(Client, "Q", false), (Server, "H d d", false), (Server, "c C Z", true)]),
    (
        "COPY from the client",
        &[
            (Client, "Q", false),
            (Server, "G", false),
            (Client, "d d d", false),
            (Client, "c", false),
            (Server, "C Z", true),
        ],
    ),
    (
        "two COPY commands in a query",
        &[
            (Client, "Q", false),
            (Server, "G", false),
            (Client, "d c", false),
            (Server, "C G", false),
            (Client, "d c", false),
            (Server, "C Z", true),
        ],
    ),
    ("CopyFail", &[(Client, "Q", false), (Server, "G", false), (Client, "d f", false), (Server, "E Z", true)]),
    (
        "COPY that fails while the client sends",
        &[
            (Client, "Q", false),
            (Server, "G", false),
            (Client, "d", false),
            (Server, "E Z", true),
            (Client, "d d c", true),
            (Client, "Q", false),
            (Server, "C Z", true),
        ],
    ),
    (
        "COPY from the client with an ignored Sync",
        &[
            (Client, "P B E S", false),
            (Server, "1 2 G", false),
            (Client, "d c S", false),
            (Server, "C", false),
            (Server, "Z", true),
            (Client, "Q", false),
            (Server, "C Z", true),
        ],
    ),
    (
        "Flush after Sync, as psycopg sends it",
        &[(Client, "P B E S H", false), (Server, "1 2 C Z", true), (Client, "H", true)],
    ),
    (
        "COPY from the client with Flush",
        &[(Client, "B E H", false), (Server, "2 G", false), (Client, "d c S", false), (Server, "C Z", true)],
    ),
    (
        "CopyFail with an ignored Sync is proven by the next request",
        &[
            (Client, "B E S", false),
            (Server, "2 G", false),
            (Client, "d f S", false),
            (Server, "E Z", false),
            (Server, "N", false),
            (Client, "Q", false),
            (Server, "C Z", true),
        ],
    ),
    (
        "COPY that fails before it reads the Sync",
        &[
            (Client, "B E S", false),
            (Server, "2 G", false),
            (Client, "d c S", false),
            (Server, "E Z", false),
            (Server, "Z", true),
        ],
    ),
    (
        "COPY that fails before it reads the Sync, and a client that sends no other",
        &[
            (Client, "B E S", false),
            (Server, "2 G", false),
            (Client, "d c", false),
            (Server, "E Z", true),
            (Client, "Q", false),
            (Server, "T C", false),
            (Server, "Z", true),
        ],
    ),
    (
        "COPY with two outstanding requests stays busy",
        &[
            (Client, "B E S S", false),
            (Server, "2 G", false),
            (Client, "d c S", false),
            (Server, "C Z", false),
            (Client, "Q", false),
            (Server, "C Z", false),
        ],
    ),
    ("replication", &[(Client, "Q", false), (Server, "W d d", false), (Client, "d", false), (Server, "d", false)]),
    (
        "the end of replication",
        &[(Client, "Q", false), (Server, "W d", false), (Client, "c", false), (Server, "c C C Z", true)],
    ),
    ("more ReadyForQuery than requests", &[(Server, "Z", false), (Client, "Q", false), (Server, "Z", false)]),
    ("Terminate", &[(Client, "X", false), (Server, "Z", false)]),
    ("an unknown message", &[(Client, "?", false), (Client, "S", false), (Server, "Z", true)]),
];

fn bytes(from: Side, kinds: &str) -> Vec<u8> {
    match from {
        Client => client(kinds),
        Server => server(kinds),
    }
}

#[test]
fn message_tracker_of_conversations_is_idle_between_requests() {
    for (name, conversation) in CONVERSATIONS {
        let mut tracker = started();
        for (index, (from, kinds, is_idle)) in conversation.iter().enumerate() {
            feed(&mut tracker, *from, &bytes(*from, kinds));
            assert_eq!(tracker.is_idle(), *is_idle, "{name}, step {index}: {from:?} {kinds}");
        }
    }
}

#[test]
fn message_tracker_of_bytes_split_anywhere_has_the_same_state() {
    for (name, conversation) in CONVERSATIONS {
        let mut whole = started();
        for (from, kinds, _) in *conversation {
            let bytes = bytes(*from, kinds);
            let before = whole.clone();
            feed(&mut whole, *from, &bytes);
            let mut single = before.clone();
            for byte in &bytes {
                feed(&mut single, *from, &[*byte]);
            }
            assert_eq!(single, whole, "{name}: {from:?} {kinds}, by single bytes");
            for at in 0..=bytes.len() {
                let mut split = before.clone();
                feed(&mut split, *from, &bytes[..at]);
                feed(&mut split, *from, &bytes[at..]);
                assert_eq!(split, whole, "{name}: {from:?} {kinds}, at {at}");
            }
        }
    }
}

#[test]
fn message_tracker_within_a_message_is_not_idle() {
    // The last message of each is one that leaves an idle session idle.
    for (from, bytes) in [(Server, server("N")), (Server, server("S")), (Client, client("d"))] {
        for at in 1..bytes.len() {
            let mut tracker = started();
            feed(&mut tracker, from, &bytes[..at]);
            assert!(!tracker.is_idle(), "{from:?}, {at} of {bytes:?}");
            feed(&mut tracker, from, &bytes[at..]);
            assert!(tracker.is_idle(), "{from:?}, {at} of {bytes:?}");
        }
    }
}

#[test]
fn message_tracker_of_row_data_that_looks_like_ready_for_query_is_busy() {
    let ready = server("Z");
    for kind in [b'D', b'd'] {
        let row = message(kind, &[b"\0\x01\0\0\0\x06", &ready[..]].concat());
        let mut tracker = started();
        tracker.client(&client("Q"));
        tracker.server(&server("T"));
        for _ in 0..3 {
            tracker.server(&row);
            assert!(!tracker.is_idle());
        }
        // The same with reads that end where the message would end.
        let (before, after) = row.split_at(row.len() - ready.len());
        tracker.server(before);
        assert!(!tracker.is_idle());
        tracker.server(after);
        assert!(!tracker.is_idle());
        tracker.server(&server("C Z"));
        assert!(tracker.is_idle());
    }
}

#[test]
fn message_tracker_of_malformed_headers_is_never_idle() {
    for length in [0, 1, 3, 0x8000_0000_u32, u32::MAX] {
        for from in [Client, Server] {
            let header = [&[b'N'][..], &length.to_be_bytes()].concat();
            let mut tracker = started();
            feed(&mut tracker, from, &header);
            assert!(!tracker.is_idle());
            tracker.client(&client("Q S Q"));
            tracker.server(&server("C Z Z C Z Z"));
            assert!(!tracker.is_idle(), "{from:?}, {length}");
        }
    }
    // The longest message: only its header and a part of its body.
    let mut tracker = started();
    tracker.client(&[b'd', 0x7f, 0xff, 0xff, 0xff, 0, 0]);
    tracker.server(&server("Z"));
    assert!(!tracker.is_idle());
}

#[test]
fn message_tracker_of_ready_for_query_with_another_length_is_not_idle() {
    for body in [&b""[..], b"\0\0\0I", b"II"] {
        let bytes = message(b'Z', body);
        for at in 0..=bytes.len() {
            let mut tracker = MessageTracker::new();
            tracker.server(&bytes[..at]);
            tracker.server(&bytes[at..]);
            assert!(!tracker.is_idle(), "{body:?}, at {at}");
        }
    }
}

#[test]
fn message_tracker_before_the_first_ready_for_query_is_not_idle() {
    let mut tracker = MessageTracker::new();
    assert!(!tracker.is_idle());
    tracker.server(&server("R S S K"));
    assert!(!tracker.is_idle());
    // A client that does not wait for it.
    tracker.client(&client("Q"));
    tracker.server(&server("Z"));
    assert!(!tracker.is_idle());
    tracker.server(&server("C Z"));
    assert!(tracker.is_idle());
}

/// The lines of the recorded sessions.
enum Line {
    Session,
    Bytes(Side, Vec<u8>),
    State(&'static str),
}

fn recorded() -> impl Iterator<Item = (usize, Line)> {
    let hex = |text: &str| {
        let digits: Vec<_> = text.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    };
    let lines = include_str!("recorded.txt").lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
    lines.map(move |(index, line)| {
        let line = match line.split_once(' ').unwrap_or((line, "")) {
            ("client", bytes) => Line::Bytes(Client, hex(bytes)),
            ("server", bytes) => Line::Bytes(Server, hex(bytes)),
            ("state", state) => Line::State(state),
            (other, _) => {
                assert_eq!(other, "session");
                Line::Session
            }
        };
        (index + 1, line)
    })
}

#[test]
fn message_tracker_of_recorded_sessions_has_the_state_of_the_server() {
    let mut tracker = MessageTracker::new();
    let mut states = 0;
    for (number, line) in recorded() {
        match line {
            Line::Session => tracker = MessageTracker::new(),
            Line::Bytes(side, bytes) => feed(&mut tracker, side, &bytes),
            Line::State(state) => {
                assert_eq!(tracker.is_idle(), state == "idle", "line {number}: {state}");
                states += 1;
            }
        }
    }
    assert!(states > 50, "{states} states");
}

#[test]
fn message_tracker_of_recorded_sessions_split_at_every_byte_has_the_same_state() {
    let mut whole = MessageTracker::new();
    for (number, line) in recorded() {
        match line {
            Line::Session => whole = MessageTracker::new(),
            Line::State(_) => {}
            Line::Bytes(side, bytes) => {
                let before = whole.clone();
                feed(&mut whole, side, &bytes);
                let mut single = before.clone();
                bytes.iter().for_each(|byte| feed(&mut single, side, &[*byte]));
                assert_eq!(single, whole, "line {number}, by single bytes");
                for at in 0..bytes.len() {
                    let mut split = before.clone();
                    feed(&mut split, side, &bytes[..at]);
                    feed(&mut split, side, &bytes[at..]);
                    assert_eq!(split, whole, "line {number}, at {at}");
                }
            }
        }
    }
}

fn exchanges() -> impl Strategy<Value = Vec<(bool, u8, Vec<u8>)>> {
    let client = prop::sample::select(&b"QPBDECSFHdcfXp"[..]);
    let server = prop::sample::select(&b"ZTDCEINASGHWcd12"[..]);
    let body = || prop::collection::vec(any::<u8>(), 0..20);
    let exchange = prop_oneof![(Just(true), client, body()), (Just(false), server, body())];
    prop::collection::vec(exchange, 0..30)
}

proptest! {
    #[test]
    fn message_tracker_of_random_chunks_has_the_same_state(
        exchanges in exchanges(),
        sizes in prop::collection::vec(1_usize..40, 1..20),
    ) {
        let mut whole = started();
        let mut chunked = started();
        let mut sizes = sizes.iter().cycle();
        for (is_client, kind, body) in exchanges {
            let from = if is_client { Client } else { Server };
            let bytes = message(kind, &body);
            feed(&mut whole, from, &bytes);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                feed(&mut chunked, from, chunk);
                rest = after;
            }
            prop_assert_eq!(&chunked, &whole);
        }
    }

    #[test]
    fn message_tracker_of_any_bytes_returns(bytes in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..50)), 0..20)) {
        let mut tracker = MessageTracker::new();
        for (is_client, bytes) in bytes {
            feed(&mut tracker, if is_client { Client } else { Server }, &bytes);
            let _ = tracker.is_idle();
        }
    }
}
