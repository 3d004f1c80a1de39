//! What the front door is told to do wrong, and what it has seen. JSON in and out.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::refusals::Refusal;

/// Logins kept; older ones are forgotten, but stay counted.
const CAPACITY: usize = 10_000;

/// Characters of a text from a client that are kept.
const TEXT_LIMIT: usize = 256;

/// A change of what the front door does. What is left out stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// First ends all faults and forgets logins and counts.
    pub reset: bool,
    /// Logins to refuse from now on, after the password has come.
    pub refuse_next: Option<u64>,
    /// What they are told; at first `token_expired`.
    pub refuse_with: Option<Refusal>,
    /// Connections to drop from now on.
    pub drop_next: Option<u64>,
    /// When they are dropped; at first `accept`.
    pub drop_at: Option<Stage>,
    /// Milliseconds by which each login is delayed, after the password has come; 0 for none.
    pub delay_ms: Option<u64>,
    /// Whether the front door has no TLS and asks for passwords all the same, like a misconfigured or a hostile server.
    pub plaintext: Option<bool>,
    /// Whether to cut the sessions that are open now.
    pub disconnect: bool,
}

/// When a connection is dropped, without a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// As soon as it comes.
    #[default]
    Accept,
    /// When the startup message has been read.
    Startup,
    /// When the password has been read.
    Password,
}

/// The faults that are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Logins still to be refused.
    pub refuse_next: u64,
    /// What they are told.
    pub refuse_with: Refusal,
    /// Connections still to be dropped.
    pub drop_next: u64,
    /// When they are dropped.
    pub drop_at: Stage,
    /// Milliseconds by which each login is delayed.
    pub delay_ms: u64,
    /// Whether passwords are asked for without TLS.
    pub plaintext: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            refuse_next: 0,
            refuse_with: Refusal::TokenExpired,
            drop_next: 0,
            drop_at: Stage::default(),
            delay_ms: 0,
            plaintext: false,
        }
    }
}

/// How an attempt to log in ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A session began.
    LoggedIn,
    /// Refused by the front door, by the table of refusals.
    Refused,
    /// Refused by the PostgreSQL server behind, or it could not be reached.
    UpstreamFailed,
    /// The client broke the protocol.
    ProtocolError,
    /// The TLS handshake failed.
    TlsFailed,
    /// The client took too long.
    TimedOut,
    /// The client went away before it sent a password.
    Abandoned,
    /// Dropped because the front door was told to.
    Dropped,
}

/// One attempt to log in. Holds no secret.
#[derive(Clone, Debug, Serialize)]
pub struct Login {
    /// Counts from 1.
    pub id: u64,
    /// Seconds since 1970, by the emulator's clock.
    pub time: i64,
    /// How it ended.
    pub outcome: Outcome,
    /// Role asked for, `None` if it did not come that far.
    pub role: Option<String>,
    /// Database asked for.
    pub database: Option<String>,
    /// `application_name`, if the client gave one.
    pub application_name: Option<String>,
    /// Whether the connection was encrypted.
    pub tls: bool,
    /// Whose token it was, once verified.
    pub principal: Option<Presented>,
    /// The row of the table, if the front door refused.
    pub refusal: Option<Refusal>,
    /// SQLSTATE sent to the client.
    pub sqlstate: Option<String>,
    /// Message sent to the client, or what went wrong.
    pub message: Option<String>,
}

/// The principal of a verified token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Presented {
    /// Object id.
    pub oid: String,
    /// Name in the emulator's directory, if it is there.
    pub name: Option<String>,
    /// Whether the token is an application's own.
    pub app_only: bool,
}

/// Counts since the start, or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Connections accepted.
    pub connections: u64,
    /// Cancel requests passed on.
    pub cancels: u64,
    /// Attempts to log in, by outcome.
    pub logins: BTreeMap<Outcome, u64>,
    /// Refused attempts, by refusal.
    pub refusals: BTreeMap<Refusal, u64>,
    /// Bytes of passwords that came over connections without TLS.
    pub plaintext_password_bytes: u64,
}

/// What the front door is set to and has seen.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The address that clients connect to.
    pub address: SocketAddr,
    /// The faults that are set.
    pub faults: Faults,
    /// Sessions open now.
    pub sessions: u64,
    /// Counts.
    pub counters: Counters,
    /// Attempts to log in, oldest first; the last 10,000.
    pub logins: Vec<Login>,
}

/// The front door's memory, shared by its connections.
pub(super) struct Desk {
    book: Mutex<Book>,
    disconnects: watch::Sender<u64>,
}

#[derive(Default)]
struct Book {
    faults: Faults,
    counters: Counters,
    logins: VecDeque<Login>,
    last_login: u64,
    sessions: u64,
}

impl Default for Desk {
    fn default() -> Self {
        Self { book: Mutex::default(), disconnects: watch::Sender::new(0) }
    }
}

impl Desk {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn apply(&self, control: Control) {
        let mut book = self.book();
        if control.reset {
            *book = Book { last_login: book.last_login, sessions: book.sessions, ..Book::default() };
        }
        let faults = &mut book.faults;
        faults.refuse_next = control.refuse_next.unwrap_or(faults.refuse_next);
        faults.refuse_with = control.refuse_with.unwrap_or(faults.refuse_with);
        faults.drop_next = control.drop_next.unwrap_or(faults.drop_next);
        faults.drop_at = control.drop_at.unwrap_or(faults.drop_at);
        faults.delay_ms = control.delay_ms.unwrap_or(faults.delay_ms);
        faults.plaintext = control.plaintext.unwrap_or(faults.plaintext);
        drop(book);
        if control.disconnect {
            self.disconnects.send_modify(|times| *times += 1);
        }
    }

    pub(super) fn report(&self, address: SocketAddr) -> Report {
        let book = self.book();
        Report {
            address,
            faults: book.faults,
            sessions: book.sessions,
            counters: book.counters.clone(),
            logins: book.logins.iter().cloned().collect(),
        }
    }

    /// Changes when sessions are to be cut.
    pub(super) fn disconnects(&self) -> watch::Receiver<u64> {
        self.disconnects.subscribe()
    }

    pub(super) fn faults(&self) -> Faults {
        self.book().faults
    }

    /// The refusal that this login is to get whatever its token, if one was ordered.
    pub(super) fn take_refusal(&self) -> Option<Refusal> {
        let faults = &mut self.book().faults;
        faults.refuse_next = faults.refuse_next.checked_sub(1)?;
        Some(faults.refuse_with)
    }

    /// Whether this connection is to be dropped at this stage.
    pub(super) fn take_drop(&self, stage: Stage) -> bool {
        let faults = &mut self.book().faults;
        if faults.drop_at != stage || faults.drop_next == 0 {
            return false;
        }
        faults.drop_next -= 1;
        true
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut Counters)) {
        count(&mut self.book().counters);
    }

    pub(super) fn record(&self, mut login: Login) {
        for text in [&mut login.role, &mut login.database, &mut login.application_name, &mut login.message] {
            if let Some((end, _)) = text.as_ref().and_then(|text| text.char_indices().nth(TEXT_LIMIT)) {
                *text = text.take().map(|text| text[..end].to_owned());
            }
        }
        let mut book = self.book();
        *book.counters.logins.entry(login.outcome).or_default() += 1;
        if let Some(refusal) = login.refusal {
            *book.counters.refusals.entry(refusal).or_default() += 1;
        }
        book.last_login += 1;
        login.id = book.last_login;
        if book.logins.len() == CAPACITY {
            book.logins.pop_front();
        }
        book.logins.push_back(login);
    }

    /// Counts a session for as long as the value lives.
    pub(super) fn session(&self) -> impl Drop + '_ {
        struct Session<'a>(&'a Desk);
        impl Drop for Session<'_> {
            fn drop(&mut self) {
                self.0.book().sessions -= 1;
            }
        }
        self.book().sessions += 1;
        Session(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_read_strictly_and_change_only_what_they_name() {
        let desk = Desk::default();
        desk.apply(
            serde_json::from_str(r#"{"refuse_next": 1, "refuse_with": "role_missing", "drop_at": "password"}"#)
                .unwrap(),
        );
        desk.apply(serde_json::from_str(r#"{"drop_next": 1}"#).unwrap());
        assert_eq!(desk.take_refusal(), Some(Refusal::RoleMissing));
        assert_eq!(desk.take_refusal(), None);
        assert!(!desk.take_drop(Stage::Accept));
        assert!(desk.take_drop(Stage::Password));
        assert!(!desk.take_drop(Stage::Password));
        desk.apply(Control { reset: true, plaintext: Some(true), ..Control::default() });
        assert_eq!(desk.faults(), Faults { plaintext: true, ..Faults::default() });
        for bad in [r#"{"refuse": 1}"#, r#"{"refuse_with": "because"}"#, r#"{"refuse_next": -1}"#] {
            assert!(serde_json::from_str::<Control>(bad).is_err(), "{bad}");
        }
    }
}
