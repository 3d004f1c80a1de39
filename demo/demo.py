"""The demonstration: the samples unchanged, one of them in many environments, then "an hour in thirty seconds".

Starts the emulator, which starts a real PostgreSQL. Exits with status 0 only if every sample logged in as the expected
role and no login failed. A new driver is one entry of `PYTHON_SAMPLES` or `NODE_SAMPLES`, an environment one of
`environments` in `demo_environments.py`, and a pool one of `POOLS` in `tests/support/pools.py`.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from unchanged_programs import LIFETIME_S as EXPIRY_S  # noqa: E402

from demo_environments import ALICE, call_service, environments, without_identity  # noqa: E402
from support import pgbouncer  # noqa: E402
from support.drivers import Target  # noqa: E402
from support.emulator import Emulator, ServerAddress  # noqa: E402
from support.pools import POOLS, SIZE, AllPools, Tally  # noqa: E402

#: The emulator's identity of an app on App Service.
ROLE = "app-mi"
SAMPLE_LIMIT_S = 60

NODE = shutil.which("node")
#: The identity of Node's pools: each process has an identity, because its outages begin when its token arrives.
NODE_ROLE, NODE_CLIENT_ID = "batch-mi", "11111111-0000-0000-0000-000000000002"
#: The number of connections of each of Node's pools.
NODE_SIZE = 5

HOUR_S = 30
LIFETIME_S = 12
#: The seconds of the outages of the token source. Each begins when a token arrives; the second one lasts past that
#: token's refresh point.
OUTAGES_S = (4, 8)

#: The width of the live line on a terminal.
WIDTH = min(118, shutil.get_terminal_size().columns - 1)

LOGGED_IN = re.compile(r"^\w+: logged in as (?P<role>.+) after (?P<ms>\d+) ms$", re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """A program that prints `MODE: logged in as ROLE after N ms`; it runs in a folder with a copy of `examples/`."""

    name: str
    command: tuple[str, ...]
    #: The life of the tokens, if it is not that of Entra's.
    lifetime_s: int | None = None


def python(name: str, file: str, *arguments: str) -> Sample:
    return Sample(name, (sys.executable, f"python/{file}", *arguments))


def node(name: str, file: str) -> Sample:
    return Sample(name, (NODE or "node", f"node/{file}"))


def has_node() -> bool:
    """Returns whether Node is installed, with the samples' packages and the addon that `make demo` builds."""
    packages, addons = ROOT / "examples" / "node" / "node_modules", (ROOT / "bindings-node").glob("*.node")
    return NODE is not None and packages.is_dir() and any(addons)


PYTHON_SAMPLES = (
    python("psycopg2", "psycopg2_sample.py"),
    python("psycopg 3", "psycopg3_sample.py", "--mode", "sync"),
    python("psycopg 3, async", "psycopg3_sample.py", "--mode", "async"),
    python("asyncpg", "asyncpg_sample.py"),
    python("SQLAlchemy, psycopg", "sqlalchemy_sample.py", "--mode", "sync"),
    python("SQLAlchemy, psycopg2", "sqlalchemy_sample.py", "--driver", "psycopg2"),
    python("SQLAlchemy, async psycopg", "sqlalchemy_sample.py", "--mode", "async"),
    python("SQLAlchemy, async asyncpg", "sqlalchemy_sample.py", "--driver", "asyncpg"),
    python("Django", "django_sample.py", "--mode", "sync"),
    python("Django, async", "django_sample.py", "--mode", "async"),
)
NODE_SAMPLES = (
    node("pg", "pg.js"),
    node("Sequelize 6", "sequelize.js"),
    node("Sequelize 7", "sequelize7.js"),
    node("Knex", "knex.js"),
    node("TypeORM", "typeorm.js"),
    node("Drizzle", "drizzle.js"),
    node("Kysely", "kysely.js"),
    node("postgres.js", "postgres.js"),
    node("Prisma's adapter", "prisma.js"),
)


#: The folder with the files that cargo built.
TARGET = Path(os.environ.get("PGENTRA_TARGET", ROOT / "target" / "debug"))

#: Compiled by the demonstration if a compiler and libpq's headers are installed.
C_SAMPLES = (("C, libpq", "libpq.c"), ("C, asynchronous", "async.c"), ("C++, libpq", "cplusplus.cpp"))


#: Run if PHP is installed with FFI, and those of frameworks if PHP's include path has the framework, as on Debian.
PHP_SAMPLES = (
    ("PHP, pg_connect", "pgsql.php", None),
    ("PHP, PDO", "pdo.php", None),
    ("Laravel", "laravel.php", "Illuminate/Database/autoload.php"),
    ("Doctrine", "doctrine.php", "Doctrine/DBAL/autoload.php"),
)


def php_samples() -> list[Sample]:
    """Returns the samples in PHP; reports those that cannot run."""
    if shutil.which("php") is None or "FFI" not in quietly("php", "-m").split():
        say("not tried: PHP: not installed, or without FFI")
        return []
    made = []
    for name, file, needs in PHP_SAMPLES:
        if needs and not quietly("php", "-r", f"echo stream_resolve_include_path('{needs}');"):
            say(f"not tried: {name}: no {needs}")
            continue
        autoload = ROOT / "bindings-php" / "tests" / "autoload.php"
        variables = [f"PGENTRA_AUTOLOAD={autoload}", f"PGENTRA_LIBRARY={TARGET / 'libpgentra.so'}"]
        prepend = ["-d", f"auto_prepend_file={needs}"] if needs else []
        made.append(Sample(name, ("env", *variables, "php", *prepend, str(ROOT / "examples" / "php" / file))))
    return made


#: Run if Ruby is installed, each if its gem is.
RUBY_SAMPLES = (
    ("Ruby, pg", "pg_sample.rb", "pg"),
    ("Active Record", "active_record_sample.rb", "active_record"),
    ("Sequel", "sequel_sample.rb", "sequel"),
)


def ruby_samples() -> list[Sample]:
    """Returns the samples in Ruby; reports those that cannot run."""
    made = []
    for name, file, gem in RUBY_SAMPLES:
        found = shutil.which("ruby")
        if found is None or subprocess.run([found, "-e", f"require 'ffi'; require '{gem}'"], check=False).returncode:
            say(f"not tried: {name}: no Ruby with ffi and {gem}")
            continue
        library = f"PGENTRA_LIBRARY={TARGET / 'libpgentra.so'}"
        words = (
            "env",
            library,
            found,
            "-I",
            str(ROOT / "bindings-ruby" / "lib"),
            str(ROOT / "examples" / "ruby" / file),
        )
        made.append(Sample(name, words))
    return made


def c_samples(folder: str) -> list[Sample]:
    """Compiles the samples in C and C++ into `folder`; reports if that is not possible."""
    made = []
    try:
        prefix = Path(folder, "libpgentra")
        quietly(str(ROOT / "bindings-c" / "install" / "install.sh"), str(TARGET), str(prefix))
        packages = {**os.environ, "PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig")}
        flags = quietly("pkg-config", "--cflags", "--libs", "pgentra", "libpq", environment=packages).split()
        for name, file in C_SAMPLES:
            program = str(Path(folder, Path(file).stem))
            compiler = "c++" if file.endswith(".cpp") else "cc"
            quietly(compiler, str(ROOT / "examples" / "c" / file), "-o", program, *flags, f"-Wl,-rpath,{prefix}/lib")
            made.append(Sample(name, (program,)))
    except (OSError, subprocess.CalledProcessError) as error:
        say(f"not tried: C: needs a C and a C++ compiler, libpq's headers and libpgentra ({error})")
        return []
    return made


def quietly(*command: str, environment: dict[str, str] | None = None) -> str:
    """Runs a command, which must succeed, and returns its output."""
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


#: Built by the demonstration if the .NET SDK is installed.
DOTNET_SAMPLES = (
    ("Npgsql", "sync"),
    ("Npgsql, async", "async"),
    ("EF Core", "efcore"),
    (".NET hosted service", "hosted"),
)


def dotnet_samples() -> list[Sample]:
    """Builds the samples in C#; reports if that is not possible."""
    if shutil.which("dotnet") is None:
        say("not tried: .NET: not installed")
        return []
    project = ROOT / "examples" / "dotnet"
    words = ["dotnet", "build", str(project), "-v", "q", "-nologo", f"-p:PgEntraLibrary={TARGET / 'libpgentra.so'}"]
    built = subprocess.run(words, capture_output=True, text=True, check=False)
    if built.returncode:
        say(built.stdout.strip())
    program = str(project / "bin" / "Debug" / "net10.0" / "Samples.dll")
    return [Sample(name, ("dotnet", program, mode)) for name, mode in DOTNET_SAMPLES]


RUST_SAMPLES = (("sqlx", "sqlx"), ("deadpool-postgres", "deadpool_postgres"), ("diesel-async", "diesel_async"))


def rust_samples() -> list[Sample]:
    """Builds the samples in Rust; reports if that is not possible."""
    words = ["cargo", "build", "--quiet", "-p", "pgentra-drivers", "--all-features", "--examples"]
    # As `make demo` builds the engines.
    settings = {**os.environ, "CARGO_INCREMENTAL": "0", "CARGO_PROFILE_DEV_DEBUG": "false"}
    built = subprocess.run(words, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)
    if built.returncode:
        say(f"not tried: Rust: {built.stderr.strip()[-500:]}")
        return []
    folder = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), "debug", "examples")
    return [Sample(name, (str(folder / file),)) for name, file in RUST_SAMPLES]


#: Built by the demonstration if a JDK with Maven is installed: the class, and a part of the names of jars that would
#: configure more than the sample shows.
JAVA_SAMPLES = (
    ("JDBC", "JdbcSample", None),
    ("HikariCP", "HikariSample", None),
    ("Spring Boot", "SpringJdbcSample", "r2dbc|flyway|liquibase|hibernate|data-jpa"),
)


def java_samples(server: ServerAddress) -> list[Sample]:
    """Builds the samples in Java; reports if that is not possible."""
    if shutil.which("mvn") is None or shutil.which("javac") is None:
        say("not tried: Java: no JDK with Maven")
        return []
    native = TARGET / "java"
    native.mkdir(exist_ok=True)
    shutil.copy(TARGET / "libpgentra_jni.so", native)
    modules = "pgentra,pgentra-azure,pgentra-spring-boot-starter,../examples/java"
    words = ["mvn", "-q", "-B", "-f", str(ROOT / "bindings-java" / "pom.xml"), "-pl", modules]
    goals = ["compile", "dependency:build-classpath", "-Dmdep.outputFile=target/classpath.txt"]
    built = subprocess.run(
        [*words, *goals, f"-Dpgentra.native.folder={native}"], capture_output=True, text=True, check=False
    )
    if built.returncode:
        say(built.stdout.strip())
        return [Sample(name, ("false",)) for name, *_ in JAVA_SAMPLES]
    project = ROOT / "examples" / "java"
    jars = (project / "target" / "classpath.txt").read_text().split(os.pathsep)
    url = (
        f"jdbc:postgresql://{server.host}:{server.port}/{server.database}?sslmode=verify-full"
        f"&sslrootcert={os.environ['SSL_CERT_FILE']}"
    )
    arguments = {
        "JdbcSample": [f"{url}&user={ROLE}"],
        "HikariSample": [url],
        "SpringJdbcSample": [
            f"--spring.config.location={project / 'spring-jdbc.properties'}",
            f"--spring.datasource.url={url}",
        ],
    }
    samples = []
    for name, program, without in JAVA_SAMPLES:
        needed = [jar for jar in jars if without is None or not re.search(without, Path(jar).name)]
        path = os.pathsep.join([str(project / "target" / "classes"), *needed])
        samples.append(Sample(name, ("java", "-cp", path, f"samples.{program}", *arguments[program])))
    return samples


#: Built by the demonstration if Go is installed.
GO_SAMPLES = (
    ("Go, pgx pool", "pool"),
    ("Go, database/sql", "sql"),
    ("Go, lib/pq", "pq"),
    ("Go, azidentity", "azure"),
    ("Go, custom credential", "custom"),
)


def go_samples(folder: str) -> list[Sample]:
    """Builds the samples in Go into `folder`; reports if that is not possible."""
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        say("not tried: Go: not installed")
        return []
    programs = Path(folder, "go")
    programs.mkdir()
    variables = {
        **os.environ,
        "PATH": f"{Path(go).parent}{os.pathsep}{os.environ['PATH']}",
        "PGENTRA_TARGET": str(TARGET),
        "PROFILE": os.environ.get("PROFILE", "dev"),
        "GOTOOLCHAIN": "local",
    }
    samples = [f"./{name}" for _, name in GO_SAMPLES]
    try:
        quietly(str(ROOT / "tools" / "go.sh"), "archive", environment=variables)
        # The archive is not an input of go's cache, but the programs are new.
        words = [go, "build", "-buildvcs=false", "-o", str(programs), *samples]
        subprocess.run(words, cwd=ROOT / "examples" / "go", env=variables, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        say(f"not tried: Go: {error}: {error.stderr}")
        return []
    return [Sample(name, (str(programs / program),)) for name, program in GO_SAMPLES]


def unchanged_programs(bundle: str) -> list[Sample]:
    """Returns the programs that `pgentra` logs in; reports which are missing."""
    pgentra, program = str(TARGET / "pgentra"), str(ROOT / "demo" / "unchanged_programs.py")
    made = []
    for name, mode, needed in (
        ("psql, by pgentra exec", "psql", shutil.which("psql")),
        ("pg_dump, by pgentra exec", "pg_dump", shutil.which("pg_dump")),
        ("psql, by pgentra proxy", "proxy", shutil.which("psql")),
        ("psql, after an expiry", "expiry", shutil.which("psql")),
        ("PgBouncer, pgentra agent", "pgbouncer", pgbouncer.PROGRAM and shutil.which("psql")),
    ):
        if needed is None or not Path(pgentra).exists():
            say(f"not tried: {name}: not installed")
        else:
            lifetime_s = EXPIRY_S if mode == "expiry" else None
            made.append(Sample(name, (sys.executable, program, pgentra, mode, bundle), lifetime_s))
    return made


def main() -> int:
    say("Starting PostgreSQL and the emulator ...")
    try:
        emulator = Emulator.start()
    except RuntimeError as error:
        say(str(error))
        return 1
    try:
        # The programs of the server that the emulator uses.
        if folder_of_postgres := os.environ.get("PGENTRA_POSTGRES_BIN"):
            os.environ["PATH"] += f"{os.pathsep}{folder_of_postgres}"
        for name in set(os.environ) - set(emulator.environment()):
            del os.environ[name]
        os.environ.update(emulator.environment())
        os.environ["NODE_EXTRA_CA_CERTS"] = os.environ["SSL_CERT_FILE"]
        with tempfile.TemporaryDirectory(prefix="pgentra-demo-") as folder:
            environment = prepare(emulator, Path(folder))
            good = run_samples(emulator, folder, environment)
            good &= run_environments(emulator, folder, environment)
        good &= run_hour(emulator)
    except KeyboardInterrupt:
        say("\nStopped.")
        return 130
    finally:
        emulator.stop()
    return 0 if good else 1


def prepare(emulator: Emulator, folder: Path) -> dict[str, str]:
    """Copies the samples to `folder`, without `.env`, which may name a real server. Returns their environment."""
    server = emulator.server
    ignored = shutil.ignore_patterns(".env", "node_modules")
    for language, host, database in (("python", "HOSTNAME", "DATABASE"), ("node", "PGHOST", "PGDATABASE")):
        shutil.copytree(ROOT / "examples" / language, folder / language, ignore=ignored)
        (folder / language / ".env").write_text(f"{host}={server.host}\n{database}={server.database}\n")
    (folder / "node" / "node_modules").symlink_to(ROOT / "examples" / "node" / "node_modules")
    environment = {**os.environ, "PGPORT": str(server.port), "PGSSLMODE": "verify-full", "HOSTNAME": "a-container"}
    # The variables of libpq.
    environment |= {"PGHOST": server.host, "PGDATABASE": server.database}
    # The variables of the .NET samples.
    return environment | {"Host": server.host, "Database": server.database, "Port": str(server.port)}


def run_samples(emulator: Emulator, folder: str, environment: dict[str, str]) -> bool:
    """Prints the table of drivers; returns whether every login succeeded."""
    samples: tuple[Sample, ...] = PYTHON_SAMPLES
    if has_node():
        samples += NODE_SAMPLES
    else:
        say("not tried: Node: not installed")
    say("Building the samples in Rust, C, C++, C#, Java and Go, while the others run ...")
    server = emulator.server
    built = ThreadPoolExecutor(1).submit(
        lambda: [
            *php_samples(),
            *ruby_samples(),
            *rust_samples(),
            *c_samples(folder),
            *dotnet_samples(),
            *java_samples(server),
            *go_samples(folder),
        ]
    )
    say(f"Running the samples; each should log in as {ROLE} ...\n")
    widths = (26, 14, 12, 14)
    heading("driver", "logged in as", "first login", "token requests", widths=widths)
    good = True
    for sample in chain(samples, later(built), unchanged_programs(emulator.bundle_file)):
        emulator.reset()
        if sample.lifetime_s:
            emulator.set_tokens(lifetime_s=sample.lifetime_s)
        done = run(sample, folder, environment)
        found = LOGGED_IN.search(done.stdout)
        requests = len(emulator.requests())
        if done.returncode == 0 and found is not None and found["role"] == ROLE:
            row(sample.name, found["role"], f"{found['ms']} ms", str(requests), widths=widths)
        else:
            good = False
            row(sample.name, "FAILED", "", str(requests), widths=widths)
            say((done.stdout + done.stderr).strip())
    say(
        "\nOne of the two requests is for the database's token and one for the role's name, which is requested once.\n"
        f"The sample after an expiry requests more, because its tokens are valid for {EXPIRY_S} s."
    )
    return good


def later(built: Future[list[Sample]]) -> Iterator[Sample]:
    """Returns the samples that are being built, when they are needed."""
    yield from built.result()


def run_environments(emulator: Emulator, folder: str, environment: dict[str, str]) -> bool:
    """Runs one sample in each environment and prints the table; returns whether every login succeeded."""
    say("\nThe same program in other environments, without a configured credential ...\n")
    widths = (34, 28, 24)
    heading("environment", "credential found", "logged in as", widths=widths)
    good = True
    sample = python("", "psycopg3_sample.py", "--mode", "sync")
    bare = without_identity(environment)
    with ThreadPoolExecutor(2) as two:
        runs = [
            (one, two.submit(run, sample, folder, bare | one.variables)) for one in environments(emulator, Path(folder))
        ]
        for one, running in runs:
            done = running.result()
            found = LOGGED_IN.search(done.stdout)
            expected = done.returncode == 0 and found is not None and found["role"] == one.role
            row(one.name, one.credential, one.role if expected else "FAILED", widths=widths)
            if not expected:
                good = False
                say((done.stdout + done.stderr).strip())
    for name, node in (("service in Flask", None), *([("service in Express", NODE)] if has_node() else [])):
        answer = call_service(emulator, Path(folder), environment, node)
        expected = f'"{ALICE}"' in answer
        row(
            f"{name}, for its user",
            "OnBehalfOfCredential",
            ALICE if expected else f"FAILED {answer}",
            widths=widths,
        )
        good &= expected
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
    """Runs every pool at once; returns whether no login failed."""
    outages = " and then for ".join(f"{seconds} s" for seconds in OUTAGES_S)
    and_node = f" and those of Node, of {NODE_SIZE}" if has_node() else ""
    say(
        f"\nAn hour in {HOUR_S} seconds: {len(POOLS)} pools of {SIZE}{and_node}, connections replaced every second, "
        f"tokens of {LIFETIME_S} s,\nand a token source that is down for {outages}.\n"
    )
    emulator.reset()
    emulator.set_tokens(lifetime_s=LIFETIME_S)
    place = emulator.server
    logging.getLogger("pgentra").addHandler(Above())
    stop = threading.Event()
    state = State()
    principals = (ROLE, NODE_ROLE) if has_node() else (ROLE,)
    services = [
        threading.Thread(target=run_outages, args=(emulator, principal, state, stop), daemon=True)
        for principal in principals
    ]
    with AllPools(Target(place.host, place.port, place.database)) as python_pools, NodePools(place) as node_pools:
        pools = Hour(python_pools, node_pools)
        for service in services:
            service.start()
        began, ends, shown = time.monotonic(), time.monotonic() + HOUR_S, -1
        while time.monotonic() < ends:
            time.sleep(0.2)
            second = int(time.monotonic() - began)
            line = status(second, pools, emulator, state)
            if sys.stdout.isatty():
                print(f"\r{line[:WIDTH]:<{WIDTH}}", end="", flush=True)
            elif second % 5 == 0 and second != shown:
                shown = second
                say(line)
    stop.set()
    for service in services:
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
        f"{len(requests)} token requests, {failed} of them failed in the outages, at most {most} at once."
    )
    for failure in pools.failures[:5]:
        say(f"  {failure}")
    all_logged_in = all(tally.logins for tally in pools.tallies.values())
    good = pools.failures == [] and roles == set(principals) and all_logged_in
    say("No login failed." if good else f"FAILED: {len(pools.failures)} failed logins, roles {sorted(roles)}.")
    return good


class NodePools(AbstractContextManager["NodePools"]):
    """Node's pools in a separate process, if Node is installed, with their last report."""

    def __init__(self, place: ServerAddress) -> None:
        self.tallies: dict[str, Tally] = {}
        self._place = place

    def __enter__(self) -> NodePools:
        self._process: subprocess.Popen[str] | None = None
        if has_node():
            server = {"PGHOST": self._place.host, "PGPORT": str(self._place.port), "PGDATABASE": self._place.database}
            program = ROOT / "bindings-node" / "tests" / "pools.mjs"
            self._process = subprocess.Popen(
                [NODE or "node", program, str(NODE_SIZE), NODE_CLIENT_ID],
                env={**os.environ, **server},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
            self._reader.start()
        return self

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            report: dict[str, dict[str, Any]] = json.loads(line)
            self.tallies = {name: Tally(**tally | {"roles": set(tally["roles"])}) for name, tally in report.items()}

    def __exit__(self, *_: object) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            status = self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._reader.join(5)
        if status:
            self.tallies["Node"] = Tally(failures=[f"exited with status {status}"])


@dataclass
class Hour:
    """The logins of all pools of both languages."""

    python: AllPools
    node: NodePools

    @property
    def tallies(self) -> dict[str, Tally]:
        return self.python.tallies | self.node.tallies

    @property
    def logins(self) -> int:
        return sum(tally.logins for tally in self.tallies.values())

    @property
    def failures(self) -> list[str]:
        return [f"{name}: {text}" for name, tally in self.tallies.items() for text in tally.failures]


class Above(logging.Handler):
    """Prints the records of an application's log above the live line."""

    def emit(self, record: logging.LogRecord) -> None:
        text = f"       log: {record.levelname} {record.getMessage()}"
        print(f"\r{text:<{WIDTH}}" if sys.stdout.isatty() else text, flush=True)


@dataclass
class State:
    """The part of the live line besides the counts."""

    outages: int = 0


def run_outages(emulator: Emulator, principal: str, state: State, stop: threading.Event) -> None:
    """Runs the outages of a principal. Each begins when a token of the principal arrives."""
    seen = 0
    for seconds in OUTAGES_S:
        while not stop.is_set() and (tokens := arrived(emulator, principal)) <= seen:
            stop.wait(0.05)
        with emulator.fault(endpoint="app_service", principal=principal, status=503):
            state.outages += 1
            stop.wait(seconds)
        state.outages -= 1
        seen = max(seen, tokens if stop.is_set() else arrived(emulator, principal))


def arrived(emulator: Emulator, principal: str) -> int:
    """Returns the number of database tokens that were issued so far."""
    mine = [one for one in emulator.requests() if one.principal == principal]
    return sum(one.status == 200 and "ossrdbms" in (one.resource or "") for one in mine)


def status(second: int, pools: Hour, emulator: Emulator, state: State) -> str:
    requests = emulator.requests()
    failed = sum(request.status != 200 for request in requests)
    down = "   the token source is down" if state.outages else ""
    return (
        f"{second:>4} s   logins {pools.logins:>5}   failed {len(pools.failures)}   "
        f"token requests {len(requests)} ({failed} failed){down}"
    )


def heading(*cells: str, widths: tuple[int, ...]) -> None:
    row(*cells, widths=widths)
    row(*("-" * width for width in widths), widths=widths)


def row(*cells: str, widths: tuple[int, ...]) -> None:
    say("  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip())


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
