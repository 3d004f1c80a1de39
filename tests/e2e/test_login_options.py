"""verify-full without a file of the user, ``ignore_password``, URLs, and tokens in tracebacks, for every driver."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import pgentra
from pgentra.errors import PgEntraError
from support.drivers import Driver, Target
from support.emulator import Emulator, Principal
from support.vector_runner import make_certificate

pytestmark = pytest.mark.one_python


@pytest.fixture
def authorities(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The emulator's certificate authority as the system's; the user has no file."""
    file = os.environ["PGSSLROOTCERT"]
    monkeypatch.delenv("PGSSLROOTCERT")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", file)
    return file


def test_verify_full_uses_the_systems_authorities(
    driver: Driver, authorities: str, identity: Principal, mine: Target
) -> None:
    assert driver.log_in(mine.but(sslmode="verify-full")) == identity.name


def test_verify_full_with_other_authorities_of_the_system_fails(
    driver: Driver,
    authorities: str,
    emulator: Emulator,
    mine: Target,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pgentra.get_entra_token(mine.entra["credential"])
    other = tmp_path / "other.pem"
    make_certificate(other)
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    with pytest.raises(Exception, match=r"(?i)certificate"):
        driver.log_in(mine.but(sslmode="verify-full"))
    assert emulator.postgres_report().logins == []


def test_ignore_password_logs_in_with_a_token(driver: Driver, identity: Principal, mine: Target) -> None:
    given = mine.but(user=identity.name, password="canary-placeholder", entra={**mine.entra, "ignore_password": True})
    assert driver.log_in(given) == identity.name
    with pytest.raises(PgEntraError, match="ignore_password and require_entra"):
        driver.log_in(given.but(entra={**given.entra, "require_entra": True}))


def test_url_is_accepted_by_psycopg(emulator: Emulator, identity: Principal, mine: Target) -> None:
    import psycopg

    provider = pgentra.TokenProvider(mine.entra["credential"])
    url = provider.url(mine.host, mine.database, port=mine.port)
    with psycopg.connect(url) as connection:
        assert connection.execute("select current_user").fetchone() == (identity.name,)


def _shows(value: Any, token: str, level: int = 0) -> bool:
    """Returns whether a report of local variables, such as Sentry's, shows the token."""
    if level < 4 and isinstance(value, dict):
        return any(_shows(part, token, level + 1) for part in value.values())
    if level < 4 and isinstance(value, (list, tuple, set)):
        return any(_shows(part, token, level + 1) for part in value)
    return token in repr(value)


def test_traceback_of_a_login_error_shows_no_token_in_local_variables(
    driver: Driver, identity: Principal, mine: Target
) -> None:
    token = pgentra.get_entra_token(mine.entra["credential"])
    with pytest.raises(driver.refused) as caught:
        driver.log_in(mine.but(user="no-such-role"))
    frames = []
    error: BaseException | None = caught.value
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_globals.get("__name__", "").startswith("pgentra"):
                frames.append(trace.tb_frame.f_code.co_name)
                assert not _shows(trace.tb_frame.f_locals, token), frames[-1]
            trace = trace.tb_next
        error = error.__cause__ or error.__context__
    assert frames
