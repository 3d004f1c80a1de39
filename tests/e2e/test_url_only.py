"""Applications that take only a URL: the SQLAlchemy plugin, and the opt-in for a whole process.

The person who types a URL must not receive a token. So in most tests the server refuses TLS, as a hostile one does, and
the emulator counts the bytes of passwords that it receives and the token requests.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import pgentra.errors
from pgentra.sqlalchemy import enable_entra_authentication
from support.drivers import CURRENT_USER
from support.emulator import Emulator, Principal

pytestmark = pytest.mark.one_python

#: Resolves to this machine. It stands for the server of the person who types the URL.
ELSEWHERE = "0.0.0.0"
DIALECTS = ("psycopg2", "psycopg", "pg8000", "psycopg_async", "asyncpg")
OF_LIBPQ = ("psycopg2", "psycopg", "psycopg_async")
PROGRAM = Path(__file__).parent / "programs" / "process_wide.py"


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    """Each dialect of SQLAlchemy that the plugin supports."""
    return str(request.param)


@pytest.fixture
def allowed(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """The emulator's server is an allowed host; returns its `host:port/database`."""
    place = emulator.server
    monkeypatch.setenv("PGENTRA_ALLOWED_HOSTS", place.host)
    return f"{place.host}:{place.port}/{place.database}"


@pytest.fixture
def hostile(emulator: Emulator) -> Iterator[None]:
    """The server refuses TLS. The test must not make this process send or request a token."""
    emulator.control_postgres(plaintext=True)
    yield
    assert emulator.postgres_report().plaintext_password_bytes == 0
    assert emulator.requests() == []


def connect(dialect: str, rest: str, **connect_args: Any) -> str:
    """The role of a connection of an engine that is made from a URL alone."""
    given: dict[str, Any] = {"connect_args": connect_args, "poolclass": NullPool}
    if dialect in ("asyncpg", "psycopg_async"):

        async def run() -> str:
            engine = create_async_engine(f"postgresql+{dialect}://{rest}", **given)
            async with engine.connect() as connection:
                return str((await connection.execute(sqlalchemy.text(CURRENT_USER))).scalar_one())

        return asyncio.run(run())
    with sqlalchemy.create_engine(f"postgresql+{dialect}://{rest}", **given).connect() as connection:
        return str(connection.execute(sqlalchemy.text(CURRENT_USER)).scalar_one())


REFUSED = "must not use the identity of this process"


def refused(dialect: str, rest: str, match: str = REFUSED, **given: Any) -> None:
    """The connection is refused before anything is requested or sent."""
    with pytest.raises(pgentra.errors.EntraConnectionValueError, match=match):
        connect(dialect, rest, **given)


# The plugin


def test_plugin_logs_in(dialect: str, allowed: str, emulator: Emulator) -> None:
    assert connect(dialect, f"{allowed}?plugin=pgentra") == "app-mi"
    assert connect(dialect, f"app-mi@{allowed}?plugin=pgentra") == "app-mi"
    assert {(login.outcome, login.tls) for login in emulator.postgres_report().logins} == {("logged_in", True)}


def test_plugin_of_any_sslmode_verifies(dialect: str, allowed: str, emulator: Emulator, tmp_path: Path) -> None:
    """A server whose certificate the process does not trust receives nothing."""
    modes = ("", "&sslmode=require", "&sslmode=prefer", "&sslmode=verify-full") if dialect != "pg8000" else ("",)
    unknown = make_authority(tmp_path)
    for mode in modes:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PGSSLROOTCERT", str(unknown))
            with pytest.raises(Exception, match=r"(?i)certificate"):
                connect(dialect, f"{allowed}?plugin=pgentra{mode}")
        assert emulator.postgres_report().logins == []
        assert connect(dialect, f"{allowed}?plugin=pgentra{mode}") == "app-mi"
        emulator.control_postgres(reset=True)


def test_certificate_of_another_name(
    dialect: str, allowed: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An allowed host whose server has a certificate that the process trusts, but for another name."""
    monkeypatch.setenv("PGENTRA_ALLOWED_HOSTS", ELSEWHERE)
    url = allowed.replace(emulator.server.host, ELSEWHERE)
    for mode in ("", "&sslmode=require", "&sslmode=verify-ca") if dialect != "pg8000" else ("",):
        with pytest.raises(Exception, match=r"(?i)certificate"):
            connect(dialect, f"{url}?plugin=pgentra{mode}")
    if dialect == "psycopg":
        cases: list[list[Any]] = [
            [driver, f"postgresql://{url}?sslmode={mode}", {}]
            for driver in DRIVERS
            for mode in ("require", "verify-ca")
        ]
        for result in run(cases, {**os.environ, "PGENTRA_PROCESS_WIDE": "1"}):
            assert "certificate" in result[1] or "timeout" in result[1] or "couldn't get" in result[1], result
    assert emulator.postgres_report().logins == []


def test_plugin_without_a_file_of_authorities(
    dialect: str, allowed: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the system are used, here named by SSL_CERT_FILE."""
    monkeypatch.delenv("PGSSLROOTCERT")
    assert connect(dialect, f"{allowed}?plugin=pgentra") == "app-mi"


def test_plugin_without_tls_sends_nothing(dialect: str, allowed: str, emulator: Emulator) -> None:
    emulator.control_postgres(plaintext=True)
    with pytest.raises(Exception, match=r"(?i)ssl|tls"):
        connect(dialect, f"{allowed}?plugin=pgentra")
    assert emulator.postgres_report().plaintext_password_bytes == 0


def make_authority(folder: Path) -> Path:
    """A certificate authority that the emulator's certificate is not of."""
    from support.vector_runner import make_certificate

    make_certificate(folder / "ca.pem")
    return folder / "ca.pem"


@pytest.mark.usefixtures("hostile")
def test_plugin_of_other_hosts(dialect: str, emulator: Emulator, allowed: str) -> None:
    host, port, database = emulator.server.host, emulator.server.port, emulator.server.database
    for rest in (
        f"{ELSEWHERE}:{port}/{database}?",
        f"%30.0.0.0:{port}/{database}?",
        f"{host}@{ELSEWHERE}:{port}/{database}?",
        f"{ELSEWHERE}%23.{host}:{port}/{database}?",
        f"{ELSEWHERE}%2f.{host}:{port}/{database}?",
        f"{ELSEWHERE}%00.{host}:{port}/{database}?",
        f"{host}%2c{ELSEWHERE}:{port}/{database}?",
        f"{host}.:{port}/{database}?",
        f"evil{host}:{port}/{database}?",
        f"%EF%BD%8Cocalhost:{port}/{database}?",
        f"[::1]:{port}/{database}?",
        f"/{database}?host={ELSEWHERE}:{port}&",
        f"/{database}?host={host}:{port}&host={ELSEWHERE}:{port}&",
        f"/{database}?host=/tmp&port={port}&",
        f"/{database}?host=%2ftmp&",
        f"/{database}?",
        f"{host}:{port}/{database}?host={ELSEWHERE}&",
    ):
        # Some are not URLs for SQLAlchemy.
        with pytest.raises((pgentra.errors.EntraConnectionValueError, ValueError, sqlalchemy.exc.ArgumentError)):
            connect(dialect, f"{rest}plugin=pgentra")


SETTINGS = {
    "hostaddr": ELSEWHERE,
    "sslrootcert": "/tmp/ca.pem",
    "sslcert": "/tmp/client.pem",
    "sslkey": "/tmp/client.key",
    "service": "elsewhere",
    "servicefile": "/tmp/services",
    "gssencmode": "require",
    "sslsni": "0",
    "ssl_max_protocol_version": "TLSv1",
    "sslmode": "disable",
    "credential": "static",
    "authority_host": "https://login.example",
    "scope": "https://login.example/.default",
    "ca_file": "/tmp/ca.pem",
    "mode": "lazy",
    "cache": "false",
    "require_entra": "false",
    "fallback_username": "alice",
    "management_lookup": "false",
    "service_connector": "true",
    "allow_insecure_transport": "true",
    "ignore_password": "true",
    "dsn": f"host={ELSEWHERE}",
    "conninfo": f"host={ELSEWHERE}",
    "direct_tls": "true",
    "unix_sock": "/tmp/.s.PGSQL.5432",
    "krbsrvname": "postgres",
    "connection_factory": "os.system",
}


@pytest.mark.usefixtures("hostile")
def test_plugin_refuses_settings(dialect: str, allowed: str) -> None:
    """In the URL and in `connect_args`, which some applications take from their users too."""
    for name, value in SETTINGS.items():
        if name != "service" or dialect in OF_LIBPQ:
            refused(dialect, f"{allowed}?plugin=pgentra&{name}={value}", match="must not use|instead of pgentra")
        refused(dialect, f"{allowed}?plugin=pgentra", "must not use|instead of pgentra", **{name: value})
    refused(dialect, f"{allowed}?plugin=pgentra&sslmode=verify-full&sslmode=disable")
    refused(dialect, allowed.replace("/postgres", "/host%3D0.0.0.0") + "?plugin=pgentra")
    refused(dialect, f"{allowed}?plugin=pgentra", credential=object())


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("name", ["ssl", "ssl_context", "async_creator_fn"])
def test_plugin_refuses_contexts(name: str, allowed: str) -> None:
    import ssl

    insecure = ssl.create_default_context()
    insecure.check_hostname = False
    insecure.verify_mode = ssl.CERT_NONE
    for dialect in {"ssl": ["asyncpg"], "ssl_context": ["pg8000"]}.get(name, ["asyncpg", "psycopg_async"]):
        refused(dialect, f"{allowed}?plugin=pgentra", "must not use|instead of pgentra", **{name: insecure})
        if name != "async_creator_fn":
            refused(dialect, f"{allowed}?plugin=pgentra", REFUSED, **{name: False})


@pytest.mark.usefixtures("hostile")
def test_plugin_by_default_allows_only_azure(dialect: str, emulator: Emulator) -> None:
    place = emulator.server
    refused(dialect, f"{place.host}:{place.port}/{place.database}?plugin=pgentra", match="is not an allowed host")


@pytest.mark.usefixtures("hostile")
def test_plugin_with_wrong_allowed_hosts(dialect: str, allowed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for value, match in (("*", "PGENTRA_ALLOWED_HOSTS: expected"), ("", "not an allowed host")):
        monkeypatch.setenv("PGENTRA_ALLOWED_HOSTS", value)
        refused(dialect, f"{allowed}?plugin=pgentra", match=match)


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("dialect", OF_LIBPQ)
def test_plugin_with_a_service_of_the_environment(
    dialect: str, emulator: Emulator, allowed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The service is the process's own, but its host is not an allowed one."""
    services = tmp_path / "services"
    services.write_text(f"[elsewhere]\nhost={ELSEWHERE}\nport={emulator.server.port}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    monkeypatch.setenv("PGSERVICE", "elsewhere")
    refused(dialect, "/postgres?plugin=pgentra", match="is not an allowed host")
    monkeypatch.setenv("PGSERVICE", "missing")
    refused(dialect, "/postgres?plugin=pgentra", match="address is not known")


def test_plugin_with_a_password_uses_no_token(dialect: str, allowed: str, emulator: Emulator) -> None:
    with pytest.raises(Exception, match=r"(?i)password|token|authentication|pg_hba"):
        connect(dialect, f"app-mi:hunter2@{allowed}?plugin=pgentra")
    with pytest.raises(Exception, match=r".+"):
        connect(dialect, f"{allowed}?plugin=pgentra", password="hunter2")
    assert emulator.requests() == []


def test_plugin_leaves_an_engine_to_its_application(allowed: str, emulator: Emulator, identity: Principal) -> None:
    """An application that calls pgentra for this engine decides itself."""
    from pgentra.identity import ManagedIdentityCredential

    engine = sqlalchemy.create_engine(f"postgresql+psycopg://{allowed}?plugin=pgentra", poolclass=NullPool)
    enable_entra_authentication(engine, ManagedIdentityCredential(client_id=identity.appid))
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text(CURRENT_USER)).scalar_one() == identity.name


def test_plugin_refuses_other_databases() -> None:
    with pytest.raises(pgentra.errors.EntraConnectionValueError, match="does not support this driver"):
        sqlalchemy.create_engine("sqlite://?plugin=pgentra")


def test_hosts_of_azure() -> None:
    """A server with a name of Azure's, which the process reaches by an address of its own environment."""
    host = "shop.postgres.database.azure.com"
    emulator = Emulator.start("--dns-name", host)
    try:
        variables = emulator.environment() | {"PGHOSTADDR": "127.0.0.1", "PGENTRA_PROCESS_WIDE": "1"}
        url = f"{host}:{emulator.server.port}/{emulator.server.database}"
        cases = [
            ["psycopg2", f"postgresql://{url}", {}],
            ["psycopg", f"postgresql://{url}", {}],
            ["sqlalchemy", f"postgresql+psycopg://{url}", {}],
        ]
        assert run(cases, variables) == ["app-mi"] * 3
        del variables["PGENTRA_PROCESS_WIDE"]
        assert run([["sqlalchemy", f"postgresql+psycopg2://{url}?plugin=pgentra", {}]], variables) == ["app-mi"]
    finally:
        emulator.stop()


# The whole process

DRIVERS = ("psycopg2", "psycopg", "psycopg pool", "psycopg async", "asyncpg", "asyncpg pool")


def run(cases: list[list[Any]], variables: dict[str, str]) -> list[Any]:
    """What becomes of connections in a process of its own."""
    done = subprocess.run(
        [sys.executable, PROGRAM], input=json.dumps(cases), env=variables, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    results: list[Any] = json.loads(done.stdout)
    assert len(results) == len(cases)
    return results


@pytest.mark.parametrize(
    "variables",
    [{"PGENTRA_PROCESS_WIDE": "1"}, {"ENABLE": "1"}, {"ENABLE": "1", "IMPORT_FIRST": "1"}],
    ids=["variable", "call", "call after the drivers' import"],
)
def test_process_wide_logs_in(variables: dict[str, str], allowed: str, emulator: Emulator) -> None:
    place = emulator.server
    keywords = {"host": place.host, "port": place.port}
    cases: list[list[Any]] = [[driver, f"postgresql://{allowed}", {}] for driver in DRIVERS]
    cases += [[driver, f"postgresql://app-mi@{allowed}?sslmode=require", {}] for driver in DRIVERS]
    cases += [[driver, "", {**keywords, "dbname": place.database}] for driver in ("psycopg2", "psycopg")]
    cases += [["asyncpg", "", {**keywords, "database": place.database}]]
    cases += [["asyncpg", f"postgresql://{allowed}?application_name=a+program", {}]]
    cases += [["sqlalchemy", f"postgresql+{dialect}://{allowed}", {}] for dialect in ("psycopg2", "psycopg")]
    results = run(cases, {**os.environ, **variables})
    assert [case for case, role in zip(cases, results, strict=True) if role != "app-mi"] == []
    logins = emulator.postgres_report().logins
    assert {(login.outcome, login.tls) for login in logins} == {("logged_in", True)}
    assert [login.application_name for login in logins].count("a program") == 1


def test_process_wide_is_off_by_default(allowed: str, emulator: Emulator) -> None:
    for value in ("", "0", "false"):
        cases: list[list[Any]] = [
            [driver, f"postgresql://app-mi@{allowed}", {}] for driver in ("psycopg2", "psycopg", "asyncpg")
        ]
        results = run(cases, {**os.environ, "PGENTRA_PROCESS_WIDE": value})
        assert all(isinstance(result, list) for result in results)
    assert emulator.requests() == []


@pytest.mark.usefixtures("hostile")
def test_process_wide_of_other_hosts(allowed: str, emulator: Emulator) -> None:
    """Such a connection is the driver's own."""
    host, port, database = emulator.server.host, emulator.server.port, emulator.server.database
    urls = [
        f"postgresql://app-mi@{ELSEWHERE}:{port}/{database}",
        f"postgresql://app-mi@%30.0.0.0:{port}/{database}",
        f"postgresql://{host}@{ELSEWHERE}:{port}/{database}",
        f"postgresql://app-mi@{host}:{port},{ELSEWHERE}:{port}/{database}",
        f"postgresql://app-mi@{ELSEWHERE}:{port},{host}:{port}/{database}",
        f"postgresql://app-mi@/{database}?host={ELSEWHERE}&port={port}",
        f"postgresql://app-mi@{ELSEWHERE}:{port}#@{host}/{database}",
        f"postgresql://app-mi@{ELSEWHERE}:{port}?@{host}/{database}",
        f"postgresql://u:@{ELSEWHERE}:{port},x@{host}/{database}",
        f"postgresql://app-mi@{host}.:{port}/{database}",
        f"postgresql://app-mi@/{database}?host=/tmp&port={port}",
    ]
    cases: list[list[Any]] = [
        [driver, url, {}] for driver in ("psycopg2", "psycopg", "psycopg async", "asyncpg") for url in urls
    ]
    for driver in ("psycopg2", "psycopg"):
        cases += [
            [driver, f"host={ELSEWHERE} port={port} user=app-mi dbname={database}", {}],
            [driver, f"host={host} port={port} user=app-mi dbname={database}", {"host": ELSEWHERE}],
        ]
    cases += [["asyncpg", f"postgresql://app-mi@{host}:{port}/{database}", {"host": ELSEWHERE}]]
    results = run(cases, {**os.environ, "PGENTRA_PROCESS_WIDE": "1"})
    assert [case for case, result in zip(cases, results, strict=True) if not isinstance(result, list)] == []


@pytest.mark.usefixtures("hostile")
def test_process_wide_refuses_settings(allowed: str, emulator: Emulator) -> None:
    cases: list[list[Any]] = []
    names = []
    for name, value in SETTINGS.items():
        if name in ("dsn", "conninfo", "connection_factory", "direct_tls", "unix_sock"):
            continue
        for driver in ("psycopg2", "psycopg", "psycopg async", "asyncpg"):
            cases.append([driver, f"postgresql://app-mi@{allowed}?{name}={value}", {}])
            names.append(name)
            if driver != "psycopg2" or name in ("hostaddr", "sslrootcert", "sslmode", "gssencmode", "requiressl"):
                cases.append([driver, f"postgresql://app-mi@{allowed}", {name: value}])
                names.append(name)
    results = run(cases, {**os.environ, "PGENTRA_PROCESS_WIDE": "1"})
    for case, name, result in zip(cases, names, results, strict=True):
        assert isinstance(result, list), case
        # libpq itself refuses what it does not know, before anything is sent.
        assert "must not use" in result[1] or name not in ("hostaddr", "sslrootcert", "sslmode"), (case, result)


def test_requiressl_sends_nothing_without_tls(allowed: str, emulator: Emulator) -> None:
    """libpq reads this old setting as an `sslmode`, and the last one counts."""
    from pgentra.psycopg2 import EntraConnection as Psycopg2Connection
    from pgentra.psycopg3 import EntraConnection

    emulator.control_postgres(plaintext=True)
    server: dict[str, Any] = {"host": ELSEWHERE, "port": emulator.server.port, "dbname": emulator.server.database}
    for opener in (EntraConnection.connect, Psycopg2Connection.connect):
        for more in ({"sslmode": "verify-full", "requiressl": "0"}, {"requiressl": 0}, {"requiressl": "1"}):
            with pytest.raises(Exception, match="SSL"):
                opener(**server, **more)
    for dialect in OF_LIBPQ:
        with pytest.raises(Exception, match="SSL"):
            connect(dialect, f"{allowed}?plugin=pgentra&sslmode=verify-full&requiressl=0")
    cases: list[list[Any]] = [
        [driver, f"postgresql://{allowed}?requiressl=0&sslmode=verify-full", {}] for driver in DRIVERS[:4]
    ]
    cases += [[driver, f"postgresql://{allowed}?sslmode=verify-full&requiressl=0", {}] for driver in DRIVERS[:4]]
    run(cases, {**os.environ, "PGENTRA_PROCESS_WIDE": "1"})
    assert emulator.postgres_report().plaintext_password_bytes == 0


def test_process_wide_with_a_password_uses_no_token(allowed: str, emulator: Emulator) -> None:
    cases: list[list[Any]] = [
        [driver, f"postgresql://app-mi:hunter2@{allowed}", {}] for driver in ("psycopg2", "psycopg", "asyncpg")
    ]
    cases += [[driver, f"postgresql://app-mi@{allowed}", {"password": "hunter2"}] for driver in DRIVERS[:2]]
    cases += [[driver, f"postgresql://{allowed}", {"password": "hunter2"}] for driver in (*DRIVERS[:2], "asyncpg")]
    results = run(cases, {**os.environ, "PGENTRA_PROCESS_WIDE": "1"})
    assert all(isinstance(result, list) for result in results)
    assert emulator.requests() == []


def test_process_wide_refused_login_is_explained(allowed: str, emulator: Emulator) -> None:
    emulator.control_postgres(refuse_next=20, refuse_with="role_missing")
    cases: list[list[Any]] = [
        [driver, f"postgresql://{allowed}", {}] for driver in ("psycopg2", "psycopg", "psycopg async", "asyncpg")
    ]
    for result in run(cases, {**os.environ, "PGENTRA_PROCESS_WIDE": "1"}):
        assert "pgaadauth_create_principal" in result[1], result
