"""`pgentra agent`: its files, and Debian's PgBouncer with them."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, wait_for

from support import pgbouncer


@contextmanager
def agent(cli: Cli, *arguments: str | Path, **variables: str | None) -> Iterator[subprocess.Popen[str]]:
    """Runs the agent, which must end with 0 after a signal."""
    process = cli.start("agent", *arguments, **variables)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "eyJ" not in out + err


def present(*files: Path) -> None:
    wait_for(lambda: all(file.exists() for file in files), f"{files}")


def test_agent_writes_each_form_and_removes_it(cli: Cli, tmp_path: Path) -> None:
    token, pgpass, users = tmp_path / "token", tmp_path / "pgpass", tmp_path / "users.txt"
    with agent(cli, "--token-file", token, "--pgpass", pgpass, "--pgbouncer-auth-file", users):
        present(token, pgpass, users)
        text = token.read_text()
        assert re.fullmatch(r"ey[\w.-]+", text)
        server = cli.emulator.server
        assert pgpass.read_text().splitlines()[1] == f"{server.host}:{server.port}:*:app-mi:{text}"
        assert users.read_text().splitlines()[1] == f'"app-mi" "{text}"'
        for file in (token, pgpass, users, tmp_path / "token.pgentra"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        login = ["psql", "-U", "app-mi", "-d", "postgres", "-Atc", "select current_user"]
        shown = subprocess.run(
            login, env=cli.variables({"PGPASSFILE": str(pgpass)}), capture_output=True, text=True, timeout=60
        )
        assert shown.stdout == "app-mi\n", shown.stderr
    assert list(tmp_path.iterdir()) == []


def test_agent_renews_and_runs_the_command_without_a_shell(cli: Cli, tmp_path: Path) -> None:
    cli.emulator.set_tokens(lifetime_s=10)
    token, log = tmp_path / "token", tmp_path / "log"
    record = 'sha256sum < "$1" >> "$2"; printf "%s\\n" "$3" >> "$2"'
    words = ("--", "sh", "-c", record, "sh", token, log, "$(not a shell) 'x")
    with agent(cli, "--token-file", token, "--on-refresh", *words):
        wait_for(lambda: log.exists() and len(log.read_text().splitlines()) >= 6, "three refreshes")
    lines = log.read_text().splitlines()
    assert len(set(lines[0::2])) >= 3
    assert set(lines[1::2]) == {"$(not a shell) 'x"}


def test_agent_continues_after_a_failed_command(cli: Cli, tmp_path: Path) -> None:
    token = tmp_path / "token"
    process = cli.start("agent", "--token-file", token, "--on-refresh", "--", "false")
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    assert any("on-refresh failed" in line for line in lines)
    assert token.exists()
    process.terminate()
    assert process.wait(60) == 0 and not token.exists()
    process.communicate()


def test_agent_with_merge_keeps_the_other_lines(cli: Cli, tmp_path: Path) -> None:
    pgpass = tmp_path / "pgpass"
    others = "# mine\nother:5432:*:me:pass\n"
    pgpass.write_text(others)
    with agent(cli, "--pgpass", pgpass, "--merge"):
        wait_for(lambda: "app-mi" in pgpass.read_text(), "the line")
        assert pgpass.read_text().endswith(others)
        assert stat.S_IMODE(pgpass.stat().st_mode) == 0o600
    assert pgpass.read_text() == others


@pytest.mark.parametrize("option", ["--token-file", "--pgpass", "--pgbouncer-auth-file"])
def test_agent_refuses_files_of_others(cli: Cli, tmp_path: Path, option: str) -> None:
    file = tmp_path / "file"
    file.write_text("precious\n")
    assert "did not create it" in cli.run("agent", option, file, code=2).stderr
    assert file.read_text() == "precious\n"
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "absent")
    assert "symbolic link" in cli.run("agent", option, link, code=2).stderr
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    assert "every user" in cli.run("agent", option, folder / "file", code=2).stderr
    assert cli.emulator.requests() == []


def test_agent_takes_over_its_own_files_after_a_kill(cli: Cli, tmp_path: Path) -> None:
    files = {"--token-file": tmp_path / "token", "--pgpass": tmp_path / "p", "--pgbouncer-auth-file": tmp_path / "u"}
    options: list[str | Path] = [word for pair in files.items() for word in pair]
    process = cli.start("agent", *options)
    present(*files.values())
    process.kill()
    process.communicate(timeout=60)
    before = files["--token-file"].read_text()
    cli.emulator.rotate_keys()
    with agent(cli, *options):
        wait_for(lambda: files["--token-file"].read_text() != before, "a new token")
    assert not any(file.exists() for file in files.values())


def test_agent_sets_mode_and_group(cli: Cli, tmp_path: Path) -> None:
    token = tmp_path / "token"
    group = os.getegid()
    with agent(cli, "--token-file", token, "--file-group", str(group)):
        present(token)
        assert (stat.S_IMODE(token.stat().st_mode), token.stat().st_gid) == (0o640, group)
    with agent(cli, "--token-file", token, "--file-mode", "660"):
        present(token)
        assert stat.S_IMODE(token.stat().st_mode) == 0o660
    assert "other users" in cli.run("agent", "--token-file", token, "--file-mode", "644", code=2).stderr


def test_agent_warns_of_a_disk(cli: Cli, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        token = Path(memory) / "token"
        process = cli.start("agent", "--token-file", token)
        present(token)
        process.terminate()
        assert "tmpfs" not in process.communicate(timeout=60)[1]
    kind = subprocess.run(["stat", "-fc", "%T", tmp_path], capture_output=True, text=True).stdout.strip()
    if kind == "tmpfs":
        pytest.skip("the folder for tests is a tmpfs")
    process = cli.start("agent", "--token-file", tmp_path / "token")
    present(tmp_path / "token")
    process.terminate()
    assert "tmpfs" in process.communicate(timeout=60)[1]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--merge",),
        ("--token-file", "t", "--on-refresh"),
        ("--token-file", "t", "--", "true"),
        ("--token-file", "t", "--pgpass", "t"),
    ],
)
def test_agent_with_incomplete_arguments_fails(cli: Cli, arguments: tuple[str, ...], tmp_path: Path) -> None:
    cli.run("agent", *(str(tmp_path / word) if word == "t" else word for word in arguments), code=2)


def test_agent_without_a_token_fails(cli: Cli, tmp_path: Path) -> None:
    nothing: dict[str, Any] = {"IDENTITY_ENDPOINT": None, "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential"}
    cli.run("agent", "--token-file", tmp_path / "token", code=3, **nothing)
    assert list(tmp_path.iterdir()) == []


def test_agent_keeps_pgbouncer_logged_in_across_expiries(cli: Cli) -> None:
    if pgbouncer.PROGRAM is None:
        reason = "no pgbouncer on this machine: tools/ci_packages.sh installs it"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(reason)
        pytest.skip(reason)
    lifetime = 10
    emulator = cli.emulator
    emulator.set_tokens(lifetime_s=lifetime)
    variables = cli.variables({})
    with pgbouncer.PgBouncer(emulator.server, "app-mi", emulator.bundle_file, variables) as pooler:
        reload = pooler.command("pgbouncer", "RELOAD")
        options = ["--pgbouncer-auth-file", str(pooler.users), *pooler.agent_options]
        with agent(cli, *options, "--on-refresh", "--", *reload):
            pooler.start()
            assert len(pooler.users.read_text()) > 1000, "the length of a managed identity's token"
            tokens = {pooler.users.read_text()}
            ends = time.monotonic() + 2 * lifetime
            while time.monotonic() < ends or len(tokens) < 4:
                shown = pooler.psql("select current_user")
                assert shown.stdout == "app-mi\n", (shown.stderr, pooler.log.read_text())
                tokens.add(pooler.users.read_text())
                time.sleep(0.5)
    logins = emulator.postgres_report().logins
    assert len(logins) > 4 and {login.outcome for login in logins} == {"logged_in"}, logins


def test_agent_names_the_version_of_pgbouncer_for_long_tokens(cli: Cli, tmp_path: Path) -> None:
    identity = cli.emulator.add_principal(claims={"padding": "x" * 3000})
    users = tmp_path / "users.txt"
    process = cli.start("agent", "--client-id", identity.appid, "--pgbouncer-auth-file", users)
    present(users)
    process.terminate()
    assert "PgBouncer 1.26 or newer" in process.communicate(timeout=60)[1]
