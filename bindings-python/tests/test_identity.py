"""`pgentra.identity`: arguments as the Azure SDK spells them, and `get_token` for any of its clients."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pathlib
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from recording import VECTORS, AsyncRecording, Recording, TokenService, make_token

import pgentra
from pgentra import identity
from pgentra.errors import AuthenticationError, CredentialUnavailableError, CredentialValueError, PgEntraError
from pgentra.identity import aio

SCOPE = pgentra.AZURE_DB_FOR_POSTGRES_SCOPE
OPTIONS: list[dict[str, Any]] = json.loads((VECTORS / "options-python.json").read_text())["cases"]


@pytest.mark.parametrize("module", [identity, aio], ids=["sync", "aio"])
@pytest.mark.parametrize("case", OPTIONS, ids=lambda case: f"{case['class']}-{'-'.join(case['keywords'])}"[:80])
def test_credential_arguments(case: dict[str, Any], module: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pgentra")
    make = getattr(module, case["class"])
    if "refused" in case:
        with pytest.raises(CredentialValueError, match=f"option `{case['refused']}`") as caught:
            make(*case.get("arguments", []), **case["keywords"])
        assert "canary-secret" not in str(caught.value) + repr(caught.value.detail)
        return
    credential = make(*case.get("arguments", []), **case["keywords"])
    source = credential._pgentra_source
    assert source.handle.document == case["document"]
    assert source.handle.variables == case.get("variables", {})
    assert source.handle.ca_file == case.get("ca_file")
    told = [record.getMessage() for record in caplog.records if "without effect" in record.getMessage()]
    ignored = case.get("ignored")
    assert told == ([f"{case['class']}: options without effect: {', '.join(ignored)}"] if ignored else [])
    assert "canary-secret" not in repr(credential) + str(vars(credential)) + caplog.text


def test_identity_modules_have_the_same_credentials() -> None:
    assert identity.__all__ == aio.__all__


@pytest.mark.parametrize("module", [identity, aio], ids=["sync", "aio"])
def test_help_documents_each_credential(module: Any) -> None:
    for name in module.__all__:
        assert getattr(module, name).__doc__


def test_path_argument_may_be_a_path_object(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "token"
    with pytest.raises(CredentialUnavailableError, match="token"):
        identity.WorkloadIdentityCredential(tenant_id="t", client_id="c", token_file_path=file).get_token(SCOPE)


def test_get_token_and_get_token_info(service: TokenService, client_id: str) -> None:
    credential = identity.ManagedIdentityCredential(client_id=client_id)
    with credential as entered:
        assert entered is credential
        token = credential.get_token(SCOPE, enable_cae=False, tracing_options={}, anything="else")
    assert token.token == token[0]
    assert token.expires_on == token[1]
    assert 3500 < token.expires_on - time.time() <= 3601
    assert pickle.loads(pickle.dumps(token)) == token
    info = credential.get_token_info(SCOPE, options={"tenant_id": None, "unknown": 1})
    assert (info.token, info.expires_on, info.token_type) == (*token, "Bearer")
    assert info.refresh_on is not None
    assert 0.6 < (info.refresh_on - time.time()) / 3600 < 0.81
    assert token.token not in repr(token) + repr(info) + repr(credential)
    credential.close()

    async def main() -> None:
        async with aio.ManagedIdentityCredential(client_id=client_id) as twin:
            assert await twin.get_token(SCOPE) == token
            assert (await twin.get_token_info(SCOPE)).token == token.token

    asyncio.run(main())
    asyncio.run(main())
    assert pgentra.get_entra_token(aio.ManagedIdentityCredential(client_id=client_id)) == token.token
    assert pgentra.get_entra_token(identity.ManagedIdentityCredential(client_id=client_id)) == token.token
    assert len(service.requests) == 1, "equal settings share one token"
    assert service.requests[0]["client_id"] == client_id


@pytest.mark.parametrize("module", [identity, aio], ids=["sync", "aio"])
def test_get_token_time_limit(module: Any, service: TokenService, client_id: str) -> None:
    service.delay = 5
    asked = module.ManagedIdentityCredential(client_id=client_id)

    async def get() -> None:
        answer = asked.get_token(SCOPE, timeout=0.2)
        await answer if module is aio else None

    began = time.monotonic()
    with pytest.raises(AuthenticationError, match=r"0\.2 s") as caught:
        asyncio.run(get())
    assert caught.value.code == "timeout"
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("scopes", [(), ("a", "b"), ("",), (b"x",), (None,)], ids=repr)
def test_get_token_requires_exactly_one_scope(scopes: Any) -> None:
    with pytest.raises(PgEntraError, match="exactly one scope"):
        identity.StaticTokenCredential("token").get_token(*scopes)


def test_static_token_is_returned() -> None:
    token = make_token(lifetime=600)
    answer = identity.StaticTokenCredential(token).get_token(SCOPE)
    assert answer.token == token
    assert 590 < answer.expires_on - time.time() <= 600
    assert identity.StaticTokenCredential("opaque", 4_000_000_000).get_token(SCOPE) == ("opaque", 4_000_000_000)


def test_environment_credential_names_the_missing_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    credential = identity.EnvironmentCredential()
    with pytest.raises(CredentialUnavailableError, match="AZURE_TENANT_ID"):
        credential.get_token(SCOPE)
    monkeypatch.setenv("AZURE_TENANT_ID", "tenant")
    monkeypatch.setenv("AZURE_CLIENT_ID", "client")
    with pytest.raises(CredentialUnavailableError, match="AZURE_CLIENT_SECRET"):
        credential.get_token(SCOPE)


def test_default_chain_keeps_its_first_success(service: TokenService) -> None:
    assert identity.DefaultAzureCredential().get_token(SCOPE).token == pgentra.get_entra_token()
    with pytest.raises(CredentialUnavailableError) as caught:
        identity.DefaultAzureCredential(
            exclude_managed_identity_credential=True, exclude_cli_credential=True, exclude_developer_cli_credential=True
        ).get_token(SCOPE)
    assert [attempt["credential"] for attempt in caught.value.detail["attempts"]][:2] == [
        "EnvironmentCredential",
        "WorkloadIdentityCredential",
    ]


def test_chain_with_custom_members() -> None:
    own, member = Recording(), AsyncRecording()
    chain = identity.ChainedTokenCredential(identity.EnvironmentCredential(), own, member)
    token = chain.get_token(SCOPE, claims='{"a":1}', tenant_id="other", enable_cae=True)
    assert token != chain.get_token(SCOPE), "another request has a token of its own"
    assert own.scopes == [SCOPE, SCOPE]
    assert member.scopes == []

    async def main() -> str:
        return (await aio.ChainedTokenCredential(identity.EnvironmentCredential(), member).get_token(SCOPE)).token

    assert asyncio.run(main()).count(".") == 2
    assert member.scopes == [SCOPE]
    with pytest.raises(CredentialValueError, match=r"^credential is required"):
        identity.ChainedTokenCredential("text")  # type: ignore[arg-type]


def test_chain_passes_a_request_to_a_custom_member() -> None:
    seen: list[dict[str, Any]] = []

    class Member(Recording):
        def get_token(self, *scopes: str, **options: Any) -> Any:
            seen.append(options)
            return super().get_token(*scopes)

    chain = identity.ChainedTokenCredential(Member())
    chain.get_token(SCOPE)
    chain.get_token(SCOPE, claims='{"a":1}', tenant_id="other", enable_cae=True)
    assert seen == [{}, {"claims": '{"a":1}', "tenant_id": "other", "enable_cae": True}]


def test_azure_sdk_chain_skips_unavailable_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    azure = pytest.importorskip("azure.identity")
    from azure.core.exceptions import ClientAuthenticationError

    with pytest.raises(azure.CredentialUnavailableError) as caught:
        identity.EnvironmentCredential().get_token(SCOPE)
    error = caught.value
    assert isinstance(error, CredentialUnavailableError)
    assert type(error).__name__ == "CredentialUnavailableError"
    assert error.code == "credential_unavailable"
    assert str(error).startswith("EnvironmentCredential: ")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)

    token = make_token()
    chain = azure.ChainedTokenCredential(identity.EnvironmentCredential(), identity.StaticTokenCredential(token))
    assert chain.get_token(SCOPE).token == token

    def fail(scope: str) -> None:
        raise ValueError("canary")

    with pytest.raises(ClientAuthenticationError) as failed:
        identity.ChainedTokenCredential(fail).get_token(SCOPE)
    assert isinstance(failed.value, AuthenticationError)
    assert isinstance(failed.value.__cause__, ValueError)

    # The reverse: an SDK's chain in this library's chain.
    for name in ("IDENTITY_ENDPOINT", "AZURE_TENANT_ID"):
        monkeypatch.delenv(name, raising=False)
    ours = identity.ChainedTokenCredential(azure.EnvironmentCredential(), identity.StaticTokenCredential(token))
    assert ours.get_token(SCOPE).token == token


def test_credential_is_built_once(service: TokenService, client_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate's key takes milliseconds to read."""
    credential = identity.ManagedIdentityCredential(client_id=client_id)
    token = credential.get_token(SCOPE)

    def built_again(*_: object, **__: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr("pgentra._credentials.source.CredentialSource._make", built_again)
    assert credential.get_token(SCOPE) == token
    # The environment may select another identity.
    monkeypatch.setenv("AZURE_CLIENT_ID", "another")
    with pytest.raises(AssertionError, match="built again"):
        credential.get_token(SCOPE)


@pytest.mark.parametrize("enable_cae", [None, 0])
def test_credential_arguments_may_be_none(enable_cae: Any) -> None:
    """As in the Azure SDK's classes."""
    token, expires_on = make_token(), int(time.time()) + 3600
    nothing = {"claims": None, "tenant_id": None, "enable_cae": enable_cae}
    credential = identity.StaticTokenCredential(token, expires_on)
    assert credential.get_token(SCOPE, **nothing) == credential.get_token(SCOPE) == (token, expires_on)
    assert credential.get_token_info(SCOPE, options=nothing).token == token
    assert asyncio.run(aio.StaticTokenCredential(token, expires_on).get_token(SCOPE, **nothing))[0] == token


@pytest.mark.parametrize("module", [identity, aio])
def test_credentials_can_be_copied_and_pickled(module: Any, service: TokenService, client_id: str) -> None:
    """As the Azure SDK's, for `dataclasses.asdict` and the arguments of a spawned process."""

    def ask(credential: Any) -> str:
        return pgentra.get_entra_token(credential)

    credential = module.ChainedTokenCredential(module.ManagedIdentityCredential(client_id=client_id))
    for _ in range(2):
        copies = [copy.copy(credential), copy.deepcopy(credential), pickle.loads(pickle.dumps(credential))]
        assert {ask(each) for each in (credential, *copies)} == {ask(credential)}
    assert len(service.requests) == 1
    provider = pgentra.TokenProvider(Recording())
    assert provider.get() == copy.copy(provider).get() == copy.deepcopy(provider).get()
    outlives = copy.deepcopy(module.ChainedTokenCredential(Recording()))
    assert ask(outlives).count(".") == 2


def _assertion() -> str:
    return "canary.assertion"


@pytest.mark.parametrize("module", [identity, aio])
def test_credentials_with_custom_members_can_be_pickled(module: Any) -> None:
    application = {"tenant_id": "contoso.onmicrosoft.com", "client_id": "c1"}
    with_assertion = module.ClientAssertionCredential(**application, func=_assertion)
    credentials = [
        with_assertion,
        module.OnBehalfOfCredential(**application, user_assertion="canary", client_assertion_func=_assertion),
        module.ChainedTokenCredential(Recording(), with_assertion, Recording()),
    ]
    for credential in credentials:
        copied = pickle.loads(pickle.dumps(credential))
        assert type(copied) is type(credential)
        assert copied._pgentra_source.handle.document == credential._pgentra_source.handle.document
        assert [one.name for one in copied._pgentra_source.customs] == [
            one.name for one in credential._pgentra_source.customs
        ]
    assert pgentra.get_entra_token(pickle.loads(pickle.dumps(credentials[-1]))).count(".") == 2
    unpicklable = module.ClientAssertionCredential(**application, func=lambda: "canary")
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        pickle.dumps(unpicklable)


def test_token_string_is_shared_by_threads(service: TokenService, client_id: str) -> None:
    provider = pgentra.TokenProvider(identity.ManagedIdentityCredential(client_id=client_id))
    token = provider.get()
    with ThreadPoolExecutor(16) as threads:
        barrier = Barrier(16)
        tokens = list(threads.map(lambda _: (barrier.wait(30), provider.get())[1], range(16)))
    assert all(one is token for one in tokens)
