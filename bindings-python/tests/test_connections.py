"""Connection settings: the core's parser compared with libpq's, and arguments in the wrong position."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from recording import Recording

import pgentra
from pgentra import _login, _native, identity
from pgentra.errors import CredentialValueError, EntraConnectionValueError, PgEntraError

#: `make test-all` tries more random strings, from other seeds.
MORE = 50 if os.environ.get("PGENTRA_LONG") else 1
SEED = random.randrange(2**32) if MORE > 1 else 13

KEYS = ("dbname", "host", "hostaddr", "password", "port", "service", "sslmode", "user")


class Grammar:
    """Yields random connection strings of libpq: common keywords and URIs, then modified."""

    VALUES = (
        "a",
        "localhost",
        "db.example",
        "db.example,127.0.0.1",
        "::1",
        "/tmp",
        "@pg",
        "",
        "5432",
        "1,2",
        "it's",
        'a "b"',
        "a\\b",
        "a b",
        "ü",
        "p@ss:w/rd?#",
        "a=b",
        "a&b",
        "%41",
        "%",
        "100%",
        "require",
        "verify-full",
        "true",
    )
    KEYWORDS = (*KEYS, "sslrootcert", "connect_timeout", "application_name", "options", "requiressl", "ssl", "no_such")
    DAMAGE = ("", " ", "'", '"', "\\", "=", "%", "%2", "%2F", "%40", "[", "]", "@", ":", ",", "/", "//", "?", "&", "#")

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def text(self) -> str:
        return self.damaged(self.uri() if self.random.random() < 0.5 else self.keywords())

    def damaged(self, text: str) -> str:
        for _ in range(self.random.choice((0, 0, 1, 2))):
            at = self.random.randrange(len(text) + 1)
            text = text[:at] + self.random.choice(self.DAMAGE) + text[at + self.random.randrange(2) :]
        return text

    def keywords(self) -> str:
        between: str = self.pick(" ", "  ", "\t", "\n")
        return between.join(
            f"{self.pick(*self.KEYWORDS)}{self.pick('=', '=', ' = ')}{self.quoted(self.pick(*self.VALUES))}"
            for _ in range(self.random.randrange(5))
        )

    def quoted(self, value: str) -> str:
        escaped: str
        if self.random.random() < 0.8:
            escaped = value.replace("\\", "\\\\").replace("'", "\\'")
            return f"'{escaped}'" if self.random.random() < 0.5 else escaped.replace(" ", "\\ ") or "''"
        return value

    def uri(self) -> str:
        login = self.pick("", "", "alice@", "alice:pa55@", ":pa55@", "al%20ice:p%40ss@", "@")
        host = ("", "localhost", "db.example", "[::1]", "127.0.0.1", "%2Ftmp", "/tmp", "[fe80::1%25eth0]")
        places = ",".join(self.pick(*host) + self.pick("", "", ":5432", ":") for _ in range(self.pick(1, 1, 2, 3)))
        database = self.pick("", "/", "/shop", "/sh%6Fp")
        pairs = [f"{self.pick(*self.KEYWORDS)}={self.encoded()}" for _ in range(self.random.randrange(4))]
        query = "?" + "&".join(pairs) if pairs else self.pick("", "", "?")
        return f"{self.pick('postgresql://', 'postgres://')}{login}{places}{database}{query}"

    def encoded(self) -> str:
        from urllib.parse import quote

        value: str = self.pick(*self.VALUES)
        return quote(value, safe=self.pick("", "/,:")) if self.random.random() < 0.8 else value

    def pick(self, *choices: Any) -> Any:
        return self.random.choice(choices)


def test_connection_string_is_read_as_by_libpq() -> None:
    """Bindings without libpq's parser depend on this property."""
    pq = pytest.importorskip("psycopg").pq
    grammar = Grammar(SEED)
    same = refused = 0
    for _ in range(20_000 * MORE):
        text = grammar.text()
        try:
            ours = _native.read_connection_string(text, "libpq")
        except EntraConnectionValueError:
            refused += 1
            continue
        try:
            options = pq.Conninfo.parse(text.encode())
        except Exception:  # A driver that uses libpq fails here.
            continue
        libpqs = {option.keyword.decode(): option.val.decode() for option in options if option.val is not None}
        assert {key: ours.get(key) for key in KEYS} == {key: libpqs.get(key) for key in KEYS}, text
        same += 1
    # Both cases occurred.
    assert same > 4_000
    assert refused > 2_000


def test_plan_treats_no_remote_server_of_asyncpg_as_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the two read a URL differently, the token is still protected."""
    pytest.importorskip("asyncpg")
    from ipaddress import ip_address

    from asyncpg import connect_utils

    import pgentra.asyncpg

    def is_remote(address: Any) -> bool:
        if isinstance(address, str):
            return False
        host = address[0]
        try:
            return not ip_address(host).is_loopback
        except ValueError:
            # `getaddrinfo` resolves an empty name to this machine.
            return host.strip().lower().rstrip(".") not in ("", "localhost")

    monkeypatch.setenv("PGUSER", "of-the-environment")
    parse: Any = connect_utils._parse_connect_dsn_and_args
    nothing = dict.fromkeys(parse.__kwdefaults__ or parse.__code__.co_varnames[: parse.__code__.co_kwonlyargcount])
    credential = Recording()
    grammar = Grammar(SEED)
    same = refused = 0
    for _ in range(8_000 * MORE):
        url = grammar.damaged(grammar.uri())
        ssl = grammar.pick(None, None, "prefer", "require")
        try:
            addresses, parameters = parse(**{**nothing, "dsn": url, "ssl": ssl})
        except Exception:  # asyncpg fails here.
            continue
        try:
            given = pgentra.asyncpg._given(url, {"ssl": ssl})
            plan = pgentra.asyncpg._plan(given, credential, {}, None)
        except EntraConnectionValueError:
            refused += 1
            continue
        if any(map(is_remote, addresses)):
            # TLS was requested, or the plan requires it, or no token is sent.
            uses_tls = parameters.sslmode.name in ("require", "verify_ca", "verify_full")
            assert uses_tls or "sslmode" in plan.overrides or not plan.needs_login, url
        if plan._user != "of-the-environment":
            # Blanks around a URL are ignored.
            assert str(plan._user).strip() == parameters.user.strip(), url
        same += 1
    assert same > 2_000
    assert refused > 20


def test_plan_server_is_that_of_libpq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses service files and variables, and connections to ports without a listener."""
    pq = pytest.importorskip("psycopg").pq
    chosen = random.Random(13)
    folder, home = tmp_path / "system", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    values = {
        "host": ("127.0.0.1", "127.0.0.2,127.0.0.3", "/nowhere", "@nowhere"),
        "hostaddr": ("127.0.0.1", "127.0.0.4,127.0.0.5"),
        "port": ("1", "1,2"),
        "user": ("alice", "bob o'x"),
        "sslmode": ("disable", "prefer", "require"),
        "service": ("one", "two", "missing"),
    }
    variables = {"host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "user": "PGUSER", "service": "PGSERVICE"}

    def some(names: Any, chance: float) -> dict[str, str]:
        return {name: chosen.choice(values[name]) for name in names if chosen.random() < chance}

    def services() -> str:
        def section(name: str) -> str:
            return f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in some(list(values)[:5], 0.4).items())

        return "# services\n" + "".join(section(name) for name in ("one", "two") if chosen.random() < 0.7)

    known = unknown = 0
    for _ in range(400 * MORE):
        (folder / "pg_service.conf").write_text(services())
        (home / ".pg_service.conf").write_text(services())
        with monkeypatch.context() as patch:
            patch.setenv("HOME", str(home))
            patch.setenv("PGSYSCONFDIR", str(folder))
            for name, value in some(variables, 0.25).items():
                patch.setenv(variables[name], value)
            given = some(values, 0.3)
            conninfo = " ".join(f"{key}='{_escaped(value)}'" for key, value in given.items())
            plan = _native.connection_plan(
                {"arguments": given, "allow_insecure_transport": True}, _native.environment()
            )
            connection = pq.PGconn.connect_start(conninfo.encode())
            options = {option.keyword.decode(): option.val for option in connection.info}
            message = connection.error_message.decode()
            connection.finish()
        if "definition of service" in message or "service file" in message:
            # libpq fails here; without libpq the server is unknown.
            unknown += plan.document()["server"] == "unknown"
            continue
        libpqs = {key: "" if options[key] is None else options[key].decode() for key in ("host", "hostaddr", "user")}
        server = plan.document()["server"]
        for key in ("host", "hostaddr"):
            found = ",".join(place.get(key, "") for place in server)
            assert found.strip(",") == libpqs[key].strip(","), (conninfo, server, libpqs)
        if plan.user is not None:
            assert plan.user == libpqs["user"], conninfo
        known += 1
    assert known > 200
    assert unknown > 20


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


# Arguments in the wrong position


SQLALCHEMY_URL = "postgresql+psycopg://db.example/shop"


def wrong_credentials() -> list[Any]:
    """Objects that users pass as a credential by mistake."""
    found: list[Any] = [
        "db.postgres.database.azure.com",
        "host=db.example",
        b"token",
        5,
        {"host": "db.example"},
        ["a"],
        identity.ManagedIdentityCredential,
        pgentra.TokenProvider(Recording()),
    ]
    try:
        import sqlalchemy
        import sqlalchemy.orm
    except ImportError:
        return found
    engine = sqlalchemy.create_engine("sqlite://")
    return [*found, engine, sqlalchemy.make_url(SQLALCHEMY_URL), sqlalchemy.orm.sessionmaker(engine)]


def of_credentials() -> dict[str, Callable[[Any], Any]]:
    """All public functions and classes that take a credential."""
    import sqlalchemy

    import pgentra.asyncpg
    import pgentra.psycopg2
    import pgentra.psycopg3
    import pgentra.sqlalchemy

    given: dict[str, Any] = {"host": "db.example"}
    engine = sqlalchemy.create_engine(SQLALCHEMY_URL)
    return {
        "get_entra_token": pgentra.get_entra_token,
        "get_entra_token_async": lambda one: _run(pgentra.get_entra_token_async(one)),
        "get_entra_conninfo": pgentra.get_entra_conninfo,
        "get_entra_conninfo_async": lambda one: _run(pgentra.get_entra_conninfo_async(one)),
        "TokenProvider": pgentra.TokenProvider,
        "psycopg2": lambda one: pgentra.psycopg2.EntraConnection.connect(**given, credential=one),
        "psycopg3": lambda one: pgentra.psycopg3.EntraConnection.connect(**given, credential=one),
        "psycopg3 async": lambda one: _run(
            pgentra.psycopg3.AsyncEntraConnection.connect("host=db.example", credential=one)
        ),
        "asyncpg": lambda one: _run(pgentra.asyncpg.connect(host="db.example", credential=one)),
        "asyncpg.password": lambda one: pgentra.asyncpg.password(host="db.example", ssl="require", credential=one),
        "enable": lambda one: pgentra.sqlalchemy.enable_entra_authentication(engine, one),
        "create_asyncpg_engine": lambda one: pgentra.sqlalchemy.create_asyncpg_engine(SQLALCHEMY_URL, one),
        "ChainedTokenCredential": identity.ChainedTokenCredential,
    }


def _run(work: Any) -> Any:
    import asyncio

    return asyncio.run(work)


def test_entry_points_refuse_an_object_that_is_not_a_credential() -> None:
    pytest.importorskip("sqlalchemy")
    for name, entry in of_credentials().items():
        for wrong in wrong_credentials():
            with pytest.raises(CredentialValueError, match=r"^credential is required and must be") as caught:
                entry(wrong)
            kind = wrong.__name__ if isinstance(wrong, type) else type(wrong).__name__
            assert kind in str(caught.value), name
            assert "db.example" not in str(caught.value), name


def of_connection_strings() -> dict[str, Callable[[Any], Any]]:
    """All public functions that take a connection's settings, called with one setting."""
    import pgentra.asyncpg
    import pgentra.psycopg2
    import pgentra.psycopg3
    import pgentra.sqlalchemy

    url: Any = SQLALCHEMY_URL
    return {
        "psycopg2": pgentra.psycopg2.EntraConnection,
        "psycopg2.connect": pgentra.psycopg2.EntraConnection.connect,
        "psycopg2, second": lambda one: pgentra.psycopg2.EntraConnection("host=db.example", one),
        "psycopg2, host": lambda one: pgentra.psycopg2.EntraConnection.connect(host=one),
        "psycopg2, user": lambda one: pgentra.psycopg2.EntraConnection(host="db.example", user=one),
        "psycopg2, password": lambda one: pgentra.psycopg2.EntraConnection.connect(user="alice", password=one),
        "psycopg3": pgentra.psycopg3.EntraConnection.connect,
        "psycopg3 async": lambda one: _run(pgentra.psycopg3.AsyncEntraConnection.connect(one)),
        "psycopg3, host": lambda one: pgentra.psycopg3.EntraConnection.connect(host=one),
        "asyncpg": lambda one: _run(pgentra.asyncpg.connect(one)),
        "asyncpg, host": lambda one: _run(pgentra.asyncpg.connect(host=one)),
        "asyncpg pool": pgentra.asyncpg.create_pool,
        "asyncpg.password": pgentra.asyncpg.password,
        "enable": lambda one: pgentra.sqlalchemy.enable_entra_authentication(one, url),
        "enable async": lambda one: pgentra.sqlalchemy.enable_entra_authentication_async(one, url),
        "create_asyncpg_engine": pgentra.sqlalchemy.create_asyncpg_engine,
    }


def test_entry_points_refuse_a_credential_as_connection_string() -> None:
    pytest.importorskip("sqlalchemy")
    credentials: list[Any] = [Recording(), identity.ManagedIdentityCredential(), lambda: ("token", 1)]
    for name, entry in of_connection_strings().items():
        for credential in credentials:
            with pytest.raises(EntraConnectionValueError, match=r"expected .*, got .*credential=") as caught:
                entry(credential)
            assert type(credential).__name__ in str(caught.value), name


def test_entry_points_refuse_a_credential_as_setting() -> None:
    for option in ("scope", "host", "user", "fallback_username", "ca_file", "timeout", "mode"):
        with pytest.raises(CredentialValueError, match=f"option `{option}`"):
            pgentra.get_entra_token(Recording(), **{option: Recording()})  # type: ignore[arg-type]


def test_enable_refuses_an_object_that_is_not_an_engine() -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from sqlalchemy.orm import sessionmaker

    from pgentra.sqlalchemy import enable_entra_authentication

    url = sqlalchemy.make_url(SQLALCHEMY_URL)
    for wrong in (url, SQLALCHEMY_URL, sessionmaker(), None):
        with pytest.raises(EntraConnectionValueError, match=r"^engine: expected a SQLAlchemy engine, got "):
            enable_entra_authentication(wrong)  # type: ignore[arg-type]


def types_of_arguments() -> None:
    """Not run: mypy refuses each line, or `ignore` would be unused."""
    import pgentra.asyncpg
    from pgentra.psycopg2 import EntraConnection as Psycopg2Connection
    from pgentra.psycopg3 import EntraConnection
    from pgentra.sqlalchemy import create_asyncpg_engine, enable_entra_authentication

    credential, provider = identity.ManagedIdentityCredential(), pgentra.TokenProvider()
    pgentra.get_entra_token("db.example")  # type: ignore[arg-type]
    pgentra.get_entra_token(provider)  # type: ignore[arg-type]
    pgentra.TokenProvider("host=db.example")  # type: ignore[arg-type]
    EntraConnection.connect(credential)  # type: ignore[arg-type]
    EntraConnection.connect(credential="text")  # type: ignore[arg-type]
    Psycopg2Connection(credential)  # type: ignore[arg-type]
    Psycopg2Connection(credential={"host": "db.example"})  # type: ignore[arg-type]
    pgentra.asyncpg.create_pool(credential)  # type: ignore[arg-type]
    pgentra.asyncpg.create_pool(credential="text")  # type: ignore[arg-type]
    enable_entra_authentication(credential)  # type: ignore[arg-type]
    create_asyncpg_engine(credential)  # type: ignore[arg-type]
    provider()  # type: ignore[operator]


# The drivers' arguments


def test_plan_passes_the_systems_authorities_to_libpq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("AZURE_POSTGRESQL_HOST", "shop.postgres.database.azure.com")
    monkeypatch.setenv("AZURE_POSTGRESQL_SSL", "true")
    options = {"service_connector": True}

    def overrides(**given: str) -> dict[str, str]:
        found = _login.plan(given, None, options).overrides
        assert found.pop("host", given.get("host")) is not None
        return found

    assert overrides() == {"sslmode": "verify-full", "sslrootcert": str(bundle)}
    assert overrides(sslrootcert="mine.pem") == {"sslmode": "verify-full"}
    assert overrides(sslmode="require") == {}
    assert overrides(host="localhost") == {"sslmode": "require"}
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql" / "root.crt").write_text("")
    assert overrides() == {"sslmode": "verify-full"}


def test_plan_of_verify_full_passes_the_systems_authorities_to_libpq(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("APPDATA", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))

    def overrides(**given: str) -> dict[str, str]:
        return _login.plan({"host": "db.example", **given}, Recording()).overrides

    assert overrides(sslmode="verify-full") == {"sslrootcert": str(bundle)}
    for given in ({"sslmode": "verify-ca"}, {"sslmode": "require"}, {"sslmode": "verify-full", "sslrootcert": "x"}):
        assert "sslrootcert" not in overrides(**given), given
    assert overrides(sslmode="verify-full", user="u", password="p") == {}, "the connection's own login"
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert overrides() == {"sslrootcert": str(bundle)}
    assert overrides(service="s") == {}, "a service file may name authorities"
    monkeypatch.setenv("PGSSLROOTCERT", "mine.pem")
    assert overrides() == {}
    monkeypatch.delenv("PGSSLROOTCERT")
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setattr("pgentra._roots._BUNDLES", ())
    monkeypatch.setitem(sys.modules, "certifi", SimpleNamespace(where=lambda: "certifi.pem"))
    assert overrides() == {"sslrootcert": "certifi.pem"}
    monkeypatch.setitem(sys.modules, "certifi", None)
    package = Path(pgentra.__file__).parent
    assert overrides() == {"sslrootcert": str(package / "mozilla_roots.pem")}
    monkeypatch.setattr("pgentra._roots._MOZILLA", str(tmp_path / "missing.pem"))
    assert overrides() == {}


def test_roots_of_the_package_are_certificates() -> None:
    import ssl

    from pgentra import _roots

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(_roots._MOZILLA)
    subjects = [
        dict(part for name in certificate["subject"] for part in name) for certificate in context.get_ca_certs()
    ]
    # Azure's servers have certificates of this authority.
    assert "DigiCert Global Root G2" in [subject.get("commonName") for subject in subjects]
    assert len(subjects) > 100


def test_roots_for_a_context_where_python_finds_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pgentra import _roots

    found, folder = tmp_path / "found.pem", tmp_path / "certs"
    found.write_text("")
    folder.mkdir()
    monkeypatch.setattr("pgentra._roots._BUNDLES", (str(found),))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    assert _roots.file_for_context() == str(found)
    (folder / "a.0").write_text("")
    assert _roots.file_for_context() is None
    monkeypatch.delenv("SSL_CERT_DIR")
    monkeypatch.setenv("SSL_CERT_FILE", str(found))
    assert _roots.file_for_context() is None
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    assert _roots.file_for_context() is None


def test_asyncpg_arguments_of_verify_full_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("asyncpg")
    import ssl

    import pgentra.asyncpg

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    context = ssl.create_default_context()

    def tls(url: str | None = None, *, uses_token: bool = True, **keywords: Any) -> Any:
        given = pgentra.asyncpg._given(url, keywords)
        return pgentra.asyncpg._arguments(url, keywords, {}, given, uses_token=uses_token).get("ssl")

    assert tls(ssl="verify-full") is True
    assert tls("postgresql://db.example/d?sslmode=verify-full") is True
    assert tls("postgresql://db.example/d?sslmode=verify-full&sslrootcert=mine.pem") is None
    assert tls("postgresql://db.example/d?sslmode=verify-full&sslcert=mine.pem") is None
    assert tls("postgresql://db.example/d?sslmode=verify-full", uses_token=False) is None
    assert tls(ssl=context) is context
    assert tls(ssl="require") == "require"
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql" / "root.crt").write_text("")
    assert tls(ssl="verify-full") == "verify-full"


def test_plan_passes_a_context_to_asyncpg_and_pg8000(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("asyncpg")
    import ssl

    import pgentra.asyncpg
    from pgentra.sqlalchemy import _pg8000_arguments

    monkeypatch.setenv("AZURE_POSTGRESQL_CONNECTIONSTRING", "host=shop.postgres.database.azure.com sslmode=require")
    given = pgentra.asyncpg._given(None, {})
    settings = pgentra.asyncpg._plan(given, None, {"service_connector": True}, None).overrides
    assert settings["sslmode"] == "verify-full"
    arguments = pgentra.asyncpg._arguments(None, {}, dict(settings), given)
    assert arguments == {"dsn": None, "host": "shop.postgres.database.azure.com", "ssl": True}
    context = _pg8000_arguments(settings)["ssl_context"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    monkeypatch.setenv("PGSSLROOTCERT", "/mine.pem")
    assert pgentra.asyncpg._arguments(None, {}, dict(settings), given)["ssl"] == "verify-full"


@pytest.mark.parametrize(
    ("url", "keywords", "expected"),
    [
        (None, {"ssl": True}, {"sslmode": "verify-full"}),
        (None, {"ssl": False}, {"sslmode": "disable"}),
        (None, {"ssl": 0}, {"sslmode": "disable"}),
        (None, {"ssl": object()}, {"sslmode": "disable"}),
        (None, {"ssl": "prefer"}, {"sslmode": "prefer"}),
        (None, {"host": ["a", "b"], "port": [1, 2]}, {"host": ["a", "b"], "port": [1, 2]}),
        ("postgresql://u:p@a:1/d", {}, {"user": "u", "password": "p", "host": "a", "port": "1", "dbname": "d"}),
        ("postgresql://a/d?sslmode=require&hostaddr=127.0.0.1", {}, {"host": "a", "dbname": "d", "sslmode": "require"}),
        ("postgresql://a/d?host=b&user=v", {"user": "u"}, {"host": "a", "dbname": "d", "user": "u"}),
        ("postgresql://a/d?sslmode=require", {"ssl": "disable"}, {"host": "a", "dbname": "d", "sslmode": "disable"}),
    ],
)
def test_asyncpg_arguments_from_settings(url: str | None, keywords: dict[str, Any], expected: dict[str, Any]) -> None:
    pytest.importorskip("asyncpg")
    import pgentra.asyncpg

    assert pgentra.asyncpg._given(url, keywords) == {**expected, "timeout": 60}


def test_asyncpg_refuses_text_that_is_not_a_url() -> None:
    pytest.importorskip("asyncpg")
    import pgentra.asyncpg

    for text in ("db.example", "host=db.example", "Server=db.example;Database=d", "mysql://db.example/d"):
        with pytest.raises(PgEntraError, match="postgresql://role@server") as caught:
            _run(pgentra.asyncpg.connect(text, credential=Recording()))
        assert "db.example" not in str(caught.value)


def test_service_connector_credential_is_the_same_object() -> None:
    document = {"type": "managed_identity", "client_id": f"id-{os.urandom(4).hex()}"}
    assert _login._credential(document) is _login._credential(dict(document))
    assert isinstance(_login._credential(document), identity.ManagedIdentityCredential)
    for index in range(100):
        _login._credential({**document, "client_id": f"id-{index}"})
    assert len(_login._credentials) <= _login._MAX_CREDENTIALS
