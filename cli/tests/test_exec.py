"""`pgentra exec` and `pgentra psql`."""

from __future__ import annotations

import os
import pty
import select
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import PGENTRA, Cli, wait_for

SHOW = 'env | grep ^PG; stat -c %a "$PGPASSFILE"; cat "$PGPASSFILE"'


def test_exec_logs_psql_in(cli: Cli) -> None:
    done = cli.run("exec", "--", "psql", "-Atc", "select current_user || ' ' || current_database()")
    assert (done.stdout, done.stderr) == ("app-mi postgres\n", "")
    assert list(cli.private.iterdir()) == []


def test_exec_logs_pg_dump_in(cli: Cli) -> None:
    assert "PostgreSQL database dump" in cli.run("exec", "--", "pg_dump", "--schema-only", "--exclude-schema=*").stdout


def test_exec_passes_variables_and_a_private_file(cli: Cli) -> None:
    variables: dict[str, Any] = {"PGPASSWORD": "left-over", "PGSERVICE": None, "PGSSLMODE": "prefer"}
    shown = cli.run("exec", "-d", "shop", "--", "sh", "-c", SHOW, **variables).stdout.splitlines()
    found = dict(line.split("=", 1) for line in shown if line.startswith("PG"))
    server = cli.emulator.server
    assert found == {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": "app-mi",
        "PGDATABASE": "shop",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": cli.emulator.bundle_file,
        "PGPASSFILE": found["PGPASSFILE"],
    }
    assert Path(found["PGPASSFILE"]).parent == cli.private
    assert stat.S_IMODE(cli.private.stat().st_mode) == 0o700
    mode, line = shown[-2:]
    assert mode == "600" and line.startswith(f"{server.host}:{server.port}:*:app-mi:ey")


def test_exec_reads_a_service_and_removes_it(cli: Cli, tmp_path: Path) -> None:
    server = cli.emulator.server
    services = tmp_path / "services"
    services.write_text(f"[shop]\nhost={server.host}\nport={server.port}\nsslmode=prefer\npassword=never\n")
    variables: dict[str, Any] = {
        "PGSERVICE": "shop",
        "PGSERVICEFILE": str(services),
        "PGHOST": None,
        "PGPORT": None,
    }
    shown = cli.run("exec", "--", "sh", "-c", SHOW, **variables).stdout
    assert "PGSERVICE=" not in shown and "PGSSLMODE=verify-full" in shown and "never" not in shown
    assert cli.run("exec", "--", "psql", "-Atc", "select 1", **variables).stdout == "1\n"


def test_exec_via_env_replaces_the_process(cli: Cli) -> None:
    process = cli.start("exec", "--via", "env", "--", "sh", "-c", 'echo $$ "$PGPASSWORD" "$PGPASSFILE"')
    out, err = process.communicate(timeout=60)
    pid, password, *rest = out.split()
    assert int(pid) == process.pid and password.startswith("ey") and rest == []
    assert "never renewed" in err
    assert cli.run("exec", "-q", "--via", "env", "--", "psql", "-Atc", "select 1").stderr == ""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--", "sh", "-c", "exit 0"), 0),
        (("--", "sh", "-c", "exit 2"), 2),
        (("--", "sh", "-c", "exit 200"), 200),
        (("--", "sh", "-c", "kill -KILL $$"), 128 + signal.SIGKILL),
        (("--", "sh", "-c", "kill -TERM $$"), 128 + signal.SIGTERM),
        (("--", "no-such-program"), 127),
        (("--", "/etc/passwd"), 126),
        (("--no-such-option", "--", "true"), 125),
        (("--credential", "nothing", "--", "true"), 125),
        (("--config", "/no/such/file", "--", "true"), 125),
        ((), 125),
    ],
)
@pytest.mark.parametrize("via", ["passfile", "env", "proxy"])
def test_exec_ends_with_the_exit_code_of_the_child(cli: Cli, words: tuple[str, ...], code: int, via: str) -> None:
    # A shell's own end by a signal is seen by the parent in both cases.
    expected = -(code - 128) if via == "env" and code in (137, 143) else code
    cli.run("exec", "--via", via, *words, code=expected)
    assert not cli.private.exists() or list(cli.private.iterdir()) == []


def test_exec_via_proxy_passes_no_token(cli: Cli) -> None:
    variables: dict[str, Any] = {
        "PGPASSWORD": "left-over",
        "PGSSLMODE": "require",
        "PGREQUIREAUTH": "password",
        "PGCHANNELBINDING": "require",
        "PGHOSTADDR": "127.0.0.1",
    }
    script = 'env; psql -Atc \'select current_user\'; ls -ld "$PGHOST"; ls -la "$PGHOST"'
    done = cli.run("exec", "--via", "proxy", "-d", "shop", "--", "sh", "-c", script, **variables)
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if line.startswith("PG"))
    host = Path(found["PGHOST"])
    assert found == {
        "PGHOST": str(host),
        "PGPORT": "5432",
        "PGUSER": "app-mi",
        "PGDATABASE": "shop",
        "PGSSLMODE": "disable",
    }
    assert host.parent == cli.private and "eyJ" not in done.stdout + done.stderr and "left-over" not in done.stdout
    assert "drwx------" in done.stdout and "srw-------" in done.stdout
    assert list(cli.private.iterdir()) == []


def test_exec_via_proxy_logs_in_after_the_token_has_expired(cli: Cli) -> None:
    cli.emulator.set_tokens(lifetime_s=6)
    script = "psql -Atc 'select 1'; sleep 7; psql -Atc 'select 2'"
    assert cli.run("exec", "--via", "proxy", "--", "sh", "-c", script).stdout == "1\n2\n"


def test_exec_via_proxy_runs_parallel_connections(cli: Cli, tmp_path: Path) -> None:
    cli.run(
        "exec", "--via", "proxy", "--", "pg_dump", "-j", "3", "-Fd", "--exclude-schema=*", "-f", str(tmp_path / "dump")
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_exec_via_proxy_passes_signals(cli: Cli, number: signal.Signals) -> None:
    script = f"trap 'echo got; exit 7' {number.name.removeprefix('SIG')}; echo ready; while :; do sleep 0.05; done"
    process = cli.start("exec", "--via", "proxy", "--", "sh", "-c", script)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert (out, process.returncode) == ("got\n", 7)
    assert list(cli.private.iterdir()) == []


def test_exec_via_proxy_after_a_kill_removes_the_left_over_directory(cli: Cli) -> None:
    process = cli.start("exec", "--via", "proxy", "--", "sh", "-c", "echo ready; exec sleep 60")
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait(60)
    os.kill(int(child), signal.SIGKILL)
    assert len(list(cli.private.iterdir())) == 2
    cli.run("exec", "--via", "proxy", "--", "true")
    assert list(cli.private.iterdir()) == []


def test_exec_without_a_server_or_a_token_ends_with_125(cli: Cli) -> None:
    assert "no server is given" in cli.run("exec", "--", "true", code=125, PGHOST=None).stderr
    cli.run("exec", "--", "true", code=125, IDENTITY_ENDPOINT=None, AZURE_TOKEN_CREDENTIALS="EnvironmentCredential")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT])
def test_exec_passes_signals(cli: Cli, number: signal.Signals) -> None:
    script = f"trap 'echo got; exit 7' {number.name.removeprefix('SIG')}; echo ready; while :; do sleep 0.05; done"
    process = cli.start("exec", "--", "sh", "-c", script)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert (out, process.returncode) == ("got\n", 7)
    assert list(cli.private.iterdir()) == []


def test_exec_ends_by_a_signal_during_the_token_request(cli: Cli) -> None:
    cli.emulator.add_fault(endpoint="app_service", connection="black_hole")
    process = cli.start("exec", "--", "true")
    wait_for(lambda: cli.emulator.counter("app_service").in_flight, "a token request")
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


def test_exec_renews_the_file_while_the_child_runs(cli: Cli) -> None:
    cli.emulator.set_tokens(lifetime_s=12)
    # Three different contents, and never an incomplete one.
    script = """
        n=0; last=
        while [ $n -lt 3 ]; do
            now=$(cat "$PGPASSFILE"); case $now in *:ey*.*.*) ;; *) echo incomplete;; esac
            [ "$now" != "$last" ] && n=$((n + 1)) && last=$now
            sleep 0.05
        done
        psql -Atc 'select current_user'
    """
    done = cli.run("exec", "--", "sh", "-c", script)
    assert done.stdout == "app-mi\n", done


def test_exec_after_a_kill_removes_the_left_over_file(cli: Cli) -> None:
    process = cli.start("exec", "--", "sh", "-c", "echo ready; exec sleep 60")
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(list(cli.private.iterdir())) == 2
    process.kill()
    process.wait(60)
    assert len(list(cli.private.iterdir())) == 2
    os.kill(int(child), signal.SIGKILL)
    other = cli.start("exec", "--", "sh", "-c", "echo ready; exec sleep 60")
    assert other.stdout is not None and other.stdout.readline() == "ready\n"
    # The file of a living process stays.
    assert cli.run("exec", "--", "sh", "-c", 'ls "$(dirname "$PGPASSFILE")" | wc -l').stdout.strip() == "4"
    other.terminate()
    other.communicate(timeout=60)
    assert list(cli.private.iterdir()) == []


def test_exec_with_nohup_leaves_the_signal_ignored(cli: Cli) -> None:
    script = "kill -HUP $PPID; sleep 0.2; kill -HUP $$; echo alive"
    done = subprocess.run(
        [PGENTRA, "exec", "--", "sh", "-c", script],
        env=cli.variables({}),
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.returncode) == ("alive\n", 0), done


def test_psql_runs_with_its_own_arguments(cli: Cli) -> None:
    server = cli.emulator.server
    query = ("-Atc", "select current_user")
    assert cli.run("psql", *query).stdout == "app-mi\n"
    assert cli.run("psql", f"{server.host}:{server.port}", *query, PGHOST=None, PGPORT=None).stdout == "app-mi\n"
    assert cli.run("psql", "-U", "app-mi", server.host, "postgres", *query).stdout == "app-mi\n"
    assert cli.run("psql", "-Atc", "select error", code=1).stderr
    cli.run("psql", "--no-such-option-of-psql", code=1)
    assert cli.run("psql", "-Atc", "\\! env | grep -c -e ^PGPASS -e eyJ").stdout == "0\n"


def test_psql_reconnects_after_a_lost_session(cli: Cli) -> None:
    # psql resets a lost connection only at a terminal. It keeps a password that it was given, which expires.
    cli.emulator.set_tokens(lifetime_s=6)
    main, side = pty.openpty()
    words = [str(PGENTRA), "psql", "-XAtq", "-P", "pager=off"]
    process = subprocess.Popen(words, env=cli.environment, stdin=side, stdout=side, stderr=side)
    os.close(side)

    def ask(statement: str, expected: str) -> None:
        os.write(main, f"{statement}\n".encode())
        seen = ""
        while expected not in seen:
            assert select.select([main], [], [], 60)[0], seen
            seen += os.read(main, 4096).decode()

    try:
        ask("select 40 + 1;", "41")
        time.sleep(7)
        ask("select pg_terminate_backend(pg_backend_pid());", "Succeeded")
        ask("select 40 + 2;", "42")
        os.write(main, b"\\q\n")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(main)
