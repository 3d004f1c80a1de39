"""Credentials and a token service that record their calls, and the result of a program."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

VECTORS = Path(__file__).parents[2] / "tests" / "vectors"


class AccessToken(NamedTuple):
    """Has the shape of the Azure SDK's class."""

    token: str
    expires_on: int


def make_token(*, lifetime: float = 3600, **claims: Any) -> str:
    """Returns a token without a valid signature."""

    def part(data: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()

    claims = {
        "tid": "tenant",
        "oid": "object",
        "exp": int(time.time() + lifetime),
        "jti": os.urandom(4).hex(),
        **claims,
    }
    return f"{part({'alg': 'RS256', 'typ': 'JWT'})}.{part(claims)}.signature"


class Recording:
    """A synchronous credential that records its calls. Each call runs ``work``."""

    def __init__(self, work: Callable[[], object] | None = None, lifetime: float = 3600, **claims: Any) -> None:
        self.work = work
        self.lifetime = lifetime
        self.claims = claims or {"upn": "anna@contoso.com"}
        self.scopes: list[str] = []
        self.threads: set[int] = set()

    def make(self, scope: str) -> AccessToken:
        self.scopes.append(scope)
        self.threads.add(threading.get_native_id())
        return AccessToken(make_token(lifetime=self.lifetime, **self.claims), int(time.time() + self.lifetime))

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        if self.work is not None:
            self.work()
        return self.make(scopes[0])


class AsyncRecording(Recording):
    """The same for an event loop. ``work`` is a function that returns an awaitable."""

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:  # type: ignore[override]
        if self.work is not None:
            await self.work()  # type: ignore[misc]
        return self.make(scopes[0])

    async def close(self) -> None: ...

    async def __aenter__(self) -> AsyncRecording:
        return self

    async def __aexit__(self, *_: object) -> None: ...


class TokenService:
    """App Service's managed identity endpoint in a thread."""

    def __init__(self) -> None:
        self.requests: list[dict[str, str]] = []
        self.delay = 0.0
        self.skew = 0.0
        self.status = 200
        self.lifetime = 3600
        self.claims: dict[str, Any] = {"upn": "anna@contoso.com"}
        self.most_in_flight = 0
        self._in_flight = 0
        self._lock = threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service._answer(self)

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string((timestamp or time.time()) + service.skew)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/msi/token"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def environment(self) -> dict[str, str]:
        return {"IDENTITY_ENDPOINT": self.endpoint, "IDENTITY_HEADER": "header-secret"}

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        query = {key: values[0] for key, values in parse_qs(urlsplit(handler.path).query).items()}
        with self._lock:
            self.requests.append(query)
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
        time.sleep(self.delay)
        with self._lock:
            self._in_flight -= 1
        token = make_token(lifetime=self.lifetime, **self.claims)
        answer = {
            "access_token": token,
            "expires_on": str(int(time.time() + self.skew) + self.lifetime),
            "resource": query.get("resource", ""),
            "token_type": "Bearer",
        }
        if self.status != 200:
            answer = {"statusCode": str(self.status), "message": "out of order"}
        body = json.dumps(answer).encode()
        try:
            handler.send_response(self.status)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
        except OSError:
            pass  # The client has closed the connection.


class Ended(NamedTuple):
    status: int
    out: str
    err: str
    seconds: float
