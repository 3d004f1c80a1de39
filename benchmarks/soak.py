"""Runs pools of every language and sessions through `pgentra proxy` over short tokens and random faults: `make soak`.

    benchmarks/soak.py [--minutes 15] [--seed N] [--out FOLDER] [PROGRAM...]

The programs are python node dotnet c java go php ruby rust proxy; all of them if none is named. Writes `soak.json` to
the folder, which `plot_soak.py` draws. The exit status is 3 if a rule of `docs/soak.md` is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import soak_programs  # noqa: E402
from soak_programs import Program  # noqa: E402
from soak_rules import (  # noqa: E402
    INTEGRITY,
    KEYS_RETIRED,
    SESSION,
    SESSIONS_CLOSED,
    Login,
    Trend,
    Window,
    judge,
    longest_pause,
    trend,
)
from support.emulator import Emulator, Principal, wait_until  # noqa: E402

LIFETIME_S = 30
#: Before the first fault, so that every program has a token.
QUIET_S = 25.0
#: From then on memory and threads may not grow, as a part of the run, and at least these seconds.
WARM_UP_PART, WARM_UP_S = 1 / 3, 100.0
#: Shorter runs report the growth and do not judge it.
JUDGED_MINUTES = 6.0
#: The growth that is no breach: a part of the median, and this much. It must be certain, see `Trend`.
MEMORY_PART, MEMORY_MB, THREADS = 0.05, 2.0, 2.0
#: Seconds that a pool may be without a login outside of outages.
PAUSE_S = 45.0
BUCKET_S = 10.0

REJECTIONS = ("token_expired", "too_many_connections", "starting_up")


@dataclass
class Running:
    """A program, its logins, and its memory and threads over time."""

    program: Program
    process: subprocess.Popen[str]
    watched: list[int]
    logins: list[Login] = field(default_factory=list)
    #: Time, megabytes, threads.
    samples: list[tuple[float, float, int]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.program.language

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            parts = line.rstrip("\n").split("\t")
            if len(parts) != 5:
                say(f"{self.name}: {line.strip()}")
                continue
            pool, began, took, role, error = parts
            self.logins.append(Login(self.name, pool, float(began), float(took), role, error))

    def sample(self) -> None:
        for pid in self.watched:
            if found := usage(pid):
                self.samples.append((time.time(), *found))


def say(line: str) -> None:
    print(f"[pgentra] {line}", flush=True)


def usage(pid: int) -> tuple[float, int] | None:
    """Returns the resident megabytes and the threads of a process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    values = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    return (int(values["VmRSS"][0]) / 1e3, int(values["Threads"][0])) if "VmRSS" in values else None


class Faults(threading.Thread):
    """Injects one fault after the other, chosen and timed by the seed."""

    def __init__(self, emulator: Emulator, seed: int, with_proxy: bool, ends: float) -> None:
        super().__init__(daemon=True)
        self.windows: list[Window] = []
        self.problem: BaseException | None = None
        self._emulator = emulator
        self._random = random.Random(seed)
        self._ends = ends
        self._stop = threading.Event()
        self._kinds = ["unavailable", "throttled", "dropped", "black hole", "garbage", "slow"] * 2
        self._kinds += ["login rejected", "connection dropped", "slow login", KEYS_RETIRED, "long outage"]
        self._kinds += [SESSIONS_CLOSED] if with_proxy else []

    def run(self) -> None:
        try:
            self._stop.wait(QUIET_S)
            kinds: list[str] = []
            while not self._stop.is_set():
                # Each round has every kind, in another order.
                kinds = kinds or self._random.sample(self._kinds, len(self._kinds))
                kind = kinds.pop()
                # The last fault ends before the run does.
                if time.time() + 60 > self._ends:
                    return
                self._inject(kind)
                self._stop.wait(self._random.uniform(4, 12))
        except BaseException as problem:
            self.problem = problem

    def stop(self) -> None:
        self._stop.set()
        self.join(60)

    def _inject(self, kind: str) -> None:
        began = time.time()
        if kind in ("login rejected", "connection dropped"):
            window = self._counted(kind, began)
        elif kind == "slow login":
            self._emulator.control_postgres(delay_ms=self._random.randint(300, 1500))
            self._stop.wait(self._random.uniform(3, 6))
            self._emulator.control_postgres(delay_ms=0)
            window = Window(kind, began, time.time())
        elif kind == KEYS_RETIRED:
            self._emulator.rotate_keys(retire_old=True)
            window = Window(kind, began, time.time())
            # Another fault would keep the new tokens from arriving.
            self._stop.wait(LIFETIME_S)
        elif kind == SESSIONS_CLOSED:
            self._emulator.control_postgres(disconnect=True)
            window = Window(kind, began, time.time())
        else:
            window = self._outage(kind, began)
        self.windows.append(window)

    def _counted(self, kind: str, began: float) -> Window:
        count = self._random.randint(1, 10)
        if kind == "login rejected":
            self._emulator.control_postgres(refuse_next=count, refuse_with=self._random.choice(REJECTIONS))
            reset = {"refuse_next": 0}
        else:
            self._emulator.control_postgres(
                drop_next=count, drop_at=self._random.choice(("accept", "startup", "password"))
            )
            reset = {"drop_next": 0}
        self._stop.wait(5)
        self._emulator.control_postgres(**reset)
        return Window(kind, began, time.time(), count)

    def _outage(self, kind: str, began: float) -> Window:
        seconds = self._random.uniform(2, 8)
        faults: dict[str, dict[str, Any]] = {
            "unavailable": {"status": self._random.choice((500, 502, 503))},
            "throttled": {"retry_after": self._random.randint(1, 4)},
            "dropped": {"connection": self._random.choice(("drop", "drop_mid_body"))},
            "black hole": {"connection": "black_hole"},
            "garbage": {"connection": "garbage"},
            "slow": {"latency_ms": self._random.randint(500, 4000)},
            "long outage": {"status": 503},
        }
        if kind == "long outage":
            # Past the expiry of every token.
            seconds = self._random.uniform(LIFETIME_S, 1.4 * LIFETIME_S)
        with self._emulator.fault(endpoint="app_service", **faults[kind]):
            self._stop.wait(seconds)
        return Window("unavailable" if kind == "long outage" else kind, began, time.time())


def principal_of(emulator: Emulator, name: str) -> Principal:
    return emulator.add_principal("user_assigned", f"soak-{name}")


def start(program: Program, emulator: Emulator, principal: Principal, logs: Path) -> Running:
    """Starts a program, which writes its log to a file in `logs`."""
    server = emulator.server
    variables = emulator.environment() | {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGDATABASE": server.database,
        "PGSSLMODE": "verify-full",
        "NODE_EXTRA_CA_CERTS": emulator.bundle_file,
        "AZURE_CLIENT_ID": principal.appid,
    }
    with (logs / f"{program.language.strip('.')}.log").open("w") as log:
        process = subprocess.Popen(
            program.command,
            env=variables | program.variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    running = Running(program, process, [process.pid])
    threading.Thread(target=running.read, daemon=True).start()
    return running


class Proxy:
    """`pgentra proxy` in front of the emulator's server, and the sessions through it."""

    def __init__(self, emulator: Emulator, principal: Principal, seed: int, folder: Path) -> None:
        self._emulator = emulator
        program = soak_programs.TARGET / "pgentra"
        self.socket = folder / "proxy"
        port = free_port()
        server = emulator.server
        words = [str(program), "proxy", f"{server.host}:{server.port}", "--database", server.database]
        words += ["--listen", f"unix:{self.socket}:{port}", "--listen", f"127.0.0.1:{port}", "-q"]
        variables = emulator.environment() | {"AZURE_CLIENT_ID": principal.appid}
        self.process = subprocess.Popen(words, env=variables)
        wait_until((self.socket / f".s.PGSQL.{port}").exists, 60, "the proxy's socket")
        sessions = str(ROOT / "benchmarks" / "python" / "proxy_sessions.py")
        where = {"SOAK_SOCKET": str(self.socket), "SOAK_PORT": str(port)}
        self.sessions = Program("proxy", [sys.executable, sessions, str(seed)], where)

    def prepare(self, principal: Principal) -> None:
        """Creates the table of the counters."""
        import psycopg

        with psycopg.connect(self._emulator.admin_dsn, autocommit=True) as admin:
            admin.execute("create table soak_counter (id text primary key, n bigint not null)")
            admin.execute(f'grant select, insert, update on soak_counter to "{principal.name}"')

    def stop(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return -9


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@dataclass
class Outcome:
    """What is judged at the end."""

    began: float
    ended: float
    running: list[Running]
    windows: list[Window]
    #: The token requests of each program: time, whether it succeeded, whether another one of it was under way.
    requests: dict[str, list[tuple[float, bool, bool]]]
    exits: dict[str, int]

    @property
    def minutes(self) -> float:
        return (self.ended - self.began) / 60


def requests_of(emulator: Emulator, principals: dict[str, Principal]) -> dict[str, list[tuple[float, bool, bool]]]:
    found = {}
    for name, principal in principals.items():
        requests = emulator.database_requests(principal)
        ends = [one.finished or one.started for one in requests]
        overlaps = [False] + [
            later.started < sooner - 0.005 for later, sooner in zip(requests[1:], ends[:-1], strict=True)
        ]
        found[name] = [
            (one.started, one.status == 200, overlap) for one, overlap in zip(requests, overlaps, strict=True)
        ]
    return found


def run(names: list[str], minutes: float, seed: int, folder: Path) -> Outcome:
    logs = ROOT / ".cache" / "soak" / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    programs = soak_programs.build([name for name in names if name != "proxy"], folder)
    emulator = Emulator.start()
    running: list[Running] = []
    proxy: Proxy | None = None
    try:
        emulator.set_tokens(lifetime_s=LIFETIME_S)
        principals = {program.language: principal_of(emulator, program.language.strip(".")) for program in programs}
        if "proxy" in names:
            principals["proxy"] = principal_of(emulator, "proxy")
            proxy = Proxy(emulator, principals["proxy"], seed, folder)
            proxy.prepare(principals["proxy"])
            programs.append(proxy.sessions)
        running = [start(program, emulator, principals[program.language], logs) for program in programs]
        if proxy is not None:
            # The memory of the proxy counts, not that of the clients.
            running[-1].watched = [proxy.process.pid]
        began, ends = time.time(), time.time() + minutes * 60
        faults = Faults(emulator, seed, proxy is not None, ends)
        faults.start()
        shown = began
        while (now := time.time()) < ends and faults.problem is None:
            for one in running:
                one.sample()
            if now >= shown:
                shown += 30
                logins = sum(not login.error for one in running for login in one.logins)
                failed = sum(bool(login.error) for one in running for login in one.logins)
                say(f"{now - began:5.0f} s: {logins} logins, {failed} failed, {len(faults.windows)} faults")
            time.sleep(1)
        ended = time.time()
        faults.stop()
        if faults.problem is not None:
            raise faults.problem
        exits = {one.name: end(one) for one in running}
        if proxy is not None:
            exits["pgentra proxy"] = proxy.stop()
        return Outcome(began, ended, running, faults.windows, requests_of(emulator, principals), exits)
    finally:
        for one in running:
            one.process.kill()
        if proxy is not None:
            proxy.process.kill()
        emulator.stop()


def end(one: Running) -> int:
    """Ends a program by the end of its standard input, and returns its exit status."""
    assert one.process.stdin is not None
    one.process.stdin.close()
    try:
        return one.process.wait(60)
    except subprocess.TimeoutExpired:
        one.process.kill()
        one.process.wait()
        return -9


@dataclass
class Figures:
    """The results of a program."""

    logins: int
    failed: int
    requests: int
    memory: Trend | None
    threads: Trend | None
    most_threads: int


def judge_all(outcome: Outcome) -> tuple[dict[str, Figures], dict[str, int], list[str]]:
    """Returns the figures of each program, the explained failures by fault, and the breaches."""
    breaches: list[str] = []
    figures: dict[str, Figures] = {}
    logins = [login for one in outcome.running for login in one.logins]
    tokens = {name: [time for time, good, _ in found if good] for name, found in outcome.requests.items()}
    verdict = judge(logins, outcome.windows, tokens, LIFETIME_S)
    for login in verdict.breaches:
        at = login.began - outcome.began
        breaches.append(f"{login.program}, {login.pool}, {at:.1f} s: {login.error[:300]}")
    is_judged = outcome.minutes >= JUDGED_MINUTES
    warm = outcome.began + max(WARM_UP_S, (outcome.ended - outcome.began) * WARM_UP_PART)
    for one in outcome.running:
        memory = trend([(time, mb) for time, mb, _ in one.samples if time >= warm])
        threads = trend([(time, float(count)) for time, _, count in one.samples if time >= warm])
        if is_judged and memory and memory.certain_growth > max(MEMORY_MB, MEMORY_PART * memory.median):
            breaches.append(f"{one.name}: memory grew by {memory.certain_growth:.1f} MB or more ({memory})")
        if is_judged and threads and threads.certain_growth > THREADS:
            breaches.append(f"{one.name}: threads grew by {threads.certain_growth:.0f} or more ({threads})")
        pools: dict[str, list[Login]] = {}
        for login in one.logins:
            if login.pool not in (INTEGRITY, SESSION):
                pools.setdefault(login.pool, []).append(login)
        for pool, found in pools.items():
            pause = longest_pause(found, outcome.windows, outcome.ended)
            if pause > PAUSE_S:
                breaches.append(f"{one.name}, {pool}: no login for {pause:.0f} s")
            roles = {login.role for login in found if not login.error}
            if len(roles) != 1:
                breaches.append(f"{one.name}, {pool}: the roles are {sorted(roles)}")
        if not pools:
            breaches.append(f"{one.name}: no login")
        counted = [login for login in one.logins if login.pool not in (INTEGRITY, SESSION)]
        figures[one.name] = Figures(
            logins=sum(not login.error for login in counted),
            failed=sum(bool(login.error) for login in counted),
            requests=len(outcome.requests[one.name]),
            memory=memory,
            threads=threads,
            most_threads=max((count for *_, count in one.samples), default=0),
        )
    for name, requests in outcome.requests.items():
        if overlapping := sum(overlap for *_, overlap in requests):
            breaches.append(f"{name}: {overlapping} token requests while another one was under way")
    for name, status in outcome.exits.items():
        if status:
            breaches.append(f"{name}: ended with status {status}")
    return figures, verdict.explained, breaches


def series(outcome: Outcome) -> dict[str, Any]:
    """Returns the figures over time, in buckets."""
    count = int((outcome.ended - outcome.began) // BUCKET_S) + 1

    def bucket(time_: float) -> int:
        return min(count - 1, max(0, int((time_ - outcome.began) // BUCKET_S)))

    programs: dict[str, Any] = {}
    for one in outcome.running:
        good, failed, asked, refused = ([0] * count for _ in range(4))
        for login in one.logins:
            (failed if login.error else good)[bucket(login.ended)] += 1
        for moment, succeeded, _ in outcome.requests[one.name]:
            (asked if succeeded else refused)[bucket(moment)] += 1
        memory: list[float | None] = [None] * count
        threads: list[int | None] = [None] * count
        for moment, mb, number in one.samples:
            index = bucket(moment)
            memory[index] = round(max(mb, memory[index] or 0.0), 1)
            threads[index] = max(number, threads[index] or 0)
        programs[one.name] = {
            "logins": good,
            "failed": failed,
            "token_requests": asked,
            "failed_token_requests": refused,
            "memory_mb": memory,
            "threads": threads,
        }
    return programs


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks")
    parser.add_argument("programs", nargs="*", choices=[*soak_programs.BUILDERS, "proxy", []])
    arguments = parser.parse_args()
    names = arguments.programs or [*soak_programs.BUILDERS, "proxy"]
    # A socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        outcome = run(names, arguments.minutes, arguments.seed, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    figures, explained, breaches = judge_all(outcome)
    arguments.out.mkdir(exist_ok=True)
    document = {
        "minutes": round(outcome.minutes, 1),
        "seed": arguments.seed,
        "token_lifetime_s": LIFETIME_S,
        "bucket_s": BUCKET_S,
        "cores": os.cpu_count(),
        "programs": {name: asdict(one) for name, one in figures.items()},
        "explained_failures": explained,
        "breaches": breaches,
        "faults": [
            {
                "kind": one.kind,
                "from_s": round(one.began - outcome.began, 1),
                "to_s": round(one.ended - outcome.began, 1),
            }
            for one in outcome.windows
        ],
        "series": series(outcome),
    }
    (arguments.out / "soak.json").write_text(json.dumps(document, indent=1) + "\n")
    for name, one in figures.items():
        memory = "" if one.memory is None else f"{one.memory.median:.1f} MB, {one.memory.slope:+.2f} MB a minute"
        say(
            f"{name}: {one.logins} logins, {one.failed} failed, {one.requests} token requests; "
            f"{memory}, {one.most_threads} threads at most"
        )
    say(f"failed logins that faults explain: {explained or 'none'}")
    for breach in breaches:
        say(f"BREACH {breach}")
    return 3 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
