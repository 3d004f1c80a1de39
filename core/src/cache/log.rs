//! The log messages about a settled fetch: the first failed refresh, failures in the last minutes, and the recovery.

use tracing::{Level, debug, error, info, warn};

use super::refresh_state::RefreshStats;
use crate::error::Error;

/// The target of the events.
pub(crate) const TARGET: &str = "pgentra::cache";

/// The start of the message about a fetch that failed while no usable token was left: its callers get the failure.
pub(crate) const NO_TOKEN_LEFT: &str = "token fetch failed and no valid token is cached";

/// If the token is valid for less than this number of seconds, a failed refresh is logged as an error.
const LAST_MINUTES: i64 = 300;

/// An event to log. Times are in seconds.
pub(crate) enum LogEvent {
    Fetched { left: i64 },
    Recovered { failures: u32 },
    Failed { failures: u32, left: i64, next: i64, cause: String },
    Nothing,
}

impl LogEvent {
    pub(crate) fn of(stats: &RefreshStats<'_, Error>, failures_before: u32) -> LogEvent {
        let left = stats.expires_in_ms.unwrap_or(0).max(0) / 1000;
        match (stats.consecutive_failures, stats.last_error) {
            (0, _) if failures_before > 0 => LogEvent::Recovered { failures: failures_before },
            (0, _) => LogEvent::Fetched { left },
            (failures, Some(cause)) if failures > failures_before => {
                let next = stats.next_try_in_ms.unwrap_or(0).max(0).saturating_add(999) / 1000;
                LogEvent::Failed { failures, left, next, cause: cause.headline() }
            }
            _ => LogEvent::Nothing,
        }
    }

    pub(crate) fn log(&self, credential: &str, scope: &str) {
        match self.line() {
            None => {}
            Some((Level::ERROR, line)) => error!(target: TARGET, credential, scope, "{line}"),
            Some((Level::WARN, line)) => warn!(target: TARGET, credential, scope, "{line}"),
            Some((Level::INFO, line)) => info!(target: TARGET, credential, scope, "{line}"),
            Some((_, line)) => debug!(target: TARGET, credential, scope, "{line}"),
        }
    }

    fn line(&self) -> Option<(Level, String)> {
        Some(match self {
            LogEvent::Nothing => return None,
            LogEvent::Fetched { left } => (Level::DEBUG, format!("token fetched, expires in {left} s")),
            LogEvent::Recovered { failures } => {
                (Level::INFO, format!("token fetched after {failures} failed attempts"))
            }
            LogEvent::Failed { left: 0, next, cause, .. } => {
                (Level::ERROR, format!("{NO_TOKEN_LEFT}, next attempt in {next} s: {cause}"))
            }
            LogEvent::Failed { left: left @ ..LAST_MINUTES, next, cause, .. } => (
                Level::ERROR,
                format!(
                    "token refresh failed, the cached token expires in {left} s, next attempt in \
                                        {next} s: {cause}"
                ),
            ),
            LogEvent::Failed { failures: 1, left, next, cause } => {
                let minutes = left / 60;
                (
                    Level::WARN,
                    format!(
                        "token refresh failed, the cached token expires in {minutes} min, next attempt in {next} \
                             s: {cause}"
                    ),
                )
            }
            LogEvent::Failed { failures, next, cause, .. } => {
                (Level::DEBUG, format!("token refresh failed {failures} times, next attempt in {next} s: {cause}"))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn log_event_of_a_settled_fetch_has_its_level_and_text() {
        const NOTHING: &str = "";
        // The columns are: failures before and after, milliseconds left, milliseconds until the next attempt.
        let table = [
            (0, 0, 3_600_000, 0, "DEBUG token fetched, expires in 3600 s"),
            (3, 0, 3_600_000, 0, "INFO token fetched after 3 failed attempts"),
            (
                0,
                1,
                719_999,
                3_001,
                "WARN token refresh failed, the cached token expires in 11 min, next attempt in 4 s: down",
            ),
            (1, 2, 700_000, 8_000, "DEBUG token refresh failed 2 times, next attempt in 8 s: down"),
            (
                0,
                1,
                300_000,
                4_000,
                "WARN token refresh failed, the cached token expires in 5 min, next attempt in 4 s: down",
            ),
            (
                0,
                1,
                299_999,
                4_000,
                "ERROR token refresh failed, the cached token expires in 299 s, next attempt in 4 s: down",
            ),
            (
                7,
                8,
                1_000,
                4_000,
                "ERROR token refresh failed, the cached token expires in 1 s, next attempt in 4 s: down",
            ),
            (8, 9, -1_000, 4_000, "ERROR token fetch failed and no valid token is cached, next attempt in 4 s: down"),
            (2, 2, 700_000, 4_000, NOTHING),
        ];
        let down = Error::new(ErrorKind::ServiceUnavailable, "down");
        for (before, now, left, next, expected) in table {
            let stats = RefreshStats {
                consecutive_failures: now,
                last_error: (now > 0).then_some(&down),
                expires_in_ms: Some(left),
                next_try_in_ms: Some(next),
                last_success_ms: None,
                refresh_due_in_ms: None,
                in_flight: false,
            };
            let line =
                LogEvent::of(&stats, before).line().map_or(String::new(), |(level, line)| format!("{level} {line}"));
            assert_eq!(line, expected, "{before} failures, then {now}");
        }
    }
}
