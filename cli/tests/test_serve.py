"""`pgentra serve`: App Service's protocol, with the Azure SDKs as clients."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Cli, wait_for

DATABASE = "https://ossrdbms-aad.database.windows.net"
MANAGEMENT = "https://management.azure.com"
VAULT = "https://vault.azure.net"

LOOPBACK = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Endpoint:
    """A running `pgentra serve`."""

    def __init__(self, cli: Cli, *arguments: str) -> None:
        self.process = cli.start("serve", "--json", *arguments)
        assert self.process.stdout is not None
        document = json.loads(self.process.stdout.readline())
        self.url, self.header = document["endpoint"], document["header"]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        assert "eyJ" not in out + err

    def get(self, resource: str = DATABASE, *, header: str | None = None, method: str = "GET", **query: str) -> Any:
        parameters = {"api-version": "2019-08-01", "resource": resource, **query}
        url = f"{self.url}?{'&'.join(f'{key}={value}' for key, value in parameters.items())}"
        headers = {"X-IDENTITY-HEADER": self.header if header is None else header}
        try:
            with LOOPBACK.open(urllib.request.Request(url, headers=headers, method=method), timeout=60) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def environment(self, cli: Cli) -> dict[str, Any]:
        """The variables of a client in another process."""
        return {**cli.environment, "IDENTITY_ENDPOINT": self.url, "IDENTITY_HEADER": self.header}


@pytest.fixture
def endpoint(cli: Cli) -> Iterator[Endpoint]:
    running = Endpoint(cli)
    yield running
    running.stop()


def test_serve_gives_tokens_for_two_resources_only(cli: Cli, endpoint: Endpoint) -> None:
    for resource in (DATABASE, DATABASE + "/", MANAGEMENT, MANAGEMENT + "/"):
        status, body = endpoint.get(resource)
        assert status == 200 and body["access_token"].startswith("ey"), body
        assert set(body) == {"access_token", "client_id", "expires_on", "resource", "token_type"}
        assert int(body["expires_on"]) > 0 and body["token_type"] == "Bearer"
    status, body = endpoint.get(VAULT)
    assert (status, set(body)) == (403, {"statusCode", "message"})
    assert [one.resource for one in cli.emulator.requests("app_service")] == [DATABASE, MANAGEMENT]


def test_serve_gives_tokens_for_more_resources_on_request(cli: Cli) -> None:
    cli.emulator.call("PUT", "/config", {"resources": [VAULT]})
    running = Endpoint(cli, "--resource", VAULT)
    assert running.get(VAULT)[0] == 200
    running.stop()


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"header": "wrong"}, 401),
        ({"header": ""}, 401),
        ({"method": "POST"}, 405),
        ({"api-version": "2017-09-01"}, 400),
        ({"resource": ""}, 400),
        ({"client_id": "22222222-0000-0000-0000-000000000002"}, 400),
        ({"mi_res_id": "/subscriptions/x"}, 400),
        ({"client_id": "11111111-0000-0000-0000-000000000001"}, 200),
        ({"object_id": "aaaaaaaa-0000-0000-0000-000000000001"}, 200),
    ],
)
def test_serve_refuses_other_requests(endpoint: Endpoint, query: dict[str, str], status: int) -> None:
    found, body = endpoint.get(**query)
    assert found == status, body
    assert status == 200 or "ey" not in str(body.get("access_token"))


def test_serve_passes_failures_on(cli: Cli, endpoint: Endpoint) -> None:
    cli.emulator.add_fault(endpoint="app_service", status=400)
    status, body = endpoint.get()
    assert status == 400 and "ManagedIdentityCredential" in body["message"]


def test_serve_shares_one_token(cli: Cli, endpoint: Endpoint) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = {body["access_token"] for _, body in pool.map(lambda _: endpoint.get(), range(40))}
    assert len(tokens) == 1
    assert len(cli.emulator.requests("app_service")) == 1


def test_serve_writes_a_private_file(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "identity.env"
    process = cli.start("serve", "--env-file", file)
    wait_for(file.exists, "the file")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = [line.split("=")[0] for line in file.read_text().splitlines()]
    assert lines == ["# written by pgentra; do not edit", "IDENTITY_ENDPOINT", "IDENTITY_HEADER"]
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "") and not file.exists()


def test_serve_runs_a_command_with_both_variables(cli: Cli) -> None:
    script = "case $IDENTITY_ENDPOINT in http://127.0.0.1:*/msi/token) ;; *) exit 1;; esac; exit ${#IDENTITY_HEADER}"
    cli.run("serve", "--", "sh", "-c", script, code=64)
    cli.run("serve", "--", "no-such-program", code=127)


def test_serve_refuses_other_addresses(cli: Cli) -> None:
    for listen in ("0.0.0.0:0", "[::]:0"):
        assert "every interface" in cli.run("serve", "--listen", listen, "--allow-insecure-transport", code=2).stderr
    assert "--allow-insecure-transport" in cli.run("serve", "--listen", "192.0.2.1:0", code=2).stderr


def test_serve_logs_pgentra_itself_in(cli: Cli, endpoint: Endpoint) -> None:
    done = cli.run("psql", "-Atc", "select current_user", **endpoint.environment(cli))
    assert done.stdout == "app-mi\n"


def test_serve_logs_azure_identity_of_python_in(cli: Cli, endpoint: Endpoint) -> None:
    pytest.importorskip("azure.identity")
    program = f"""if True:
        from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
        for credential in (ManagedIdentityCredential(), DefaultAzureCredential()):
            for scope in ("{DATABASE}/.default", "{MANAGEMENT}/.default"):
                print(credential.get_token(scope).token[:2])
        try:
            ManagedIdentityCredential().get_token("{VAULT}/.default")
        except Exception as error:
            print(type(error).__name__)
    """
    done = subprocess.run(
        [sys.executable, "-c", program], env=endpoint.environment(cli), capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["ey"] * 4 + [done.stdout.split()[-1]] and done.stdout.split()[-1].endswith("Error")


def missing(toolchain: str) -> None:
    """Skips the test, or fails it in CI."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{toolchain} is missing")
    pytest.skip(f"{toolchain} is missing")


def test_serve_logs_azure_identity_of_node_in(cli: Cli, endpoint: Endpoint) -> None:
    if shutil.which("node") is None or not (ROOT / "bindings-node/node_modules/@azure/identity").is_dir():
        missing("@azure/identity of Node (tools/node.sh addon)")
    program = f"""
        const {{ ManagedIdentityCredential, DefaultAzureCredential }} = require("@azure/identity");
        (async () => {{
            for (const credential of [new ManagedIdentityCredential(), new DefaultAzureCredential()])
                console.log((await credential.getToken("{DATABASE}/.default")).token.slice(0, 2));
        }})();
    """
    done = subprocess.run(
        ["node", "-e", program],
        cwd=ROOT / "bindings-node",
        env=endpoint.environment(cli),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split() == ["ey", "ey"], done.stderr


def test_serve_logs_azure_identity_of_dotnet_in(cli: Cli, endpoint: Endpoint) -> None:
    if shutil.which("dotnet") is None:
        missing("the .NET SDK (dotnet)")
    project = ROOT / "cli/tests/dotnet"
    environment = {**endpoint.environment(cli), "HOME": os.environ.get("HOME", "/"), "DOTNET_CLI_TELEMETRY_OPTOUT": "1"}
    done = subprocess.run(
        ["dotnet", "run", "--project", project, "-v", "q", f"{DATABASE}/.default"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.stdout.split() == ["ey", "ey"], (done.stdout, done.stderr)
