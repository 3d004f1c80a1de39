//! How often and how long one fetch tries.

use std::time::Duration;

use tokio::time::Instant;

use super::FetchContext;
use crate::{
    config::{RetryOptions, duration},
    error::{Error, ErrorKind},
    runtime::random_seed,
};

/// No single exchange takes all of a fetch's time.
const LONGEST_TRY: Duration = Duration::from_secs(20);

/// A fetch ends this much before its bound, so that its own error is heard and not the bound's.
const MARGIN: Duration = Duration::from_secs(1);

/// The tries of one fetch.
pub(super) struct Tries {
    deadline: Instant,
    repeats: bool,
    done: u32,
}

impl Tries {
    /// Within a credential's bound. Where a usable token remains, or the fetch before it failed, there is one try: the
    /// cache entry's back-off does the rest.
    pub(super) fn new(bound: Duration, context: FetchContext) -> Tries {
        Tries {
            deadline: Instant::now() + bound.saturating_sub(MARGIN),
            repeats: !context.has_fallback && !context.after_failure,
            done: 0,
        }
    }

    /// The time for the next try.
    pub(super) fn time(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), LONGEST_TRY)
    }

    /// Waits and answers whether to try again. `pause` says how long after so many tries, `None` for never.
    pub(super) async fn again(&mut self, error: &Error, pause: impl FnOnce(&Error, u32) -> Option<Duration>) -> bool {
        self.done += 1;
        let Some(pause) = pause(error, self.done).filter(|_| self.repeats) else { return false };
        let left = self.deadline.saturating_duration_since(Instant::now());
        // A try that could not be given a second is no try.
        if pause + Duration::from_secs(1) > left {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}

/// The pause that the options and the service ask for, `None` where another try is pointless.
pub(super) fn pause(options: &RetryOptions, error: &Error, tries: u32) -> Option<Duration> {
    use ErrorKind::{Network, ServiceUnavailable, Throttled, Timeout};
    let may_pass = matches!(error.kind(), Network | ServiceUnavailable | Throttled | Timeout) && !error.is_definite();
    if !may_pass || tries > options.max_retries {
        return None;
    }
    let own = doubling(duration(options.delay), tries, duration(options.max_delay));
    Some(own.max(error.service().retry_after.unwrap_or_default()))
}

/// `first`, doubled for every try after the first, at most `longest`; a fifth more or less, so that many who failed at
/// once do not come back at once.
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
    fn pauses_double_and_heed_the_service() {
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
