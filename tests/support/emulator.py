"""A typed client of the emulator's control endpoint, and the emulator as a child process.

`emulator/README.md` is the reference of what goes over the wire.
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

#: What a program under test must not inherit: any of it would change who it is or where it connects to.
FOREIGN_VARIABLES = (
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

#: Whatever proxies a test has set. Made once: it reads every certificate of the system, though none is needed here.
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
    """A token made to order."""

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
    """Counts of one endpoint."""

    total: int = 0
    in_flight: int = 0
    max_in_flight: int = 0


@dataclass(frozen=True)
class Login:
    """One attempt to log in at the front door."""

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
    """What the front door has seen."""

    logins: list[Login]
    counts: dict[str, int]
    sessions: int
    plaintext_password_bytes: int


@dataclass(frozen=True)
class Place:
    """Where the front door listens."""

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
        # Without a PostgreSQL there is no front door.
        postgres = addresses["postgres"] or {"host": "", "port": 0, "database": "", "admin_dsn": ""}
        self.place = Place(postgres["host"], postgres["port"], postgres["database"])
        self.admin_dsn: str = postgres["admin_dsn"]

    @classmethod
    def start(cls, *options: str) -> Emulator:
        """Starts the program that `PGENTRA_EMULATOR` names, else the one that cargo built here."""
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen([find_emulator(), *options], stdout=subprocess.PIPE, stderr=log)
            assert process.stdout is not None
            # readline has no time limit of its own.
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
        """Ends the process, if it is a child of this one."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One request to the control endpoint."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.control + path, data, method=method)
        try:
            with _LOOPBACK.open(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.read().decode(errors='replace')}") from error

    # Who there is

    def add_principal(self, kind: Kind = "user_assigned", name: str | None = None, **settings: Any) -> Principal:
        """A new principal with a role of its name. Nobody else uses it, so no cached token is found for it."""
        name = name or f"{kind.replace('_', '-')}-{os.getpid()}-{next(self._names)}"
        secret = f"secret-of-{name}" if kind == "service_principal" else None
        document = {"name": name, "kind": kind, **({"client_secret": secret} if secret else {}), **settings}
        (made,) = self.call("POST", "/principals", [document])
        return Principal(name, made["oid"], made["appid"], made.get("client_secret"))

    def mint(self, principal: str, **settings: Any) -> Minted:
        """A token, good or bad."""
        return Minted(**self.call("POST", "/mint", {"principal": principal, **settings}))

    def sent_to(self, application: Principal, user: str, **settings: Any) -> str:
        """The token that a user sends to an application."""
        return self.mint(user, audience=f"api://{application.appid}", **settings).token

    def tools(self, principal: str) -> str:
        """The folder of an `az`, an `azd` and a `pwsh` that a user is signed in to."""
        path: str = self.call("POST", "/tools", {"principal": principal})["path"]
        return path

    def rotate_keys(self, *, retire_old: bool = False) -> None:
        """A new signing key; tokens signed with older ones are refused from now on if those are retired."""
        self.call("POST", "/keys/rotate", {"retire_old": retire_old})

    # What goes wrong

    def add_fault(self, **fault: Any) -> int:
        """Adds a fault and returns its id."""
        (number,) = self.call("POST", "/faults", fault)["ids"]
        return int(number)

    def clear_fault(self, number: int) -> None:
        """Ends one fault."""
        self.call("DELETE", f"/faults/{number}")

    @contextmanager
    def fault(self, **fault: Any) -> Iterator[None]:
        """A fault for the time of a `with` block."""
        number = self.add_fault(**fault)
        try:
            yield
        finally:
            self.clear_fault(number)

    def set_tokens(self, **settings: Any) -> None:
        """Changes the token settings."""
        self.call("PATCH", "/tokens", settings)

    def control_postgres(self, **settings: Any) -> None:
        """Changes what the front door does."""
        self.call("POST", "/postgres", settings)

    def reset(self) -> None:
        """Ends all faults and forgets what was seen. Principals stay."""
        self.call("DELETE", "/faults")
        self.call("DELETE", "/requests")
        self.call("PATCH", "/tokens", dict.fromkeys(self.call("GET", "/tokens")))
        self.control_postgres(reset=True)

    @contextmanager
    def clean(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
        """For one test: without faults, in an environment in which this process is its `app-mi`."""
        self.reset()
        wanted = self.environment()
        for name in set(os.environ) - set(wanted):
            monkeypatch.delenv(name)
        for name, value in wanted.items():
            monkeypatch.setenv(name, value)
        yield self
        # A black-holed request would hold up whoever waits for it at the end.
        self.reset()

    # What was seen

    def requests(self, endpoint: str | None = None, *, principal: Principal | None = None) -> list[Request]:
        """The token requests so far, oldest first."""
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
        """The requests for a principal's database tokens."""
        return [one for one in self.requests(principal=principal) if "ossrdbms" in (one.resource or "")]

    def counter(self, endpoint: str) -> Counter:
        """Counts of an endpoint."""
        counts = self.call("GET", "/requests")["counters"].get(endpoint, {})
        return Counter(counts.get("total", 0), counts.get("in_flight", 0), counts.get("max_in_flight", 0))

    def postgres_report(self) -> PostgresReport:
        """What the front door has seen."""
        report = self.call("GET", "/postgres")
        keys = Login.__dataclass_fields__
        # Connections that went away before they named a role are no attempts; some come from the test before.
        logins = [Login(**{key: entry[key] for key in keys}) for entry in report["logins"] if entry["role"]]
        counters = report["counters"]
        return PostgresReport(logins, counters["logins"], report["sessions"], counters["plaintext_password_bytes"])

    # What a program needs to find it

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """`base` (this process's environment) without foreign settings, and with the App Service identity."""
        base = os.environ if base is None else base
        clean = {name: value for name, value in base.items() if not name.upper().startswith(FOREIGN_VARIABLES)}
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
    """The emulator's program."""
    if named := os.environ.get("PGENTRA_EMULATOR"):
        return Path(named)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [target / profile / "pgentra-emulator" for profile in ("release", "debug")]
    found = [path for path in built if path.exists()]
    if not found:
        raise RuntimeError("the emulator is not built: run `cargo build -p pgentra-emulator`, or set PGENTRA_EMULATOR")
    return max(found, key=lambda path: path.stat().st_mtime)


def wait_until(condition: Any, limit_s: float, what: str) -> None:
    """Waits for something that comes by itself; fails after `limit_s` seconds."""
    ends = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > ends:
            raise AssertionError(f"not within {limit_s} s: {what}")
        time.sleep(0.02)
