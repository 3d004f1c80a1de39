"""Every credential, as a document, through the ABI.

The documents are those of Python's classes; the library reads the environment of this process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ctypes import CFUNCTYPE, POINTER, byref, c_int64, c_void_p
from threading import Thread
from typing import Any

import psycopg
import pytest
from abi import LIBRARY, Failed, TokenRequest, get_token, login, open_credential, open_provider, text

import pgentra.identity
from support.emulator import Emulator, Principal
from support.every_credential import EveryCredential, Flavour

CALLBACK = CFUNCTYPE(None, c_void_p, c_void_p, POINTER(TokenRequest))
#: All callbacks: the library may call one after its handle is closed, and does not keep Python objects alive.
_callbacks: list[Any] = []


@contextmanager
def custom_credential(custom: Any) -> Iterator[c_void_p]:
    """Opens a custom credential for a callable of Python. An awaitable one runs on a thread of its own."""
    function = custom._reference()

    def respond(request: int) -> None:
        result = asyncio.run(function()) if custom.is_async else function()
        token, expires_on = (result, 0) if isinstance(result, str) else result
        error = c_void_p()
        arguments = (c_void_p(request), text(token), c_int64(expires_on), c_int64(0))
        if LIBRARY.pgentra_request_respond(*arguments, byref(error)):
            raise Failed(error)

    def request_token(_: object, request: int, wanted: object) -> None:
        if custom.is_async:
            Thread(target=respond, args=(request,)).start()
        else:
            respond(request)

    callback = CALLBACK(request_token)
    _callbacks.append(callback)
    credential, error = c_void_p(), c_void_p()
    if LIBRARY.pgentra_credential_callback(text(custom.name), callback, None, None, byref(credential), byref(error)):
        raise Failed(error)
    try:
        yield credential
    finally:
        LIBRARY.pgentra_credential_close(credential)


class C(Flavour):
    def __init__(self, emulator: Emulator, record_property: Callable[[str, object], None]) -> None:
        super().__init__("C", pgentra.identity, record_property)
        self._server = emulator.server

    def log_in(self, credential: Any, user: str | None) -> tuple[str, int, str]:
        source = credential._pgentra_source
        config = {"credential": source.handle.document, **({} if user is None else {"user": user})}
        with ExitStack() as stack:
            members = [stack.enter_context(custom_credential(custom)) for custom in source.customs]
            opened = stack.enter_context(open_credential(config, members))
            token, expires_on = get_token(opened, pgentra.AZURE_DB_FOR_POSTGRES_SCOPE)
            provider = stack.enter_context(open_provider(config, opened if members else None))
            role, password, _ = login(provider)
        server = self._server
        with psycopg.connect(
            host=server.host,
            port=server.port,
            dbname=server.database,
            user=role,
            password=password,
            sslmode="verify-full",
        ) as connection:
            row = connection.execute("select current_user").fetchone()
        assert row is not None
        return token, expires_on, row[0]


@pytest.fixture
def emulator(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with emulator.clean(monkeypatch) as clean:
        yield clean


@pytest.fixture
def identity(emulator: Emulator) -> Principal:
    return emulator.add_principal("user_assigned")


@pytest.fixture
def flavour(emulator: Emulator, record_property: Callable[[str, object], None]) -> Flavour:
    return C(emulator, record_property)


class TestCredentials(EveryCredential):
    pass
