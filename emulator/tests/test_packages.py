"""The emulator as a wheel and as npm packages, installed and used without Rust."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD_LIMIT_S, LIMIT_S = 1800, 300

#: Starts the emulator as a test suite does, and gets a token from its identity endpoint.
PYTHON_PROGRAM = """
import json, os, shutil, subprocess, sys, urllib.request
import pgentra_emulator

assert shutil.which("cargo") is None
command = [sys.executable, "-m", "pgentra_emulator"] if "-m" in sys.argv else [pgentra_emulator.path()]
process = subprocess.Popen([*command, "--no-postgres"], stdout=subprocess.PIPE)
try:
    addresses = json.loads(process.stdout.readline())
    service = addresses["app_service"]
    url = service["endpoint"] + "?api-version=2019-08-01&resource=https://ossrdbms-aad.database.windows.net"
    request = urllib.request.Request(url, headers={"X-IDENTITY-HEADER": service["header"]})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
        token = json.load(response)["access_token"]
    print("parts of the token:", token.count(".") + 1)
finally:
    process.terminate()
    process.wait(60)
"""

NODE_PROGRAM = """
const { spawn } = require('node:child_process')
const { once } = require('node:events')
const emulator = require('@pgentra/emulator')

async function main(command) {
  const child = spawn(command[0], [...command.slice(1), '--no-postgres'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const { app_service: service } = JSON.parse(String((await once(child.stdout, 'data'))[0]))
  const url = `${service.endpoint}?api-version=2019-08-01&resource=https://ossrdbms-aad.database.windows.net`
  const response = await fetch(url, { headers: { 'X-IDENTITY-HEADER': service.header } })
  const token = (await response.json()).access_token
  console.log('parts of the token:', token.split('.').length)
  child.kill()
  const [code, signal] = await once(child, 'exit')
  console.log('ended:', code === 0 || signal === 'SIGTERM')
}
main(process.argv[2] === 'bin' ? ['node_modules/.bin/pgentra-emulator'] : [emulator.path])
"""


def build(what: str, pattern: str) -> list[Path]:
    """The packages as `tools/emulator.sh` builds them."""
    environment = {**os.environ, "PROFILE": "dev"}
    subprocess.run([ROOT / "tools/emulator.sh", what], env=environment, check=True, timeout=BUILD_LIMIT_S)
    return list((ROOT / ".cache/emulator").glob(pattern))


def run(*command: str | Path, folder: Path, path: str, **variables: str) -> str:
    """Runs a command that finds no program of Rust; returns what it prints."""
    environment = {"PATH": path, "HOME": str(folder), **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel alone."""
    (wheel,) = build("wheel", "*.whl")
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=LIMIT_S)
    pip: list[str | Path] = [
        folder / "bin/pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-index",
        wheel,
    ]
    subprocess.run(pip, check=True, timeout=LIMIT_S)
    return folder


@pytest.mark.parametrize("argument", ["path", "-m"])
def test_wheel_runs_without_rust(environment: Path, tmp_path: Path, argument: str) -> None:
    path = f"{environment / 'bin'}:/usr/bin:/bin"
    printed = run(environment / "bin/python", "-c", PYTHON_PROGRAM, argument, folder=tmp_path, path=path)
    assert printed == "parts of the token: 3\n"


def test_wheel_program_is_in_the_path_of_its_environment(environment: Path, tmp_path: Path) -> None:
    path = f"{environment / 'bin'}:/usr/bin:/bin"
    line = run("sh", "-c", "pgentra-emulator --no-postgres --exec env", folder=tmp_path, path=path)
    assert "IDENTITY_ENDPOINT=" in line


def test_wheel_without_its_program_names_the_folders(environment: Path, tmp_path: Path) -> None:
    shutil.copytree(next(environment.rglob("pgentra_emulator")), tmp_path / "pgentra_emulator")
    program = "import pgentra_emulator\ntry: pgentra_emulator.path()\nexcept FileNotFoundError as error: print(error)"
    printed = run(sys.executable, "-c", program, folder=tmp_path, path="/usr/bin:/bin", PYTHONPATH=str(tmp_path))
    assert printed.startswith("pgentra-emulator is not in ") and "install the package by pip" in printed


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which npm installed the packages of this platform."""
    if shutil.which("npm") is None:
        assert os.environ.get("CI") != "true", "no npm on this machine"
        pytest.skip("the npm packages: no npm on this machine")
    packages = build("npm", "*.tgz")
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"private": true}')
    npm: list[str | Path] = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--offline", *packages]
    subprocess.run(npm, cwd=folder, check=True, timeout=LIMIT_S)
    (folder / "program.js").write_text(NODE_PROGRAM)
    return folder


def path_of_node() -> str:
    return f"{Path(shutil.which('node') or '').parent}:/usr/bin:/bin"


@pytest.mark.parametrize("way", ["path", "bin"])
def test_npm_package_runs_without_rust(node: Path, way: str) -> None:
    printed = run("node", "program.js", way, folder=node, path=path_of_node())
    assert printed == "parts of the token: 3\nended: true\n"


def test_npm_package_returns_the_status_of_the_command(node: Path) -> None:
    command = "node_modules/.bin/pgentra-emulator --no-postgres --exec sh -c 'exit 7' || echo status $?"
    assert run("sh", "-c", command, folder=node, path=path_of_node()) == "status 7\n"


def test_npm_package_on_an_unsupported_platform_names_the_supported_ones(node: Path) -> None:
    program = """
    Object.defineProperty(process, 'platform', { value: 'win32' })
    try { require('@pgentra/emulator').path } catch (error) { console.log(error.message) }
    """
    printed = run("node", "-e", program, folder=node, path=path_of_node())
    assert printed.startswith("@pgentra/emulator does not support the platform win32-x64. It runs on linux-x64,")


def test_npm_package_without_its_platform_names_the_missing_package(node: Path, tmp_path: Path) -> None:
    shutil.copytree(node / "node_modules/@pgentra/emulator", tmp_path / "node_modules/@pgentra/emulator")
    program = "try { require('@pgentra/emulator').path } catch (error) { console.log(error.message) }"
    printed = run("node", "-e", program, folder=tmp_path, path=path_of_node())
    assert "is not installed. It is in the package @pgentra/emulator-linux-" in printed
    assert "--omit=optional" in printed


def test_npm_packages_declare_their_platform(node: Path) -> None:
    main = json.loads((node / "node_modules/@pgentra/emulator/package.json").read_text())
    ((name, version),) = main["optionalDependencies"].items()
    platform = json.loads((node / "node_modules" / name / "package.json").read_text())
    assert (platform["os"], platform["libc"]) == (["linux"], ["glibc"])
    assert platform["version"] == main["version"] == version
