"""The example service that connects to PostgreSQL as its caller, in a process of its own."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import Message

import pytest

from support.drivers import Target
from support.emulator import ROOT, Emulator

PROGRAM = ROOT / "examples" / "python" / "on_behalf_of_service.py"

pytestmark = pytest.mark.one_python


class Service:
    """The running example and its application registration."""

    def __init__(self, emulator: Emulator, target: Target) -> None:
        self.emulator = emulator
        self.application = emulator.add_principal("service_principal", role=False)
        settings = {
            "HOSTNAME": target.host or "",
            "DATABASE": target.database or "",
            "PGPORT": str(target.port),
            "TENANT_ID": emulator.tenant_id,
            "CLIENT_ID": self.application.appid,
            "CLIENT_SECRET": self.application.secret or "",
            "AUTHORITY_HOST": emulator.authority_host,
        }
        self._process = subprocess.Popen(
            [sys.executable, PROGRAM, "--port", "0"],
            env=emulator.environment() | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        # readline has no time limit.
        watchdog = threading.Timer(30, self._process.kill)
        watchdog.start()
        self.url = self._process.stdout.readline().strip()
        watchdog.cancel()
        assert self.url.startswith("http://127.0.0.1:")

    def stop(self) -> str:
        """The log of the service."""
        self._process.terminate()
        try:
            return self._process.communicate(timeout=10)[1]
        finally:
            self._process.kill()

    def get(self, token: str | None) -> tuple[int, str, Message]:
        """Status, body and headers of a response."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(urllib.request.Request(self.url, headers=headers), timeout=30) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), error.headers

    def exchanges(self) -> int:
        """The number of token exchanges so far, rejected ones included."""
        return len(self.emulator.requests("token", principal=self.application))


@pytest.fixture(scope="module")
def running_service(running_emulator: Emulator) -> Iterator[Service]:
    place = running_emulator.server
    service = Service(running_emulator, Target(place.host, place.port, place.database))
    yield service
    logged = service.stop()
    assert "Traceback" not in logged, logged


@pytest.fixture
def service(emulator: Emulator, running_service: Service) -> Service:
    return running_service


def role(answer: tuple[int, str, Message]) -> str:
    assert answer[0] == 200, answer[1]
    return str(json.loads(answer[1])["role"])


def test_service_connects_as_each_caller(service: Service, emulator: Emulator) -> None:
    users = [emulator.add_principal("user") for _ in range(4)]
    tokens = {user.name: emulator.sent_to(service.application, user.name) for user in users}
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda user: role(service.get(tokens[user.name])), users * 5))
    assert found == [user.name for user in users * 5]
    assert service.exchanges() == len(users), "one exchange for each user, however often they come"


def test_service_when_sign_in_is_required(service: Service, emulator: Emulator) -> None:
    """`interaction_required` becomes 401 with the claims for the user's next sign-in."""
    carol = emulator.add_principal("user", requires_mfa=True)
    status, body, headers = service.get(emulator.sent_to(service.application, carol.name))
    assert (status, body) == (401, "")
    challenge = headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer error="insufficient_claims", claims="')
    claims = json.loads(base64.b64decode(challenge.split('claims="')[1].rstrip('"')))
    assert "capolids" in claims["access_token"]
    strong = emulator.sent_to(service.application, carol.name, claims={"amr": ["pwd", "mfa"]})
    assert role(service.get(strong)) == carol.name


def test_service_without_valid_user_token(service: Service, emulator: Emulator) -> None:
    user = emulator.add_principal("user")
    assert role(service.get(emulator.sent_to(service.application, user.name))) == user.name
    exchanges = service.exchanges()
    over = emulator.sent_to(service.application, user.name, lifetime_s=-1, not_before_s=-60)
    for token in (None, "", "garbage", over):
        status, _, headers = service.get(token)
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    assert service.exchanges() == exchanges
    for changes in ({"forged": True}, {"tenant_id": "88888888-0000-0000-0000-000000000008"}):
        status, _, headers = service.get(emulator.sent_to(service.application, user.name, **changes))
        assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer error="invalid_token"')
    status, _, headers = service.get(emulator.mint(user.name).token)
    assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer error="invalid_token"'), "it is for the database"


def test_service_during_entra_outage(service: Service, emulator: Emulator) -> None:
    known, new = emulator.add_principal("user"), emulator.add_principal("user")
    token = emulator.sent_to(service.application, known.name)
    assert role(service.get(token)) == known.name
    emulator.add_fault(endpoint="token", status=400, aadsts=7000222)
    status, body, headers = service.get(emulator.sent_to(service.application, new.name))
    assert (status, body, headers["Retry-After"]) == (503, "no login at present\n", "5")
    # A caller with a cached token still connects.
    assert role(service.get(token)) == known.name
