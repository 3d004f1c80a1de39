//! The control of the proxy's faults, and the record of what it did. Input and output are JSON.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::login_error::LoginError;

/// The maximum number of logins that are kept. Older ones are dropped, but stay counted.
const CAPACITY: usize = 10_000;

/// The maximum number of characters that are kept of a client's text.
const TEXT_LIMIT: usize = 256;

/// A change of the proxy's behaviour. Fields that are left out stay unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyControl {
    /// Whether to first remove all faults and clear the logins and counters.
    pub reset: bool,
    /// The number of logins to refuse from now on, after the password was received.
    pub refuse_next: Option<u64>,
    /// The error that these logins get; initially `token_expired`.
    pub refuse_with: Option<LoginError>,
    /// The number of connections to drop from now on.
    pub drop_next: Option<u64>,
    /// When the connections are dropped; initially `accept`.
    pub drop_at: Option<DropStage>,
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
pub enum DropStage {
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
pub struct ProxyFaults {
    /// The number of logins that are still to be refused.
    pub refuse_next: u64,
    /// The error that these logins get.
    pub refuse_with: LoginError,
    /// The number of connections that are still to be dropped.
    pub drop_next: u64,
    /// When the connections are dropped.
    pub drop_at: DropStage,
    /// The delay of each login in milliseconds.
    pub delay_ms: u64,
    /// Whether passwords are requested without TLS.
    pub plaintext: bool,
}

impl Default for ProxyFaults {
    fn default() -> Self {
        Self {
            refuse_next: 0,
            refuse_with: LoginError::TokenExpired,
            drop_next: 0,
            drop_at: DropStage::default(),
            delay_ms: 0,
            plaintext: false,
        }
    }
}

/// The result of an attempt to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginOutcome {
    /// The session started.
    LoggedIn,
    /// Refused by the proxy, with an entry of the table of login errors.
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
pub struct LoginRecord {
    /// The number, counted from 1.
    pub id: u64,
    /// The time in seconds since 1970, by the emulator's clock.
    pub time: i64,
    /// The result.
    pub outcome: LoginOutcome,
    /// The requested role; `None` if the startup message was not read.
    pub role: Option<String>,
    /// The requested database.
    pub database: Option<String>,
    /// The `application_name`, if the client sent one.
    pub application_name: Option<String>,
    /// Whether the connection was encrypted.
    pub tls: bool,
    /// The principal of the token, after verification.
    pub principal: Option<TokenPrincipal>,
    /// The login error, if the proxy refused the login.
    pub refusal: Option<LoginError>,
    /// The SQLSTATE that was sent to the client.
    pub sqlstate: Option<String>,
    /// The message that was sent to the client, or the cause of the failure.
    pub message: Option<String>,
}

/// The principal of a verified token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenPrincipal {
    /// The object id.
    pub oid: String,
    /// The name in the emulator's directory, if the principal is in it.
    pub name: Option<String>,
    /// Whether the token is an application's own.
    pub app_only: bool,
}

/// The counters since the start, or since the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProxyCounters {
    /// The number of accepted connections.
    pub connections: u64,
    /// The number of forwarded cancel requests.
    pub cancels: u64,
    /// The attempts to log in, by result.
    pub logins: BTreeMap<LoginOutcome, u64>,
    /// The refused attempts, by login error.
    pub refusals: BTreeMap<LoginError, u64>,
    /// The number of bytes of passwords received over connections without TLS.
    pub plaintext_password_bytes: u64,
}

/// The settings and the record of the proxy.
#[derive(Clone, Debug, Serialize)]
pub struct ProxyReport {
    /// The address that clients connect to.
    pub address: SocketAddr,
    /// The active faults.
    pub faults: ProxyFaults,
    /// The number of open sessions.
    pub sessions: u64,
    /// The counters.
    pub counters: ProxyCounters,
    /// The attempts to log in, oldest first; the last 10,000.
    pub logins: Vec<LoginRecord>,
}

/// The state of the proxy that its connections share.
pub(super) struct ProxyState {
    record: Mutex<Record>,
    disconnects: watch::Sender<u64>,
}

#[derive(Default)]
struct Record {
    faults: ProxyFaults,
    counters: ProxyCounters,
    logins: VecDeque<LoginRecord>,
    last_login: u64,
    sessions: u64,
}

impl Default for ProxyState {
    fn default() -> Self {
        Self { record: Mutex::default(), disconnects: watch::Sender::new(0) }
    }
}

impl ProxyState {
    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn apply(&self, control: ProxyControl) {
        let mut record = self.lock();
        if control.reset {
            *record = Record { last_login: record.last_login, sessions: record.sessions, ..Record::default() };
        }
        let faults = &mut record.faults;
        faults.refuse_next = control.refuse_next.unwrap_or(faults.refuse_next);
        faults.refuse_with = control.refuse_with.unwrap_or(faults.refuse_with);
        faults.drop_next = control.drop_next.unwrap_or(faults.drop_next);
        faults.drop_at = control.drop_at.unwrap_or(faults.drop_at);
        faults.delay_ms = control.delay_ms.unwrap_or(faults.delay_ms);
        faults.plaintext = control.plaintext.unwrap_or(faults.plaintext);
        drop(record);
        if control.disconnect {
            self.disconnects.send_modify(|times| *times += 1);
        }
    }

    pub(super) fn report(&self, address: SocketAddr) -> ProxyReport {
        let record = self.lock();
        ProxyReport {
            address,
            faults: record.faults,
            sessions: record.sessions,
            counters: record.counters.clone(),
            logins: record.logins.iter().cloned().collect(),
        }
    }

    /// Returns a receiver that changes when sessions must be closed.
    pub(super) fn disconnects(&self) -> watch::Receiver<u64> {
        self.disconnects.subscribe()
    }

    pub(super) fn faults(&self) -> ProxyFaults {
        self.lock().faults
    }

    /// Returns the error for this login regardless of its token, if a fault requires one.
    pub(super) fn take_login_error(&self) -> Option<LoginError> {
        let faults = &mut self.lock().faults;
        faults.refuse_next = faults.refuse_next.checked_sub(1)?;
        Some(faults.refuse_with)
    }

    /// Returns whether this connection is to be dropped at this stage.
    pub(super) fn take_drop(&self, stage: DropStage) -> bool {
        let faults = &mut self.lock().faults;
        if faults.drop_at != stage || faults.drop_next == 0 {
            return false;
        }
        faults.drop_next -= 1;
        true
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut ProxyCounters)) {
        count(&mut self.lock().counters);
    }

    pub(super) fn record(&self, mut login: LoginRecord) {
        for text in [&mut login.role, &mut login.database, &mut login.application_name, &mut login.message] {
            if let Some((end, _)) = text.as_ref().and_then(|text| text.char_indices().nth(TEXT_LIMIT)) {
                *text = text.take().map(|text| text[..end].to_owned());
            }
        }
        let mut record = self.lock();
        *record.counters.logins.entry(login.outcome).or_default() += 1;
        if let Some(login_error) = login.refusal {
            *record.counters.refusals.entry(login_error).or_default() += 1;
        }
        record.last_login += 1;
        login.id = record.last_login;
        if record.logins.len() == CAPACITY {
            record.logins.pop_front();
        }
        record.logins.push_back(login);
    }

    /// Counts a session until the returned value is dropped.
    pub(super) fn session(&self) -> impl Drop + '_ {
        struct Session<'a>(&'a ProxyState);
        impl Drop for Session<'_> {
            fn drop(&mut self) {
                self.0.lock().sessions -= 1;
            }
        }
        self.lock().sessions += 1;
        Session(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_control_changes_only_the_given_fields() {
        let state = ProxyState::default();
        state.apply(
            serde_json::from_str(r#"{"refuse_next": 1, "refuse_with": "role_missing", "drop_at": "password"}"#)
                .unwrap(),
        );
        state.apply(serde_json::from_str(r#"{"drop_next": 1}"#).unwrap());
        assert_eq!(state.take_login_error(), Some(LoginError::RoleMissing));
        assert_eq!(state.take_login_error(), None);
        assert!(!state.take_drop(DropStage::Accept));
        assert!(state.take_drop(DropStage::Password));
        assert!(!state.take_drop(DropStage::Password));
        state.apply(ProxyControl { reset: true, plaintext: Some(true), ..ProxyControl::default() });
        assert_eq!(state.faults(), ProxyFaults { plaintext: true, ..ProxyFaults::default() });
        for bad in [r#"{"refuse": 1}"#, r#"{"refuse_with": "because"}"#, r#"{"refuse_next": -1}"#] {
            assert!(serde_json::from_str::<ProxyControl>(bad).is_err(), "{bad}");
        }
    }
}
