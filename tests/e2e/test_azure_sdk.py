"""Our credentials in clients of the Azure SDK, the SDK's credentials in our connections, and chains of both."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import azure.identity
import azure.identity.aio
import jwt
import pytest
from azure.core import AsyncPipelineClient, PipelineClient
from azure.core.credentials import TokenCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy, BearerTokenCredentialPolicy
from azure.core.rest import HttpRequest
from azure.storage.blob import BlobServiceClient
from azure.storage.blob.aio import BlobServiceClient as AsyncBlobServiceClient

import pgentra.errors
from pgentra import identity
from pgentra.identity import aio
from support.drivers import DRIVERS, Target
from support.emulator import Emulator, Principal
from support.vector_runner import make_certificate

# Other libraries behave the same under every Python.
pytestmark = pytest.mark.one_python

STORAGE, VAULT = "https://storage.azure.com", "https://vault.azure.net"
CHALLENGE = json.dumps({"access_token": {"nbf": {"essential": True, "value": "1"}}})
SYNC, ASYNC = (next(driver for driver in DRIVERS if driver.name == name) for name in ("psycopg3", "psycopg3-async"))


class Storage:
    """A blob service with TLS that accepts tokens which the emulator signed for Azure Storage."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.certificate = folder / "storage.pem"
        make_certificate(self.certificate)
        self._emulator = emulator
        #: The claims of accepted tokens, and the reasons of rejections.
        self.accepted: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self.tokens: list[str] = []
        #: Whether the next request is answered with a claims challenge.
        self.challenge = False
        self._blobs: dict[str, bytes] = {}
        self._keys = self._signing_keys()
        storage = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                storage._put(self)

            def do_GET(self) -> None:
                storage._get(self)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_port}/account"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _signing_keys(self) -> jwt.PyJWKClient:
        context = ssl.create_default_context(cafile=self._emulator.bundle_file)
        address = f"{self._emulator.authority_host}/{self._emulator.tenant_id}/discovery/keys"
        return jwt.PyJWKClient(address, ssl_context=context)

    def _is_admitted(self, handler: BaseHTTPRequestHandler) -> bool:
        scheme, _, token = handler.headers.get("Authorization", "").partition(" ")
        try:
            if scheme != "Bearer":
                raise jwt.InvalidTokenError("no bearer token")
            self.tokens.append(token)
            issuer = f"https://sts.windows.net/{self._emulator.tenant_id}/"
            key = self._keys.get_signing_key_from_jwt(token)
            self.accepted.append(jwt.decode(token, key, ["RS256"], audience=STORAGE, issuer=issuer))
        except jwt.PyJWTError as error:
            self.refused.append(type(error).__name__)
            self._answer(handler, 401, {"WWW-Authenticate": "Bearer error=invalid_token"})
            return False
        if self.challenge:
            self.challenge = False
            claims = base64.urlsafe_b64encode(CHALLENGE.encode()).rstrip(b"=").decode()
            header = f'Bearer authorization_uri="x", error="insufficient_claims", claims="{claims}"'
            self._answer(handler, 401, {"WWW-Authenticate": header})
            return False
        return True

    def _put(self, handler: BaseHTTPRequestHandler) -> None:
        content = handler.rfile.read(int(handler.headers["Content-Length"]))
        if self._is_admitted(handler):
            self._blobs[handler.path.partition("?")[0]] = content
            self._answer(handler, 201, {"x-ms-request-server-encrypted": "true"})

    def _get(self, handler: BaseHTTPRequestHandler) -> None:
        if self._is_admitted(handler):
            content = self._blobs.get(handler.path.partition("?")[0], b"")
            whole = {"Content-Range": f"bytes 0-{len(content) - 1}/{len(content)}", "x-ms-blob-type": "BlockBlob"}
            self._answer(handler, 206, whole, content)

    def _answer(
        self, handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes = b""
    ) -> None:
        usual = {
            "Content-Length": str(len(content)),
            "ETag": '"1"',
            "Last-Modified": "Sun, 22 Nov 2026 20:00:00 GMT",
            "x-ms-version": "2024-08-04",
        }
        handler.send_response(status)
        for name, value in (usual | headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)


@pytest.fixture
def storage(emulator: Emulator, tmp_path: Path) -> Iterator[Storage]:
    emulator.call("PUT", "/config", {"resources": [STORAGE, VAULT]})
    storage = Storage(emulator, tmp_path)
    yield storage
    storage.stop()


def upload_and_download(storage: Storage, credential: TokenCredential, **options: Any) -> bytes:
    with BlobServiceClient(
        storage.url, credential, connection_verify=str(storage.certificate), retry_total=0, **options
    ) as client:
        blob = client.get_blob_client("container", "blob")
        blob.upload_blob(b"content", overwrite=True)
        return bytes(blob.download_blob().readall())


async def upload_and_download_async(storage: Storage, credential: AsyncTokenCredential) -> bytes:
    async with AsyncBlobServiceClient(
        storage.url, credential, connection_verify=str(storage.certificate), retry_total=0
    ) as client:
        blob = client.get_blob_client("container", "blob")
        await blob.upload_blob(b"content", overwrite=True)
        return bytes(await (await blob.download_blob()).readall())


# Our credentials in a client of the Azure SDK


@pytest.mark.parametrize("flavour", ["sync", "aio"])
def test_credential_in_azure_storage_client(
    flavour: str, emulator: Emulator, storage: Storage, identity: Principal, mine: Target
) -> None:
    client_id = identity.appid
    if flavour == "sync":
        credential = pgentra.identity.ManagedIdentityCredential(client_id=client_id)
        contents = [upload_and_download(storage, credential) for _ in range(2)]
    else:

        async def twice() -> list[bytes]:
            async with aio.ManagedIdentityCredential(client_id=client_id) as awaitable:
                return [await upload_and_download_async(storage, awaitable) for _ in range(2)]

        contents = asyncio.run(twice())
    assert contents == [b"content"] * 2
    assert {(claims["aud"], claims["oid"]) for claims in storage.accepted} == {(STORAGE, identity.oid)}
    assert (len(storage.accepted), storage.refused) == (4, [])
    # Each client caches a token of its own; both got ours from one cache entry.
    assert [one.resource for one in emulator.requests(principal=identity)] == [STORAGE]
    # The token for the database is a different one.
    assert SYNC.log_in(mine) == identity.name
    assert len(emulator.database_requests(identity)) == 1


def test_storage_stub_with_token_for_another_audience(
    emulator: Emulator, storage: Storage, identity: Principal
) -> None:
    """The stub rejects it."""
    minted = emulator.mint(identity.name)
    with pytest.raises(ClientAuthenticationError):
        upload_and_download(storage, pgentra.identity.StaticTokenCredential(minted.token, minted.expires_on))
    assert storage.refused == ["InvalidAudienceError"]
    forged = emulator.mint(identity.name, audience=STORAGE, forged=True)
    with pytest.raises(ClientAuthenticationError):
        upload_and_download(storage, pgentra.identity.StaticTokenCredential(forged.token, forged.expires_on))
    assert storage.accepted == []


@pytest.mark.parametrize("flavour", ["sync", "aio"])
def test_credential_after_claims_challenge(
    flavour: str, emulator: Emulator, storage: Storage, service_principal: tuple[Principal, Any]
) -> None:
    """Clients of the SDK always pass `enable_cae`, and `claims` after a challenge (continuous access evaluation)."""
    principal, credential = service_principal
    scope = f"{STORAGE}/.default"
    options: dict[str, Any] = {"connection_verify": str(storage.certificate)}
    request = HttpRequest("GET", f"{storage.url}/container/none")
    storage.challenge = True
    if flavour == "sync":
        policy = BearerTokenCredentialPolicy(credential, scope, enable_cae=True)
        client: Any = PipelineClient(storage.url, policies=[policy])
        with client:
            statuses = [client.send_request(request, **options).status_code for _ in range(2)]
    else:
        twin: Any = aio.ClientSecretCredential(
            emulator.tenant_id, principal.appid, principal.secret or "", authority=emulator.authority_host
        )

        async def ask() -> list[int]:
            policy = AsyncBearerTokenCredentialPolicy(twin, scope, enable_cae=True)
            client: Any = AsyncPipelineClient(storage.url, policies=[policy])
            async with client:
                return [(await client.send_request(request, **options)).status_code for _ in range(2)]

        statuses = asyncio.run(ask())
    assert statuses == [206, 206]
    assert len(set(storage.tokens)) == 2, "the challenge brought another token, which was kept"
    forms = [json.loads(one.form["claims"]) for one in emulator.requests("token", principal=principal)]
    assert len(forms) == 2
    assert all("xms_cc" in form["access_token"] for form in forms)
    assert [form["access_token"].get("nbf") for form in forms] == [None, {"essential": True, "value": "1"}]


# `get_token` by itself


@pytest.mark.parametrize("flavour", ["sync", "aio"])
def test_get_token_with_different_requests(flavour: str, emulator: Emulator, storage: Storage) -> None:
    """Requests differ by scope, tenant, claims and CAE; many callers at once cause one fetch for each."""
    principal = emulator.add_principal("service_principal")
    module: Any = identity_of(flavour)
    credential = module.ClientSecretCredential(
        emulator.tenant_id, principal.appid, principal.secret, authority=emulator.authority_host
    )
    asked: list[tuple[str, dict[str, Any]]] = [
        (f"{STORAGE}/.default", {}),
        (f"{VAULT}/.default", {}),
        (pgentra.AZURE_DB_FOR_POSTGRES_SCOPE, {}),
        (f"{VAULT}/.default", {"enable_cae": True}),
        (f"{VAULT}/.default", {"claims": CHALLENGE}),
        (f"{VAULT}/.default", {"claims": CHALLENGE, "enable_cae": True}),
    ]
    emulator.add_fault(principal=principal.name, latency_ms=200)
    if flavour == "sync":
        with ThreadPoolExecutor(24) as threads:
            found = list(threads.map(lambda one: credential.get_token(one[0], **one[1]), asked * 4))
    else:

        async def together() -> list[Any]:
            return await asyncio.gather(*(credential.get_token(scope, **options) for scope, options in asked * 4))

        found = asyncio.run(together())
    assert len({token.token for token in found}) == len(asked)
    assert [token.token for token in found[: len(asked)]] == [token.token for token in found[-len(asked) :]]
    audiences = [pgentra.decode_jwt(token.token)["aud"] for token in found[: len(asked)]]
    assert audiences == [STORAGE, VAULT, "https://ossrdbms-aad.database.windows.net", VAULT, VAULT, VAULT]
    assert len(emulator.requests("token", principal=principal)) == len(asked)


def test_get_token_refreshed_ahead_for_any_scope(emulator: Emulator, storage: Storage) -> None:
    """A token of 6 s is refreshed from its third second at the latest; no caller waits for the service's second."""
    principal = emulator.add_principal("service_principal")
    credential = identity.ClientSecretCredential(
        emulator.tenant_id, principal.appid, principal.secret or "", authority=emulator.authority_host
    )
    scope = f"{VAULT}/.default"
    emulator.set_tokens(lifetime_s=6)
    info = credential.get_token_info(scope)
    assert info.refresh_on is not None
    assert info.expires_on - 4 <= info.refresh_on <= info.expires_on - 2
    emulator.add_fault(principal=principal.name, latency_ms=1000)
    slowest, ends = 0.0, time.monotonic() + 5.0
    while credential.get_token(scope).token == info.token:
        assert time.monotonic() < ends, "it was never refreshed"
        time.sleep(0.05)
        began = time.monotonic()
        credential.get_token(scope)
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 0.9
    assert len(emulator.requests("token", principal=principal)) == 2


def identity_of(flavour: str) -> Any:
    return identity if flavour == "sync" else aio


# Chains of both, and each in the other. `theirs` and `ours` are modules of one flavour.


def _modules(flavour: str) -> tuple[Any, Any]:
    return (azure.identity, identity) if flavour == "sync" else (azure.identity.aio, aio)


def ask(flavour: str, credential: Any) -> str:
    """Requests a token as clients of the SDK do."""

    async def awaited() -> str:
        async with credential:
            return str((await credential.get_token(pgentra.AZURE_DB_FOR_POSTGRES_SCOPE)).token)

    if flavour == "aio":
        return asyncio.run(awaited())
    with credential:
        return str(credential.get_token(pgentra.AZURE_DB_FOR_POSTGRES_SCOPE).token)


def log_in(flavour: str, target: Target, credential: Any) -> str:
    connection = target.but(entra={"credential": credential})
    return SYNC.log_in(connection) if flavour == "sync" else asyncio.run(ASYNC.log_in_async(connection))


FLAVOURS = pytest.mark.parametrize("flavour", ["sync", "aio"])


@FLAVOURS
def test_connection_with_azure_sdk_credential(flavour: str, identity: Principal, target: Target) -> None:
    theirs, ours = _modules(flavour)
    member = theirs.ManagedIdentityCredential(client_id=identity.appid)
    assert log_in(flavour, target, ours.ChainedTokenCredential(ours.EnvironmentCredential(), member)) == identity.name


@FLAVOURS
def test_azure_sdk_chain_with_our_unavailable_credential(flavour: str, identity: Principal, target: Target) -> None:
    theirs, ours = _modules(flavour)
    chain = theirs.ChainedTokenCredential(
        ours.EnvironmentCredential(),
        ours.ChainedTokenCredential(ours.EnvironmentCredential()),
        ours.ManagedIdentityCredential(client_id=identity.appid),
    )
    assert pgentra.decode_jwt(ask(flavour, chain))["oid"] == identity.oid
    chain = theirs.ChainedTokenCredential(
        ours.WorkloadIdentityCredential(), theirs.ManagedIdentityCredential(client_id=identity.appid)
    )
    # Our connections accept such a chain as a credential.
    assert log_in(flavour, target, chain) == identity.name


@FLAVOURS
def test_chain_with_unavailable_azure_sdk_credential(flavour: str, identity: Principal, target: Target) -> None:
    theirs, ours = _modules(flavour)
    chain = ours.ChainedTokenCredential(
        theirs.EnvironmentCredential(),
        theirs.AzurePowerShellCredential(),
        ours.ManagedIdentityCredential(client_id=identity.appid),
    )
    assert pgentra.decode_jwt(ask(flavour, chain))["oid"] == identity.oid
    assert log_in(flavour, target, chain) == identity.name


@FLAVOURS
def test_chains_without_available_credential(flavour: str) -> None:
    theirs, ours = _modules(flavour)
    members = [ours.EnvironmentCredential(), theirs.EnvironmentCredential()]
    with pytest.raises(ClientAuthenticationError, match="EnvironmentCredential"):
        ask(flavour, theirs.ChainedTokenCredential(*members))
    with pytest.raises(pgentra.errors.CredentialUnavailableError) as caught:
        ask(flavour, ours.ChainedTokenCredential(*members))
    assert isinstance(caught.value, azure.identity.CredentialUnavailableError)
    attempts = caught.value.detail["attempts"]
    assert [(one["credential"], one["code"]) for one in attempts] == [
        ("EnvironmentCredential", "credential_unavailable")
    ] * 2


class Unasked:
    """A chain's second member, which must not be called."""

    def get_token(self, *scopes: str, **_: Any) -> Any:
        raise AssertionError("the chain went on")

    async def close(self) -> None: ...

    def __enter__(self) -> Unasked:
        return self

    def __exit__(self, *_: object) -> None: ...

    async def __aenter__(self) -> Unasked:
        return self

    async def __aexit__(self, *_: object) -> None: ...


class UnaskedAsync(Unasked):
    async def get_token(self, *scopes: str, **_: Any) -> Any:
        raise AssertionError("the chain went on")


@FLAVOURS
def test_chains_after_failed_authentication(flavour: str, emulator: Emulator) -> None:
    theirs, ours = _modules(flavour)
    service = emulator.add_principal("service_principal")
    common = {
        "authority": emulator.authority_host,
        "disable_instance_discovery": True,
        "connection_verify": emulator.bundle_file,
        "retry_total": 0,
    }
    members: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours.ClientSecretCredential(emulator.tenant_id, service.appid, "wrong", **common),
        "theirs": lambda: theirs.ClientSecretCredential(emulator.tenant_id, service.appid, "wrong", **common),
    }
    unasked = Unasked() if flavour == "sync" else UnaskedAsync()
    for make in members.values():
        with pytest.raises(ClientAuthenticationError, match="7000215"):
            ask(flavour, theirs.ChainedTokenCredential(make(), unasked))
        with pytest.raises(pgentra.errors.AuthenticationError, match="7000215") as caught:
            ask(flavour, ours.ChainedTokenCredential(make(), unasked))
        assert caught.value.aadsts == 7000215
        assert not isinstance(caught.value, pgentra.errors.CredentialUnavailableError)
        assert isinstance(caught.value, ClientAuthenticationError)
