"""Measures `pgentra proxy` and `pgentra token`: the part `proxy` of `run.py`.

    benchmarks/proxy_bench.py [--quick] [PART...]    prints rows: pgbench calls copy sessions start token, or all;
                                                     `--quick` takes a tenth of the time

The server is Debian's PostgreSQL with TLS; the role's password is the token, so that no emulator is in the path. Direct
TLS, PgBouncer in session mode and the proxy are measured by turns; ratios are medians over the rounds.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from report import Row, Table, busy

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.emulator import Emulator, wait_until  # noqa: E402

ROLE = "app-mi"
DATABASE = "bench"
ROUNDS = 8
SECONDS = 4
SCALE = 10
COPY_MB = 200
SESSIONS = 10_000
LOGINS = 1_000
#: Descriptors that are not sessions'.
OTHER_DESCRIPTORS = 100
LIMIT_S = 300.0
#: Seconds until the memory of sessions that have ended must be given back.
GIVEN_BACK_S = 60.0

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def say(line: str) -> None:
    print(f"[pgentra] {line}", flush=True)


def find(program: str) -> str | None:
    """Returns the path of a program of PostgreSQL or PgBouncer."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", ""), "/usr/sbin"])
    return shutil.which(program, path=path)


def missing() -> list[str]:
    """Returns the programs that are not on this machine."""
    return [name for name in ("postgres", "initdb", "pgbench", "psql", "pgbouncer", "openssl") if find(name) is None]


def run(*words: str | Path, **options: Any) -> str:
    """Runs a command, which must succeed, and returns its output."""
    command = [str(word) for word in words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False, **options)
    if done.returncode:
        # Not the arguments: one of them has the token.
        raise RuntimeError(f"{command[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    output: str = done.stdout
    return output


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def end(process: subprocess.Popen[Any], how: int = signal.SIGTERM) -> None:
    process.send_signal(how)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1e3
    raise RuntimeError(f"no process {pid}")


def processor_s(pid: int) -> float:
    """Returns the processor time of all threads of a process."""
    # In nanoseconds; /proc/PID/stat has hundredths of a second.
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def unprivileged() -> dict[str, Any]:
    """Returns the options of a process of a server, which does not run as root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def certificates(folder: Path) -> None:
    """Makes an authority and a certificate for localhost: ca.pem, server.pem with both, server.key; RSA 2048."""
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    quiet: dict[str, Any] = {"cwd": folder}
    key = ["-newkey", "rsa:2048", "-nodes", "-days", "30"]
    run("openssl", "req", "-x509", *key, "-subj", "/CN=bench CA", "-keyout", "ca.key", "-out", "ca.pem", **quiet)
    run("openssl", "req", *key, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr", **quiet)
    (folder / "names").write_text(names)
    sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "30"]
    run("openssl", "x509", "-req", "-in", "server.csr", *sign, "-out", "leaf.pem", **quiet)
    (folder / "server.pem").write_text((folder / "leaf.pem").read_text() + (folder / "ca.pem").read_text())
    for name in ("server.pem", "server.key", "ca.pem"):
        (folder / name).chmod(0o600)


@dataclass
class Endpoint:
    """A way to the server: host, port, and the variables of libpq."""

    name: str
    host: str
    port: int
    variables: dict[str, str] = field(default_factory=dict)
    #: The process between client and server.
    pid: int | None = None


class Setup:
    """PostgreSQL, PgBouncer, the emulator for tokens, and the proxy. Everything is in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stops: list[Callable[[], None]] = []
        folder.chmod(0o755)
        certificates(folder)
        self.emulator = Emulator.start("--config", str(ROOT / "benchmarks" / "emulator.toml"))
        self.stops.append(self.emulator.stop)
        # Every request has the same token: the role's password.
        self.emulator.set_tokens(same_token=True)
        self.variables = self.emulator.environment()
        self.program = str(TARGET / "cli" / "pgentra")
        self.tools = str(TARGET / "release" / "pgentra-proxy-bench")
        self.token = run(self.program, "token", env=self.variables).strip()
        self.server = free_port()
        self._start_postgres()

    def stop(self) -> None:
        for stop in reversed(self.stops):
            stop()

    def _owned(self, path: Path) -> None:
        if os.geteuid() == 0:
            shutil.chown(path, "postgres", "postgres")

    def _start_postgres(self) -> None:
        data, sockets = self.folder / "data", self.folder / "s"
        for folder in (data, sockets):
            folder.mkdir()
            self._owned(folder)
        for name in ("server.pem", "server.key"):
            shutil.copy(self.folder / name, sockets / name)
            (sockets / name).chmod(0o600)
            self._owned(sockets / name)
        options: dict[str, Any] = unprivileged() | {"cwd": data}
        run(find("initdb") or "", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync", **options)
        (data / "pg_hba.conf").write_text("local all all trust\nhostssl all all 127.0.0.1/32 password\n")
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.server,
            "unix_socket_directories": sockets,
            "ssl": "on",
            "ssl_cert_file": sockets / "server.pem",
            "ssl_key_file": sockets / "server.key",
            "max_connections": 200,
            "fsync": "off",
            "shared_buffers": "256MB",
            "max_wal_size": "4GB",
            "autovacuum": "off",
        }
        words = [find("postgres") or "", "-D", str(data)]
        words += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        log = (self.folder / "postgres.log").open("wb")
        process = subprocess.Popen(words, stdout=log, stderr=log, **options)
        self.stops.append(lambda: end(process, signal.SIGINT))
        admin = ["-h", str(sockets), "-p", str(self.server), "-U", "postgres"]
        wait_until((sockets / f".s.PGSQL.{self.server}").exists, 60, "the server's socket")
        time.sleep(0.5)
        self.admin = [find("psql") or "", *admin]
        run(*self.admin, input=f"create role \"{ROLE}\" login password '{self.token}'")
        run(*self.admin, "-c", f'create database {DATABASE} owner "{ROLE}"')
        run(find("pgbench") or "", *admin, "-q", "-i", "-s", str(SCALE), DATABASE)
        make = (
            f'grant all on all tables in schema public to "{ROLE}";'
            "create unlogged table source as select repeat(md5(n::text), 62) as line"
            f" from generate_series(1, {COPY_MB * 1000 // 2}) as n;"
            f"create unlogged table sink (line text);"
            f'grant all on source, sink to "{ROLE}"; vacuum analyze'
        )
        for statement in make.split(";"):
            run(*self.admin, "-d", DATABASE, "-c", statement)

    def direct(self) -> Endpoint:
        variables = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(self.folder / "ca.pem"), "PGPASSWORD": self.token}
        return Endpoint("direct", "localhost", self.server, variables)

    def pgbouncer(self) -> Endpoint:
        """Starts PgBouncer in session mode."""
        folder, port = self.folder / "pgbouncer", free_port()
        folder.mkdir()
        users, ini, authority = folder / "users.txt", folder / "pgbouncer.ini", folder / "ca.pem"
        users.write_text(f'"{ROLE}" "{self.token}"\n')
        shutil.copy(self.folder / "ca.pem", authority)
        ini.write_text(f"""
            [databases]
            {DATABASE} = host=localhost port={self.server} dbname={DATABASE} user={ROLE}
            [pgbouncer]
            logfile = {folder / "log"}
            listen_addr = 127.0.0.1
            listen_port = {port}
            unix_socket_dir =
            auth_type = trust
            auth_file = {users}
            pool_mode = session
            default_pool_size = 100
            server_tls_sslmode = verify-full
            server_tls_ca_file = {authority}
        """)
        user: list[str] = []
        for path in (folder, *folder.iterdir()):
            self._owned(path)
            path.chmod(0o700 if path.is_dir() else 0o600)
        if os.geteuid() == 0:
            user = ["-u", "postgres"]
        words = [find("pgbouncer") or "", *user, str(ini)]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.stops.append(lambda: end(process, signal.SIGINT))
        wait_until(lambda: accepts(port), 30, "PgBouncer")
        return Endpoint("pgbouncer", "127.0.0.1", port, {"PGSSLMODE": "disable"}, process.pid)

    def proxy(self, server_port: int, *options: str) -> Proxy:
        """Starts the proxy in front of a server of this machine."""
        proxy = Proxy(self, server_port, options)
        self.stops.append(proxy.stop)
        return proxy


def accepts(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


class Proxy:
    """A running `pgentra proxy`, and the time until it was ready."""

    def __init__(self, setup: Setup, server_port: int, options: tuple[str, ...]) -> None:
        self.port = free_port()
        self.socket = setup.folder / f"p{self.port}"
        notify = setup.folder / f"n{self.port}"
        words = [setup.program, "proxy", f"localhost:{server_port}", "--sslrootcert", str(setup.folder / "ca.pem")]
        words += ["--listen", f"unix:{self.socket}:{self.port}", "--listen", f"127.0.0.1:{self.port}", "--quiet"]
        variables = setup.variables | {"NOTIFY_SOCKET": str(notify)}
        # The token comes by HTTP; the server's authority is not the emulator's.
        # Stays open for the message of the end.
        self._ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ready.bind(str(notify))
        self._ready.settimeout(30)
        started = time.perf_counter()
        self.process = subprocess.Popen([*words, *options], env=variables)
        while b"READY=1" not in self._ready.recv(4096):
            pass
        self.ready_ms = (time.perf_counter() - started) * 1e3

    @property
    def pid(self) -> int:
        return self.process.pid

    def endpoints(self) -> list[Endpoint]:
        variables = {"PGSSLMODE": "disable"}
        return [
            Endpoint("tcp", "127.0.0.1", self.port, variables, self.pid),
            Endpoint("socket", str(self.socket), self.port, variables, self.pid),
        ]

    def stop(self) -> None:
        if self.process.poll() is None:
            end(self.process, signal.SIGINT)
        self._ready.close()


@dataclass
class Run:
    """A run of pgbench."""

    tps: float
    p50_us: float
    p99_us: float
    #: The processor time of the process between client and server, for each query.
    cpu_us: float


def pgbench(clients: int, seconds: int, endpoint: Endpoint) -> Run:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as logs:
        words = [find("pgbench") or "", "-n", "-S", "-M", "prepared", "-c", str(clients), "-j", str(min(clients, 2))]
        words += ["-T", str(seconds), "-l", "--log-prefix", f"{logs}/log"]
        words += ["-h", endpoint.host, "-p", str(endpoint.port), "-U", ROLE, DATABASE]
        before = 0.0 if endpoint.pid is None else processor_s(endpoint.pid)
        printed = run(*words, env=os.environ | endpoint.variables)
        cpu = 0.0 if endpoint.pid is None else processor_s(endpoint.pid) - before
        times = sorted(
            int(line.split(" ", 3)[2]) for log in Path(logs).iterdir() for line in log.read_text().splitlines()
        )
    found = re.search(r"tps = ([\d.]+) \(without", printed)
    assert found, printed
    return Run(float(found[1]), times[len(times) // 2], times[len(times) * 99 // 100], cpu / len(times) * 1e6)


def by_turns(endpoints: list[Endpoint], rounds: int, measure: Callable[[Endpoint], Any]) -> dict[str, list[Any]]:
    """Measures each endpoint in each round, every round in another order."""
    results: dict[str, list[Any]] = {endpoint.name: [] for endpoint in endpoints}
    for number in range(rounds):
        turn = number % len(endpoints)
        for endpoint in endpoints[turn:] + endpoints[:turn]:
            results[endpoint.name].append(measure(endpoint))
    return results


def ratio(values: list[float], base: list[float]) -> float:
    """Returns the median over the rounds of one value over the other."""
    return statistics.median(value / other for value, other in zip(values, base, strict=True))


def throughput_rows(endpoints: list[Endpoint], rounds: int, seconds: int) -> list[Row]:
    """pgbench with one and with eight clients."""
    rows = []
    for clients, limits in ((1, {"tcp": 0.72}), (8, {"tcp": 0.74, "socket": 0.80})):
        runs = by_turns(endpoints, rounds, partial(pgbench, clients, seconds))
        tps = {
            name: ratio([one.tps for one in found], [one.tps for one in runs["direct"]]) for name, found in runs.items()
        }
        p99 = {
            name: ratio([one.p99_us for one in found], [one.p99_us for one in runs["direct"]])
            for name, found in runs.items()
        }
        middle = {
            name: {
                "ratio": tps[name],
                "tps": statistics.median(one.tps for one in found),
                "p50_us": statistics.median(one.p50_us for one in found),
                "p99_us": statistics.median(one.p99_us for one in found),
                "cpu_us": statistics.median(one.cpu_us for one in found),
            }
            for name, found in runs.items()
        }
        for name in ("tcp", "socket"):
            limit = limits.get(name)
            work = f"`pgbench -S -M prepared`, {clients} client{'s' * (clients > 1)}, {LABELS[name]}"
            at_least = f">= {limit:.2f} of direct, and >= PgBouncer" if limit else ">= PgBouncer"
            rows.append(
                Row(
                    work,
                    at_least,
                    said(middle[name], middle["direct"]),
                    said(middle["pgbouncer"], middle["direct"]),
                    tps[name] >= max(limit or 0, tps["pgbouncer"]),
                    {"ours": middle[name], "peer": middle["pgbouncer"], "direct": middle["direct"]},
                    "proxy",
                )
            )
        if clients == 8:
            for name, most in (("tcp", 1.2), ("socket", 1.35)):
                rows.append(
                    Row(
                        f"99th percentile of a query, 8 clients, {LABELS[name]}",
                        f"<= {most} x direct",
                        f"{p99[name]:.2f} x ({middle[name]['p99_us']:.0f} us)",
                        f"{p99['pgbouncer']:.2f} x ({middle['pgbouncer']['p99_us']:.0f} us)",
                        p99[name] <= most,
                        {"ours": {"ratio": p99[name]}, "peer": {"ratio": p99["pgbouncer"]}},
                    )
                )
    return rows


def call_rows(endpoints: list[Endpoint]) -> list[Row]:
    """The system calls of a query, if this machine has strace."""
    strace = shutil.which("strace")
    if strace is None:
        say("not tried: the system calls of a query: no strace on this machine")
        return []
    queries, found = 2_000, {}
    for endpoint in (one for one in endpoints if one.name in LABELS):
        with tempfile.NamedTemporaryFile() as output:
            words = [strace, "-f", "-c", "-o", output.name, "-p", str(endpoint.pid)]
            watching = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
            assert watching.stderr is not None
            watching.stderr.readline()  # It is attached.
            words = [find("pgbench") or "", "-n", "-S", "-M", "prepared", "-t", str(queries)]
            where = ["-h", endpoint.host, "-p", str(endpoint.port), "-U", ROLE, DATABASE]
            run(*words, *where, env=os.environ | endpoint.variables)
            end(watching, signal.SIGINT)
            total = next(line for line in reversed(output.read().decode().splitlines()) if line.endswith("total"))
            found[endpoint.name] = int(total.split()[3]) / queries
    text = "; ".join(f"{found[name]:.2f}" for name in LABELS)
    figures = {"ours": {f"calls_{name}": calls for name, calls in found.items()}}
    # A few are those of the login.
    return [Row("system calls of a query, TCP; Unix socket", "<= 6.5", text, "", max(found.values()) <= 6.5, figures)]


LABELS = {"tcp": "TCP", "socket": "Unix socket"}


def said(figures: dict[str, float], direct: dict[str, float]) -> str:
    text = f"{figures['ratio']:.2f} of direct ({figures['tps']:,.0f} of {direct['tps']:,.0f} a second"
    text = f"{text}; p50 {figures['p50_us']:.0f} us, p99 {figures['p99_us']:.0f} us"
    return f"{text}; {figures['cpu_us']:.0f} us of processor a query)"


def copy_rows(setup: Setup, endpoints: list[Endpoint], rounds: int) -> list[Row]:
    """COPY of 200 MB, out and in."""
    file = Path("/dev/shm", f"pgentra-copy-{os.getpid()}")
    run(*setup.admin, "-d", DATABASE, "-c", f"\\copy source to '{file}'")
    rows = []
    try:
        for name, statement, least in (
            ("out", "\\copy source to '/dev/null'", 1.0),
            ("in", f"\\copy sink from '{file}'", 0.97),
        ):

            def measure(endpoint: Endpoint, statement: str = statement) -> float:
                where = ["-h", endpoint.host, "-p", str(endpoint.port), "-U", ROLE, "-d", DATABASE]
                started = time.perf_counter()
                run(find("psql") or "", *where, "-q", "-c", statement, env=os.environ | endpoint.variables)
                seconds = time.perf_counter() - started
                run(*setup.admin, "-d", DATABASE, "-c", "truncate sink")
                return COPY_MB / seconds

            found = by_turns([one for one in endpoints if one.name != "socket"], rounds, measure)
            ratios = {key: ratio(values, found["direct"]) for key, values in found.items()}
            rates = {key: statistics.median(values) for key, values in found.items()}
            rows.append(
                Row(
                    f"COPY of {COPY_MB} MB, {name}",
                    f">= {least} of direct",
                    f"{ratios['tcp']:.2f} ({rates['tcp']:.0f} of {rates['direct']:.0f} MB/s)",
                    f"{ratios['pgbouncer']:.2f} ({rates['pgbouncer']:.0f} MB/s)",
                    ratios["tcp"] >= least,
                    {
                        "ours": {"ratio": ratios["tcp"], "mb_per_s": rates["tcp"]},
                        "peer": {"ratio": ratios["pgbouncer"], "mb_per_s": rates["pgbouncer"]},
                        "direct": {"mb_per_s": rates["direct"]},
                    },
                    "proxy",
                )
            )
    finally:
        file.unlink(missing_ok=True)
    return rows


class Scripted:
    """A server that accepts every login, and clients in a process of their own."""

    def __init__(self, setup: Setup) -> None:
        self._tools = setup.tools
        words = [setup.tools, "server", str(setup.folder / "server.pem"), str(setup.folder / "server.key")]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port: int = json.loads(self._process.stdout.readline())["port"]
        setup.stops.append(lambda: end(self._process))

    def clients(self, proxy: Proxy, count: int) -> tuple[dict[str, Any], subprocess.Popen[str]]:
        """Logs clients in at once; returns the outcome and their process, whose standard input holds the sessions."""
        words = [self._tools, "clients", str(proxy.socket / f".s.PGSQL.{proxy.port}"), str(count)]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        outcome: dict[str, Any] = json.loads(process.stdout.readline())
        return outcome, process


def leave(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait(60)


def raise_descriptors() -> int:
    """Raises the limit of descriptors as far as possible, and returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(hard, 2 * SESSIONS + OTHER_DESCRIPTORS)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    except (OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        wanted = hard
    return wanted


def session_rows(setup: Setup, sessions: int) -> list[Row]:
    """Idle sessions, logins at once, and the processor time of a login, against the scripted server."""
    server = Scripted(setup)
    count = min(sessions, (raise_descriptors() - OTHER_DESCRIPTORS) // 2)
    proxy = setup.proxy(server.port, "--max-connections", str(count + 10))
    # What the first session needs is not a session's.
    leave(server.clients(proxy, 10)[1])
    time.sleep(1)
    before = resident_mb(proxy.pid)
    cpu = processor_s(proxy.pid)
    outcome, clients = server.clients(proxy, count)
    time.sleep(2)
    cpu = (processor_s(proxy.pid) - cpu) / count * 1e3
    full = resident_mb(proxy.pid)
    each = (full - before) / count * 1e3
    leave(clients)
    ends, after = time.monotonic() + GIVEN_BACK_S, full
    while time.monotonic() < ends and after > before + 10:
        time.sleep(1)
        after = resident_mb(proxy.pid)
    waited = GIVEN_BACK_S - max(0.0, ends - time.monotonic())
    proxy.stop()
    all_in = outcome["sessions"] == count
    rows = [
        Row(
            "memory of an idle session",
            "<= 13 kB",
            f"{each:.1f} kB",
            "",
            each <= 13 and all_in,
            {"ours": {"kb": each}},
        ),
        Row(
            f"{count:,} idle sessions, {outcome['failed']} failed; memory after they left",
            "<= 140 MB; <= 40 MB within a minute",
            f"{full:.0f} MB; {after:.0f} MB after {waited:.0f} s",
            "",
            full <= 140 and after <= 40 and all_in,
            {"ours": {"mb": full, "mb_after": after, "s": waited, "sessions": count}},
        ),
        Row(
            f"processor time of a login, of {count:,} at once",
            "<= 0.7 ms",
            f"{cpu:.2f} ms",
            "",
            cpu <= 0.7,
            {"ours": {"ms": cpu}},
        ),
    ]
    setup.emulator.call("DELETE", "/requests")
    proxy = setup.proxy(server.port, "--max-connections", str(LOGINS + 10))
    outcome, clients = server.clients(proxy, LOGINS)
    requests = len(setup.emulator.requests())
    leave(clients)
    proxy.stop()
    rows.append(
        Row(
            f"{LOGINS:,} clients at once, after the start",
            "all in, <= 2 token requests",
            f"{outcome['sessions']:,} in after {outcome['seconds']:.2f} s, {requests} token requests",
            "",
            outcome["sessions"] == LOGINS and requests <= 2,
            {"ours": {"sessions": outcome["sessions"], "s": outcome["seconds"], "requests": requests}},
        )
    )
    return rows


def start_rows(setup: Setup, rounds: int) -> list[Row]:
    """The start, the memory and the size of the proxy."""
    times, sizes = [], []
    for _ in range(rounds):
        proxy = setup.proxy(setup.server)
        times.append(proxy.ready_ms)
        time.sleep(0.3)
        sizes.append(resident_mb(proxy.pid))
        proxy.stop()
    ms, mb = statistics.median(times), statistics.median(sizes)
    binary = Path(setup.program).stat().st_size / 1e6
    return [
        Row(
            "start to ready; resident then; static binary",
            "<= 50 ms; <= 8 MB; <= 7 MB",
            f"{ms:.0f} ms; {mb:.1f} MB; {binary:.1f} MB",
            "",
            ms <= 50 and mb <= 8 and binary <= 7,
            {"ours": {"ms": ms, "mb": mb, "mb_of_binary": binary}},
        )
    ]


def command_rows(setup: Setup, rounds: int) -> list[Row]:
    """`pgentra token` at an App Service endpoint."""
    found = []
    for _ in range(rounds + 1):
        one = json.loads(run(setup.tools, "usage", setup.program, "token", env=setup.variables))
        assert one["status"] == 0
        found.append(one)
    # The first run reads the file.
    ms = statistics.median(one["ms"] for one in found[1:])
    mb = max(one["mb"] for one in found[1:])
    return [
        Row(
            "`pgentra token`, App Service endpoint",
            "<= 20 ms, <= 16 MB",
            f"{ms:.1f} ms, {mb:.1f} MB",
            "",
            ms <= 20 and mb <= 16,
            {"ours": {"ms": ms, "mb": mb}},
        )
    ]


def measure(quick: bool = False, wanted: tuple[str, ...] = ()) -> list[Table]:
    """Returns the tables; none, and says why, if this machine has no server or pooler."""
    if lacks := missing():
        say(f"not tried: the proxy: no {', '.join(lacks)} on this machine (Debian: postgresql, pgbouncer, openssl)")
        return []
    say("building the tools of the proxy's measurements, profile release")
    build = ["cargo", "build", "--quiet", "--release", "-p", "pgentra-benchmarks", "--bin", "pgentra-proxy-bench"]
    subprocess.run(build, cwd=ROOT, check=True)
    rounds, seconds = (2, 1) if quick else (ROUNDS, SECONDS)
    folder = Path(tempfile.mkdtemp(prefix="pgb-"))
    note = busy()
    tables = [Table("Proxy", [], columns=("ours", "PgBouncer")), Table("Command", [], note=note)]
    setup: Setup | None = None
    try:
        setup = Setup(folder)
        parts: dict[str, Callable[[Setup], list[Row]]] = {}
        if not wanted or {"pgbench", "calls", "copy"} & set(wanted):
            endpoints = [setup.direct(), setup.pgbouncer(), *setup.proxy(setup.server).endpoints()]
            parts["pgbench"] = lambda _: throughput_rows(endpoints, rounds, seconds)
            parts["calls"] = lambda _: call_rows(endpoints)
            parts["copy"] = lambda one: copy_rows(one, endpoints, rounds)
        parts["sessions"] = lambda one: session_rows(one, 1_000 if quick else SESSIONS)
        parts["start"] = lambda one: start_rows(one, rounds)
        parts["token"] = lambda one: command_rows(one, 3 * rounds)
        for name, part in parts.items():
            if wanted and name not in wanted:
                continue
            for row in part(setup):
                say(f"{row.work}: {row.ours} (must be {row.must}; PgBouncer {row.peer}){'' if row.ok else '  SHORT'}")
                tables[name == "token"].rows.append(row)
    finally:
        if setup is not None:
            setup.stop()
        shutil.rmtree(folder, ignore_errors=True)
    server = run(find("postgres") or "", "--version").split()[2]
    pooler = run(find("pgbouncer") or "", "--version").split()[1]
    tables[0].note = (
        f"PostgreSQL {server} with TLS on the same machine; PgBouncer {pooler} in session mode; direct is pgbench or"
        f" psql over TLS. {rounds} rounds by turns, each of {seconds} s; ratios are medians over the rounds."
        f" {note}"
    ).rstrip()
    return tables


def main(arguments: list[str]) -> int:
    quick = "--quick" in arguments
    tables = measure(quick, tuple(one for one in arguments if one != "--quick"))
    return int(any(not row.ok for table in tables for row in table.rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
