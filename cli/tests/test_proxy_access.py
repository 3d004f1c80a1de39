"""Which clients `pgentra proxy` admits: users of the system, passwords, TLS."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import LIMIT_S, ROOT, Cli, wait_for
from proxy_process import (
    NOBODY,
    OTHER_UID,
    SYSTEM_PYTHON,
    RunningProxy,
    require_namespace,
    require_other_users,
    startup,
    startup_as,
)
from test_serve import missing

#: "pencil", of RFC 7677.
VERIFIER = (
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
    ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)

Start = Callable[..., RunningProxy]


@pytest.fixture
def start(cli: Cli) -> Iterator[Start]:
    """Starts proxies, which end with the test."""
    running: list[RunningProxy] = []

    def started(*arguments: str | Path, **options: Any) -> RunningProxy:
        running.append(RunningProxy(cli, *arguments, **options))
        return running[-1]

    yield started
    for proxy in running:
        proxy.kill()


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "passwords"
    path.write_text(f"# clients\nreader:it's a secret\nuser:{VERIFIER}\n")
    path.chmod(0o600)
    return path


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


# Users of the system.


def test_guard_admits_this_user_and_root(start: Start) -> None:
    psycopg = pytest.importorskip("psycopg")
    proxy = start()
    with psycopg.connect(**proxy.conninfo()) as connection:
        assert connection.execute("select current_user").fetchone() == ("app-mi",)
    proxy.stop()
    assert f"(uid {os.geteuid()})" in proxy.log


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_guard_refuses_other_users_on_each_family(start: Start, address: str) -> None:
    require_other_users()
    if address == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    proxy = start(listen=("[::1]:0",) if address == "::1" else ("127.0.0.1:0",))
    for uid in (OTHER_UID, NOBODY):
        kind, fields = startup_as(uid, address, proxy.port)
        assert kind == "E", fields
        assert (fields["S"], fields["C"]) == ("FATAL", "28000")
        assert str(uid) in fields["M"] and f"--allow-uid {uid}" in fields["H"]
    with socket.create_connection((address, proxy.port), timeout=LIMIT_S) as connection:
        assert startup(connection) == ("R", 0)
    proxy.stop()
    assert "28000" not in proxy.log or "uid" in proxy.log


def test_guard_admits_named_users(start: Start) -> None:
    require_other_users()
    proxy = start("--allow-uid", f"daemon,{OTHER_UID}")
    assert startup_as(OTHER_UID, "127.0.0.1", proxy.port) == ("R", 0)
    assert startup_as(1, "127.0.0.1", proxy.port) == ("R", 0)
    assert startup_as(OTHER_UID + 1, "127.0.0.1", proxy.port)[0] == "E"
    # The id of unmapped users is only allowed by its name or number.
    assert startup_as(NOBODY, "127.0.0.1", proxy.port)[0] == "E"
    proxy.stop()
    proxy = start("--allow-uid", "nobody")
    assert startup_as(NOBODY, "127.0.0.1", proxy.port) == ("R", 0)
    proxy.stop()


def test_guard_admits_every_user_on_request(start: Start) -> None:
    proxy = start("--allow-uid", "any")
    assert startup_as(OTHER_UID, "127.0.0.1", proxy.port) == ("R", 0)
    proxy.stop()


def test_guard_with_an_unknown_user_fails(cli: Cli) -> None:
    done = cli.run("proxy", "--allow-uid", "no-such-user", "--listen", "127.0.0.1:0", code=2)
    assert "no-such-user" in done.stderr


def test_guard_refuses_users_that_its_namespace_does_not_map(start: Start) -> None:
    require_other_users()
    launcher = require_namespace("--user", "--map-root-user")
    proxy = start(launcher=launcher)
    kind, fields = startup_as(OTHER_UID, "127.0.0.1", proxy.port)
    assert (kind, fields["C"]) == ("E", "28000") and "65534" in fields["M"]
    proxy.stop()
    proxy = start("--allow-uid", "65534", launcher=launcher)
    assert startup_as(OTHER_UID, "127.0.0.1", proxy.port) == ("R", 0)
    proxy.stop()


def test_guard_does_not_admit_a_client_that_has_ended(start: Start) -> None:
    """The kernel reports an ended socket with root's id, also that of another user."""
    require_other_users()
    proxy = start("--http", "127.0.0.1:0")
    proxy.process.send_signal(signal.SIGSTOP)
    try:
        # The kernel accepts the connection for the proxy.
        program = f"""if True:
            import socket, struct
            connection = socket.create_connection(("127.0.0.1", {proxy.port}))
            body = b"user\\0x\\0database\\0postgres\\0\\0"
            connection.sendall(struct.pack("!II", len(body) + 8, 196608) + body)
            connection.close()
        """
        subprocess.run([SYSTEM_PYTHON, "-I", "-c", program], check=True, cwd="/", user=OTHER_UID, group=OTHER_UID)
    finally:
        proxy.process.send_signal(signal.SIGCONT)
    refused = 'pgentra_proxy_refusals_total{cause="unknown_owner"}'
    assert wait_for(lambda: proxy.metrics().get(refused), "the refusal") == 1
    assert proxy.metrics()['pgentra_proxy_connections_total{outcome="session"}'] == 0
    proxy.stop()


# Unix sockets.


def test_unix_socket_is_private(start: Start, tmp_path: Path) -> None:
    psycopg = pytest.importorskip("psycopg")
    directory = tmp_path / "s"
    proxy = start(listen=(f"unix:{directory}",))
    path = directory / ".s.PGSQL.5432"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700 and stat.S_IMODE(path.stat().st_mode) == 0o600
    with psycopg.connect(host=str(directory), dbname="postgres", user="x") as connection:
        assert connection.execute("select current_user").fetchone() == ("app-mi",)
    proxy.stop()
    assert not path.exists()


def test_unix_socket_of_another_proxy_is_kept_and_of_a_killed_one_replaced(
    start: Start, cli: Cli, tmp_path: Path
) -> None:
    listen = f"unix:{tmp_path / 's'}:6000"
    first = start(listen=(listen,))
    done = cli.run("proxy", "--listen", listen, code=1)
    assert "another process listens there" in done.stderr
    assert (tmp_path / "s" / ".s.PGSQL.6000").exists()
    first.kill()
    start(listen=(listen,)).stop()


def test_unix_socket_in_a_directory_of_others_is_refused(cli: Cli, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    link = tmp_path / "link"
    link.symlink_to(shared)
    for directory, expected in ((shared, "mode 0755"), (link, "not a directory")):
        assert expected in cli.run("proxy", "--listen", f"unix:{directory}", code=2).stderr
    if os.geteuid() == 0:
        shared.chmod(0o700)
        os.chown(shared, OTHER_UID, OTHER_UID)
        done = cli.run("proxy", "--listen", f"unix:{shared}", code=2)
        assert f"belongs to the user id {OTHER_UID}" in done.stderr


def test_unix_socket_refuses_other_users_also_if_they_reach_it(start: Start, tmp_path: Path) -> None:
    require_other_users()
    proxy = start(listen=(f"unix:{tmp_path / 's'}",))
    path = tmp_path / "s" / ".s.PGSQL.5432"
    # As if an administrator had opened the directories.
    temporary = Path(tempfile.gettempdir())
    for parent in (one for one in path.parents if temporary in one.parents):
        parent.chmod(parent.stat().st_mode | 0o711)
    path.chmod(0o666)
    kind, fields = startup_as(OTHER_UID, str(path), 0)
    assert (kind, fields["C"]) == ("E", "28000") and f"--allow-uid {OTHER_UID}" in fields["H"]
    proxy.stop()


# Passwords.


def test_passwords_are_requested_from_other_users_only(start: Start, password_file: Path) -> None:
    require_other_users()
    proxy = start("--password-file", password_file)
    # AuthenticationSASL; this user needs none.
    assert startup_as(OTHER_UID, "127.0.0.1", proxy.port) == ("R", 10)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=LIMIT_S) as connection:
        assert startup(connection) == ("R", 0)
    proxy.stop()


CLIENTS = (("reader", "it's a secret"), ("user", "pencil"))


def own_address() -> str:
    """An address of this machine other than loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address other than loopback")
        address = str(probe.getsockname()[0])
    if address.startswith("127."):
        pytest.skip("this machine has no address other than loopback")
    return address


@pytest.fixture
def remote(start: Start, password_file: Path) -> Iterator[dict[str, Any]]:
    """psycopg's arguments for a client at another address than loopback, which needs TLS and a password."""
    address = own_address()
    proxy = start("--password-file", password_file, "--tls", "self-signed", listen=("0.0.0.0:0",))
    yield {"host": address, "port": proxy.port, "dbname": "postgres", "sslmode": "require", "proxy": proxy}
    proxy.stop()


def test_passwords_log_libpq_in(remote: dict[str, Any]) -> None:
    psycopg = pytest.importorskip("psycopg")
    proxy = remote.pop("proxy")
    for user, password in CLIENTS:
        with psycopg.connect(**remote, user=user, password=password) as connection:
            assert connection.execute("select current_user").fetchone() == ("app-mi",)
    for user, password in (("reader", "pencil"), ("user", "x"), ("unknown", "pencil")):
        with pytest.raises(psycopg.OperationalError, match=f'password authentication failed for user "{user}"'):
            psycopg.connect(**remote, user=user, password=password)
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(**remote, user="user")
    with pytest.raises(psycopg.OperationalError, match="channel binding"):
        psycopg.connect(**remote, user="user", password="pencil", channel_binding="require")
    with pytest.raises(psycopg.OperationalError, match="need TLS"):
        psycopg.connect(**{**remote, "sslmode": "disable"}, user="user", password="pencil")
    assert "pencil" not in proxy.log and "a secret" not in proxy.log


def test_passwords_log_asyncpg_in(remote: dict[str, Any]) -> None:
    asyncpg = pytest.importorskip("asyncpg")

    async def log_in(user: str, password: str) -> str:
        connection = await asyncpg.connect(
            host=remote["host"], port=remote["port"], database="postgres", user=user, password=password, ssl="require"
        )
        try:
            return str(await connection.fetchval("select current_user"))
        finally:
            await connection.close()

    for user, password in CLIENTS:
        assert asyncio.run(log_in(user, password)) == "app-mi"
    with pytest.raises(asyncpg.InvalidPasswordError):
        asyncio.run(log_in("user", "wrong"))


def test_passwords_log_psql_in(cli: Cli, remote: dict[str, Any]) -> None:
    for user, password in CLIENTS:
        done = subprocess.run(
            ["psql", "-Atc", "select current_user"],
            env={
                "PATH": cli.environment["PATH"],
                "PGHOST": remote["host"],
                "PGPORT": str(remote["port"]),
                "PGDATABASE": "postgres",
                "PGSSLMODE": "require",
                "PGUSER": user,
                "PGPASSWORD": password,
            },
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert done.stdout == "app-mi\n", done.stderr


def test_passwords_log_pg_of_node_in(remote: dict[str, Any]) -> None:
    if shutil.which("node") is None or not (ROOT / "bindings-node/node_modules/pg").is_dir():
        missing("pg of Node (tools/node.sh packages bindings-node)")
    program = """
        const { Client } = require("pg");
        (async () => {
            for (const [user, password] of [["reader", "it's a secret"], ["user", "pencil"], ["user", "wrong"]]) {
                const [, host, port] = process.argv;
                const settings = { host, port, database: "postgres", ssl: { rejectUnauthorized: false } };
                const client = new Client({ ...settings, user, password });
                try {
                    await client.connect();
                    console.log((await client.query("select current_user")).rows[0].current_user);
                    await client.end();
                } catch (error) {
                    console.log(error.code);
                }
            }
        })();
    """
    done = subprocess.run(
        ["node", "-e", program, remote["host"], str(remote["port"])],
        cwd=ROOT / "bindings-node",
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.stdout.split() == ["app-mi", "app-mi", "28P01"], done.stderr


def test_passwords_log_pgjdbc_in(remote: dict[str, Any], tmp_path: Path) -> None:
    jars = sorted((Path.home() / ".m2/repository/org/postgresql/postgresql").glob("*/postgresql-*.jar"))
    if shutil.which("javac") is None or not jars:
        pytest.skip("a JDK or pgjdbc is missing (tools/java.sh test)")
    program = tmp_path / "Login.java"
    program.write_text(
        """
        import java.sql.*;
        class Login {
            public static void main(String[] arguments) throws Exception {
                String[][] clients = {{"reader", "it's a secret"}, {"user", "pencil"}, {"user", "wrong"}};
                for (String[] client : clients) {
                    try (Connection connection = DriverManager.getConnection(arguments[0], client[0], client[1]);
                            ResultSet rows = connection.createStatement().executeQuery("select current_user")) {
                        rows.next();
                        System.out.println(rows.getString(1));
                    } catch (SQLException error) {
                        System.out.println(error.getSQLState());
                    }
                }
            }
        }
        """
    )
    url = f"jdbc:postgresql://{remote['host']}:{remote['port']}/postgres?sslmode=require"
    done = subprocess.run(["java", "-cp", jars[-1], program, url], capture_output=True, text=True, timeout=LIMIT_S)
    assert done.stdout.split() == ["app-mi", "app-mi", "28P01"], done.stderr


def test_passwords_follow_their_file(remote: dict[str, Any], password_file: Path) -> None:
    psycopg = pytest.importorskip("psycopg")
    proxy = remote.pop("proxy")
    new = password_file.with_suffix(".new")
    new.write_text("user:another\n")
    new.chmod(0o600)
    new.rename(password_file)
    psycopg.connect(**remote, user="user", password="another").close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(**remote, user="reader", password="it's a secret")
    # A file that others can read does not count; the users before it stay.
    password_file.write_text("user:canary\n")
    password_file.chmod(0o644)
    psycopg.connect(**remote, user="user", password="another").close()
    wait_for(lambda: "can be read or written by other users" in proxy.log, "the warning")
    assert "canary" not in proxy.log


def test_password_file_of_others_is_refused(cli: Cli, password_file: Path) -> None:
    password_file.chmod(0o644)
    done = cli.run("proxy", "--password-file", password_file, "--listen", "127.0.0.1:0", code=2)
    assert "mode 0644" in done.stderr and "0600" in done.stderr
    password_file.chmod(0o600)
    password_file.write_text("user:\n")
    done = cli.run("proxy", "--password-file", password_file, "--listen", "127.0.0.1:0", code=2)
    assert "line 1" in done.stderr


def test_other_addresses_need_password_and_tls(cli: Cli, password_file: Path) -> None:
    done = cli.run("proxy", "--listen", "0.0.0.0:0", code=2)
    assert "--password-file" in done.stderr
    done = cli.run("proxy", "--listen", "0.0.0.0:0", "--allow-uid", "any", code=2)
    assert "--password-file" in done.stderr
    done = cli.run("proxy", "--listen", "0.0.0.0:0", "--password-file", password_file, code=2)
    assert "--tls-cert" in done.stderr and "--tls self-signed" in done.stderr


# TLS for clients.


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of its own authority for localhost, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    certificate, key = folder / "tls.crt", folder / "tls.key"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    names = ("-addext", "subjectAltName=DNS:localhost")
    files = ("-out", certificate, "-keyout", key)
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    key.chmod(0o600)
    return certificate, key


def test_client_tls_is_verified_by_libpq(start: Start, certificate: tuple[Path, Path]) -> None:
    psycopg = pytest.importorskip("psycopg")
    proxy = start("--tls-cert", certificate[0], "--tls-key", certificate[1])
    verified = {"sslmode": "verify-full", "sslrootcert": str(certificate[0])}
    conninfo = proxy.conninfo(host="localhost", hostaddr="127.0.0.1")
    for sslnegotiation in ("postgres", "direct"):
        if psycopg.pq.version() < 170000 and sslnegotiation == "direct":
            continue
        with psycopg.connect(**conninfo, **verified, sslnegotiation=sslnegotiation) as connection:
            assert connection.pgconn.ssl_in_use
            assert connection.execute("select current_user").fetchone() == ("app-mi",)
    # TLS is not required at loopback.
    with psycopg.connect(**conninfo, sslmode="disable") as connection:
        assert not connection.pgconn.ssl_in_use
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(**conninfo, **verified, ssl_max_protocol_version="TLSv1.1", ssl_min_protocol_version="TLSv1.1")
    proxy.stop()


def test_client_tls_follows_its_files(start: Start, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    psycopg = pytest.importorskip("psycopg")
    proxy = start("--tls-cert", certificate[0], "--tls-key", certificate[1])
    before = tmp_path / "before.crt"
    shutil.copy(certificate[0], before)
    conninfo = proxy.conninfo(host="localhost", hostaddr="127.0.0.1", sslmode="verify-full")
    psycopg.connect(**conninfo, sslrootcert=str(before)).close()
    (tmp_path / "new").mkdir()
    for old, new in zip(certificate, make_certificate(tmp_path / "new"), strict=True):
        new.rename(old)
    psycopg.connect(**conninfo, sslrootcert=str(certificate[0])).close()
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        psycopg.connect(**conninfo, sslrootcert=str(before))
    proxy.stop()


def test_client_tls_with_unusable_files_fails(cli: Cli, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    def error(certificate: Path, key: Path) -> str:
        arguments = ("--tls-cert", certificate, "--tls-key", key, "--listen", "127.0.0.1:0")
        return cli.run("proxy", *arguments, code=2).stderr

    assert "no private key" in error(certificate[0], certificate[0]) or "mode" in error(certificate[0], certificate[0])
    certificate[1].chmod(0o640)
    assert "mode 0640" in error(*certificate)
    certificate[1].chmod(0o600)
    assert "missing.crt" in error(tmp_path / "missing.crt", certificate[1])
    (tmp_path / "new").mkdir()
    other = make_certificate(tmp_path / "new")
    assert "cannot be used" in error(other[0], certificate[1])


def test_client_without_tls_gets_n(start: Start) -> None:
    proxy = start()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=LIMIT_S) as connection:
        connection.sendall(struct.pack("!II", 8, 80877103))
        assert connection.recv(1) == b"N"
    proxy.stop()
