"""The rules of `make soak`, from times alone."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from soak_rules import Login, Window, judge, longest_pause, trend

LIFETIME_S = 30.0
#: A token arrives at 100 s; without another it expires at 130 s.
TOKENS = {"Python": [100.0]}


def failed(began: float, took: float = 0.1) -> Login:
    return Login("Python", "psycopg3", began, took, "", "an error")


@pytest.mark.one_python
@pytest.mark.parametrize(
    ("window", "began", "is_explained"),
    [
        # The cached token is valid: an outage explains no failure.
        (Window("unavailable", 105, 125), 120.0, False),
        (Window("unavailable", 105, 140), 126.0, False),
        # The token has expired in the outage, or shortly after it.
        (Window("unavailable", 105, 140), 132.0, True),
        (Window("unavailable", 105, 140), 146.0, True),
        (Window("unavailable", 105, 140), 150.0, False),
        # A slow token source is no outage.
        (Window("slow", 105, 140), 132.0, False),
        # Tokens signed by retired keys are rejected until their refresh point.
        (Window("keys retired", 105, 105), 110.0, True),
        (Window("keys retired", 105, 105), 104.0, False),
        (Window("keys retired", 105, 105), 140.0, False),
    ],
)
def test_judge_of_an_outage(window: Window, began: float, is_explained: bool) -> None:
    verdict = judge([failed(began)], [window], TOKENS, LIFETIME_S)
    assert (verdict.breaches == []) == is_explained


@pytest.mark.one_python
def test_judge_counts_rejected_logins() -> None:
    window = Window("login rejected", 105, 110, count=2)
    verdict = judge([failed(106), failed(107), failed(108)], [window], TOKENS, LIFETIME_S)
    assert verdict.explained == {"login rejected": 2}
    assert [login.began for login in verdict.breaches] == [108]


@pytest.mark.one_python
def test_judge_of_retired_keys_with_a_newer_token() -> None:
    tokens = {"Python": [100.0, 107.0]}
    verdict = judge([failed(106), failed(109)], [Window("keys retired", 105, 105)], tokens, LIFETIME_S)
    assert [login.began for login in verdict.breaches] == [109]


@pytest.mark.one_python
def test_longest_pause_excuses_outages() -> None:
    logins = [Login("Python", "psycopg3", began, 0.0, "app-mi", "") for began in (100.0, 101.0, 151.0)]
    assert longest_pause(logins, [], 152.0) == 50.0
    assert longest_pause(logins, [Window("unavailable", 105, 140)], 152.0) == pytest.approx(7.0)


@pytest.mark.one_python
def test_trend_of_noise_and_of_a_leak() -> None:
    noise = random.Random(1)
    flat = [(float(second), 50 + noise.uniform(-2, 2)) for second in range(600)]
    found = trend(flat)
    assert found is not None and found.certain_growth < 0.5
    # Half a megabyte a minute, hidden in the noise.
    leak = trend([(second, value + second / 120) for second, value in flat])
    assert leak is not None and 3.0 < leak.certain_growth < 5.5
    assert trend(flat[:50]) is None
