"""The program that ships: static, small, independent of files of the machine; and what `make install` installs.

`make cli` builds it, which takes minutes: without it, only the installation is tested, with the program of the tests.
With PGENTRA_LONG=1 (`make test-all`, the release workflow) it is built first.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import LIMIT_S, PGENTRA, ROOT, TARGET, Cli, wait_for

BUILD = TARGET.parent
STATIC = BUILD / "cli" / "pgentra"
BUILD_LIMIT_S = 3600
LARGEST = 7_000_000
LARGEST_PEAK_KB = 16_000
COMMANDS = ("agent", "doctor", "exec", "proxy", "psql", "ready", "serve", "token", "whoami")


@pytest.fixture(scope="module")
def program() -> Path:
    """The program as `make cli` builds it."""
    if os.environ.get("PGENTRA_LONG"):
        environment = {**os.environ, "BUILD": str(BUILD)}
        subprocess.run([ROOT / "tools/cli.sh", "build"], env=environment, check=True, timeout=BUILD_LIMIT_S)
    if not STATIC.exists():
        pytest.skip("the static program: `make cli` has not built it, which takes minutes; `make test-all` builds it")
    return STATIC


@pytest.mark.skipif(sys.platform != "linux", reason="the static program: it is dynamic on this system")
def test_static_program_needs_no_library(program: Path) -> None:
    image = program.read_bytes()
    kind, segments, size, count = (
        struct.unpack_from(form, image, at)[0] for form, at in (("<H", 16), ("<Q", 32), ("<H", 54), ("<H", 56))
    )
    pie, interpreter = 3, 3
    assert kind == pie
    kinds = [struct.unpack_from("<I", image, segments + index * size)[0] for index in range(count)]
    assert interpreter not in kinds


def test_static_program_is_small(program: Path) -> None:
    assert program.stat().st_size <= LARGEST


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read in /proc")
def test_static_program_uses_little_memory(program: Path, cli: Cli) -> None:
    """The program is stopped by a full pipe when it prints the token, with its work done."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    filled = 0
    for size in (4096, 1):
        while True:
            try:
                filled += os.write(writer, b"x" * size)
            except BlockingIOError:
                break
    os.set_blocking(writer, True)
    running = subprocess.Popen([program, "token"], env=cli.environment, stdout=writer)
    os.close(writer)
    try:
        wait_for(lambda: "pipe_write" in waits_in(running.pid) or running.poll() is not None, "the token is printed")
        assert running.poll() is None
        (peak,) = [line.split()[1] for line in status(running.pid).splitlines() if line.startswith("VmHWM")]
        assert int(peak) <= LARGEST_PEAK_KB
    finally:
        with os.fdopen(reader, "rb") as pipe:
            token = pipe.read()[filled:]
        assert running.wait(LIMIT_S) == 0
    assert token.count(b".") == 2


def status(process: int) -> str:
    return Path(f"/proc/{process}/status").read_text()


def waits_in(process: int) -> str:
    """The kernel's function in which a process waits."""
    return "".join(path.read_text() for path in Path(f"/proc/{process}/task").glob("*/wchan"))


@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces")
def test_static_program_resolves_names_in_an_empty_root(program: Path) -> None:
    """`chroot` into a folder with the program alone, in a network with one name server: `static_root.py`."""
    namespaces = ["unshare", "--map-root-user", "--net"]
    if not can_run([*namespaces, "true"]):
        namespaces = ["sudo", "-n", "unshare", "--net"]
        if not can_run([*namespaces, "true"]):
            assert os.environ.get("CI") != "true", "neither unshare nor sudo can make a network namespace"
            pytest.skip("the empty root: this user may not make a network namespace")
    emulator = os.environ.get("PGENTRA_EMULATOR", TARGET / "pgentra-emulator")
    script = Path(__file__).with_name("static_root.py")
    done = subprocess.run(
        [*namespaces, sys.executable, script, program, emulator],
        capture_output=True,
        text=True,
        timeout=3 * LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [document["way"] for document in documents] == ["no file", "resolv.conf", "hosts", "nsswitch.conf"]
    for document in documents:
        assert (document["status"], document["stderr"]) == (0, ""), document
        assert document["token"]
        assert document["queries"] == ([] if document["way"] == "hosts" else ["entra.example.test"])


def can_run(command: list[str]) -> bool:
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0


def test_install_puts_program_completions_and_man_pages_below_a_prefix(tmp_path: Path) -> None:
    environment = {**os.environ, "BUILD": str(tmp_path / "build")}
    script = ROOT / "tools/cli.sh"
    nothing = subprocess.run(
        [script, "install", "/usr", tmp_path / "root"], env=environment, check=True, capture_output=True, text=True
    )
    assert "`make cli` builds it" in nothing.stdout and not (tmp_path / "root").exists()

    subprocess.run([script, "stage", PGENTRA], env=environment, check=True)
    subprocess.run([script, "install", "/usr", tmp_path / "root"], env=environment, check=True)
    usr = tmp_path / "root/usr"
    installed = {str(path.relative_to(usr)) for path in usr.rglob("*") if path.is_file()}
    completions = {
        "share/bash-completion/completions/pgentra",
        "share/zsh/site-functions/_pgentra",
        "share/fish/vendor_completions.d/pgentra.fish",
    }
    pages = {"share/man/man1/pgentra.1", *(f"share/man/man1/pgentra-{command}.1" for command in COMMANDS)}
    assert completions | pages | {"bin/pgentra"} <= installed
    assert all(path.startswith(("bin/pgentra", "share/")) for path in installed)

    printed = subprocess.run([usr / "bin/pgentra", "--version"], check=True, capture_output=True, text=True).stdout
    assert printed.startswith("pgentra ")
    for path in completions:
        text = (usr / path).read_text()
        assert all(command in text for command in COMMANDS), path
    for path in pages:
        page = usr / path
        assert page.read_text().count("\n.TH ") + page.read_text().startswith(".TH ") == 1, path
        assert page.stat().st_mode & 0o777 == 0o644
    for shell in ("bash", "zsh", "fish"):
        (completion,) = (path for path in completions if shell in path)
        if shutil.which(shell):
            subprocess.run([shell, "-n", usr / completion], check=True)
