"""A typed client of the emulator's control endpoint, and the emulator as a child process.

`emulator/README.md` is the reference of the requests.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 60.0

Kind = Literal["user", "guest", "group", "service_principal", "user_assigned", "system_assigned"]

#: Prefixes of variables that programs under test must not inherit, because they select an identity or a server.
INHERITED_VARIABLES = (
    "AZURE_",
    "IDENTITY_",
    "MSI_",
    "IMDS_",
    "PG",
    "SSL_CERT_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "SYSTEM_",
)

#: Without proxies. Created once, because it reads all certificates of the system.
_LOOPBACK = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Principal:
    """A directory object of the emulator."""

    name: str
    oid: str
    appid: str
    secret: str | None = None


@dataclass(frozen=True)
class Minted:
    """A token with requested claims."""

    token: str
    expires_on: int
    claims: dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One recorded request; times are seconds since 1970."""

    id: int
    endpoint: str
    principal: str | None
    resource: str | None
    status: int | None
    started: float
    finished: float | None
    headers: dict[str, str]
    form: dict[str, str]
    query: dict[str, str]


@dataclass(frozen=True)
class Counter:
    """The request counts of one endpoint."""

    total: int = 0
    in_flight: int = 0
    max_in_flight: int = 0


@dataclass(frozen=True)
class Login:
    """One login attempt at the emulator's PostgreSQL."""

    id: int
    outcome: str
    role: str | None
    application_name: str | None
    tls: bool
    refusal: str | None
    sqlstate: str | None
    message: str | None


@dataclass(frozen=True)
class PostgresReport:
    """The login attempts and counters of the emulator's PostgreSQL."""

    logins: list[Login]
    counts: dict[str, int]
    sessions: int
    plaintext_password_bytes: int


@dataclass(frozen=True)
class ServerAddress:
    """The address of the emulator's PostgreSQL."""

    host: str
    port: int
    database: str


class Emulator:
    """A running emulator."""

    def __init__(self, addresses: dict[str, Any], process: subprocess.Popen[bytes] | None = None) -> None:
        self._process = process
        self.control: str = addresses["control"]
        self._names = iter(range(1, 1_000_000))
        self.tenant_id: str = addresses["tenant_id"]
        self.authority_host: str = addresses["authority_host"]
        self.imds_host: str = addresses["imds_host"]
        self.app_service: dict[str, str] = addresses["app_service"]
        self.hosts: dict[str, dict[str, str]] = addresses["hosts"]
        self.bundle_file: str = addresses["bundle_file"]
        # An emulator that runs without PostgreSQL reports no address.
        postgres = addresses["postgres"] or {"host": "", "port": 0, "database": "", "admin_dsn": ""}
        self.server = ServerAddress(postgres["host"], postgres["port"], postgres["database"])
        self.admin_dsn: str = postgres["admin_dsn"]

    @classmethod
    def start(cls, *options: str) -> Emulator:
        """Starts the program in `PGENTRA_EMULATOR`, else the newest one that cargo built."""
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen([find_emulator(), *options], stdout=subprocess.PIPE, stderr=log)
            assert process.stdout is not None
            # readline has no time limit.
            watchdog = threading.Timer(START_LIMIT_S, process.kill)
            watchdog.start()
            try:
                line = process.stdout.readline()
            finally:
                watchdog.cancel()
            if not line:
                process.wait()
                log.seek(0)
                raise RuntimeError(f"the emulator did not start: {log.read().decode(errors='replace')}")
        return cls(json.loads(line), process)

    def stop(self) -> None:
        """Ends the process if it is a child of this one."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Sends a request to the control endpoint and returns the document of the response."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.control + path, data, method=method)
        try:
            with _LOOPBACK.open(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.read().decode(errors='replace')}") from error

    # Principals and tokens

    def add_principal(self, kind: Kind = "user_assigned", name: str | None = None, **settings: Any) -> Principal:
        """Adds a principal with a role of the same name. Its name is unique, so that no token of it is cached."""
        name = name or f"{kind.replace('_', '-')}-{os.getpid()}-{next(self._names)}"
        secret = f"secret-of-{name}" if kind == "service_principal" else None
        document = {"name": name, "kind": kind, **({"client_secret": secret} if secret else {}), **settings}
        (made,) = self.call("POST", "/principals", [document])
        return Principal(name, made["oid"], made["appid"], made.get("client_secret"))

    def mint(self, principal: str, **settings: Any) -> Minted:
        """Makes a token, valid or not."""
        return Minted(**self.call("POST", "/mint", {"principal": principal, **settings}))

    def sent_to(self, application: Principal, user: str, **settings: Any) -> str:
        """Makes the token that a user sends to an application."""
        return self.mint(user, audience=f"api://{application.appid}", **settings).token

    def tools(self, principal: str) -> str:
        """Returns the folder of an `az`, an `azd` and a `pwsh` in which a user is signed in."""
        path: str = self.call("POST", "/tools", {"principal": principal})["path"]
        return path

    def rotate_keys(self, *, retire_old: bool = False) -> None:
        """Starts to sign with a new key; with `retire_old` tokens of older keys are rejected from now on."""
        self.call("POST", "/keys/rotate", {"retire_old": retire_old})

    # Faults and settings

    def add_fault(self, **fault: Any) -> int:
        """Adds a fault and returns its id."""
        (number,) = self.call("POST", "/faults", fault)["ids"]
        return int(number)

    def clear_fault(self, number: int) -> None:
        """Removes one fault."""
        self.call("DELETE", f"/faults/{number}")

    @contextmanager
    def fault(self, **fault: Any) -> Iterator[None]:
        """Adds a fault for the time of a `with` block."""
        number = self.add_fault(**fault)
        try:
            yield
        finally:
            self.clear_fault(number)

    def set_tokens(self, **settings: Any) -> None:
        """Changes the token settings."""
        self.call("PATCH", "/tokens", settings)

    def control_postgres(self, **settings: Any) -> None:
        """Changes the settings of the emulator's PostgreSQL."""
        self.call("POST", "/postgres", settings)

    def reset(self) -> None:
        """Removes all faults and records, and resets all settings. Principals stay."""
        self.call("DELETE", "/faults")
        self.call("DELETE", "/requests")
        self.call("PATCH", "/tokens", dict.fromkeys(self.call("GET", "/tokens")))
        self.control_postgres(reset=True)

    @contextmanager
    def clean(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
        """Resets the emulator for one test and gives this process the environment of its identity `app-mi`."""
        self.reset()
        wanted = self.environment()
        for name in set(os.environ) - set(wanted):
            monkeypatch.delenv(name)
        for name, value in wanted.items():
            monkeypatch.setenv(name, value)
        yield self
        # A request without response would delay the end of the process.
        self.reset()

    # Records

    def requests(self, endpoint: str | None = None, *, principal: Principal | None = None) -> list[Request]:
        """Returns the token requests so far, oldest first."""
        found = self.call("GET", "/requests" + (f"?endpoint={endpoint}" if endpoint else ""))["requests"]
        return [
            Request(
                entry["id"],
                entry["endpoint"],
                entry["principal"],
                entry["resource"],
                entry["status"],
                entry["started_ms"] / 1000,
                None if entry["finished_ms"] is None else entry["finished_ms"] / 1000,
                entry["headers"],
                entry["form"],
                entry["query"],
            )
            for entry in found
            if principal is None or entry["principal"] == principal.name
        ]

    def database_requests(self, principal: Principal) -> list[Request]:
        """Returns the requests for a principal's database tokens."""
        return [one for one in self.requests(principal=principal) if "ossrdbms" in (one.resource or "")]

    def counter(self, endpoint: str) -> Counter:
        """Returns the counts of an endpoint."""
        counts = self.call("GET", "/requests")["counters"].get(endpoint, {})
        return Counter(counts.get("total", 0), counts.get("in_flight", 0), counts.get("max_in_flight", 0))

    def postgres_report(self) -> PostgresReport:
        """The login attempts and counters of the emulator's PostgreSQL."""
        report = self.call("GET", "/postgres")
        keys = Login.__dataclass_fields__
        # Connections that closed before they named a role are not attempts; some are from the previous test.
        logins = [Login(**{key: entry[key] for key in keys}) for entry in report["logins"] if entry["role"]]
        counters = report["counters"]
        return PostgresReport(logins, counters["logins"], report["sessions"], counters["plaintext_password_bytes"])

    # The environment of programs under test

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Returns `base` (this process's environment) without inherited settings, with the App Service identity."""
        base = os.environ if base is None else base
        clean = {name: value for name, value in base.items() if not name.upper().startswith(INHERITED_VARIABLES)}
        return {
            **clean,
            "IDENTITY_ENDPOINT": self.app_service["endpoint"],
            "IDENTITY_HEADER": self.app_service["header"],
            "SSL_CERT_FILE": self.bundle_file,
            "REQUESTS_CA_BUNDLE": self.bundle_file,
            "PGSSLROOTCERT": self.bundle_file,
            "NO_PROXY": "localhost,127.0.0.1,::1",
        }


def find_emulator() -> Path:
    """Returns the path of the emulator's program."""
    if named := os.environ.get("PGENTRA_EMULATOR"):
        return Path(named)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [target / profile / "pgentra-emulator" for profile in ("release", "debug")]
    found = [path for path in built if path.exists()]
    if not found:
        raise RuntimeError("the emulator is not built: run `cargo build -p pgentra-emulator`, or set PGENTRA_EMULATOR")
    return max(found, key=lambda path: path.stat().st_mtime)


def wait_until(condition: Any, limit_s: float, what: str) -> None:
    """Waits until the condition is true; fails after `limit_s` seconds."""
    ends = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > ends:
            raise AssertionError(f"not within {limit_s} s: {what}")
        time.sleep(0.02)
