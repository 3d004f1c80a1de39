"""Unchanged programs that the program `pgentra` logs in.

    unchanged_programs.py PGENTRA psql | pg_dump | pgbouncer BUNDLE

Prints `MODE: logged in as ROLE after N ms`, as the samples do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.emulator import ServerAddress
from support.pgbouncer import PgBouncer

USER = "select current_user"


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def through_pgbouncer(pgentra: str, bundle: str) -> str:
    """Returns the role behind PgBouncer, whose file `pgentra agent` keeps."""
    server = ServerAddress(os.environ["PGHOST"], int(os.environ["PGPORT"]), os.environ["PGDATABASE"])
    role = output(pgentra, "psql", "-Atc", USER)
    with PgBouncer(server, role, bundle, os.environ) as pooler:
        reload = pooler.command("pgbouncer", "RELOAD")
        options = ["-q", "--pgbouncer-auth-file", str(pooler.users), *pooler.agent_options]
        agent = subprocess.Popen([pgentra, "agent", *options, "--on-refresh", "--", *reload], stderr=subprocess.DEVNULL)
        try:
            pooler.start()
            shown = pooler.psql(USER)
            shown.check_returncode()
            return shown.stdout.strip()
        finally:
            agent.terminate()
            agent.wait()


def main(pgentra: str, mode: str, bundle: str = "") -> None:
    started = time.monotonic()
    match mode:
        case "psql":
            role = output(pgentra, "exec", "--", "psql", "-Atc", USER)
        case "pg_dump":
            # It shows no role itself, so that psql does with the same login.
            script = f'pg_dump --schema-only --exclude-schema="*" >/dev/null && psql -Atc "{USER}"'
            role = output(pgentra, "exec", "--", "sh", "-c", script)
        case _:
            role = through_pgbouncer(pgentra, bundle)
    print(f"{mode}: logged in as {role} after {1000 * (time.monotonic() - started):.0f} ms")


if __name__ == "__main__":
    main(*sys.argv[1:])
