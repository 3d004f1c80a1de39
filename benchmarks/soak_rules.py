"""The rules of the soak: which failed logins faults explain, and when memory or threads have grown.

Times are seconds since 1970. `docs/soak.md` describes the rules.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

#: The faults that keep tokens from arriving. With a valid token they cause no failed login.
OUTAGES = frozenset({"unavailable", "throttled", "dropped", "black hole", "garbage"})
#: The faults that reject or cut logins at the server; each counts how many.
COUNTED = frozenset({"login rejected", "connection dropped"})
#: Every open session is closed by the server.
SESSIONS_CLOSED = "sessions closed"
#: The lines of the sessions through the proxy: what must never happen, and a session that ended before its time.
INTEGRITY, SESSION = "integrity", "session"
#: Every cached token is rejected from then on.
KEYS_RETIRED = "keys retired"

#: Seconds after the end of an outage within which logins succeed again: a back-off of 5 s plus 20 %, and a fetch.
RECOVERY_S = 8.0
#: The clock of the emulator's tokens has whole seconds.
CLOCK_S = 1.0


@dataclass(frozen=True)
class Login:
    """One attempt of a program."""

    program: str
    pool: str
    began: float
    took: float
    role: str
    error: str

    @property
    def ended(self) -> float:
        return self.began + self.took


@dataclass
class Window:
    """A fault and its time."""

    kind: str
    began: float
    ended: float
    #: How many logins it affects, if it counts them.
    count: int = 0


@dataclass
class Verdict:
    """The failed logins by the fault that explains them, and the others."""

    explained: dict[str, int] = field(default_factory=dict)
    breaches: list[Login] = field(default_factory=list)


def judge(logins: Iterable[Login], windows: list[Window], tokens: dict[str, list[float]], lifetime_s: float) -> Verdict:
    """Compares each failed login with the faults. `tokens` has the times at which each program's tokens arrived."""
    verdict = Verdict()
    left = {id(window): window.count for window in windows}
    for login in sorted(logins, key=lambda one: one.began):
        if not login.error:
            continue
        kind = _explanation(login, windows, tokens.get(login.program, []), lifetime_s, left)
        if kind is None:
            verdict.breaches.append(login)
        else:
            verdict.explained[kind] = verdict.explained.get(kind, 0) + 1
    return verdict


def _explanation(
    login: Login, windows: list[Window], tokens: list[float], lifetime_s: float, left: dict[int, int]
) -> str | None:
    if login.pool == INTEGRITY:
        return None
    for window in windows:
        if window.kind == SESSIONS_CLOSED and window.began - CLOCK_S <= login.ended <= window.ended + RECOVERY_S:
            return window.kind
    if login.pool == SESSION:
        return None
    for window in windows:
        near = window.began - CLOCK_S <= login.ended and login.began <= window.ended + CLOCK_S
        if window.kind in COUNTED and near and left[id(window)] > 0:
            # A fault that affects n logins explains n failures.
            left[id(window)] -= 1
            return window.kind
    for window in windows:
        if window.kind == KEYS_RETIRED and window.began <= login.ended:
            # The cached token is replaced at its refresh point at the latest. A token that arrived while the keys
            # changed may be signed by the old one.
            replaced = min((time for time in tokens if time > window.ended), default=math.inf)
            if login.began <= min(replaced + CLOCK_S, window.ended + 0.8 * lifetime_s + RECOVERY_S):
                return window.kind
    for window in windows:
        if window.kind in OUTAGES and window.began <= login.ended and login.began <= window.ended + RECOVERY_S:
            known = [time for time in tokens if time < login.ended]
            # The cached token is used until 5 s, or a twentieth of its lifetime, before its expiry.
            margin = min(5.0, lifetime_s / 20) + CLOCK_S
            if not known or login.ended > max(known) + lifetime_s - margin:
                return window.kind
    return None


def longest_pause(logins: Iterable[Login], windows: list[Window], end: float) -> float:
    """Returns the longest time without a successful login, outside of outages and their recovery."""
    moments = sorted(login.ended for login in logins if not login.error)
    longest = 0.0
    for earlier, later in zip(moments, [*moments[1:], end], strict=True):
        excused = sum(
            max(0.0, min(later, window.ended + RECOVERY_S) - max(earlier, window.began))
            for window in windows
            if window.kind in OUTAGES
        )
        longest = max(longest, later - earlier - excused)
    return longest


@dataclass(frozen=True)
class Trend:
    """The Theil-Sen slope of a series, in its unit per minute, with the bounds of its confidence interval of 99 %."""

    slope: float
    low: float
    high: float
    median: float
    minutes: float

    @property
    def certain_growth(self) -> float:
        """The growth over the series that is certain, in its unit."""
        return max(0.0, self.low) * self.minutes


def trend(samples: Sequence[tuple[float, float]], bucket_s: float = 10.0) -> Trend | None:
    """Returns the trend of samples (time, value), of medians over `bucket_s`. None if there are less than six."""
    buckets: dict[int, list[float]] = {}
    for time, value in samples:
        buckets.setdefault(int(time // bucket_s), []).append(value)
    points = [(index * bucket_s / 60, statistics.median(values)) for index, values in sorted(buckets.items())]
    n = len(points)
    if n < 6:
        return None
    slopes = sorted(
        (points[later][1] - points[earlier][1]) / (points[later][0] - points[earlier][0])
        for earlier in range(n)
        for later in range(earlier + 1, n)
    )
    # The interval follows from the distribution of Kendall's statistic.
    half = 2.576 * math.sqrt(n * (n - 1) * (2 * n + 5) / 18) / 2
    middle = (len(slopes) - 1) / 2
    low, high = max(0, math.floor(middle - half)), min(len(slopes) - 1, math.ceil(middle + half))
    return Trend(
        slope=statistics.median(slopes),
        low=slopes[low],
        high=slopes[high],
        median=statistics.median(value for _, value in points),
        minutes=points[-1][0] - points[0][0],
    )
