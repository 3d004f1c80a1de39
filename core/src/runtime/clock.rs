//! The two clocks by which deadlines are kept.

/// One moment by both clocks, in milliseconds.
///
/// A deadline is reached when either clock reaches it: the wall clock continues while a machine is suspended, and the
/// monotonic one is not changed when the system time is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Now {
    /// Milliseconds since the Unix epoch.
    pub wall_ms: i64,
    /// Milliseconds since any origin that stays the same for the life of the state.
    pub mono_ms: i64,
}

impl Now {
    /// Returns this moment moved by `ms` on both clocks.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Now {
        Now { wall_ms: self.wall_ms.saturating_add(ms), mono_ms: self.mono_ms.saturating_add(ms) }
    }

    /// Returns whether `point` is reached by either clock.
    #[inline]
    pub fn reached(self, point: Now) -> bool {
        self.wall_ms >= point.wall_ms || self.mono_ms >= point.mono_ms
    }

    /// Returns the milliseconds until `point`, by the clock on which it comes first. The value is negative after that.
    pub fn ms_until(self, point: Now) -> i64 {
        point.wall_ms.saturating_sub(self.wall_ms).min(point.mono_ms.saturating_sub(self.mono_ms))
    }

    /// Returns the milliseconds since `earlier`, by the clock on which more time passed.
    pub fn ms_since(self, earlier: Now) -> i64 {
        self.wall_ms.saturating_sub(earlier.wall_ms).max(self.mono_ms.saturating_sub(earlier.mono_ms))
    }
}

/// Returns this moment by both clocks. The coarse clocks (a few milliseconds) cost a tenth of the exact ones.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
pub(crate) fn now() -> Now {
    fn read(clock: libc::clockid_t) -> i64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a live timespec; both clocks exist since Linux 2.6.32.
        unsafe { libc::clock_gettime(clock, &mut time) };
        #[allow(clippy::useless_conversion, reason = "the fields are narrower on 32-bit targets")]
        let (seconds, nanoseconds) = (i64::from(time.tv_sec), i64::from(time.tv_nsec));
        seconds * 1000 + nanoseconds / 1_000_000
    }
    Now { wall_ms: read(libc::CLOCK_REALTIME_COARSE), mono_ms: read(libc::CLOCK_MONOTONIC_COARSE) }
}

/// Returns this moment by both clocks.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn now() -> Now {
    use std::{
        sync::OnceLock,
        time::{Instant, SystemTime, UNIX_EPOCH},
    };
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    Now { wall_ms: wall, mono_ms: ORIGIN.get_or_init(Instant::now).elapsed().as_millis() as i64 }
}
