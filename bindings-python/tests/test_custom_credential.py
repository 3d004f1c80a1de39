"""Custom credentials: accepted objects and results, shared tokens, errors."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import os
import pickle
import sys
import threading
import time
import weakref
from datetime import datetime, timedelta, timezone
from typing import Any
from unittest.mock import MagicMock

import pytest
from recording import AccessToken, AsyncRecording, Recording, make_token

import pgentra
from pgentra.errors import AuthenticationError, CredentialUnavailableError, CredentialValueError, PgEntraError
from pgentra.identity import ChainedTokenCredential, StaticTokenCredential

DATABASE, MANAGEMENT = pgentra.AZURE_DB_FOR_POSTGRES_SCOPE, pgentra.AZURE_MANAGEMENT_SCOPE


def in_an_hour() -> int:
    return int(time.time() + 3600)


class Returning:
    def __init__(self, result: object) -> None:
        self.result = result

    def get_token(self, *scopes: str, **options: Any) -> Any:
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


class AsyncReturning(Returning):
    async def get_token(self, *scopes: str, **options: Any) -> Any:
        return super().get_token(*scopes, **options)


def asked(credential: Any, how: str) -> str:
    """Returns a token by the blocking or the awaited function."""
    if how == "sync":
        return pgentra.get_entra_token(credential)
    return asyncio.run(pgentra.get_entra_token_async(credential))


# Accepted credential arguments


def _function() -> tuple[str, int]:
    return make_token(), in_an_hour()


async def _coroutine_function() -> tuple[str, int]:
    return make_token(), in_an_hour()


class _Callable:
    def __call__(self) -> tuple[str, int]:
        return make_token(), in_an_hour()


class _AsyncCallable:
    async def __call__(self) -> tuple[str, int]:
        return make_token(), in_an_hour()


class _Slots:
    """Cannot be referenced weakly."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        self.calls += 1
        return AccessToken(make_token(), in_an_hour())


def _decorated(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*arguments: Any) -> Any:
        return function(*arguments)

    return wrapper


SHAPES: dict[str, Any] = {
    "a function": lambda: _function,
    "a lambda": lambda: lambda: (make_token(), in_an_hour()),
    "a coroutine function": lambda: _coroutine_function,
    "a function that returns an awaitable": lambda: lambda: _coroutine_function(),
    "a decorated coroutine function": lambda: _decorated(_coroutine_function),
    "a partial": lambda: functools.partial(lambda lifetime: (make_token(), time.time() + lifetime), 3600),
    "a callable object": _Callable,
    "an awaitable callable object": _AsyncCallable,
    "a bound method": lambda: _Slots().get_token,
    "an object": Recording,
    "an awaitable object": AsyncRecording,
    "an object without weak references": _Slots,
    "a mock": lambda: MagicMock(get_token=MagicMock(return_value=AccessToken(make_token(), in_an_hour()))),
}


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("shape", SHAPES)
def test_credential_argument_accepts(shape: str, how: str) -> None:
    credential = SHAPES[shape]()
    first = asked(credential, how)
    assert first.count(".") == 2
    assert asked(credential, how) == first, "cached"


RESULTS: dict[str, Any] = {
    "a pair": lambda token: (token, in_an_hour()),
    "a list": lambda token: [token, in_an_hour()],
    "an AccessToken": lambda token: AccessToken(token, in_an_hour()),
    "a text, whose expiry is its own": lambda token: token,
    "no expiry, so its own": lambda token: (token, None),
    "a float": lambda token: (token, time.time() + 3600.5),
    "a datetime": lambda token: (token, datetime.now(timezone.utc) + timedelta(hours=1)),
    "a text's subclass": lambda token: (type("Text", (str,), {})(token), in_an_hour()),
    "an expiry beyond all clocks": lambda token: (token, 10**30),
}


@pytest.mark.parametrize("result", RESULTS)
def test_custom_credential_result_is_accepted(result: str) -> None:
    token = make_token()
    answered = pgentra.get_entra_token(Returning(RESULTS[result](token)))
    assert answered == token
    assert type(answered) is str


BAD = {
    "None": None,
    "bytes": b"token",
    "a number": 7,
    "a mapping": {"token": "x"},
    "three things": ("a", "b", "c"),
    "a token that is none": (None, 1),
    "a token of bytes": (b"token", 1),
    "an empty token": ("", 1),
    "an empty text": "",
    "a token with a line break": ("to\nken", 1),
    "a token with surrogates": ("\ud800", 1),
    "no expiry anywhere": ("opaque", None),
    "an opaque text": "opaque",
    "an expiry that is a text": (make_token(), "tomorrow"),
    "an expiry that is no number": (make_token(), float("nan")),
    "an expiry that is a flag": (make_token(), True),
    "a mock": MagicMock(),
}


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("result", BAD)
def test_custom_credential_result_is_rejected(result: str, how: str) -> None:
    credential = Returning(BAD[result]) if how == "sync" else AsyncReturning(BAD[result])
    with pytest.raises(CredentialValueError) as caught:
        asked(credential, how)
    assert caught.value.code == "credential_value"
    assert "Returning: the credential returned" in str(caught.value)
    assert "opaque" not in str(caught.value)


@pytest.mark.parametrize("how", ["sync", "async"])
def test_custom_credential_that_returns_an_expired_token(how: str) -> None:
    result = (make_token(lifetime=-10), int(time.time() - 10))
    with pytest.raises(AuthenticationError) as caught:
        asked(Returning(result) if how == "sync" else AsyncReturning(result), how)
    assert caught.value.code == "dead_on_arrival"


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


RAISED = [
    ValueError("canary"),
    SystemExit(3),
    GeneratorExit(),
    Unprintable(),
    BaseException("canary"),
    StopIteration(),
]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_custom_credential_error_is_the_cause(error: BaseException) -> None:
    with pytest.raises(AuthenticationError) as caught:
        pgentra.get_entra_token(Returning(error))
    assert caught.value.__cause__ is error
    assert caught.value.code == "custom_credential"
    assert str(caught.value).startswith(f"Returning: the credential raised {type(error).__name__}")
    # The failure is remembered: each caller gets its own error object with the same cause.
    with pytest.raises(AuthenticationError) as again:
        pgentra.get_entra_token(Returning(error))
    assert again.value is not caught.value


@pytest.mark.parametrize("error", [ValueError("canary"), SystemExit(3), BaseException("canary")])
def test_awaitable_credential_error_is_the_cause(error: BaseException) -> None:
    with pytest.raises(AuthenticationError) as caught:
        asyncio.run(pgentra.get_entra_token_async(AsyncReturning(error)))
    assert caught.value.__cause__ is error


def test_custom_credential_error_shows_its_number_and_no_token() -> None:
    secret = make_token()
    with pytest.raises(AuthenticationError) as caught:
        pgentra.get_entra_token(Returning(RuntimeError(f"AADSTS7000215: Bad secret. {secret} Trace ID: x")))
    assert caught.value.aadsts == 7000215
    assert secret not in str(caught.value) + repr(caught.value) + repr(caught.value.detail)


@pytest.mark.parametrize("given", ["a text", 7, b"x", Recording, object(), [Recording()]], ids=repr)
def test_credential_argument_of_the_wrong_type_is_refused(given: Any) -> None:
    with pytest.raises(CredentialValueError, match=r"^credential is required") as caught:
        pgentra.get_entra_token(given)
    assert isinstance(caught.value, ValueError)


def test_credential_argument_that_is_text_gets_advice() -> None:
    with pytest.raises(CredentialValueError, match=r"got str.*StaticTokenCredential\(token\).*default chain"):
        pgentra.get_entra_token("default")  # type: ignore[arg-type]


# Signatures and results of callables


def _by_keyword(*, scope: str) -> tuple[str, int]:
    return make_token(scope=scope), in_an_hour()


def _of_tenant(tenant: str, scope: str) -> tuple[str, int]:
    return make_token(tenant=tenant, scope=scope), in_an_hour()


async def _awaited_of_tenant(tenant: str, scope: str) -> tuple[str, int]:
    return _of_tenant(tenant, scope)


class Client:
    def acquire(self, tenant: str, *, scope: str) -> tuple[str, int]:
        return _of_tenant(tenant, scope)


@pytest.mark.parametrize(
    "credential",
    [
        _by_keyword,
        functools.partial(_of_tenant, "t1"),
        functools.partial(_of_tenant, tenant="t1"),
        functools.partial(_awaited_of_tenant, "t1"),
        functools.partial(Client().acquire, "t1"),
    ],
    ids=["keyword-only", "partial", "partial by keyword", "awaitable partial", "partial method"],
)
@pytest.mark.parametrize("how", ["sync", "async"])
def test_callable_receives_the_scope_that_it_requires(credential: Any, how: str) -> None:
    assert pgentra.decode_jwt(asked(credential, how))["scope"] == DATABASE


@pytest.mark.parametrize(
    "credential",
    [
        functools.partial(_of_tenant, "t1", "own"),
        functools.partial(_of_tenant, "t1", scope="own"),
        functools.partial(_by_keyword, scope="own"),
    ],
)
def test_callable_with_a_default_scope_keeps_it(credential: Any) -> None:
    assert pgentra.decode_jwt(pgentra.get_entra_token(credential))["scope"] == "own"


def test_callable_that_requires_more_arguments_fails_with_pythons_error() -> None:
    with pytest.raises(AuthenticationError, match=r"raised TypeError: .*'tenant' and 'scope'"):
        pgentra.get_entra_token(_of_tenant)


LIFETIMES: list[tuple[str, Any]] = [
    ("a pair", lambda token: (token, 1800)),
    ("MSAL", lambda token: {"access_token": token, "expires_in": 1800, "token_type": "Bearer", "refresh_in": 900}),
    ("text", lambda token: {"access_token": token, "expires_in": "1800"}),
    ("moment", lambda token: {"access_token": token, "expires_on": str(int(time.time()) + 1800)}),
]


@pytest.mark.parametrize("shape", [shape for _, shape in LIFETIMES], ids=[name for name, _ in LIFETIMES])
def test_callable_may_return_a_token_response(shape: Any) -> None:
    token = make_token(lifetime=7200)

    def credential() -> Any:
        return shape(token)

    provider = pgentra.TokenProvider(credential)
    assert provider.get() == token
    assert 1780 < provider.stats()["expires_in"] <= 1800


def test_callable_that_returns_a_past_expiry_has_an_expired_token() -> None:
    for moment in (0, -1, int(time.time()) - 10):
        with pytest.raises(PgEntraError):
            pgentra.get_entra_token(lambda moment=moment: ("token", moment), timeout=1)


def test_callable_error_response_of_msal_is_the_cause() -> None:
    def credential() -> Any:
        return {"error": "invalid_client", "error_description": "AADSTS7000215: Bad secret. Trace ID: x", "claims": ""}

    with pytest.raises(AuthenticationError, match=r"Bad secret") as caught:
        pgentra.get_entra_token(credential)
    assert caught.value.aadsts == 7000215


def test_callable_response_without_a_token_is_rejected_without_its_content() -> None:
    for response in ({"secret": "canary"}, None):
        with pytest.raises(CredentialValueError, match=rf"returned {'dict' if response else 'None'}, where") as caught:
            pgentra.get_entra_token(lambda response=response: response)
        assert "canary" not in str(caught.value)


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("end", ["\n", "\r\n", " \n"])
def test_callable_token_loses_its_line_end(end: str, how: str) -> None:
    token = make_token()
    assert asked(lambda: (token + end, in_an_hour()), how) == token
    assert asked(Returning(AccessToken(token + end, in_an_hour())), how) == token
    assert asked(StaticTokenCredential(token + end), how) == token


@pytest.mark.parametrize("how", ["sync", "async"])
def test_callable_that_returns_a_naive_datetime_is_rejected(how: str) -> None:
    naive = datetime.now() + timedelta(hours=1)
    for result in ((make_token(), naive), AccessToken(make_token(), naive)):  # type: ignore[arg-type]
        with pytest.raises(CredentialValueError, match=r"expiry without a time zone.*tzinfo"):
            asked(Returning(result), how)


# Calls of a credential


def test_callers_at_once_share_one_fetch() -> None:
    credential = Recording(lambda: time.sleep(0.2))
    tokens = set()
    threads = [threading.Thread(target=lambda: tokens.add(pgentra.get_entra_token(credential))) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == len(credential.scopes) == 1


def test_clients_with_other_options_share_the_objects_token() -> None:
    credential = Recording()
    tokens = {
        pgentra.get_entra_token(credential),
        pgentra.get_entra_token(credential, fallback_username="x"),
        pgentra.TokenProvider(credential, timeout=5).get(),
        ChainedTokenCredential(credential).get_token(DATABASE).token,
    }
    assert len(tokens) == 2, "a chain is a credential of its own"
    assert credential.scopes == [DATABASE] * 2


def test_client_is_reused_for_the_same_arguments() -> None:
    from pgentra._token_client import client_for

    credential = Recording()
    assert client_for(credential, {}) is client_for(credential, {})
    assert client_for(credential.get_token, {"timeout": 5}) is client_for(credential.get_token, {"timeout": 5})
    assert client_for(credential, {}) is not client_for(credential, {"timeout": 5})
    assert client_for(None, {}) is client_for(None, {})


def test_client_is_not_reused_for_another_object_at_the_same_address() -> None:
    addresses = []
    for number in range(20):
        credential = Returning((make_token(upn=f"{number}@contoso.com"), in_an_hour()))
        for _ in range(2):
            assert pgentra.get_entra_conninfo(credential)["user"] == f"{number}@contoso.com"
        addresses.append(id(credential))
        del credential
    assert len(set(addresses)) < len(addresses), "none came to lie where another one was"


def test_bound_method_is_identified_by_object_and_function() -> None:
    credential = Recording()
    assert pgentra.get_entra_token(credential.get_token) == pgentra.get_entra_token(credential.get_token)
    assert len(credential.scopes) == 1


def test_synchronous_credential_is_called_on_its_own_thread() -> None:
    credential = Recording(lifetime=3600)
    for number in range(5):
        pgentra.get_entra_token(credential, scope=f"https://{number}.example/.default")
    assert len(credential.threads) == 1
    assert threading.get_native_id() not in credential.threads


def test_synchronous_credential_is_called_once_at_a_time() -> None:
    inside = []

    def work() -> None:
        inside.append(1)
        assert len(inside) == 1
        time.sleep(0.02)
        inside.pop()

    credential = Recording(work)
    scopes = [f"https://{number}.example/.default" for number in range(8)]
    threads = [threading.Thread(target=pgentra.get_entra_token, args=(credential, scope)) for scope in scopes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(credential.scopes) == scopes


def test_synchronous_credential_is_called_in_the_callers_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen = []
    credential = Recording(lambda: seen.append(variable.get()))
    context = contextvars.copy_context()
    context.run(variable.set, "mine")
    context.run(pgentra.get_entra_token, credential)
    assert seen == ["mine"]
    assert context[variable] == "mine"


def test_cache_disabled_calls_the_credential_in_each_callers_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    credential = lambda: make_token(upn=variable.get())  # noqa: E731

    async def one(name: str) -> str:
        variable.set(name)
        return (await pgentra.get_entra_conninfo_async(credential, cache=False))["user"]

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(one(f"user{number}") for number in range(20)))

    assert asyncio.run(all_of_them()) == [f"user{number}" for number in range(20)]


def test_cache_entry_is_freed_with_the_object() -> None:
    credential = Recording()
    pgentra.get_entra_conninfo(credential)
    assert "Recording" in {cell["credential"] for cell in pgentra.stats()}
    gone = weakref.ref(credential)
    (thread,) = credential.threads
    del credential
    gc.collect()
    assert gone() is None
    if sys.platform == "linux":
        ends = time.monotonic() + 10
        while os.path.exists(f"/proc/self/task/{thread}"):
            assert time.monotonic() < ends, "its thread is still there"
            time.sleep(0.01)


@pytest.mark.parametrize("how", ["sync", "async"])
def test_custom_credential_in_its_callers_context_is_freed(how: str) -> None:
    """Flask's `g` is such a context variable."""
    variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable")

    def one_request() -> weakref.ref[Recording]:
        credential = Recording() if how == "sync" else AsyncRecording()
        variable.set({"credential": credential})
        asked(credential, how)
        return weakref.ref(credential)

    requests = [contextvars.copy_context().run(one_request) for _ in range(100)]
    gc.collect()
    assert sum(request() is not None for request in requests) <= 40


def test_custom_credentials_without_weak_references_on_many_threads() -> None:
    failed = []

    def come() -> None:
        for _ in range(100):
            try:
                pgentra.get_entra_token(_Slots())
            except BaseException as error:
                failed.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=come) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failed == []


def test_custom_credentials_without_weak_references_are_kept_up_to_a_limit() -> None:
    gone = []

    class Counted(_Slots):
        __slots__ = ()

        def __del__(self) -> None:
            gone.append(1)

    for _ in range(100):
        pgentra.get_entra_conninfo(Counted(), user="anna")
    ends = time.monotonic() + 10
    while len(gone) < 60:
        assert time.monotonic() < ends, f"only {len(gone)} of 100 are gone"
        time.sleep(0.01)


def test_provider_keeps_its_credential_alive() -> None:
    provider = pgentra.TokenProvider(Recording())
    gc.collect()
    assert provider.conninfo()["user"] == "anna@contoso.com"


def test_custom_credential_dropped_during_its_fetch_still_responds() -> None:
    assert pgentra.get_entra_token(Recording(gc.collect)).count(".") == 2


def test_get_token_info_is_called_if_the_class_has_it() -> None:
    class Info:
        def get_token(self, *scopes: str) -> None:
            raise AssertionError

        def get_token_info(self, *scopes: str, options: Any = None) -> Any:
            assert scopes == (DATABASE,)
            return MagicMock(token=make_token(), expires_on=in_an_hour(), refresh_on=int(time.time() + 1800))

    credential = Info()
    provider = pgentra.TokenProvider(credential)
    provider.get()
    # `refresh_on` is used: half of the lifetime, less the random part.
    assert 1430 < provider.stats()["refresh_due_in"] <= 1801


def test_callable_may_take_the_scope() -> None:
    scopes = []

    def credential(scope: str) -> str:
        scopes.append(scope)
        return make_token(upn="x")

    pgentra.get_entra_token(credential)
    assert scopes == [DATABASE]


def test_host_selects_the_cloud_at_every_entry_point() -> None:
    host = "shop.postgres.database.chinacloudapi.cn"
    for ask in (
        lambda credential: pgentra.get_entra_token(credential, host=host),
        lambda credential: pgentra.get_entra_conninfo(credential, host=host),
        lambda credential: asyncio.run(pgentra.get_entra_token_async(credential, host=host)),
        lambda credential: asyncio.run(pgentra.get_entra_conninfo_async(credential, host=host)),
        lambda credential: pgentra.TokenProvider(credential, host=host).get(),
    ):
        credential = Recording()
        ask(credential)
        assert credential.scopes == ["https://ossrdbms-aad.database.chinacloudapi.cn/.default"]


def test_management_token_provides_the_role() -> None:
    class Identity(Recording):
        def get_token(self, *scopes: str, **options: Any) -> AccessToken:
            self.claims = {"xms_mirid": "/subscriptions/s/resourcegroups/r/providers/Microsoft.App/containerApps/shop"}
            if scopes[0] == DATABASE:
                self.claims = {"idtyp": "app"}
            return super().get_token(*scopes, **options)

    credential = Identity()
    assert pgentra.get_entra_conninfo(credential)["user"] == "shop"
    assert credential.scopes == [DATABASE, MANAGEMENT]
    with pytest.raises(PgEntraError) as caught:
        pgentra.get_entra_conninfo(Recording(idtyp="app", oid="nobody-else"), management_lookup=False)
    assert caught.value.code == "username_extraction"
    assert pgentra.get_entra_conninfo(Recording(oid="another"), fallback_username="me")["user"] == "me"


def test_callable_without_a_scope_is_called_for_one_token_only() -> None:
    calls = []

    def credential() -> str:
        calls.append(1)
        return make_token(oid="yet-another")

    with pytest.raises(PgEntraError) as caught:
        pgentra.get_entra_conninfo(credential)
    assert caught.value.code == "username_extraction"
    assert len(calls) == 1


def test_chain_skips_only_members_that_are_not_configured() -> None:
    unavailable = type("CredentialUnavailableError", (Exception,), {})
    answers = Recording()
    chain = ChainedTokenCredential(Returning(unavailable("not here")), answers)
    assert pgentra.get_entra_conninfo(chain)["user"] == "anna@contoso.com"
    with pytest.raises(AuthenticationError) as failed:
        pgentra.get_entra_token(ChainedTokenCredential(Returning(ValueError("broken")), answers))
    assert isinstance(failed.value.__cause__, ValueError)
    with pytest.raises(CredentialUnavailableError) as caught:
        pgentra.get_entra_token(ChainedTokenCredential(Returning(unavailable("not here"))))
    assert [attempt["code"] for attempt in caught.value.detail["attempts"]] == ["credential_unavailable"]
    assert "not here" in str(caught.value)


def test_chain_of_synchronous_and_awaitable_members() -> None:
    unavailable = type("CredentialUnavailableError", (Exception,), {})
    for how in ("sync", "async"):
        chain = ChainedTokenCredential(Returning(unavailable()), ChainedTokenCredential(AsyncRecording(), Recording()))
        assert asked(chain, how).count(".") == 2


def test_custom_credential_that_hangs_is_called_once() -> None:
    free = threading.Event()
    credential = Recording(lambda: free.wait(20))
    began = time.monotonic()
    with pytest.raises(AuthenticationError) as caught:
        pgentra.get_entra_token(credential, timeout=0.3)
    assert caught.value.code == "timeout"
    assert 0.25 < time.monotonic() - began < 5
    assert credential.scopes == []
    free.set()
    assert pgentra.get_entra_token(credential).count(".") == 2
    assert len(credential.scopes) == 1


def test_errors_can_be_pickled() -> None:
    with pytest.raises(AuthenticationError) as caught:
        pgentra.get_entra_token(Returning(ValueError("AADSTS50076: act")))
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is type(caught.value)
    assert (str(copy), copy.kind, copy.code, copy.aadsts, copy.detail) == (
        str(caught.value),
        3,
        "interaction_required",
        50076,
        caught.value.detail,
    )


def test_invalidate_returns_whether_a_newer_token_is_available() -> None:
    credential = Recording(lifetime=3600)
    provider = pgentra.TokenProvider(credential)
    token = provider.get()
    assert provider.invalidate("an older one"), "there is a newer one already"
    assert not provider.invalidate(token), "too young to be refused for its age"
    assert not provider.invalidate(), "the same one"
    assert len(credential.scopes) == 1
    assert provider.get() == token
    assert asyncio.run(provider.invalidate_async(token)) is False
    assert provider.stats()["credential"] == "Recording"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"scoop": "x"}, "scoop"),
        ({"mode": "eager"}, "mode"),
        ({"timeout": "soon"}, "timeout"),
        ({"cache": "yes"}, "cache"),
        ({"scope": ["x"]}, "scope"),
        ({"scope": "\ud800"}, "scope"),
        ({"ca_file": object()}, "ca_file"),
        ({"fallback_username": b"x"}, "fallback_username"),
        ({"timeout": 10**400}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
    ],
)
def test_options_are_refused_by_name(options: dict[str, Any], named: str) -> None:
    for entry_point in (pgentra.get_entra_token, pgentra.TokenProvider):
        with pytest.raises(CredentialValueError, match=f"option `{named}`") as caught:
            entry_point(Recording(), **options)
        assert caught.value.code == "invalid_configuration"


@pytest.mark.parametrize(("right", "wrong"), [({"cache": True}, {"cache": 1}), ({"timeout": 1}, {"timeout": True})])
def test_option_that_equals_an_earlier_one_is_refused_for_its_type(
    right: dict[str, Any], wrong: dict[str, Any]
) -> None:
    credential = Recording()
    pgentra.get_entra_token(credential, **right)
    with pytest.raises(CredentialValueError, match=f"option `{next(iter(wrong))}`"):
        pgentra.get_entra_token(credential, **wrong)
