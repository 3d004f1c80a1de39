"""The demonstration: the samples as they are, then "an hour in thirty seconds", against a real PostgreSQL.

Starts the emulator, which starts PostgreSQL. Ends with status 0 only if every sample logged in as the expected role and
no login failed. A new driver or language is one entry of `SAMPLES`, and a pool one of `POOLS` in `tests/e2e/pools.py`.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from drivers import Target  # noqa: E402
from emulator import Emulator  # noqa: E402
from pools import POOLS, SIZE, AllPools  # noqa: E402

#: Who an app is on App Service in the emulator's world.
ROLE = "app-mi"
SAMPLE_LIMIT_S = 60

HOUR_S = 30
LIFETIME_S = 12
#: The token service is down for so long, each time from a token's arrival on. The second outage lasts past the moment
#: at which that token is to be refreshed.
OUTAGES_S = (4, 8)

#: Of the live line, where there is a terminal.
WIDTH = min(118, shutil.get_terminal_size().columns - 1)

LOGGED_IN = re.compile(r"^\w+: logged in as (?P<role>.+) after (?P<ms>\d+) ms$", re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """A program that prints `MODE: logged in as ROLE after N ms`; run in a folder with a copy of `examples/`."""

    name: str
    command: tuple[str, ...]


def python(name: str, file: str, *arguments: str) -> Sample:
    return Sample(name, (sys.executable, f"python/{file}", *arguments))


SAMPLES = (
    python("psycopg2", "psycopg2_sample.py"),
    python("psycopg 3", "psycopg3_sample.py", "--mode", "sync"),
    python("psycopg 3, async", "psycopg3_sample.py", "--mode", "async"),
    python("asyncpg", "asyncpg_sample.py"),
    python("SQLAlchemy, psycopg", "sqlalchemy_sample.py", "--mode", "sync"),
    python("SQLAlchemy, psycopg2", "sqlalchemy_sample.py", "--driver", "psycopg2"),
    python("SQLAlchemy, async psycopg", "sqlalchemy_sample.py", "--mode", "async"),
    python("SQLAlchemy, async asyncpg", "sqlalchemy_sample.py", "--driver", "asyncpg"),
)


#: Compiled for the demonstration, where a compiler and libpq's headers are there.
C_SAMPLES = (("C, libpq", "libpq.c"), ("C, asynchronous", "async.c"), ("C++, libpq", "cplusplus.cpp"))


def c_samples(folder: str) -> list[Sample]:
    """The samples in C and C++, compiled into `folder`; none where that cannot be, which is told."""
    target = Path(os.environ.get("PGENTRA_TARGET", ROOT / "target" / "debug"))
    made = []
    try:
        libpq = subprocess.run(
            ("pkg-config", "--cflags", "--libs", "libpq"), capture_output=True, text=True, check=True
        )
        for name, file in C_SAMPLES:
            program = str(Path(folder, Path(file).stem))
            compiler = "c++" if file.endswith(".cpp") else "cc"
            words = [
                compiler,
                f"-I{ROOT / 'bindings-c' / 'include'}",
                str(ROOT / "examples" / "c" / file),
                "-o",
                program,
            ]
            words += [str(target / "libpgentra.a"), *libpq.stdout.split(), "-lpthread", "-ldl", "-lm", "-lgcc_s"]
            subprocess.run(words, capture_output=True, check=True)
            made.append(Sample(name, (program,)))
    except (OSError, subprocess.CalledProcessError) as error:
        say(f"not tried: C: needs a C and a C++ compiler, libpq's headers and libpgentra ({error})")
        return []
    return made


#: Built for the demonstration, where the .NET SDK is there.
DOTNET_SAMPLES = (
    ("Npgsql", "sync"),
    ("Npgsql, async", "async"),
    ("EF Core", "efcore"),
    (".NET hosted service", "hosted"),
)


def dotnet_samples() -> list[Sample]:
    """The samples in C#, built where they are; none where that cannot be, which is told."""
    if shutil.which("dotnet") is None:
        say("not tried: .NET: none on this machine")
        return []
    project = ROOT / "examples" / "dotnet"
    target = Path(os.environ.get("PGENTRA_TARGET", ROOT / "target" / "debug"))
    words = ["dotnet", "build", str(project), "-v", "q", "-nologo", f"-p:PgEntraLibrary={target / 'libpgentra.so'}"]
    built = subprocess.run(words, capture_output=True, text=True, check=False)
    if built.returncode:
        say(built.stdout.strip())
    program = str(project / "bin" / "Debug" / "net10.0" / "Samples.dll")
    return [Sample(name, ("dotnet", program, mode)) for name, mode in DOTNET_SAMPLES]


def main() -> int:
    say("Starting PostgreSQL and the emulator ...")
    try:
        emulator = Emulator.start()
    except RuntimeError as error:
        say(str(error))
        return 1
    try:
        for name in set(os.environ) - set(emulator.environment()):
            del os.environ[name]
        os.environ.update(emulator.environment())
        samples_good = run_samples(emulator)
        hour_good = run_hour(emulator)
    except KeyboardInterrupt:
        say("\nStopped.")
        return 130
    finally:
        emulator.stop()
    return 0 if samples_good and hour_good else 1


def run_samples(emulator: Emulator) -> bool:
    """The table; whether every row is as it should be."""
    say(f"Running the samples; each should log in as {ROLE} ...\n")
    widths = (26, 14, 12, 14)
    row("driver", "logged in as", "first login", "token requests", widths=widths)
    row(*("-" * width for width in widths), widths=widths)
    good = True
    with tempfile.TemporaryDirectory(prefix="pgentra-demo-") as folder:
        # A copy: the samples' own `.env` may be somebody's real server.
        shutil.copytree(ROOT / "examples" / "python", Path(folder, "python"), ignore=shutil.ignore_patterns(".env"))
        place = emulator.place
        Path(folder, "python", ".env").write_text(f"HOSTNAME={place.host}\nDATABASE={place.database}\n")
        environment = {**os.environ, "PGPORT": str(place.port), "PGSSLMODE": "verify-full", "HOSTNAME": "a-container"}
        # libpq's own variables.
        environment |= {"PGHOST": place.host, "PGDATABASE": place.database}
        # Those of the .NET samples.
        environment |= {"Host": place.host, "Database": place.database, "Port": str(place.port)}
        for sample in (*SAMPLES, *c_samples(folder), *dotnet_samples()):
            emulator.reset()
            done = run(sample, folder, environment)
            found = LOGGED_IN.search(done.stdout)
            requests = len(emulator.requests())
            if done.returncode == 0 and found is not None and found["role"] == ROLE:
                row(sample.name, found["role"], f"{found['ms']} ms", str(requests), widths=widths)
            else:
                good = False
                row(sample.name, "FAILED", "", str(requests), widths=widths)
                say((done.stdout + done.stderr).strip())
    say("\nOf the two requests one is for the database and one for the role's name, which is asked for once.")
    return good


def run(sample: Sample, folder: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            sample.command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SAMPLE_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(sample.command, 1, "", str(error))


def run_hour(emulator: Emulator) -> bool:
    """Every pool at once; whether no login failed."""
    outages = " and then for ".join(f"{seconds} s" for seconds in OUTAGES_S)
    say(
        f"\nAn hour in {HOUR_S} seconds: {len(POOLS)} pools of {SIZE}, connections replaced every second, tokens of "
        f"{LIFETIME_S} s,\nand a token service that is down for {outages}.\n"
    )
    emulator.reset()
    emulator.set_tokens(lifetime_s=LIFETIME_S)
    place = emulator.place
    logging.getLogger("pgentra").addHandler(Above())
    stop = threading.Event()
    state = State()
    service = threading.Thread(target=run_outages, args=(emulator, state, stop), daemon=True)
    with AllPools(Target(place.host, place.port, place.database)) as pools:
        service.start()
        began, ends, told = time.monotonic(), time.monotonic() + HOUR_S, -1
        while time.monotonic() < ends:
            time.sleep(0.2)
            second = int(time.monotonic() - began)
            line = status(second, pools, emulator, state)
            if sys.stdout.isatty():
                print(f"\r{line[:WIDTH]:<{WIDTH}}", end="", flush=True)
            elif second % 5 == 0 and second != told:
                told = second
                say(line)
    stop.set()
    service.join(15)
    requests = emulator.requests()
    failed = sum(request.status != 200 for request in requests)
    roles = set().union(*(tally.roles for tally in pools.tallies.values()))
    slowest = max(tally.slowest for tally in pools.tallies.values())
    most = emulator.counter("app_service").max_in_flight
    if sys.stdout.isatty():
        say("")
    say(
        f"\n{pools.logins} logins, {len(pools.failures)} failed, slowest {slowest:.2f} s; "
        f"{len(requests)} token requests, {failed} of them refused by the outages, at most {most} at once."
    )
    for failure in pools.failures[:5]:
        say(f"  {failure}")
    good = pools.failures == [] and roles == {ROLE} and all(tally.logins for tally in pools.tallies.values())
    say("No login failed." if good else f"FAILED: {len(pools.failures)} failed logins, roles {sorted(roles)}.")
    return good


class Above(logging.Handler):
    """What an application's log would have, above the live line."""

    def emit(self, record: logging.LogRecord) -> None:
        text = f"       log: {record.levelname} {record.getMessage()}"
        print(f"\r{text:<{WIDTH}}" if sys.stdout.isatty() else text, flush=True)


@dataclass
class State:
    """What the live line tells besides the counts."""

    outage: bool = False


def run_outages(emulator: Emulator, state: State, stop: threading.Event) -> None:
    """Each outage begins when a token arrives."""
    seen = 0
    for seconds in OUTAGES_S:
        while not stop.is_set() and (tokens := arrived(emulator)) <= seen:
            stop.wait(0.05)
        with emulator.fault(endpoint="app_service", status=503):
            state.outage = True
            stop.wait(seconds)
        state.outage = False
        seen = max(seen, tokens if stop.is_set() else arrived(emulator))


def arrived(emulator: Emulator) -> int:
    """Database tokens handed out so far."""
    return sum(one.status == 200 and "ossrdbms" in (one.resource or "") for one in emulator.requests())


def status(second: int, pools: AllPools, emulator: Emulator, state: State) -> str:
    requests = emulator.requests()
    failed = sum(request.status != 200 for request in requests)
    down = "   the token service is down" if state.outage else ""
    return (
        f"{second:>4} s   logins {pools.logins:>5}   failed {len(pools.failures)}   "
        f"token requests {len(requests)} ({failed} refused){down}"
    )


def row(*cells: str, widths: tuple[int, ...]) -> None:
    say("  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip())


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
