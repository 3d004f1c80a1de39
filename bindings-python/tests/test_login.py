"""The functions that all drivers use: connection plans, logins, login errors."""

from __future__ import annotations

import asyncio
import logging
import pathlib
import pickle
import time
from functools import partial
from typing import Any

import pytest
from recording import AsyncRecording, Recording, make_token

from pgentra import TokenProvider, _login, _native
from pgentra.errors import (
    AuthenticationError,
    CredentialValueError,
    EntraConnectionValueError,
    PgEntraError,
    UsernameExtractionError,
    _also,
)

REMOTE = {"host": "db.postgres.database.azure.com"}


class OperationalError(Exception):
    """A driver's class."""

    def __init__(self, *arguments: Any, sqlstate: str | None = None) -> None:
        super().__init__(*arguments)
        self.sqlstate = sqlstate


class Server:
    """Refuses the first logins with the given errors, then accepts."""

    def __init__(self, *refusals: OperationalError) -> None:
        self.refusals = list(refusals)
        self.seen: list[dict[str, str]] = []

    def attempt(self, settings: _login.LoginSettings) -> str:
        self.seen.append(settings.over())
        if self.refusals:
            raise self.refusals.pop(0)
        return "connection"

    async def attempt_async(self, settings: _login.LoginSettings) -> str:
        return self.attempt(settings)


def planned(parameters: dict[str, Any], credential: Any = None, **options: Any) -> _login.ConnectionPlan:
    return _login.plan(parameters, credential or Recording(), options, transient=OperationalError)


def connected(how: str, plan: _login.ConnectionPlan, server: Server) -> str:
    if how == "sync":
        return _login.connect(plan, server.attempt, OperationalError)
    return asyncio.run(_login.connect_async(plan, server.attempt_async, OperationalError))


both = pytest.mark.parametrize("how", ["sync", "async"])


# Roles


@both
def test_login_takes_user_and_password_from_the_token(how: str) -> None:
    server = Server()
    assert connected(how, planned(REMOTE), server) == "connection"
    (settings,) = server.seen
    assert settings["user"] == "anna@contoso.com"
    assert settings["password"].count(".") == 2
    assert settings["sslmode"] == "require"


@both
def test_user_explicit_replaces_the_name_in_the_token(how: str) -> None:
    server = Server()
    credential = Recording(idtyp="app")
    connected(how, planned({**REMOTE, "user": "db-readers"}, credential), server)
    assert server.seen[0]["user"] == "db-readers"
    assert len(credential.scopes) == 1, "nobody asked for a name"


@both
def test_user_of_pguser_is_used_after_an_explicit_one(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGUSER", "of-the-environment")
    server = Server()
    connected(how, planned(REMOTE), server)
    connected(how, planned({**REMOTE, "user": "explicit"}), server)
    assert [settings["user"] for settings in server.seen] == ["of-the-environment", "explicit"]


@both
def test_password_without_a_user_is_not_sent(how: str, caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    for _ in range(2):
        connected(how, planned({"host": f"{how}.password.example", "password": "canary-secret"}), server)
    assert [settings["password"].count(".") for settings in server.seen] == [2, 2]
    told = [record for record in caplog.records if "password" in record.getMessage()]
    assert [record.levelno for record in told] == [logging.WARNING]
    assert "canary-secret" not in caplog.text


@both
def test_password_with_pguser_is_an_explicit_login(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user is passed to drivers that do not read the variable."""
    monkeypatch.setenv("PGUSER", "of-the-environment")
    server, credential = Server(), Recording()
    connected(how, planned({**REMOTE, "password": "secret"}, credential), server)
    assert server.seen == [{"user": "of-the-environment"}]
    assert credential.scopes == []


@pytest.mark.parametrize("value", [TokenProvider(Recording()), lambda: "token", Recording])
def test_password_that_is_a_callable_is_refused(value: Any) -> None:
    with pytest.raises(EntraConnectionValueError, match=r"^password: expected a text, got .*credential=") as caught:
        _login.take_options({"password": value})
    assert "token" not in str(caught.value).replace("fetches its own token", "")


@pytest.mark.parametrize("value", [TokenProvider(Recording()).get, lambda: "token", len, Recording, partial(int)])
def test_password_that_is_the_text_of_a_callable_is_refused(value: Any) -> None:
    """psycopg2 makes a text of it before it calls its connection factory."""
    psycopg2 = pytest.importorskip("psycopg2")
    from pgentra.psycopg2 import EntraConnection

    with pytest.raises(EntraConnectionValueError, match="password: expected a text, got the text of a function"):
        psycopg2.connect(host="db.example", user="u", password=value, connection_factory=EntraConnection)


def test_password_that_is_a_token_provider_is_refused() -> None:
    """Drivers send the `str` of a password, and asyncpg calls it without the connection's settings."""
    provider: Any = TokenProvider(Recording())
    pytest.importorskip("psycopg")
    from psycopg.conninfo import make_conninfo
    from psycopg2.extensions import make_dsn

    for write in (make_conninfo, make_dsn):
        with pytest.raises(TypeError, match="not a password"):
            write(password=provider)
    sqlalchemy = pytest.importorskip("sqlalchemy")
    url = sqlalchemy.URL.create("postgresql+psycopg2", "u", provider, "db.example")
    with pytest.raises(TypeError, match="not a password"):
        sqlalchemy.create_engine(url).connect()
    assert str(provider) == repr(provider)
    with pytest.raises(EntraConnectionValueError) as caught:
        provider()
    assert caught.value.code == "insecure_transport"
    assert "TokenProvider" in repr(provider)


@both
def test_password_with_a_user_logs_one_warning_and_fetches_no_token(how: str, caplog: pytest.LogCaptureFixture) -> None:
    server, credential = Server(), Recording()
    place = {"host": f"{how}.example", "user": "u", "password": "canary-secret", "sslmode": "disable"}
    for _ in range(3):
        connected(how, planned(place, credential), server)
    assert server.seen == [{}] * 3
    assert credential.scopes == []
    told = [record for record in caplog.records if "Entra is not used" in record.getMessage()]
    assert [record.levelno for record in told] == [logging.WARNING]
    assert "canary-secret" not in caplog.text


@both
def test_password_with_ignore_password_is_dropped(how: str, caplog: pytest.LogCaptureFixture) -> None:
    host = f"{how}.ignored.example"
    parameters = {"host": host, "user": "app", "password": "canary"}
    server = Server()
    caplog.set_level(logging.INFO, "pgentra")
    for _ in range(2):
        connected(how, planned(parameters, ignore_password=True), server)
    assert [(login["user"], login["password"].count(".")) for login in server.seen] == [("app", 2)] * 2
    ends = time.monotonic() + 10
    while not (told := [record for record in caplog.records if host in record.getMessage()]):
        assert time.monotonic() < ends
        time.sleep(0.01)
    assert [record.levelname for record in told] == ["INFO"]
    assert "canary" not in caplog.text


def test_password_with_ignore_password_and_require_entra_is_refused() -> None:
    with pytest.raises(CredentialValueError, match="ignore_password and require_entra"):
        planned(REMOTE, ignore_password=True, require_entra=True)


@pytest.mark.parametrize("given", [{"password": "p"}, {"user": "u", "password": "p"}])
def test_password_with_require_entra_is_an_error(given: dict[str, str]) -> None:
    with pytest.raises(EntraConnectionValueError, match="require_entra") as caught:
        planned({**REMOTE, **given}, require_entra=True)
    assert REMOTE["host"] in caught.value.detail["message"]
    assert ('as "u"' in str(caught.value)) == ("user" in given)
    assert caught.value.detail["advice"].startswith("Remove the password")
    planned(REMOTE, require_entra=True)


def test_password_of_pgpassword_is_not_explicit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "of-the-environment")
    server = Server()
    connected("sync", planned({**REMOTE, "user": "u"}), server)
    assert server.seen[0]["password"].count(".") == 2


@pytest.mark.parametrize("value", ["", None])
def test_setting_that_is_empty_counts_as_not_given(value: Any) -> None:
    server = Server()
    connected("sync", planned({**REMOTE, "user": value, "password": value, "sslmode": value}), server)
    assert server.seen[0]["user"] == "anna@contoso.com"


def test_service_file_settings_are_explicit(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "services"
    file.write_text(
        "# comment\n[other]\nuser=wrong\n\n[mine]\nhost=remote.example\nuser=role of the file\nuser=second\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    server = Server()
    connected("sync", planned({"service": "mine"}), server)
    monkeypatch.setenv("PGSERVICE", "mine")
    connected("sync", planned({}), server)
    connected("sync", planned({"user": "argument", "host": "localhost"}), server)
    assert [settings["user"] for settings in server.seen] == ["role of the file", "role of the file", "argument"]
    assert [settings.get("sslmode") for settings in server.seen] == ["require", "require", None]
    monkeypatch.setenv("PGSERVICE", "missing")
    connected("sync", planned({}), server)
    monkeypatch.setenv("PGSERVICEFILE", "/nowhere")
    connected("sync", planned({}), server)
    # A server that only libpq finds counts as remote.
    assert [settings.get("sslmode") for settings in server.seen[3:]] == ["require", "require"]
    with pytest.raises(EntraConnectionValueError) as caught:
        planned({"sslmode": "disable"})
    assert caught.value.code == "insecure_transport"


@pytest.mark.parametrize("text", ["[mine] # libpq\nuser=role of the file\n", "[mine]\nuser = role of the file\n"])
def test_service_file_is_read_as_by_the_driver(
    text: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libpq takes a section's line to its bracket; asyncpg takes blanks around the sign, which libpq refuses."""
    file = tmp_path / "services"
    file.write_text(text)
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    server = Server()
    connected("sync", planned({"service": "mine"}), server)
    assert [settings["user"] for settings in server.seen] == ["role of the file"]


# TLS


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        (REMOTE, {}, "require"),
        ({**REMOTE, "sslmode": "prefer"}, {}, "require"),
        ({**REMOTE, "sslmode": "verify-full"}, {}, None),
        (REMOTE, {"PGSSLMODE": "verify-full"}, None),
        (REMOTE, {"PGSSLMODE": "allow"}, "require"),
        (REMOTE, {"PGSSLMODE": "disable"}, "insecure_transport"),
        ({**REMOTE, "sslmode": "disable"}, {}, "insecure_transport"),
        ({**REMOTE, "sslmode": "require"}, {"PGSSLMODE": "disable"}, None),
        # If libpq supports the system's authorities, this is its default; otherwise it has no effect.
        ({**REMOTE, "sslrootcert": "system"}, {}, "verify-full"),
        ({**REMOTE, "sslmode": "prefer", "sslrootcert": "system"}, {}, "verify-full"),
        (REMOTE, {"PGSSLROOTCERT": "system"}, "verify-full"),
        ({"sslrootcert": "system"}, {}, None),
        ({}, {}, None),
        ({}, {"PGHOST": "db.example"}, "require"),
        ({"host": "/run/postgresql", "sslmode": "disable"}, {}, None),
        ({"host": "localhost,db.example"}, {}, "require"),
        ({"host": "db.example", "hostaddr": "127.0.0.1", "sslmode": "disable"}, {}, None),
        ({"host": "localhost", "hostaddr": "10.0.0.4"}, {}, "require"),
        ({"host": "localhost,localhost", "hostaddr": ",10.0.0.4"}, {}, "require"),
        ({"hostaddr": "10.0.0.4", "sslmode": "disable"}, {}, "insecure_transport"),
        ({}, {"PGHOSTADDR": "10.0.0.4"}, "require"),
    ],
)
def test_tls_mode_of_a_connection(
    given: dict[str, str], environment: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if expected == "insecure_transport":
        with pytest.raises(EntraConnectionValueError) as caught:
            planned(given)
        assert caught.value.code == expected
        expected = None
    else:
        assert planned(given).overrides.get("sslmode") == expected
    assert "sslmode" not in planned(given, allow_insecure_transport=True).overrides


# What libpq reads, and the driver does not, must not make a remote server local, or its TLS good.
UNREAD = {
    "PGHOSTADDR": "127.0.0.1",
    "PGSERVICE": "mine",
    "PGSSLROOTCERT": "system",
}


@pytest.mark.parametrize("variable", [*UNREAD, "PGHOST", "PGSSLMODE"])
def test_plan_for_a_driver_that_reads_no_variables(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, {**UNREAD, "PGHOST": "localhost", "PGSSLMODE": "require"}[variable])
    made = _login.plan(REMOTE, Recording(), variables={}, service_files=False)
    assert made.overrides == {"sslmode": "require"}


@pytest.mark.parametrize("variable", UNREAD)
@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://db.example/shop",
        "postgresql://db.example/shop?hostaddr=127.0.0.1",
        "postgresql://db.example/shop?sslrootcert=system",
        "postgresql:///shop?host=db.example",
        None,
    ],
)
def test_tls_mode_of_asyncpg(
    dsn: str | None, variable: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("asyncpg")
    from pgentra import asyncpg

    file = tmp_path / "services"
    file.write_text("[mine]\nhostaddr=127.0.0.1\nsslmode=verify-full\nuser=u\npassword=p\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    monkeypatch.setenv(variable, UNREAD[variable])
    keywords = {} if dsn else {"host": "db.example", "service": "mine"}
    made = asyncpg._plan(asyncpg._given(dsn, keywords), Recording(), {}, None)
    is_system = "sslrootcert" in (dsn or "") or variable == "PGSSLROOTCERT"
    assert made.overrides == {"sslmode": "verify-full" if is_system else "require"}
    assert made.needs_login


@pytest.mark.parametrize("option", ["require_entra", "allow_insecure_transport"])
@pytest.mark.parametrize("value", ["false", "", 0, 1])
def test_switches_must_be_booleans(option: str, value: Any) -> None:
    with pytest.raises(CredentialValueError, match=f"option `{option}`: expected a boolean, got "):
        planned({**REMOTE, "sslmode": "disable"}, **{option: value})


# Failures


@both
def test_error_that_is_transient_has_the_drivers_class(how: str) -> None:
    def fail() -> None:
        raise ValueError("canary")

    with pytest.raises(OperationalError) as caught:
        connected(how, planned(REMOTE, Recording(fail)), Server())
    error = caught.value
    assert isinstance(error, AuthenticationError)
    assert isinstance(error, EntraConnectionValueError)
    assert isinstance(error.__cause__, ValueError)
    assert error.code == "custom_credential"
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)


@pytest.mark.parametrize("code", ["would_deadlock", "shutting_down", "cancelled", "internal"])
def test_error_of_the_base_class_is_raised_inside_connect(code: str) -> None:
    """Their class is ``PgEntraError`` itself; the class for a driver's connect is a subclass of it."""
    error = _native.error(code, "canary", None)
    assert type(error) is PgEntraError
    raised = _also(error, EntraConnectionValueError, OperationalError)
    assert isinstance(raised, EntraConnectionValueError)
    assert isinstance(raised, OperationalError)
    assert (raised.code, raised.kind, str(raised)) == (code, error.kind, str(error))
    copy = pickle.loads(pickle.dumps(raised))
    assert (type(copy), copy.code, str(copy)) == (type(raised), code, str(error))


def test_connect_on_the_credentials_loop_is_refused() -> None:
    credential = AsyncRecording()

    async def main() -> None:
        plan = planned(REMOTE, credential)
        await _login.connect_async(plan, Server().attempt_async, OperationalError)
        _login.connect(
            planned(REMOTE, credential, scope="https://other.example/.default"), Server().attempt, OperationalError
        )

    with pytest.raises(EntraConnectionValueError) as caught:
        asyncio.run(main())
    assert caught.value.code == "would_deadlock"


@both
def test_error_that_is_permanent_has_not_the_drivers_class(how: str) -> None:
    with pytest.raises(UsernameExtractionError) as caught:
        connected(how, planned(REMOTE, Recording(oid="nameless"), management_lookup=False), Server())
    assert isinstance(caught.value, EntraConnectionValueError)
    assert not isinstance(caught.value, OperationalError)


def test_plan_refuses_an_object_that_is_not_a_credential_first() -> None:
    with pytest.raises(CredentialValueError, match=r"^credential is required"):
        planned({**REMOTE, "user": "u", "password": "p"}, "text")
    with pytest.raises(CredentialValueError, match=r"^credential is required"):
        planned(REMOTE, "text")
    with pytest.raises(CredentialValueError, match="option `scoop`"):
        planned(REMOTE, scoop="x")


@both
def test_time_limit_of_the_connection_limits_the_wait(how: str) -> None:
    began = time.monotonic()
    with pytest.raises(OperationalError) as caught:
        connected(how, planned({**REMOTE, "connect_timeout": "1"}, Recording(lambda: time.sleep(20))), Server())
    assert isinstance(caught.value, PgEntraError)
    assert caught.value.code == "timeout"
    # libpq uses two seconds instead of one.
    assert 1.5 < time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        (None, None),
        ("0", None),
        (-1, None),
        ("soon", None),
        (1, 2.0),
        ("10", 10.0),
        (float("nan"), None),
        (1e300, None),
    ],
)
def test_time_limit_connect_timeout_is_read_as_by_libpq(given: Any, limit: float | None) -> None:
    assert planned({"connect_timeout": given})._limit == limit


def test_time_limit_of_asyncpg_is_used_as_given() -> None:
    pytest.importorskip("asyncpg")
    from pgentra import asyncpg

    given = asyncpg._given(None, {**REMOTE, "timeout": 0.5})
    assert asyncpg._plan(given, Recording(), {}, None)._limit == 0.5


# Login errors

EXPIRED = "FATAL:  The access token has expired. Please acquire a new token and retry."
MISSING = 'FATAL:  role "anna@contoso.com" does not exist'


@both
def test_login_error_renews_the_token_once(how: str) -> None:
    # A token younger than a tenth of its lifetime is not renewed.
    credential = Recording(lifetime=6)
    connected(how, planned(REMOTE, credential), Server())
    time.sleep(0.8)
    server = Server(OperationalError(EXPIRED))
    assert connected(how, planned(REMOTE, credential), server) == "connection"
    first, second = (settings["password"] for settings in server.seen)
    assert first != second
    assert len(credential.scopes) == 2


@both
def test_login_error_refresh_has_the_connections_time_limit(how: str) -> None:
    credential = Recording(lifetime=8)
    connected(how, planned(REMOTE, credential), Server())
    time.sleep(1)
    credential.work = lambda: time.sleep(20)
    began = time.monotonic()
    with pytest.raises(OperationalError, match="expired"):
        connected(how, planned({**REMOTE, "connect_timeout": 2}, credential), Server(OperationalError(EXPIRED)))
    assert time.monotonic() - began < 10


@both
def test_login_error_of_the_newer_token_is_raised(how: str) -> None:
    credential = Recording(lifetime=6)
    connected(how, planned(REMOTE, credential), Server())
    time.sleep(0.8)
    server = Server(OperationalError(EXPIRED), OperationalError(EXPIRED, sqlstate="28000"))
    with pytest.raises(OperationalError, match="expired") as caught:
        connected(how, planned(REMOTE, credential), server)
    assert caught.value.sqlstate == "28000"
    assert len(server.seen) == 2
    assert "Role tried: 'anna@contoso.com' (from claim upn of the token)." in str(caught.value)


@both
@pytest.mark.parametrize("text", [MISSING, "FATAL:  no pg_hba.conf entry for host", "connection refused", ""])
def test_login_error_that_no_token_resolves_is_not_retried(how: str, text: str) -> None:
    server = Server(OperationalError(text))
    with pytest.raises(OperationalError) as caught:
        connected(how, planned(REMOTE), server)
    assert len(server.seen) == 1
    assert str(caught.value).startswith(text)
    assert ("pgaadauth_create_principal_with_oid" in str(caught.value)) == (text == MISSING)


def test_login_error_explanation_names_role_principal_and_statement() -> None:
    server = Server(OperationalError(MISSING))
    with pytest.raises(OperationalError) as caught:
        connected("sync", planned(REMOTE, Recording(upn="anna@contoso.com", scp="x", oid="object-id")), server)
    text = str(caught.value)
    assert "object id object-id" in text
    statement = (
        "select * from pgaadauth_create_principal_with_oid('anna@contoso.com', 'object-id', 'user', false, false);"
    )
    assert statement in text
    assert server.seen[0]["password"] not in text


def test_login_error_of_an_explicit_password_names_it() -> None:
    for text in (MISSING, EXPIRED, "connection refused"):
        server = Server(OperationalError(text))
        with pytest.raises(OperationalError) as caught:
            connected("sync", planned({**REMOTE, "user": "u", "password": "p"}), server)
        told = str(caught.value).removeprefix(text)
        assert told.startswith("\nEntra was not used: ") is (text != "connection refused")
        assert "require_entra" in told or not told
        assert len(server.seen) == 1


def test_login_with_an_awaitable_credential() -> None:
    for how in ("async", "sync"):
        assert connected(how, planned(REMOTE, AsyncRecording()), Server()) == "connection"


def test_login_repr_shows_no_token() -> None:
    token = make_token()
    assert token not in repr(_login.Login("u", token, "user"))


# psycopg 3


def test_psycopg_receives_all_other_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    psycopg = pytest.importorskip("psycopg")
    from pgentra.psycopg3 import AsyncEntraConnection, EntraConnection

    seen: list[tuple[Any, ...]] = []

    def connect(cls: type, /, conninfo: str, **keywords: Any) -> str:
        seen.append((cls, conninfo, keywords))
        return "connection"

    async def connect_async(cls: type, /, conninfo: str, **keywords: Any) -> str:
        return connect(cls, conninfo, **keywords)

    monkeypatch.setattr(psycopg.Connection, "connect", classmethod(connect))
    monkeypatch.setattr(psycopg.AsyncConnection, "connect", classmethod(connect_async))
    conninfo = "postgresql://db%20readers@db.example/shop?application_name=x"
    keywords: dict[str, Any] = {
        "credential": Recording(),
        "autocommit": True,
        "row_factory": dict,
        "scope": None,
        "options": "-c a=b",
    }
    made: list[Any] = [EntraConnection.connect(conninfo, **keywords)]
    made.append(asyncio.run(AsyncEntraConnection.connect(conninfo, **keywords)))
    assert made == ["connection", "connection"]
    for (cls, given, passed), expected in zip(seen, (EntraConnection, AsyncEntraConnection), strict=True):
        assert cls is expected
        assert given == conninfo
        assert passed.pop("password").count(".") == 2
        assert passed == {
            "autocommit": True,
            "row_factory": dict,
            "options": "-c a=b",
            "user": "db readers",
            "sslmode": "require",
        }
    with pytest.raises(psycopg.ProgrammingError):
        EntraConnection.connect("no=such option", credential=Recording())
