"""The same configuration in the Azure SDKs' credentials and in ours: compares the requests, field by field.

`differences.json` lists every difference with its reason. A difference that is not listed fails the test, and so does a
listed one that does not occur.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from scenarios import DATABASE, PEERS, SCENARIOS, Scenario, ScenarioContext
from support.emulator import ROOT, Emulator

HERE = Path(__file__).parent
LIMIT_S = 90.0
#: The folder in which the agent of Azure Arc keeps its keys; the Azure SDKs read no other one.
ARC_KEYS = Path("/var/opt/azcmagent/tokens")


class Worker:
    """A program in one language that requests tokens."""

    def __init__(self, language: str, environment: dict[str, str]) -> None:
        self._language, self._environment = language, environment
        self._start()

    def _start(self) -> None:
        commands: dict[str, list[str | Path]] = {
            "python": [sys.executable, HERE / "worker.py"],
            "python aio": [sys.executable, HERE / "worker.py", "aio"],
            "node": ["node", HERE / "worker.mjs"],
        }
        self._process = subprocess.Popen(
            commands[self._language],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
            text=True,
            cwd=HERE,
        )

    def forget(self) -> None:
        """Starts a new process: MSAL for Node caches the source of managed identity, and its tokens, in the process."""
        if self._language == "node":
            self.stop()
            self._start()

    def ask(self, **job: Any) -> str:
        """Returns the result of the job."""
        assert self._process.stdin is not None and self._process.stdout is not None
        watchdog = threading.Timer(LIMIT_S, self._process.kill)
        watchdog.start()
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        assert line, f"the worker ended, or took more than {LIMIT_S} s"
        return str(json.loads(line)["outcome"])

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScenarioContext]:
    folder = tmp_path_factory.mktemp("compare")
    settings = folder / "emulator.json"
    made = None
    if may_write_arc_keys():
        made = next((parent for parent in [*reversed(ARC_KEYS.parents), ARC_KEYS] if not parent.exists()), None)
        settings.write_text(json.dumps({"azure_arc_root": "/"}))
    else:
        settings.write_text("{}")
    emulator = Emulator.start("--no-postgres", "--config", str(settings))
    yield ScenarioContext(emulator, folder)
    emulator.stop()
    if made is not None:
        shutil.rmtree(made, ignore_errors=True)


def shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:60] + " … " + text[-50:]


def may_write_arc_keys() -> bool:
    existing = next(parent for parent in [ARC_KEYS, *ARC_KEYS.parents] if parent.exists())
    return os.access(existing, os.W_OK)


@pytest.fixture(scope="session")
def workers(context: ScenarioContext) -> Iterator[dict[str, Worker]]:
    environment = context.emulator.environment()
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
        del environment[name]
    environment |= {
        "AZURE_AUTHORITY_HOST": context.emulator.authority_host,
        "NODE_EXTRA_CA_CERTS": context.emulator.bundle_file,
        "HOME": str(HERE / "nobody"),
    }
    made = {peer: Worker(peer, environment) for peer in PEERS if peer != "node" or has_node()}
    yield made
    for worker in made.values():
        worker.stop()


def has_node() -> bool:
    return shutil.which("node") is not None and (ROOT / "bindings-node/node_modules/@azure/identity").exists()


class Differences:
    """The table of differences, and the rows that have occurred."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = json.loads((HERE / "differences.json").read_text())["differences"]
        self.met: set[int] = set()

    def known(self, peer: str, scenario: str, what: str) -> bool:
        """Returns whether a difference is in the table."""
        found = False
        for index, row in enumerate(self.rows):
            # Python's synchronous and awaitable classes have the same differences.
            fits = row["peer"] in ("both", peer.split()[0], peer) and fnmatchcase(scenario, row["scenario"])
            if fits and fnmatchcase(what, row["what"]):
                self.met.add(index)
                found = True
        return found


@pytest.fixture(scope="session")
def differences() -> Differences:
    return Differences()


PAIRS = [
    pytest.param(scenario, peer, id=f"{peer}-{scenario.name}")
    for peer in PEERS
    for scenario in SCENARIOS
    if peer in scenario.peers
]
RUN: set[str] = set()


@pytest.mark.parametrize(("scenario", "peer"), PAIRS)
def test_request_on_the_wire(
    scenario: Scenario, peer: str, context: ScenarioContext, workers: dict[str, Worker], differences: Differences
) -> None:
    if peer not in workers:
        pytest.skip("Node and the packages of bindings-node: none on this machine")
    if scenario.hosts == "azure_arc" and not may_write_arc_keys():
        pytest.skip(f"{ARC_KEYS} cannot be written to by this user")
    RUN.add(f"{peer}-{scenario.name}")
    expected = seen(scenario, "peer", peer, context, workers[peer])
    ours = seen(scenario, "ours", peer, context, workers[peer])
    unlisted = [
        f"{what}: theirs {shortened(theirs)}, ours {shortened(mine)}"
        for what, theirs, mine in compared(expected, ours)
        if not differences.known(peer, scenario.name, what)
    ]
    assert not unlisted, "\n".join(["not in differences.json:", *unlisted])


def test_differences_table_up_to_date(differences: Differences) -> None:
    if len(RUN) < len(PAIRS):
        pytest.skip("not every scenario was run")
    gone = [row for index, row in enumerate(differences.rows) if index not in differences.met]
    assert not gone, f"no longer met: {gone}"


def seen(scenario: Scenario, side: str, peer: str, context: ScenarioContext, worker: Worker) -> dict[str, Any]:
    """Returns the outcome, and the fields of the requests by endpoint."""
    emulator = context.emulator
    emulator.call("DELETE", "/faults")
    emulator.call("DELETE", "/requests")
    if scenario.fault is not None:
        emulator.add_fault(**scenario.fault)
    # A variable that is not read separates the cache entries of scenarios.
    environment = {"APPDATA": f"/{peer}/{scenario.name}", "PATH": ":".join(folders(context, scenario))}
    if scenario.hosts == "app_service":
        environment |= {
            "IDENTITY_ENDPOINT": emulator.app_service["endpoint"],
            "IDENTITY_HEADER": emulator.app_service["header"],
        }
    elif scenario.hosts is not None:
        environment |= emulator.hosts[scenario.hosts]
    environment |= context.fill(scenario.environment)
    if side == "peer" and (scenario.hosts is not None or scenario.credential["class"] == "DefaultAzureCredential"):
        worker.forget()
    outcome = worker.ask(
        side=side,
        environment=environment,
        credential=context.fill(scenario.credential),
        request={"scope": DATABASE, **scenario.request},
    )
    requests: dict[str, list[dict[str, str]]] = {}
    for entry in emulator.call("GET", "/requests")["requests"]:
        fields = {"method": entry["method"], "path": entry["path"], "status": str(entry["status"])}
        for part in ("query", "headers", "form"):
            fields |= {f"{part} {name}": value for name, value in entry[part].items()}
        fields |= assertion_of(entry)
        requests.setdefault(entry["endpoint"], []).append(
            {name: re.sub(r"(localhost|127\.0\.0\.1):\d+", r"\1:PORT", value) for name, value in fields.items()}
        )
    return {"outcome": outcome, "requests": requests}


def assertion_of(entry: dict[str, Any]) -> dict[str, str]:
    """Returns the fields of an assertion that the client signed; times are minutes from the request."""
    fields: dict[str, str] = {}
    for part, values in (entry.get("client_assertion") or {}).items():
        if not isinstance(values, dict):
            fields[f"assertion {part}"] = str(values)
            continue
        for name, value in values.items():
            if name in ("exp", "nbf", "iat"):
                value = f"{round((value - entry['started_ms'] / 1000) / 60)} min"
            elif name == "jti":
                value = re.sub(r"[0-9a-f]", "x", value)
            fields[f"assertion {part} {name}"] = str(value)
    return fields


def folders(context: ScenarioContext, scenario: Scenario) -> list[str]:
    """Returns the folder of the developer tools, and the folders of the system's shell."""
    return [*([context.tools] if scenario.tools else []), "/usr/bin", "/bin"]


def compared(theirs: dict[str, Any], ours: dict[str, Any]) -> Iterator[tuple[str, object, object]]:
    """Returns the differences: the field, the peer's value and ours."""
    if theirs["outcome"] != ours["outcome"]:
        yield "outcome", theirs["outcome"], ours["outcome"]
    for endpoint in sorted(theirs["requests"].keys() | ours["requests"].keys()):
        one, other = theirs["requests"].get(endpoint, []), ours["requests"].get(endpoint, [])
        if len(one) != len(other):
            yield f"{endpoint} requests", len(one), len(other)
        for left, right in zip(one, other, strict=False):
            for name in sorted(left.keys() | right.keys()):
                if left.get(name) != right.get(name):
                    yield f"{endpoint} {name}", left.get(name), right.get(name)
