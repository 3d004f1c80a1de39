"""`pgentra proxy` with real drivers and a real PostgreSQL behind the emulator."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
from conftest import PGENTRA, ROOT, Cli, wait_for

from support.emulator import Emulator

LONG = bool(os.environ.get("PGENTRA_LONG"))

#: A limit for what happens at once on a quiet machine.
LIMIT_S = 120

WHO = "select current_user || ' ' || current_database() || ' ' || current_setting('application_name')"


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that records the SQLSTATE of notices.

    libpq reports the server's last error as a notice, if it arrives with the answer to a query.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.notices: list[str | None] = []
        self.add_notice_handler(lambda notice: self.notices.append(notice.sqlstate))

    def has_ended(self, error: psycopg.Error) -> bool:
        """Whether the connection was ended as by a server that is shut down."""
        return "terminating connection due to administrator command" in str(error) or "57P01" in self.notices


class Proxy:
    """A running proxy with a Unix socket and a TCP port."""

    def __init__(
        self, cli: Cli, folder: Path, arguments: tuple[str | Path, ...], variables: dict[str, str | None]
    ) -> None:
        self.cli = cli
        self.directory = folder / "s"
        self._log = folder / "log"
        listen = ("--listen", f"unix:{self.directory}", "--listen", "127.0.0.1:0")
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [PGENTRA, "proxy", *listen, *arguments],
                env=cli.variables(variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_for(lambda: "listening at 127" in self.log or self.process.poll() is not None, "the listeners")
        found = re.search(r"listening at 127\.0\.0\.1:(\d+)", self.log)
        assert found, self.log
        self.port = int(found[1])

    @property
    def log(self) -> str:
        return self._log.read_text()

    def dsn(self, over: str = "unix", **settings: object) -> str:
        host = str(self.directory) if over == "unix" else "127.0.0.1"
        port = 5432 if over == "unix" else self.port
        given = {"host": host, "port": port, "user": "anyone", "dbname": "postgres", **settings}
        return " ".join(f"{key}='{value}'" for key, value in given.items())

    def connect(self, over: str = "unix", **settings: object) -> Connection:
        return Connection.connect(self.dsn(over, **settings), autocommit=True)

    def refused(self, over: str = "unix", **settings: object) -> psycopg.OperationalError:
        """Returns the error of a connection that must fail."""
        with pytest.raises(psycopg.OperationalError) as caught:
            self.connect(over, **settings)
        return caught.value

    def psql(self, *arguments: str, over: str = "unix", **settings: object) -> str:
        done = subprocess.run(
            ["psql", "-XAt", self.dsn(over, **settings), *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, done
        return done.stdout

    def environment(self) -> dict[str, str]:
        """The environment of a client, which has no identity."""
        return {key: value for key, value in self.cli.environment.items() if not key.startswith(("PG", "IDENTITY"))}

    def raw(self, over: str = "tcp") -> socket.socket:
        client = socket.socket(socket.AF_UNIX if over == "unix" else socket.AF_INET)
        client.settimeout(LIMIT_S)
        client.connect(str(self.directory / ".s.PGSQL.5432") if over == "unix" else ("127.0.0.1", self.port))
        return client

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        assert self.process.wait(LIMIT_S) == 0, self.log

    def close(self) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGINT)
        assert "eyJ" not in self.log and "panicked" not in self.log, self.log
        assert not list(self.directory.iterdir())


@contextmanager
def running(cli: Cli, *arguments: str | Path, **variables: str | None) -> Iterator[Proxy]:
    # The path of a socket can be 103 bytes long.
    with tempfile.TemporaryDirectory(prefix="pgentra-") as folder:
        proxy = Proxy(cli, Path(folder), arguments, variables)
        try:
            yield proxy
            proxy.close()
        finally:
            proxy.process.kill()
            proxy.process.wait()


@pytest.fixture
def proxy(cli: Cli) -> Iterator[Proxy]:
    with running(cli) as started:
        yield started


def superuser(cli: Cli, *statements: str) -> list[tuple[Any, ...]]:
    """Runs statements as the server's superuser, and returns the rows of the last one."""
    with psycopg.connect(cli.emulator.admin_dsn, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def packet(code: int, body: bytes = b"") -> bytes:
    return struct.pack(">II", len(body) + 8, code) + body


def startup(user: str = "anyone", **parameters: str) -> bytes:
    texts = {"user": user, "database": "postgres", **parameters}
    return packet(196608, b"".join(f"{key}\0{value}\0".encode() for key, value in texts.items()) + b"\0")


def received(client: socket.socket) -> bytes:
    """Reads until the end of the connection."""
    chunks = []
    while chunk := client.recv(65536):
        chunks.append(chunk)
    return b"".join(chunks)


# Logins


@pytest.mark.parametrize("over", ["unix", "tcp"])
def test_proxy_logs_psql_and_drivers_in(proxy: Proxy, over: str) -> None:
    assert proxy.psql("-c", WHO, over=over, application_name="shop") == "app-mi postgres shop\n"
    with proxy.connect(over, application_name="shop", options="-c work_mem=77kB") as connection:
        assert connection.execute(WHO).fetchone() == ("app-mi postgres shop",)
        assert connection.execute("show work_mem").fetchone() == ("77kB",)

    async def with_asyncpg() -> str:
        host, port = (str(proxy.directory), 5432) if over == "unix" else ("127.0.0.1", proxy.port)
        connection = await asyncpg.connect(host=host, port=port, user="anyone", database="postgres", ssl=False)
        try:
            return str(await connection.fetchval("select current_user::text"))
        finally:
            await connection.close()

    assert asyncio.run(with_asyncpg()) == "app-mi"
    superuser(proxy.cli, 'alter role "app-mi" replication')
    assert proxy.psql("-c", "IDENTIFY_SYSTEM", over=over, replication="database").count("|") == 3


def missing(toolchain: str) -> None:
    """Skips the test, or fails it in CI."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{toolchain} is missing")
    pytest.skip(f"{toolchain} is missing")


#: Programs that print the role of a login at host HOST and port PORT.
NODE = """
    const { Client } = require("pg");
    const client = new Client({ host: "HOST", port: PORT, user: "anyone", database: "postgres" });
    client.connect().then(() => client.query("select current_user")).then(({ rows }) => {
        console.log(rows[0].current_user);
        return client.end();
    });
"""
PHP = """
    $pdo = new PDO("pgsql:host=HOST;port=PORT;dbname=postgres;user=anyone");
    echo $pdo->query("select current_user")->fetchColumn();
"""
RUBY = """
    require "pg"
    connection = PG.connect(host: "HOST", port: PORT, user: "anyone", dbname: "postgres")
    puts connection.exec("select current_user").getvalue(0, 0)
"""
GO = """
package main

import (
    "context"
    "fmt"

    "github.com/jackc/pgx/v5"
)

func main() {
    background := context.Background()
    connection, err := pgx.Connect(background, "host=HOST port=PORT user=anyone dbname=postgres sslmode=prefer")
    if err != nil {
        panic(err)
    }
    var role string
    if err := connection.QueryRow(background, "select current_user::text").Scan(&role); err != nil {
        panic(err)
    }
    fmt.Println(role)
}
"""
JAVA = """
public class Login {
    public static void main(String[] arguments) throws Exception {
        String url = "jdbc:postgresql://HOST:PORT/postgres?user=anyone";
        try (var connection = java.sql.DriverManager.getConnection(url);
                var rows = connection.createStatement().executeQuery("select current_user")) {
            rows.next();
            System.out.println(rows.getString(1));
        }
    }
}
"""


def test_proxy_logs_pg_of_node_in(proxy: Proxy) -> None:
    if shutil.which("node") is None or not (ROOT / "bindings-node/node_modules/pg").is_dir():
        missing("pg of Node (tools/node.sh packages)")
    # pg takes the directory of a socket as the host.
    for host, port in ((str(proxy.directory), 5432), ("127.0.0.1", proxy.port)):
        program = NODE.replace("HOST", host).replace("PORT", str(port))
        assert output(proxy, ["node", "-e", program], ROOT / "bindings-node") == "app-mi"


def test_proxy_logs_npgsql_in(proxy: Proxy) -> None:
    if shutil.which("dotnet") is None:
        missing("the .NET SDK (dotnet)")
    connection = f"Host=127.0.0.1;Port={proxy.port};Username=anyone;Database=postgres;SSL Mode=Prefer"
    words = ["dotnet", "run", "--project", str(ROOT / "cli/tests/dotnet"), "-v", "q", connection]
    assert output(proxy, words, ROOT) == "app-mi"


def output(proxy: Proxy, words: list[str], folder: Path) -> str:
    environment = {**proxy.environment(), "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done
    return done.stdout.strip()


@pytest.mark.skipif(not LONG, reason="the drivers of other languages are tested with PGENTRA_LONG (make test-all)")
@pytest.mark.parametrize("language", ["php", "ruby", "go", "java"])
def test_proxy_logs_drivers_of_other_languages_in(proxy: Proxy, tmp_path: Path, language: str) -> None:
    if shutil.which(language) is None:
        missing(language)
    source = {"php": PHP, "ruby": RUBY, "go": GO, "java": JAVA}[language]
    program = source.replace("HOST", "127.0.0.1").replace("PORT", str(proxy.port))
    folder, words = tmp_path, [language]
    match language:
        case "php":
            words += ["-r", program]
        case "ruby":
            words += ["-e", program]
        case "go":
            # The module has the driver.
            folder = ROOT / "bindings-go" / "pgxentra"
            (tmp_path / "main.go").write_text(program)
            words += ["run", str(tmp_path / "main.go")]
        case "java":
            drivers = sorted(Path.home().glob(".m2/repository/org/postgresql/postgresql/*/postgresql-*.jar"))
            if not drivers:
                missing("pgjdbc in Maven's repository (make test-java)")
            (tmp_path / "Login.java").write_text(program)
            words += ["-cp", str(drivers[-1]), str(tmp_path / "Login.java")]
    assert output(proxy, words, folder) == "app-mi"


def test_proxy_log_has_begin_and_end_of_sessions(proxy: Proxy) -> None:
    assert proxy.psql("-c", "select 'canary-sql'", application_name="shop\nforged") == "canary-sql\n"
    wait_for(lambda: "ended: the client has closed" in proxy.log, "the end of the session")
    begin = next(line for line in proxy.log.splitlines() if "session 1 started" in line)
    end = next(line for line in proxy.log.splitlines() if "session 1 ended" in line)
    uid = os.geteuid()
    facts = f'peer=Unix socket (uid {uid}), role="app-mi", database="postgres", application_name="shop\\nforged"'
    assert begin == f"pgentra: info: session 1 started: {facts}"
    assert re.fullmatch(
        rf"pgentra: info: session 1 ended: .*{re.escape(facts)}, bytes_to_client=\d+, bytes_to_server=\d+, seconds=\d+",
        end,
    )
    assert "canary-sql" not in proxy.log


def test_proxy_quiet_logs_nothing(cli: Cli, tmp_path: Path) -> None:
    process = cli.start("proxy", "--quiet", "--listen", f"unix:{tmp_path}/s", "--ready-file", tmp_path / "ready")
    wait_for((tmp_path / "ready").exists, "the file")
    process.terminate()
    out, err = process.communicate(timeout=LIMIT_S)
    assert (out, err, process.returncode) == ("", "", 0)
    assert not (tmp_path / "ready").exists()


def test_proxy_default_addresses(cli: Cli) -> None:
    with tempfile.TemporaryDirectory(prefix="pgentra-") as folder, closing(socket.socket()) as used:
        socket_file = Path(folder) / "pgentra" / "localhost" / ".s.PGSQL.5432"
        try:
            # Another program may use the port, and is then named.
            used.bind(("127.0.0.1", 15432))
        except OSError:
            pytest.skip("the default port is in use")
        failed = cli.run("proxy", code=1, XDG_RUNTIME_DIR=folder)
        assert "127.0.0.1:15432" in failed.stderr and not socket_file.exists()
        used.close()
        process = cli.start("proxy", XDG_RUNTIME_DIR=folder)
        wait_for(socket_file.exists, "the socket")
        assert socket_file.stat().st_mode & 0o777 == 0o600 and socket_file.parent.stat().st_mode & 0o777 == 0o700
        process.terminate()
        process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0 and not socket_file.exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--listen", "0.0.0.0:0"), "--password-file"),
        (("--listen", "localhost:1"), "--listen"),
        (("--listen", "fd:nothing"), "fd:nothing"),
        (("--sslmode", "require"), "--sslmode require"),
        (("--sslmode", "disable"), "--sslmode disable"),
        (("--max-connections", "100000000"), "--max-connections 100000000"),
        (("--max-connections", "0"), "--max-connections"),
        (("--user", "@nobody"), "--user @nobody"),
        (("--map", "a"), "--map"),
        (("--drain", "soon"), "--drain"),
        (("--allow-uid", "no-such-user"), "no-such-user"),
        (("--password-file", "/no/such/file"), "/no/such/file"),
        (("--tls-cert", "/no/such/file"), "--tls-key"),
        (("--sslrootcert", "/no/such/file"), "/no/such/file"),
        (("/var/run/postgresql",), "TLS"),
    ],
)
def test_proxy_refuses_arguments_with_their_name(cli: Cli, arguments: tuple[str, ...], named: str) -> None:
    host = {"PGHOST": None, "PGPORT": None} if arguments[0].startswith("/") else {}
    variables: dict[str, Any] = {"XDG_RUNTIME_DIR": tempfile.gettempdir(), "PGHOST": cli.environment["PGHOST"], **host}
    done = cli.run("proxy", *arguments, code=2, **variables)
    assert named in done.stderr, done.stderr


def test_proxy_reads_variables_and_its_table(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "proxy.toml"
    config.write_text('[proxy]\nmap = ["reader=app-mi"]\ndatabase = "template1"\nmax_connections = 7\n')
    with running(cli, "--config", config, PGENTRA_MAX_SESSION_AGE="1h") as proxy:
        assert proxy.psql("-c", WHO, user="reader", dbname="reader").startswith("app-mi template1 ")
        assert "anyone" in str(proxy.refused())
    config.write_text("[proxy]\nmap_users = 1\n")
    assert "proxy.map_users" in cli.run("proxy", "--config", config, code=2).stderr


# Roles


def test_proxy_roles_of_clients(cli: Cli) -> None:
    group = cli.emulator.add_principal("group")
    member = cli.emulator.add_principal(groups=[group.name])
    identity = ("--client-id", member.appid)
    arguments = ("--map", f"reader={group.name}", "--map", "own=@token", "--database", "template1")
    with running(cli, *arguments, *identity) as proxy:
        assert proxy.psql("-c", WHO, user="reader").startswith(f"{group.name} postgres ")
        assert proxy.psql("-c", WHO, user="own", dbname="own").startswith(f"{member.name} template1 ")
        error = proxy.refused(user="other")
        assert 'the user "other" has no role' in str(error) and "--map" in str(error)
    with running(cli, "--user", "@client", *identity) as proxy:
        for name in (group.name, member.name):
            assert proxy.psql("-c", WHO, user=name).startswith(f"{name} ")
    with running(cli, "--user", group.name, *identity) as proxy:
        assert proxy.psql("-c", WHO).startswith(f"{group.name} ")
    with running(cli, *identity, PGUSER=group.name) as proxy:
        assert proxy.psql("-c", WHO).startswith(f"{group.name} ")
    with running(cli, "--user", "@token", *identity, PGUSER=group.name) as proxy:
        assert proxy.psql("-c", WHO).startswith(f"{member.name} ")


# Tokens and login errors


def test_proxy_sessions_survive_the_token(cli: Cli) -> None:
    cli.emulator.set_tokens(lifetime_s=5)
    with running(cli) as proxy, proxy.connect() as connection:
        time.sleep(6)
        assert connection.execute("select current_user::text").fetchone() == ("app-mi",)
        assert proxy.psql("-c", "select 1") == "1\n"


def test_proxy_retries_once_with_a_newer_token(cli: Cli) -> None:
    cli.emulator.set_tokens(lifetime_s=10)
    with running(cli) as proxy:
        proxy.psql("-c", "select 1")
        # A younger token is not replaced.
        time.sleep(1.5)
        cli.emulator.control_postgres(refuse_next=1, refuse_with="token_expired")
        before = len(cli.emulator.postgres_report().logins)
        assert proxy.psql("-c", "select 1") == "1\n"
        outcomes = [login.outcome for login in cli.emulator.postgres_report().logins[before:]]
        assert outcomes == ["refused", "logged_in"]


def test_proxy_explains_a_second_refusal(cli: Cli) -> None:
    cli.emulator.set_tokens(lifetime_s=10)
    with running(cli) as proxy:
        proxy.psql("-c", "select 1")
        time.sleep(1.5)
        cli.emulator.control_postgres(refuse_next=3, refuse_with="token_expired")
        before = len(cli.emulator.postgres_report().logins)
        error = proxy.refused()
        assert len(cli.emulator.postgres_report().logins) == before + 2
        own = cli.emulator.postgres_report().logins[-1].message
        assert own is not None and f"FATAL:  {own}" in str(error)
        assert "DETAIL:  Role tried: 'app-mi'" in str(error) and "pgentra doctor" in str(error)


def test_proxy_names_the_statement_for_a_missing_role(cli: Cli) -> None:
    with running(cli, "--user", "no'body") as proxy:
        error = str(proxy.refused())
        assert 'FATAL:  role "no\'body" does not exist' in error
        assert "DETAIL:  Role tried: 'no''body'" in error
        assert "HINT:  select * from pgaadauth_create_principal_with_oid('no''body'" in error
        assert "login refused: role" in proxy.log


def test_proxy_passes_other_errors_of_the_server(proxy: Proxy) -> None:
    error = str(proxy.refused(dbname="no-such-database"))
    assert 'FATAL:  database "no-such-database" does not exist' in error and "DETAIL" not in error


@pytest.mark.parametrize(
    ("fault", "sqlstate"),
    [({"status": 500}, "57P03"), ({"status": 400}, "28000")],
    ids=["transient", "definite"],
)
def test_proxy_without_a_token(cli: Cli, fault: dict[str, Any], sqlstate: str) -> None:
    cli.emulator.add_fault(endpoint="app_service", **fault)
    with running(cli, "--timeout", "2", "--credential", "managed_identity") as proxy, closing(proxy.raw()) as client:
        client.sendall(startup())
        fields = {field[:1]: field[1:] for field in received(client)[5:].split(b"\0") if field}
        assert fields[b"C"] == sqlstate.encode() and fields[b"S"] == fields[b"V"] == b"FATAL"
        assert b"managed identity" in fields[b"M"].lower() or b"ManagedIdentityCredential" in fields[b"M"], fields
        assert fields[b"H"]
    assert cli.emulator.postgres_report().counts.get("refused", 0) == 0


def test_proxy_sessions_go_on_without_a_token_service(cli: Cli) -> None:
    cli.emulator.set_tokens(lifetime_s=4)
    with running(cli, "--timeout", "1") as proxy, proxy.connect() as connection:
        fault = cli.emulator.add_fault(endpoint="app_service", status=500)
        time.sleep(5)
        assert "FATAL" in str(proxy.refused())
        assert connection.execute("select 1").fetchone() == (1,)
        cli.emulator.clear_fault(fault)

        def logs_in() -> bool:
            with pytest.MonkeyPatch.context():
                try:
                    proxy.connect().close()
                except psycopg.OperationalError:
                    return False
                return True

        wait_for(logs_in, "a login after the outage")
        assert connection.execute("select 2").fetchone() == (2,)


def test_proxy_lazy_requests_no_token_without_clients(cli: Cli) -> None:
    cli.emulator.set_tokens(lifetime_s=3)
    with running(cli, "--mode", "lazy") as proxy:
        assert proxy.psql("-c", "select 1") == "1\n"
        before = cli.emulator.counter("app_service").total
        time.sleep(4)
        assert cli.emulator.counter("app_service").total == before
        assert proxy.psql("-c", "select 1") == "1\n"
        assert cli.emulator.counter("app_service").total > before


# What does not get the token


def test_proxy_of_a_server_without_tls_sends_nothing(cli: Cli) -> None:
    cli.emulator.control_postgres(plaintext=True)
    with running(cli) as proxy:
        assert "the server does not support TLS" in str(proxy.refused())
    assert cli.emulator.postgres_report().plaintext_password_bytes == 0


def test_proxy_without_verification_if_that_is_allowed(cli: Cli, tmp_path: Path) -> None:
    allowed = ("--allow-insecure-transport", "--sslmode")
    with running(cli, *allowed, "require", "--sslrootcert", "system", SSL_CERT_FILE=None) as proxy:
        assert proxy.psql("-c", "select 1") == "1\n"
    cli.emulator.control_postgres(plaintext=True)
    with running(cli, *allowed, "disable") as proxy:
        assert proxy.psql("-c", "select 1") == "1\n"
    assert cli.emulator.postgres_report().plaintext_password_bytes > 0


class ScriptedServer:
    """A server with TLS that responds to each startup message with these bytes, and records what follows."""

    def __init__(self, folder: Path, response: bytes, name: str = "localhost") -> None:
        self.certificate = folder / "server.pem"
        key = folder / "key.pem"
        options = (
            f"-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout {key} -out {self.certificate}"
        )
        names = f"-subj /CN=scripted -addext subjectAltName=DNS:{name} -addext basicConstraints=critical,CA:FALSE"
        subprocess.run(["openssl", "req", *options.split(), *names.split()], check=True, capture_output=True)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, key)
        self._response = response
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        #: Per connection: the startup message, and the bytes after the response.
        self.sessions: list[tuple[bytes, bytes]] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                client.settimeout(LIMIT_S)
                client.recv(8)
                client.sendall(b"S")
                with closing(self._context.wrap_socket(client, server_side=True)) as stream:
                    first = stream.recv(4096)
                    stream.sendall(self._response)
                    self.sessions.append((first, received(stream)))
            except ssl.SSLError:
                self.sessions.append((b"", b""))
            except OSError:
                return

    def close(self) -> None:
        self._listener.close()


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0", "SCRAM"),
        (b"R\0\0\0\x0c\0\0\0\x05salt", "MD5"),
        (b"R\0\0\0\x08\0\0\0\x07", "another kind"),
    ],
    ids=["scram", "md5", "gss"],
)
def test_proxy_of_a_server_with_other_passwords_sends_nothing(
    cli: Cli, tmp_path: Path, response: bytes, text: str
) -> None:
    response = response[:1] + struct.pack(">I", len(response) - 1) + response[5:]
    server = ScriptedServer(tmp_path, response)
    with running(cli, f"localhost:{server.port}", "--sslrootcert", server.certificate) as proxy:
        error = str(proxy.refused())
        expected = "the role is not made for Entra, or Entra is off for this server; the token was not sent"
        assert f"FATAL:  {expected}" in error and text in error
        wait_for(lambda: server.sessions, "the end of the connection")
    ((first, rest),) = server.sessions
    assert b"user\0app-mi\0" in first and rest == b""
    server.close()


@pytest.mark.parametrize(("mode", "is_sent"), [("verify-full", False), ("verify-ca", True)])
def test_proxy_of_a_server_with_another_name(cli: Cli, tmp_path: Path, mode: str, is_sent: bool) -> None:
    server = ScriptedServer(tmp_path, b"R\0\0\0\x08\0\0\0\x03", name="other.example")
    arguments = (f"localhost:{server.port}", "--sslrootcert", server.certificate, "--sslmode", mode)
    with running(cli, *arguments) as proxy, ThreadPoolExecutor() as pool:
        login = pool.submit(proxy.refused)
        if not is_sent:
            assert "TLS failed" in str(login.result(LIMIT_S))
        proxy.end(signal.SIGINT)
        login.result(LIMIT_S)
        if not is_sent:
            wait_for(lambda: server.sessions, "the end of the connection")
            assert server.sessions == [(b"", b"")]
    server.close()


def test_proxy_of_an_unknown_issuer_sends_nothing(cli: Cli, tmp_path: Path) -> None:
    server = ScriptedServer(tmp_path, b"")
    with running(cli, f"localhost:{server.port}") as proxy:
        assert "TLS failed" in str(proxy.refused())
    server.close()


def test_proxy_connects_to_a_hostaddr_and_directly(cli: Cli) -> None:
    port = cli.emulator.server.port
    with running(cli, f"host=localhost hostaddr=127.0.0.1 port={port}", "--sslnegotiation", "direct") as proxy:
        assert proxy.psql("-c", "select 1") == "1\n"
    with running(cli, f"host=other.example hostaddr=127.0.0.1 port={port}", "--sslmode", "verify-ca") as proxy:
        assert proxy.psql("-c", "select 1") == "1\n"


def test_proxy_uses_the_hosts_in_turn(cli: Cli) -> None:
    port = cli.emulator.server.port
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()[1]
        with running(cli, f"host=localhost,localhost port={closed},{port}") as proxy:
            assert proxy.psql("-c", "select 1") == "1\n"
        with running(cli, f"host=localhost port={closed}") as proxy:
            assert f"localhost:{closed}" in str(proxy.refused())
    with running(cli, f"host=localhost port={port} target_session_attrs=standby") as proxy:
        assert "target_session_attrs" in str(proxy.refused())
    with running(cli, f"host=localhost port={port} target_session_attrs=prefer-standby") as proxy:
        assert proxy.psql("-c", "select 1") == "1\n"


# Openings, cancel requests, protocols


@pytest.mark.parametrize("over", ["unix", "tcp"])
def test_proxy_cancels_a_query(proxy: Proxy, over: str) -> None:
    with proxy.connect(over) as busy, proxy.connect(over) as other:
        cancels(busy)
        assert other.execute("select 1").fetchone() == (1,)


def cancels(connection: Connection) -> None:
    """Cancels a query of the connection, which must then fail, and be usable again."""
    with ThreadPoolExecutor() as pool:
        query = pool.submit(connection.execute, "select pg_sleep(100)")
        time.sleep(0.3)
        connection.cancel_safe(timeout=LIMIT_S)
        with pytest.raises(psycopg.errors.QueryCanceled):
            query.result(LIMIT_S)
    assert connection.execute("select 2").fetchone() == (2,)


def test_proxy_cancels_a_query_by_tls(cli: Cli) -> None:
    with running(cli, "--tls", "self-signed") as proxy, proxy.connect("tcp", sslmode="require") as connection:
        assert connection.pgconn.ssl_in_use
        cancels(connection)


def test_proxy_drops_cancel_requests_with_unknown_keys(proxy: Proxy) -> None:
    with proxy.connect("tcp") as connection:
        before = proxy.cli.emulator.call("GET", "/postgres")["counters"]["cancels"]
        for length in (0, 3, 4, 256, 300):
            with closing(proxy.raw()) as client:
                client.sendall(packet(80877102, b"\0\0\0\x07" + b"x" * length))
                assert received(client) == b""
        assert proxy.cli.emulator.call("GET", "/postgres")["counters"]["cancels"] == before
        assert connection.execute("select 1").fetchone() == (1,)


def test_proxy_accepts_direct_tls(cli: Cli) -> None:
    settings = {"sslmode": "require", "sslnegotiation": "direct"}
    with running(cli, "--tls", "self-signed") as proxy, proxy.connect("tcp", **settings) as connection:
        assert connection.pgconn.ssl_in_use
        assert connection.execute("select current_user::text").fetchone() == ("app-mi",)


@pytest.mark.parametrize("requests", [[80877104], [80877103], [80877104, 80877103], [80877103, 80877104]])
def test_proxy_declines_encryption_that_it_has_not(proxy: Proxy, requests: list[int]) -> None:
    with closing(proxy.raw()) as client:
        for code in requests:
            client.sendall(packet(code))
            assert client.recv(100) == b"N"
        client.sendall(startup())
        assert client.recv(1) == b"R"


@pytest.mark.parametrize("version", [196608, 196610])
def test_proxy_of_each_protocol_version(proxy: Proxy, version: int) -> None:
    with closing(proxy.raw()) as client:
        message = startup(**({"_pq_.no_such_option": "1"} if version > 196608 else {}))
        client.sendall(message[:4] + struct.pack(">I", version) + message[8:])
        bytes_ = b""
        while not bytes_.endswith(b"Z\0\0\0\x05I"):
            chunk = client.recv(4096)
            assert chunk, bytes_
            bytes_ += chunk
        # Newer versions are negotiated by the server itself.
        assert (b"_pq_.no_such_option" in bytes_) == (version > 196608)


def test_proxy_closes_other_protocols_without_a_response(proxy: Proxy) -> None:
    for first in (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"\xff" * 20,
        b"\0" * 8,
    ):
        with closing(proxy.raw()) as client:
            client.sendall(first)
            # A connection with unread bytes is reset.
            with suppress(OSError):
                client.shutdown(socket.SHUT_WR)
                assert received(client) == b"", first


def test_proxy_survives_garbage(proxy: Proxy) -> None:
    generator = random.Random(19)
    files = Path(f"/proc/{proxy.process.pid}/fd")
    proxy.psql("-c", "select 1")
    before = len(list(files.iterdir()))

    def open_one(number: int) -> None:
        length = generator.randrange(0, 200)
        starts = [b"", packet(80877103), packet(80877104), startup(), packet(80877102, b"\0" * 8), packet(131072)]
        with closing(proxy.raw(generator.choice(["unix", "tcp"]))) as client:
            try:
                client.sendall(generator.choice(starts) + generator.randbytes(length))
                if number % 3:
                    client.shutdown(socket.SHUT_WR)
                    received(client)
            except OSError:
                pass

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(open_one, range(10_000 if LONG else 300)))
    assert proxy.psql("-c", "select 1") == "1\n"
    wait_for(lambda: len(list(files.iterdir())) <= before + 2, "the end of all connections")


def test_proxy_ends_an_opening_that_takes_too_long(proxy: Proxy) -> None:
    with closing(proxy.raw()) as client:
        client.sendall(b"\0")
        began = time.monotonic()
        assert received(client) == b""
        assert time.monotonic() - began > 8


# Work


def test_proxy_runs_pg_dump(proxy: Proxy, tmp_path: Path) -> None:
    words = ["pg_dump", "-d", proxy.dsn(), "-n", "public", "-j", "2", "-Fd", "-f", str(tmp_path / "dump")]
    subprocess.run(words, env=proxy.environment(), check=True, timeout=LIMIT_S)
    assert (tmp_path / "dump" / "toc.dat").stat().st_size


def test_proxy_runs_pg_basebackup_and_pg_recvlogical(proxy: Proxy, tmp_path: Path) -> None:
    superuser(proxy.cli, 'alter role "app-mi" replication')
    words = ["pg_basebackup", "-d", proxy.dsn("tcp"), "-D", str(tmp_path / "base"), "-X", "stream", "-c", "fast", "-N"]
    subprocess.run(words, env=proxy.environment(), check=True, timeout=LIMIT_S)
    assert (tmp_path / "base" / "PG_VERSION").exists()
    shutil.rmtree(tmp_path / "base")
    # The emulator's server has no logical decoding, which its error shows.
    words = ["pg_recvlogical", "-d", proxy.dsn("tcp"), "--slot", "shop", "--create-slot"]
    done = subprocess.run(words, env=proxy.environment(), capture_output=True, text=True, timeout=LIMIT_S)
    assert "logical decoding requires wal_level >= logical" in done.stderr, done


def test_proxy_copies_without_changes(proxy: Proxy) -> None:
    rows = 3_000_000 if LONG else 150_000
    query = f"select i, repeat(md5(i::text), 2) from generate_series(1, {rows}) i"

    def out(connection: psycopg.Connection[tuple[Any, ...]]) -> str:
        digest = hashlib.sha256()
        with connection.cursor().copy(f"copy ({query}) to stdout") as copy:
            for data in copy:
                digest.update(data)
        return digest.hexdigest()

    with proxy.connect() as connection, psycopg.connect(proxy.cli.emulator.admin_dsn) as direct:
        assert out(connection) == out(direct)
        connection.execute("create temporary table copied (i int, t text)")
        with connection.cursor() as cursor:
            with cursor.copy("copy copied from stdin") as copy:
                for start in range(0, rows, 1000):
                    lines = [
                        f"{i}\t{hashlib.md5(str(i).encode()).hexdigest() * 2}\n" for i in range(start + 1, start + 1001)
                    ]
                    copy.write("".join(lines))
            same = f"select count(*) from copied join ({query}) q (i, t) using (i, t)"
            assert cursor.execute(same).fetchone() == (rows,)


def test_proxy_passes_notifications_and_pipelines(proxy: Proxy) -> None:
    with proxy.connect() as listening, proxy.connect("tcp") as sending:
        listening.execute("listen shop")
        sending.execute("notify shop, 'sold'")
        assert [one.payload for one in listening.notifies(timeout=60, stop_after=1)] == ["sold"]
        with sending.pipeline():
            cursors = [sending.execute("select %s::int", (number,)) for number in range(500)]
        assert [cursor.fetchone() for cursor in cursors] == [(number,) for number in range(500)]


def test_proxy_logs_many_clients_in_at_once(cli: Cli) -> None:
    count = 1000 if LONG else 60
    superuser(cli, "select pg_reload_conf()")
    with running(cli, "--max-logins", "16") as proxy:

        async def all_at_once() -> list[str]:
            async def one() -> str:
                connection = await asyncpg.connect(
                    host=str(proxy.directory), port=5432, user="a", database="postgres", ssl=False, timeout=LIMIT_S
                )
                try:
                    return str(await connection.fetchval("select current_user::text"))
                finally:
                    await connection.close()

            return await asyncio.gather(*(one() for _ in range(count)))

        assert asyncio.run(all_at_once()) == ["app-mi"] * count
    # One for the server and one for the role's name.
    assert cli.emulator.counter("app_service").total <= 2


def test_proxy_limits_connections(cli: Cli) -> None:
    with running(cli, "--max-connections", "2") as proxy:
        with proxy.connect(), proxy.connect("tcp") as second:
            error = proxy.refused()
            assert "sorry, too many clients already" in str(error) and "--max-connections" in str(error)
            cancels(second)
        wait_for(lambda: proxy.log.count(" ended: ") == 2, "the end of the sessions")
        proxy.connect().close()


# The end of sessions


def sessions(cli: Cli) -> int:
    return cli.emulator.postgres_report().sessions


def test_proxy_ends_sessions_of_killed_clients(proxy: Proxy) -> None:
    wait_for(lambda: sessions(proxy.cli) == 0, "the end of earlier sessions")
    words = ["psql", "-X", proxy.dsn(), "-c", "select pg_sleep(0)", "-f", "/dev/stdin"]
    client = subprocess.Popen(words, env=proxy.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_for(lambda: sessions(proxy.cli) == 1, "the session")
    client.kill()
    client.communicate()
    wait_for(lambda: sessions(proxy.cli) == 0, "the end of the session")
    assert "session 1 ended" in proxy.log


def test_proxy_ends_sessions_of_a_killed_server(tmp_path: Path) -> None:
    emulator = Emulator.start()
    try:
        with running(Cli(emulator, tmp_path)) as proxy, proxy.connect() as connection:
            assert emulator._process is not None
            emulator._process.kill()
            emulator._process.wait()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("select 1")
            assert "the server cannot be reached" in str(proxy.refused())
            with closing(proxy.raw()) as client:
                client.sendall(startup())
                assert b"C57P03\0" in received(client)
    finally:
        emulator.stop()


def is_ended(connection: Connection) -> None:
    """The next query fails as on a server that is shut down."""
    with pytest.raises(psycopg.OperationalError) as caught:
        connection.execute("select 1")
    assert connection.has_ended(caught.value), (caught.value, connection.notices)


def test_proxy_idle_timeout_ends_idle_sessions_only(cli: Cli) -> None:
    with running(cli, "--idle-timeout", "1s") as proxy, proxy.connect() as idle, proxy.connect() as busy:
        with busy.transaction():
            assert busy.execute("select pg_sleep(3), 7").fetchone() == ("", 7)
            time.sleep(2)
            busy.execute("select 1")
        wait_for(lambda: "session 1 ended: ended by the proxy while it was idle" in proxy.log, "the end")
        is_ended(idle)


def test_proxy_max_session_age_ends_sessions_when_idle(cli: Cli) -> None:
    with running(cli, "--max-session-age", "1s") as proxy, proxy.connect() as connection:
        with connection.transaction():
            time.sleep(2)
            connection.execute("select 1")
        wait_for(lambda: " ended: ended by the proxy" in proxy.log, "the end")
        is_ended(connection)


def test_proxy_drain_waits_for_work_and_ends_idle_sessions(cli: Cli) -> None:
    with running(cli, "--drain", "60s") as proxy, ThreadPoolExecutor() as pool:
        idle, busy, open_ = (proxy.connect() for _ in range(3))
        open_.execute("begin")
        query = pool.submit(busy.execute, "select pg_sleep(3), 7")
        time.sleep(0.5)
        proxy.process.terminate()
        wait_for(lambda: "session 1 ended: ended by the proxy" in proxy.log, "the end of the idle session")
        is_ended(idle)
        # The listeners are closed.
        with pytest.raises(OSError):
            proxy.raw()
        assert open_.execute("select 41 + 1").fetchone() == (42,)
        assert query.result(LIMIT_S).fetchone() == ("", 7)
        is_ended(busy)
        assert proxy.process.poll() is None
        open_.execute("commit")
        assert proxy.process.wait(LIMIT_S) == 0
        is_ended(open_)


def test_proxy_drain_answers_pipelined_batches(cli: Cli) -> None:
    with running(cli, "--drain", "60s") as proxy, proxy.connect() as connection:
        with connection.pipeline() as pipeline:
            first = connection.execute("select pg_sleep(1), 1")
            pipeline.sync()
            # The first batch is answered before the second one begins.
            second = connection.execute("select pg_sleep(2), '\\x5a0000000549'::bytea", binary=True)
            threading.Timer(0.5, proxy.process.terminate).start()
        assert first.fetchone() == ("", 1) and second.fetchall()[0][1] == b"Z\0\0\0\x05I"
        assert proxy.process.wait(LIMIT_S) == 0
        is_ended(connection)


def test_proxy_drain_loses_no_query(cli: Cli) -> None:
    # Queries are sent without a pause. Each is answered, or the session has ended before it.
    superuser(cli, "drop table if exists drained", "create table drained (n int)", "grant all on drained to public")
    with running(cli, "--drain", "60s") as proxy:

        def insert(worker: int) -> int:
            done = 0
            connection = proxy.connect()
            while True:
                try:
                    connection.execute("insert into drained values (%s)", (worker,))
                except psycopg.OperationalError as error:
                    assert connection.has_ended(error), (error, connection.notices)
                    return done
                done += 1

        with ThreadPoolExecutor(4) as pool:
            workers = [pool.submit(insert, worker) for worker in range(4)]
            time.sleep(1)
            proxy.end()
            acknowledged = [worker.result(LIMIT_S) for worker in workers]
    counts = superuser(cli, "select n, count(*) from drained group by n order by n")
    assert dict(counts) == dict(enumerate(acknowledged)) and min(acknowledged) > 0


@pytest.mark.parametrize(
    ("arguments", "again"),
    [(("--drain", "1s"), None), ((), signal.SIGTERM), ((), signal.SIGINT)],
    ids=["limit", "second SIGTERM", "SIGINT"],
)
def test_proxy_drain_cuts_the_rest(cli: Cli, arguments: tuple[str, ...], again: signal.Signals | None) -> None:
    with running(cli, *arguments) as proxy, proxy.connect() as connection:
        connection.execute("begin")
        proxy.process.terminate()
        wait_for(lambda: "ending: " in proxy.log, "the drain")
        if again:
            time.sleep(0.3)
            proxy.process.send_signal(again)
        assert proxy.process.wait(20) == 0
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")


def test_proxy_shutdown_delay_accepts_connections(cli: Cli) -> None:
    with running(cli, "--shutdown-delay", "3s", "--drain", "20s") as proxy:
        proxy.process.terminate()
        wait_for(lambda: "ending: " in proxy.log, "the end to begin")
        assert proxy.psql("-c", "select 1") == "1\n"
        assert proxy.process.wait(LIMIT_S) == 0


def test_proxy_exit_when_idle_ends_after_the_last_session(cli: Cli) -> None:
    with running(cli, "--exit-when-idle", "1s") as proxy:
        time.sleep(2)
        assert proxy.process.poll() is None
        with proxy.connect():
            time.sleep(2)
            assert proxy.process.poll() is None
        assert proxy.process.wait(LIMIT_S) == 0


# The process


def test_proxy_process_is_protected(proxy: Proxy) -> None:
    limits = Path(f"/proc/{proxy.process.pid}/limits").read_text()
    assert re.search(r"Max core file size\s+0\s+0", limits)
    soft, hard = re.findall(r"Max open files\s+(\d+)\s+(\d+)", limits)[0]
    assert soft == hard
    # A process that is not dumpable belongs to root.
    assert Path(f"/proc/{proxy.process.pid}/environ").stat().st_uid == 0
    environment: Callable[[], str] = Path(f"/proc/{proxy.process.pid}/cmdline").read_text
    assert "eyJ" not in environment()


def test_proxy_threads_are_limited(cli: Cli) -> None:
    with running(cli, "--threads", "1") as proxy:
        proxy.psql("-c", "select 1")
        tasks = Path(f"/proc/{proxy.process.pid}/task").iterdir()
        names = [(task / "comm").read_text().strip() for task in tasks]
        assert names.count("tokio-rt-worker") <= 3, names


def test_proxy_health_follows_the_drain(cli: Cli, tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with running(cli, "--http", address, "--ready-check", "server", "--allow-quit") as proxy:
        cli.run("ready", "--http", address, "--wait", "30s")
        with proxy.connect() as connection:
            connection.execute("begin")
            subprocess.run(["curl", "-sf", "-X", "POST", f"http://{address}/quit"], check=True, timeout=LIMIT_S)
            wait_for(lambda: "ending: " in proxy.log, "the drain")
            cli.run("ready", "--http", address, code=1)
        assert proxy.process.wait(LIMIT_S) == 0
