//! The retries of one fetch: their number, pauses and time limits.

use std::time::Duration;

use tokio::time::Instant;

use super::{FetchContext, progress};
use crate::{
    config::{RetryOptions, duration},
    error::{Error, ErrorKind},
    runtime::random_seed,
};

/// The longest time for a single exchange, so that it does not use all of the fetch's time.
const LONGEST_TRY: Duration = Duration::from_secs(20);

/// A fetch ends this much before its bound, so that callers get its own error and not the one about the bound.
const MARGIN: Duration = Duration::from_secs(1);

/// The attempts of one fetch.
pub(super) struct Tries {
    deadline: Instant,
    repeats: bool,
    done: u32,
}

impl Tries {
    /// Starts the attempts within a credential's bound. If a usable token remains, or the previous fetch failed, there
    /// is one attempt; the cache entry's back-off then applies.
    pub(super) fn new(bound: Duration, context: FetchContext) -> Tries {
        Tries {
            deadline: Instant::now() + bound.saturating_sub(MARGIN),
            repeats: !context.has_fallback && !context.after_failure,
            done: 0,
        }
    }

    /// Returns the time for the next attempt.
    pub(super) fn time(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), LONGEST_TRY)
    }

    /// Waits, and returns whether to try again. `pause` returns the pause after so many attempts, or `None` to stop.
    pub(super) async fn again(&mut self, error: &Error, pause: impl FnOnce(&Error, u32) -> Option<Duration>) -> bool {
        self.done += 1;
        progress::attempt_failed(error);
        let Some(pause) = pause(error, self.done).filter(|_| self.repeats) else { return false };
        let left = self.deadline.saturating_duration_since(Instant::now());
        // An attempt needs at least one second.
        if pause + Duration::from_secs(1) > left {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}

/// Returns the pause by the options and the service, or `None` if another attempt is pointless.
pub(super) fn pause(options: &RetryOptions, error: &Error, tries: u32) -> Option<Duration> {
    use ErrorKind::{Network, ServiceUnavailable, Throttled, Timeout};
    let may_pass = matches!(error.kind(), Network | ServiceUnavailable | Throttled | Timeout) && !error.is_definite();
    if !may_pass || tries > options.max_retries {
        return None;
    }
    let own = doubling(duration(options.delay), tries, duration(options.max_delay));
    Some(own.max(error.service().retry_after.unwrap_or_default()))
}

/// Returns `first`, doubled for every attempt after the first, at most `longest`. Jitter of a fifth keeps clients that
/// failed at the same time from retrying at the same time.
pub(super) fn doubling(first: Duration, tries: u32, longest: Duration) -> Duration {
    let factor = 2_u32.saturating_pow(tries.saturating_sub(1));
    let pause = first.saturating_mul(factor).min(longest);
    let random = (random_seed() >> 11) as f64 / (1_u64 << 53) as f64;
    pause.mul_f64(0.8 + 0.4 * random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ServiceErrorDetails;

    #[test]
    fn retry_delay_doubles_and_follows_retry_after() {
        let options = RetryOptions { max_retries: 3, delay: 1.0, max_delay: 3.0 };
        let down = Error::new(ErrorKind::ServiceUnavailable, "down");
        for (tries, expected) in [(1, 1.0), (2, 2.0), (3, 3.0)] {
            let pause = pause(&options, &down, tries).unwrap().as_secs_f64();
            assert!((0.8 * expected..=1.2 * expected).contains(&pause), "{tries}: {pause}");
        }
        assert_eq!(pause(&options, &down, 4), None);
        let asked = ServiceErrorDetails { retry_after: Some(Duration::from_secs(9)), ..ServiceErrorDetails::default() };
        let throttled = Error::new(ErrorKind::Throttled, "later").with_service(asked);
        assert_eq!(pause(&options, &throttled, 1), Some(Duration::from_secs(9)));
        assert_eq!(pause(&options, &Error::new(ErrorKind::AuthenticationFailed, "no"), 1), None);
        assert_eq!(pause(&options, &down.clone().definite(), 1), None);
        assert!(doubling(Duration::MAX, 99, Duration::from_secs(60)) <= Duration::from_secs(72));
    }
}
