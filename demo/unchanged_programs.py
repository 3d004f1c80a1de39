"""Unchanged programs that the program `pgentra` logs in.

    unchanged_programs.py PGENTRA psql | pg_dump | pgbouncer | proxy | expiry BUNDLE

Prints `MODE: logged in as ROLE after N ms`, as the samples do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.emulator import ServerAddress
from support.pgbouncer import PgBouncer

USER = "select current_user"

#: The life of the tokens for the mode `expiry`.
LIFETIME_S = 3


def output(*command: str, environment: dict[str, str] | None = None, script: str | None = None) -> str:
    done = subprocess.run(command, env=environment, input=script, capture_output=True, text=True, check=True)
    return done.stdout.strip()


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


@contextmanager
def proxy(pgentra: str) -> Iterator[dict[str, str]]:
    """Runs `pgentra proxy` at a private socket, and gives the environment of its clients, which have no identity."""
    with tempfile.TemporaryDirectory(prefix="pgentra-") as folder:
        ready = Path(folder) / "ready"
        options = ["--quiet", "--listen", f"unix:{folder}/socket", "--ready-file", str(ready)]
        process = subprocess.Popen([pgentra, "proxy", *options])
        try:
            while not ready.exists() and process.poll() is None:
                time.sleep(0.01)
            clean = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "IDENTITY"))}
            yield clean | {"PGHOST": f"{folder}/socket", "PGDATABASE": os.environ["PGDATABASE"]}
        finally:
            process.terminate()
            process.wait()


def through_proxy(pgentra: str) -> str:
    """Returns the role of psql behind the proxy."""
    with proxy(pgentra) as environment:
        return output("psql", "-Atc", USER, environment=environment)


def across_an_expiry(pgentra: str) -> str:
    """Returns the role of a session that continues after its token has expired, and of a new one."""
    with proxy(pgentra) as environment:
        session = [
            f"select pg_sleep({LIFETIME_S + 1});",
            "select current_user as role \\gset",
            f'\\! psql -Atc "{USER}"',
            "\\echo :role",
        ]
        script = "".join(f"{line}\n" for line in session)
        shown = output("psql", "-Atq", environment=environment, script=script).split()
    assert len(set(shown)) == 1, shown
    return shown[0]


def main(pgentra: str, mode: str, bundle: str = "") -> None:
    started = time.monotonic()
    match mode:
        case "psql":
            role = output(pgentra, "exec", "--", "psql", "-Atc", USER)
        case "pg_dump":
            # It shows no role itself, so that psql does with the same login.
            script = f'pg_dump --schema-only --exclude-schema="*" >/dev/null && psql -Atc "{USER}"'
            role = output(pgentra, "exec", "--", "sh", "-c", script)
        case "proxy":
            role = through_proxy(pgentra)
        case "expiry":
            role = across_an_expiry(pgentra)
        case _:
            role = through_pgbouncer(pgentra, bundle)
    print(f"{mode}: logged in as {role} after {1000 * (time.monotonic() - started):.0f} ms")


if __name__ == "__main__":
    main(*sys.argv[1:])
