"""Applications that authenticate with assertions and certificates, and on behalf of users, at a token endpoint in
this process: what the binding adds to the engine's rules.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import os
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from recording import VECTORS, AsyncRecording, Recording, make_token

import pgentra
from pgentra import identity
from pgentra.errors import AuthenticationError, CredentialValueError, PgEntraError
from pgentra.identity import aio
from support.vector_runner import make_certificate

SCOPE = pgentra.AZURE_DB_FOR_POSTGRES_SCOPE
CERTIFICATES = VECTORS / "certificates"
PASSWORD = "canary-password"


class Entra:
    """A token endpoint over TLS. It accepts every request; its tokens name the user of the assertion."""

    def __init__(self, folder: Path) -> None:
        self.forms: list[dict[str, str]] = []
        self.delay = 0.0
        self.certificate = folder / "entra.pem"
        make_certificate(self.certificate)
        entra = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # A response is one write: a second write would wait for the acknowledgement of the first.
            wbufsize = 65536

            def do_POST(self) -> None:
                form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
                entra.forms.append(form)
                time.sleep(entra.delay)
                answer = {"access_token": make_token(upn=form.get("assertion", "app")), "expires_in": 3600}
                body = json.dumps(answer | {"token_type": "Bearer"}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def application(self) -> dict[str, Any]:
        """Returns the arguments of an application of which no other test has a token."""
        return {
            "tenant_id": "tenant",
            "client_id": os.urandom(8).hex(),
            "authority": f"https://localhost:{self._server.server_port}",
            "connection_verify": str(self.certificate),
        }

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def running_entra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Entra]:
    entra = Entra(tmp_path_factory.mktemp("entra"))
    yield entra
    entra.stop()


@pytest.fixture
def entra(running_entra: Entra) -> Entra:
    running_entra.forms.clear()
    running_entra.delay = 0.0
    return running_entra


FLAVOURS = pytest.mark.parametrize("module", [identity, aio], ids=["sync", "aio"])


def ask(credential: Any) -> str:
    """Returns a token by the credential's `get_token`, blocking or awaited."""
    if isinstance(credential, identity._classes.AsyncCredential):
        return str(asyncio.run(credential.get_token(SCOPE)).token)
    return str(credential.get_token(SCOPE).token)


# Assertions


def returning(result: Any, *, awaitable: bool) -> Callable[[], Any]:
    def function() -> Any:
        if isinstance(result, BaseException):
            raise result
        return result

    async def coroutine() -> Any:
        await asyncio.sleep(0)
        return function()

    return coroutine if awaitable else function


AWAITABLE = pytest.mark.parametrize("awaitable", [False, True], ids=["function", "awaitable"])


@FLAVOURS
@AWAITABLE
def test_client_assertion_is_sent(module: Any, awaitable: bool, entra: Entra) -> None:
    func = returning("a.signed.assertion", awaitable=awaitable)
    credential = module.ClientAssertionCredential(**entra.application(), func=func)
    token = ask(credential)
    assert ask(credential) == token
    (form,) = entra.forms
    assert form["client_assertion"] == "a.signed.assertion"
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def test_assertion_callback_that_returns_an_awaitable(entra: Entra) -> None:
    inner = returning("inner.signed.assertion", awaitable=True)
    ask(identity.ClientAssertionCredential(**entra.application(), func=lambda: inner()))
    assert entra.forms[0]["client_assertion"] == "inner.signed.assertion"


def test_client_assertion_from_a_credential(entra: Entra) -> None:
    """The tokens of a custom credential, or of a credential of this library, are the assertions."""
    asked = Recording()
    ask(identity.ClientAssertionCredential(**entra.application(), func=asked))
    assert asked.scopes == ["api://AzureADTokenExchange/.default"]
    ask(identity.ClientAssertionCredential(**entra.application(), func=identity.StaticTokenCredential("a.static.one")))
    assert entra.forms[1]["client_assertion"] == "a.static.one"


BAD: dict[str, tuple[Any, str]] = {
    "None": (None, "returned None"),
    "bytes": (b"canary-assertion", "returned bytes"),
    "a pair": (("canary-assertion", 1), "returned tuple"),
    "nothing": ("", "empty"),
    "surrogates": ("canary-\ud800", "surrogates"),
}


@FLAVOURS
@AWAITABLE
@pytest.mark.parametrize("bad", BAD)
def test_assertion_callback_with_an_unusable_result(module: Any, awaitable: bool, bad: str, entra: Entra) -> None:
    result, told = BAD[bad]
    func = returning(result, awaitable=awaitable)
    with pytest.raises(CredentialValueError, match=told) as caught:
        ask(module.ClientAssertionCredential(**entra.application(), func=func))
    assert "no assertion" in str(caught.value)
    assert "canary" not in str(caught.value) + repr(caught.value.detail)
    assert entra.forms == []


@FLAVOURS
@AWAITABLE
def test_assertion_callback_error_is_the_cause(module: Any, awaitable: bool, entra: Entra) -> None:
    error = ValueError("the vault is sealed")
    with pytest.raises(AuthenticationError) as caught:
        ask(module.ClientAssertionCredential(**entra.application(), func=returning(error, awaitable=awaitable)))
    assert caught.value.__cause__ is error
    assert "the vault is sealed" in str(caught.value)
    assert caught.value.code == "custom_credential"


@AWAITABLE
def test_assertion_callback_that_hangs_does_not_block_the_caller(awaitable: bool, entra: Entra) -> None:
    free = threading.Event()

    def hang() -> str:
        free.wait(20)
        return "late.but.good"

    async def hang_async() -> str:
        return await asyncio.to_thread(hang)

    credential = identity.ClientAssertionCredential(**entra.application(), func=hang_async if awaitable else hang)
    with pytest.raises(AuthenticationError) as caught:
        pgentra.get_entra_token(credential, timeout=0.3)
    assert caught.value.code == "timeout"
    free.set()
    # The fetch continued.
    assert pgentra.get_entra_token(credential).count(".") == 2
    assert len(entra.forms) == 1


@FLAVOURS
@AWAITABLE
def test_assertion_callback_runs_in_the_callers_context(module: Any, awaitable: bool, entra: Entra) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody's")

    def function() -> str:
        return f"{variable.get()}.own.assertion"

    async def coroutine() -> str:
        return function()

    credential = module.ClientAssertionCredential(**entra.application(), func=coroutine if awaitable else function)
    context = contextvars.copy_context()
    context.run(variable.set, "mine")
    context.run(ask, credential)
    assert entra.forms[0]["client_assertion"] == "mine.own.assertion"


def test_assertion_callback_runs_on_the_callers_loop(entra: Entra) -> None:
    loops = []

    async def func() -> str:
        loops.append(asyncio.get_running_loop())
        return "a.signed.assertion"

    credential = aio.ClientAssertionCredential(**entra.application(), func=func)

    async def main() -> asyncio.AbstractEventLoop:
        await credential.get_token(SCOPE)
        return asyncio.get_running_loop()

    assert loops == [asyncio.run(main())] or len(loops) == 1


@pytest.mark.parametrize("given", [None, "text", b"x", 7, object()], ids=repr)
def test_assertion_callback_of_the_wrong_type_is_refused(given: Any, entra: Entra) -> None:
    with pytest.raises(CredentialValueError, match="option `func`"):
        identity.ClientAssertionCredential(**entra.application(), func=given)
    if given is not None:
        with pytest.raises(CredentialValueError, match="option `client_assertion_func`"):
            identity.OnBehalfOfCredential(**entra.application(), user_assertion="u", client_assertion_func=given)


def test_assertion_callback_is_freed_with_its_credential(entra: Entra) -> None:
    threads: list[int] = []

    class Vault:
        def sign(self) -> str:
            threads.append(threading.get_native_id())
            return "a.signed.assertion"

    vault = Vault()
    credential = identity.ClientAssertionCredential(**entra.application(), func=vault.sign)
    ask(credential)
    gone = weakref.ref(vault)
    del vault
    gc.collect()
    assert gone() is not None, "the credential keeps it"
    source = weakref.ref(credential)
    del credential
    gc.collect()
    assert gone() is None
    assert source() is None
    if os.path.exists("/proc/self/task"):
        ends = time.monotonic() + 10
        while os.path.exists(f"/proc/self/task/{threads[0]}"):
            assert time.monotonic() < ends, "its thread is still there"
            time.sleep(0.01)


# Chains


@FLAVOURS
def test_chain_members_use_their_own_callbacks(module: Any, entra: Entra) -> None:
    """Each custom credential of a chain has its index, also one inside a member."""
    unavailable = type("CredentialUnavailableError", (Exception,), {})

    def nowhere() -> Any:
        raise unavailable("not here")

    first, second = (
        module.ClientAssertionCredential(**entra.application(), func=func)
        for func in (nowhere, lambda: "second.signed.assertion")
    )
    chain = module.ChainedTokenCredential(
        nowhere, module.ChainedTokenCredential(first, module.EnvironmentCredential()), second, AsyncRecording()
    )
    numbers: list[int] = []

    def collect(document: Any) -> None:
        if isinstance(document, dict):
            if document.get("type") == "custom_credential":
                numbers.append(document["index"])
            for part in document.values():
                collect(part)
        elif isinstance(document, list):
            for part in document:
                collect(part)

    collect(chain._pgentra_source.handle.document)
    assert numbers == [0, 1, 2, 3]
    assert len(chain._pgentra_source.customs) == 4
    ask(chain)
    assert [form["client_assertion"] for form in entra.forms] == ["second.signed.assertion"]


def test_chain_with_different_connections_is_refused(entra: Entra) -> None:
    """A chain has one set of connections; a member's settings are not ignored."""
    members = [
        identity.ClientSecretCredential("t", "c", "s", **options)
        for options in ({"connection_verify": "one.pem"}, {"connection_verify": "other.pem"}, {})
    ]
    with pytest.raises(CredentialValueError, match="different"):
        identity.ChainedTokenCredential(*members)
    source = identity.ChainedTokenCredential(members[2], members[0])._pgentra_source
    assert (source.handle.variables, source.handle.ca_file) == ({}, "one.pem")


# Users


def certificate_bytes() -> bytes:
    return (CERTIFICATES / "app.pem").read_bytes()


PROOFS: dict[str, Callable[[], dict[str, Any]]] = {
    "secret": lambda: {"client_secret": "canary-secret"},
    "pem": lambda: {"client_certificate": certificate_bytes()},
    "pfx": lambda: {"client_certificate": (CERTIFICATES / "app.pfx").read_bytes(), "password": PASSWORD},
    "assertion": lambda: {"client_assertion_func": assert_for_all},
    "awaitable": lambda: {"client_assertion_func": assert_for_all_async},
}


def assert_for_all() -> str:
    return "a.signed.assertion"


async def assert_for_all_async() -> str:
    return "a.signed.assertion"


@pytest.mark.parametrize("proof", PROOFS)
def test_on_behalf_of_users_have_separate_tokens(proof: str, entra: Entra) -> None:
    """Makes a credential for each call, as a service does."""
    application = entra.application()
    users = [f"user-{number}" for number in range(10)]

    def role(user: str) -> str:
        credential = identity.OnBehalfOfCredential(**application, user_assertion=user, **PROOFS[proof]())
        return pgentra.get_entra_conninfo(credential)["user"]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(role, users * 4)) == users * 4
    assert sorted(form["assertion"] for form in entra.forms) == users
    assert {form["requested_token_use"] for form in entra.forms} == {"on_behalf_of"}


def test_on_behalf_of_users_have_separate_tokens_on_an_event_loop(entra: Entra) -> None:
    application = entra.application()
    users = [f"user-{number}" for number in range(10)]

    async def role(user: str, proof: str) -> str:
        credential = aio.OnBehalfOfCredential(**application, user_assertion=user, **PROOFS[proof]())
        return (await pgentra.get_entra_conninfo_async(credential))["user"]

    async def all_of_them(proof: str) -> list[str]:
        return await asyncio.gather(*(role(user, proof) for user in users * 4))

    for proof in ("secret", "awaitable"):
        entra.forms.clear()
        assert asyncio.run(all_of_them(proof)) == users * 4
        assert sorted(form["assertion"] for form in entra.forms) == users


def test_on_behalf_of_users_of_two_applications_have_separate_tokens(entra: Entra) -> None:
    tokens = {
        ask(identity.OnBehalfOfCredential(**entra.application(), user_assertion="anna", client_secret="s"))
        for _ in range(2)
    }
    assert len(tokens) == len(entra.forms) == 2


def test_on_behalf_of_many_users_share_one_thread(entra: Entra) -> None:
    """300 of them, whose credentials come and go; the callback is one, and so is its thread."""
    application, asked_on = entra.application(), set()

    def func() -> str:
        asked_on.add(threading.get_native_id())
        return "a.signed.assertion"

    def one(number: int) -> str:
        credential = identity.OnBehalfOfCredential(
            **application, user_assertion=f"user-{number}", client_assertion_func=func
        )
        return pgentra.get_entra_conninfo(credential)["user"]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(one, range(300))) == [f"user-{number}" for number in range(300)]
    assert len(asked_on) == 1
    assert len(entra.forms) == 300


# Secrets


def everything_in(thing: Any, levels: int = 3) -> str:
    """Returns what a log of an object shows: its `repr` and `str`, and those of its attributes."""
    text = f"{thing!r} {thing!s} {thing}"
    if levels and hasattr(thing, "__dict__"):
        text += " ".join(everything_in(value, levels - 1) for value in vars(thing).values())
    return text


@FLAVOURS
def test_secrets_are_not_shown(module: Any, entra: Entra, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    app, secret = entra.application(), "canary-secret"
    key = certificate_bytes()
    some_of_the_key = key.decode().splitlines()[3]
    credentials = [
        module.ClientSecretCredential(**app, client_secret=secret),
        module.ClientCertificateCredential(**app, certificate_data=key),
        module.ClientCertificateCredential(**app, certificate_path=CERTIFICATES / "app.pfx", password=PASSWORD),
        module.OnBehalfOfCredential(**app, user_assertion="canary-user", client_secret=secret),
        module.OnBehalfOfCredential(**app, user_assertion="canary-user", client_certificate=key),
        module.AzurePipelinesCredential(**app, service_connection_id="s", system_access_token="canary-access"),
        module.StaticTokenCredential("canary-token"),
    ]
    chain = module.ChainedTokenCredential(*credentials)
    provider = pgentra.TokenProvider(chain)
    for thing in (*credentials, chain, provider):
        shown = everything_in(thing)
        assert "canary" not in shown
        assert some_of_the_key not in shown
    for credential in credentials[:5]:
        ask(credential)
    assert "canary" not in caplog.text + json.dumps(pgentra.stats())
    assert some_of_the_key not in caplog.text


def test_certificate_data_is_read(entra: Entra) -> None:
    """Any object with bytes is accepted; text is refused by the option's name, without its value."""
    key = certificate_bytes()
    for data in (key, bytearray(key), memoryview(key)):
        ask(identity.ClientCertificateCredential(**entra.application(), certificate_data=data))  # type: ignore[arg-type]
    assert len(entra.forms) == 3
    with pytest.raises(CredentialValueError, match="option `certificate_data`: expected the bytes") as caught:
        identity.ClientCertificateCredential(
            **entra.application(),
            certificate_data=key.decode(),  # type: ignore[arg-type]
        )
    assert "PRIVATE" not in str(caught.value)
    for bad in (b"canary-nonsense", b"", b"\x30\x82\x01", key[:400]):
        with pytest.raises(PgEntraError) as refused:
            ask(identity.ClientCertificateCredential(**entra.application(), certificate_data=bad))
        assert refused.value.code == "invalid_configuration"
        assert "canary" not in str(refused.value)


def test_certificate_file_is_read_again_after_a_change(entra: Entra, tmp_path: Path) -> None:
    file = tmp_path / "app.pem"
    file.write_bytes(certificate_bytes())
    application = entra.application()
    credential = identity.ClientCertificateCredential(**application, certificate_path=file)
    credential.get_token(SCOPE)
    (tmp_path / "new").write_bytes((CERTIFICATES / "large.pem").read_bytes())
    os.replace(tmp_path / "new", file)
    credential.get_token("https://vault.azure.net/.default")
    headers = [form["client_assertion"].partition(".")[0] for form in entra.forms]
    assert len(set(headers)) == 2
