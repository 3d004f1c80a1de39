"""A migration from azure-postgresql-auth 1.1 changes imports only: the same program behaves the same with both.

`docs/migrating.md` lists the deliberate differences: a credential may be omitted; a synchronous credential is accepted
where the peer requires an awaitable one; tokens are cached, so that a credential is called less often.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import psycopg2
import pytest
import sqlalchemy
from azure.core.credentials import AccessToken, TokenCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CredentialUnavailableError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from support.drivers import CURRENT_USER, Target
from support.emulator import Emulator, Principal

PEER, OURS = "azure_postgresql_auth", "pgentra"


@pytest.fixture(params=[PEER, OURS])
def library(request: pytest.FixtureRequest) -> Callable[[str], ModuleType]:
    """A module of the library under test: `library("psycopg2")`, or `library("")`."""

    def module(name: str) -> ModuleType:
        return importlib.import_module(f"{request.param}.{name}".rstrip("."))

    module.__name__ = request.param
    return module


def jwt(**claims: Any) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256', 'typ': 'JWT'})}.{part({'iat': 1234567890, 'exp': 9999999999, **claims})}.signature"


class Credential(TokenCredential):
    """Returns one token, or raises."""

    def __init__(self, token: str | Exception) -> None:
        self.token = token
        self.scopes: list[str] = []

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes += scopes
        if isinstance(self.token, Exception):
            raise self.token
        return AccessToken(self.token, 9_999_999_999)


class AsyncCredential(AsyncTokenCredential):
    """The same, awaitable."""

    def __init__(self, token: str | Exception) -> None:
        self._inner = Credential(token)
        self.scopes = self._inner.scopes

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return self._inner.get_token(*scopes)

    async def close(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        pass


MIRID = "/subscriptions/1/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/managed-identity"


def core(library: Callable[[str], ModuleType]) -> ModuleType:
    return library("core") if library.__name__ == PEER else library("")


def test_decode_jwt(library: Callable[[str], ModuleType]) -> None:
    claims = core(library).decode_jwt(jwt(upn="user@example.com", xms_mirid=MIRID))
    assert claims == {"iat": 1234567890, "exp": 9999999999, "upn": "user@example.com", "xms_mirid": MIRID}
    for bad in ("invalid-token", "", "a.b", "a.!!!.c"):
        with pytest.raises(library("errors").TokenDecodeError) as caught:
            core(library).decode_jwt(bad)
        assert str(caught.value).startswith("Invalid JWT token format")
        assert isinstance(caught.value, library("errors").AzurePgEntraError)


@pytest.mark.parametrize(
    ("mirid", "name"),
    [
        (MIRID, "managed-identity"),
        (MIRID.upper(), "MANAGED-IDENTITY"),
        ("", None),
        ("no-slash-here", None),
        ("/subscriptions/1/resourcegroups/g/providers/Microsoft.Wrong/identities/name", None),
        (MIRID.removesuffix("managed-identity"), None),
    ],
)
def test_parse_principal_name(library: Callable[[str], ModuleType], mirid: str, name: str | None) -> None:
    assert core(library).parse_principal_name(mirid) == name


@pytest.mark.parametrize(
    ("claims", "user"),
    [
        ({"upn": "user@example.com"}, "user@example.com"),
        ({"preferred_username": "user@example.com"}, "user@example.com"),
        ({"unique_name": "user@example.com"}, "user@example.com"),
        ({"xms_mirid": MIRID}, "managed-identity"),
    ],
)
def test_get_entra_conninfo(library: Callable[[str], ModuleType], claims: dict[str, str], user: str) -> None:
    token = jwt(**claims)
    credential = Credential(token)
    assert core(library).get_entra_conninfo(credential) == {"user": user, "password": token}
    assert credential.scopes == ["https://ossrdbms-aad.database.windows.net/.default"]
    awaitable = AsyncCredential(token)
    assert asyncio.run(core(library).get_entra_conninfo_async(awaitable)) == {"user": user, "password": token}


def test_get_entra_token(library: Callable[[str], ModuleType]) -> None:
    token, scope = jwt(upn="a"), "https://ossrdbms-aad.database.windows.net/.default"
    assert core(library).get_entra_token(Credential(token), scope) == token
    assert asyncio.run(core(library).get_entra_token_async(AsyncCredential(token), scope)) == token


def test_get_entra_conninfo_errors(library: Callable[[str], ModuleType]) -> None:
    errors = library("errors")
    with pytest.raises(errors.TokenDecodeError):
        core(library).get_entra_conninfo(Credential("invalid-token"))
    with pytest.raises(errors.TokenDecodeError):
        asyncio.run(core(library).get_entra_conninfo_async(AsyncCredential("invalid-token")))
    with pytest.raises(errors.UsernameExtractionError, match=r"(?i)user"):
        core(library).get_entra_conninfo(Credential(jwt(oid="1")))

    class NoManagement(Credential):
        def get_token(self, *scopes: str, **_: Any) -> AccessToken:
            if "management" in scopes[0]:
                raise ClientAuthenticationError("no")
            return super().get_token(*scopes)

    with pytest.raises(errors.ScopePermissionError) as caught:
        core(library).get_entra_conninfo(NoManagement(jwt(oid="1")))
    assert isinstance(caught.value.__cause__, ClientAuthenticationError)


@pytest.mark.parametrize("error", [ClientAuthenticationError("no"), CredentialUnavailableError("not here")])
def test_helpers_with_failing_credential(
    library: Callable[[str], ModuleType], error: ClientAuthenticationError
) -> None:
    """The helpers raise the credential's own error."""
    scope = "https://ossrdbms-aad.database.windows.net/.default"
    calls: list[Callable[[], object]] = [
        lambda: core(library).get_entra_token(Credential(error), scope),
        lambda: asyncio.run(core(library).get_entra_token_async(AsyncCredential(error), scope)),
        lambda: core(library).get_entra_conninfo(Credential(error)),
        lambda: asyncio.run(core(library).get_entra_conninfo_async(AsyncCredential(error))),
    ]
    for call in calls:
        with pytest.raises(type(error)) as caught:
            call()
        assert error in (caught.value, caught.value.__cause__)


def psycopg2_connect(library: Callable[[str], ModuleType], target: Target, **keywords: Any) -> str:
    connection = library("psycopg2").EntraConnection(target.but(user=None, password=None).url(), **keywords)
    with connection, connection.cursor() as cursor:
        cursor.execute(CURRENT_USER)
        return str(cursor.fetchone()[0])


def psycopg3_connect(library: Callable[[str], ModuleType], target: Target, **keywords: Any) -> str:
    with library("psycopg3").EntraConnection.connect(target.url(), **keywords) as connection:
        return str(connection.execute(CURRENT_USER).fetchone()[0])


def psycopg3_async_connect(library: Callable[[str], ModuleType], target: Target, **keywords: Any) -> str:
    if isinstance(keywords["credential"], Credential):
        keywords["credential"] = AsyncCredential(keywords["credential"].token)

    async def run() -> str:
        async with await library("psycopg3").AsyncEntraConnection.connect(target.url(), **keywords) as connection:
            return str((await (await connection.execute(CURRENT_USER)).fetchone())[0])

    return asyncio.run(run())


def sqlalchemy_connect(library: Callable[[str], ModuleType], target: Target, **keywords: Any) -> str:
    engine = sqlalchemy.create_engine(target.url("postgresql+psycopg"), connect_args=keywords, poolclass=NullPool)
    library("sqlalchemy").enable_entra_authentication(engine)
    with engine.connect() as connection:
        return str(connection.execute(sqlalchemy.text(CURRENT_USER)).scalar_one())


def sqlalchemy_async_connect(library: Callable[[str], ModuleType], target: Target, **keywords: Any) -> str:
    async def run() -> str:
        engine = create_async_engine(target.url("postgresql+psycopg"), connect_args=keywords, poolclass=NullPool)
        library("sqlalchemy").enable_entra_authentication_async(engine)
        async with engine.connect() as connection:
            return str((await connection.execute(sqlalchemy.text(CURRENT_USER))).scalar_one())

    return asyncio.run(run())


def asyncpg_engine_connect(library: Callable[[str], ModuleType], target: Target, **keywords: Any) -> str:
    credential = keywords.pop("credential")
    if isinstance(credential, Credential):
        credential = AsyncCredential(credential.token)

    async def run() -> str:
        engine = library("sqlalchemy").create_asyncpg_engine(
            target.url("postgresql+asyncpg"), credential, connect_args=keywords, poolclass=NullPool
        )
        async with engine.connect() as connection:
            return str((await connection.execute(sqlalchemy.text(CURRENT_USER))).scalar_one())

    return asyncio.run(run())


CONNECTS = (
    psycopg2_connect,
    psycopg3_connect,
    psycopg3_async_connect,
    sqlalchemy_connect,
    sqlalchemy_async_connect,
    asyncpg_engine_connect,
)
Connect = Callable[..., str]


@pytest.fixture(params=CONNECTS, ids=lambda connect: connect.__name__)
def connect(request: pytest.FixtureRequest) -> Connect:
    found: Connect = request.param
    return found


@pytest.fixture
def user(emulator: Emulator) -> tuple[Principal, Credential]:
    principal = emulator.add_principal("user")
    return principal, Credential(emulator.mint(principal.name).token)


def test_engine_with_injected_credentials(
    library: Callable[[str], ModuleType], connect: Connect, target: Target, user: tuple[Principal, Credential]
) -> None:
    principal, credential = user
    for _ in range(3):
        assert connect(library, target, credential=credential) == principal.name


def test_engine_with_explicit_user_and_password(
    library: Callable[[str], ModuleType], connect: Connect, target: Target, user: tuple[Principal, Credential]
) -> None:
    principal, credential = user
    unused = Credential(RuntimeError("asked for nothing"))
    if connect is asyncpg_engine_connect and library.__name__ == PEER:
        # The peer's asyncpg engine calls the credential nevertheless.
        unused = credential
    role = connect(library, target, credential=unused, user=principal.name, password=credential.token)
    assert role == principal.name
    assert unused is credential or unused.scopes == []


def test_engine_with_explicit_user(
    library: Callable[[str], ModuleType], connect: Connect, emulator: Emulator, target: Target
) -> None:
    credential = Credential(emulator.mint("alice@contoso.example").token)
    assert connect(library, target, credential=credential, user="db-readers") == "db-readers"


@pytest.mark.parametrize("value", ["not-a-credential", 12345])
def test_credential_argument_of_wrong_type(
    library: Callable[[str], ModuleType], connect: Connect, emulator: Emulator, target: Target, value: object
) -> None:
    with pytest.raises(library("errors").CredentialValueError, match="credential is required"):
        connect(library, target, credential=value)


def test_engine_with_failing_credential(
    library: Callable[[str], ModuleType], connect: Connect, emulator: Emulator, target: Target
) -> None:
    failing = Credential(RuntimeError("auth failed"))
    with pytest.raises(
        library("errors").EntraConnectionValueError, match="Could not retrieve Entra credentials"
    ) as caught:
        connect(library, target, credential=failing)
    assert isinstance(caught.value, library("errors").AzurePgEntraError)


def test_sqlalchemy_connect_args_unchanged(
    library: Callable[[str], ModuleType], target: Target, user: tuple[Principal, Credential]
) -> None:
    principal, credential = user
    given = {"credential": credential}
    engine = sqlalchemy.create_engine(target.url("postgresql+psycopg2"), connect_args=given, poolclass=NullPool)
    library("sqlalchemy").enable_entra_authentication(engine)
    for _ in range(2):
        with engine.connect() as connection:
            assert connection.execute(sqlalchemy.text(CURRENT_USER)).scalar_one() == principal.name
    assert given == {"credential": credential}


def test_psycopg2_pool_from_peers_sample(
    library: Callable[[str], ModuleType], target: Target, user: tuple[Principal, Credential]
) -> None:
    from functools import partial

    import psycopg2.pool

    principal, credential = user
    factory = partial(library("psycopg2").EntraConnection, credential=credential)
    pool = psycopg2.pool.ThreadedConnectionPool(
        minconn=1, maxconn=5, host=target.host, port=target.port, database=target.database, sslmode="verify-full",
        connection_factory=factory,
    )  # fmt: skip
    connection = pool.getconn()
    assert isinstance(connection, psycopg2.extensions.connection)
    assert connection.info.user == principal.name
    pool.putconn(connection)
    pool.closeall()


def test_error_names(library: Callable[[str], ModuleType]) -> None:
    errors = library("errors")
    for name in (
        "TokenDecodeError",
        "UsernameExtractionError",
        "CredentialValueError",
        "EntraConnectionValueError",
        "ScopePermissionError",
    ):
        assert issubclass(getattr(errors, name), errors.AzurePgEntraError)
    assert issubclass(errors.AzurePgEntraError, Exception)
    _ = psycopg2
