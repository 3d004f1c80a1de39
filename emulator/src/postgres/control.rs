//! The control of the proxy's faults, and the record of what it did. Input and output are JSON.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::refusals::Refusal;

/// The maximum number of logins that are kept. Older ones are dropped, but stay counted.
const CAPACITY: usize = 10_000;

/// The maximum number of characters that are kept of a client's text.
const TEXT_LIMIT: usize = 256;

/// A change of the proxy's behaviour. Fields that are left out stay unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// Whether to first remove all faults and clear logins and counters.
    pub reset: bool,
    /// The number of logins to refuse from now on, after the password was received.
    pub refuse_next: Option<u64>,
    /// The refusal that these logins get; initially `token_expired`.
    pub refuse_with: Option<Refusal>,
    /// The number of connections to drop from now on.
    pub drop_next: Option<u64>,
    /// When the connections are dropped; initially `accept`.
    pub drop_at: Option<Stage>,
    /// The delay of each login after the password was received, in milliseconds; 0 for no delay.
    pub delay_ms: Option<u64>,
    /// Whether the proxy has no TLS and still requests passwords, like a misconfigured or a hostile server.
    pub plaintext: Option<bool>,
    /// Whether to close the sessions that are open now.
    pub disconnect: bool,
}

/// When a connection is dropped, without a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// As soon as it is accepted.
    #[default]
    Accept,
    /// After the startup message was read.
    Startup,
    /// After the password was read.
    Password,
}

/// The active faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// The number of logins that are still to be refused.
    pub refuse_next: u64,
    /// The refusal that these logins get.
    pub refuse_with: Refusal,
    /// The number of connections that are still to be dropped.
    pub drop_next: u64,
    /// When the connections are dropped.
    pub drop_at: Stage,
    /// The delay of each login in milliseconds.
    pub delay_ms: u64,
    /// Whether passwords are requested without TLS.
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

/// The result of an attempt to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The session started.
    LoggedIn,
    /// Refused by the proxy, with an entry of the table of refusals.
    Refused,
    /// Refused by the upstream server, or the upstream server could not be reached.
    UpstreamFailed,
    /// The client violated the protocol.
    ProtocolError,
    /// The TLS handshake failed.
    TlsFailed,
    /// The client exceeded the time limit.
    TimedOut,
    /// The client disconnected before it sent a password.
    Abandoned,
    /// Dropped by a fault.
    Dropped,
}

/// An attempt to log in. Contains no secrets.
#[derive(Clone, Debug, Serialize)]
pub struct Login {
    /// The number, counted from 1.
    pub id: u64,
    /// The time in seconds since 1970, by the emulator's clock.
    pub time: i64,
    /// The result.
    pub outcome: Outcome,
    /// The requested role; `None` if the startup message was not read.
    pub role: Option<String>,
    /// The requested database.
    pub database: Option<String>,
    /// The `application_name`, if the client sent one.
    pub application_name: Option<String>,
    /// Whether the connection was encrypted.
    pub tls: bool,
    /// The principal of the token, after verification.
    pub principal: Option<Presented>,
    /// The refusal, if the proxy refused the login.
    pub refusal: Option<Refusal>,
    /// The SQLSTATE that was sent to the client.
    pub sqlstate: Option<String>,
    /// The message that was sent to the client, or the cause of the failure.
    pub message: Option<String>,
}

/// The principal of a verified token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Presented {
    /// The object id.
    pub oid: String,
    /// The name in the emulator's directory, if the principal is in it.
    pub name: Option<String>,
    /// Whether the token is an application's own.
    pub app_only: bool,
}

/// The counters since the start, or since the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// The number of accepted connections.
    pub connections: u64,
    /// The number of forwarded cancel requests.
    pub cancels: u64,
    /// The attempts to log in, by result.
    pub logins: BTreeMap<Outcome, u64>,
    /// The refused attempts, by refusal.
    pub refusals: BTreeMap<Refusal, u64>,
    /// The number of bytes of passwords received over connections without TLS.
    pub plaintext_password_bytes: u64,
}

/// The settings and the record of the proxy.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The address that clients connect to.
    pub address: SocketAddr,
    /// The active faults.
    pub faults: Faults,
    /// The number of open sessions.
    pub sessions: u64,
    /// The counters.
    pub counters: Counters,
    /// The attempts to log in, oldest first; the last 10,000.
    pub logins: Vec<Login>,
}

/// The state of the proxy that its connections share.
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

    /// Returns a receiver that changes when sessions must be closed.
    pub(super) fn disconnects(&self) -> watch::Receiver<u64> {
        self.disconnects.subscribe()
    }

    pub(super) fn faults(&self) -> Faults {
        self.book().faults
    }

    /// Returns the refusal for this login regardless of its token, if a fault requires one.
    pub(super) fn take_refusal(&self) -> Option<Refusal> {
        let faults = &mut self.book().faults;
        faults.refuse_next = faults.refuse_next.checked_sub(1)?;
        Some(faults.refuse_with)
    }

    /// Returns whether this connection is to be dropped at this stage.
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

    /// Counts a session until the returned value is dropped.
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
