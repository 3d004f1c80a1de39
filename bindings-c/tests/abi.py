"""libpgentra through ctypes, for the tests in Python."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import CDLL, Structure, byref, c_bool, c_char_p, c_int32, c_int64, c_size_t, c_void_p, cast, sizeof
from pathlib import Path
from typing import Any

from conftest import TARGET, TESTING

from support import language_program


def load(folder: Path) -> CDLL:
    library = CDLL(str(folder / "libpgentra.so"))
    for name in ("message", "code", "detail_json"):
        getattr(library, f"pgentra_error_{name}").restype = c_char_p
    return library


LIBRARY = load(TARGET)
LIBRARY.pgentra_login_error_cause.restype = c_char_p
LIBRARY.pgentra_login_error_is_retriable.restype = c_bool

#: The default time limit.
LIMIT = c_int32(-1)


class TokenRequest(Structure):
    """pgentra_token_request."""

    _fields_ = [
        ("size", c_size_t),
        ("scope", c_char_p),
        ("tenant_id", c_char_p),
        ("claims", c_char_p),
        ("enable_cae", c_bool),
    ]


class Failed(language_program.Failed):
    """An error of the library."""

    def __init__(self, error: c_void_p, library: CDLL = LIBRARY) -> None:
        message, code = library.pgentra_error_message(error).decode(), library.pgentra_error_code(error).decode()
        detail = json.loads(library.pgentra_error_detail_json(error))
        super().__init__({"message": message, "code": code, "detail": detail, "class": ""})
        library.pgentra_error_free(error)


def text(value: str | None) -> c_char_p:
    return c_char_p(None if value is None else value.encode())


def take(output: c_void_p) -> str:
    """Returns a string of the library, which is freed."""
    found = cast(output, c_char_p).value or b""
    LIBRARY.pgentra_string_free(output)
    return found.decode()


def call(function: str, *arguments: Any, owned: bool = True, library: CDLL = LIBRARY) -> str | None:
    """Calls a function with one string as its result."""
    output, error = c_void_p(), c_void_p()
    if getattr(library, f"pgentra_{function}")(*arguments, byref(output), byref(error)):
        raise Failed(error, library)
    found = cast(output, c_char_p).value
    if owned:
        library.pgentra_string_free(output)
    return None if found is None else found.decode()


def run_vector(group: str, case: str, directory: Path) -> str:
    """Runs a case of the vectors in the build with the feature `testing`."""
    arguments = (text(group), text(case), text(str(directory)))
    return call("run_vector", *arguments, library=load(TESTING)) or ""


def read(function: str, *arguments: Any) -> Any:
    return json.loads(call(function, *arguments) or "null")


@contextmanager
def open_provider(config: dict[str, Any], credential: c_void_p | None = None) -> Iterator[c_void_p]:
    """Opens a provider with a configuration, or with an open credential in output of the configuration's."""
    provider, error, document = c_void_p(), c_void_p(), text(json.dumps(config))
    outputs = (byref(provider), byref(error))
    if credential is None:
        failed = LIBRARY.pgentra_provider_open(document, *outputs)
    else:
        failed = LIBRARY.pgentra_provider_open_with(document, credential, *outputs)
    if failed:
        raise Failed(error)
    try:
        yield provider
    finally:
        LIBRARY.pgentra_provider_close(provider)


def login(provider: c_void_p) -> tuple[str, str, str]:
    """Returns user, password, and the user's source."""
    return login_with_expiry(provider)[:3]


def login_with_expiry(provider: c_void_p) -> tuple[str, str, str, int]:
    """As `login`, and the token's expiry in seconds since 1970."""
    user, password, source, expires_on, error = c_void_p(), c_void_p(), c_char_p(), c_int64(), c_void_p()
    outputs = (byref(user), byref(password), byref(source), byref(expires_on), byref(error))
    if LIBRARY.pgentra_provider_login(provider, LIMIT, *outputs):
        raise Failed(error)
    return take(user), take(password), (source.value or b"").decode(), expires_on.value


@contextmanager
def open_credential(config: dict[str, Any], members: Sequence[c_void_p] = ()) -> Iterator[c_void_p]:
    """Opens the credential of a configuration with its members."""
    credential, error = c_void_p(), c_void_p()
    handles = (c_void_p * len(members))(*(member.value for member in members))
    arguments = (text(json.dumps(config)), handles, c_size_t(len(members)))
    if LIBRARY.pgentra_credential_open(*arguments, byref(credential), byref(error)):
        raise Failed(error)
    try:
        yield credential
    finally:
        LIBRARY.pgentra_credential_close(credential)


def get_token(
    credential: c_void_p, scope: str, tenant_id: str | None = None, claims: str | None = None, enable_cae: bool = False
) -> tuple[str, int]:
    """Returns a token and its expiry, in seconds since 1970."""
    request = TokenRequest(sizeof(TokenRequest), text(scope), text(tenant_id), text(claims), enable_cae)
    token, expires_on, error = c_void_p(), c_int64(), c_void_p()
    outputs = (byref(token), byref(expires_on), byref(error))
    if LIBRARY.pgentra_credential_get_token(credential, byref(request), LIMIT, *outputs):
        raise Failed(error)
    return take(token), expires_on.value
