"""The health of `pgentra proxy`: its HTTP endpoints, `pgentra ready`, systemd, and networks that drop packets."""

from __future__ import annotations

import http.server
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import LIMIT_S, PGENTRA, ROOT, Cli, wait_for
from proxy_process import OTHER_UID, RunningProxy, require_namespace, require_other_users, startup, startup_as

UNITS = ROOT / "examples" / "systemd"

Start = Callable[..., RunningProxy]


@pytest.fixture
def start(cli: Cli) -> Iterator[Start]:
    """Starts proxies with HTTP endpoints, which end with the test."""
    running: list[RunningProxy] = []

    def started(*arguments: str | Path, http: str = "127.0.0.1:0", **options: Any) -> RunningProxy:
        running.append(RunningProxy(cli, "--http", http, *arguments, **options))
        return running[-1]

    yield started
    for proxy in running:
        proxy.kill()


def is_ready(proxy: RunningProxy) -> bool:
    return proxy.get("/readyz")[0] == 200


# HTTP endpoints.


def test_http_endpoints_of_a_proxy_that_works(start: Start) -> None:
    proxy = start()
    assert proxy.get("/livez") == (200, {"status": "ok"})
    assert proxy.get("/startupz") == (200, {"status": "ok"})
    wait_for(lambda: is_ready(proxy), "the token")
    for path, method, status in (
        ("/", "GET", 404),
        ("/quit", "POST", 404),
        ("/readyz/x", "GET", 404),
        ("/readyz", "POST", 405),
        ("/metrics", "DELETE", 405),
        ("/livez", "HEAD", 200),
    ):
        assert proxy.get(path, method=method)[0] == status, (path, method)
    proxy.stop()


def test_http_is_off_by_default(cli: Cli) -> None:
    proxy = RunningProxy(cli)
    assert "metrics at" not in proxy.log
    proxy.stop()


def test_readyz_tells_why_there_is_no_token(start: Start, cli: Cli) -> None:
    cli.emulator.add_fault(endpoint="app_service", status=400)
    proxy = start()
    wait_for(lambda: "Managed" in str(proxy.get("/readyz")[1].get("detail")), "the failed token request")
    status, body = proxy.get("/readyz")
    assert (status, body["status"], body["reason"]) == (503, "unready", "token")
    assert body["server"] and "eyJ" not in str(body)
    assert proxy.get("/livez")[0] == proxy.get("/startupz")[0] == 200
    cli.emulator.reset()
    wait_for(lambda: is_ready(proxy), "the token")
    proxy.stop()


def test_readyz_in_lazy_mode_needs_no_token_until_one_is_refused(start: Start, cli: Cli) -> None:
    proxy = start("--mode", "lazy")
    assert is_ready(proxy)
    assert cli.emulator.requests("app_service") == []
    cli.emulator.add_fault(endpoint="app_service", status=400)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=LIMIT_S) as connection:
        kind, fields = startup(connection)
    assert (kind, fields["C"]) == ("E", "28000")
    status, body = proxy.get("/readyz")
    assert (status, body["reason"]) == (503, "token")
    proxy.stop()


def test_readyz_needs_a_free_place(start: Start) -> None:
    proxy = start("--max-connections", "1")
    wait_for(lambda: is_ready(proxy), "the token")
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=LIMIT_S) as connection:
        assert startup(connection) == ("R", 0)
        status, body = proxy.get("/readyz")
        assert (status, body["reason"]) == (503, "max_connections")
    wait_for(lambda: is_ready(proxy), "the place")
    proxy.stop()


def test_readyz_by_the_server_logs_in_once_a_minute(start: Start, cli: Cli) -> None:
    proxy = start("--ready-check", "server")
    wait_for(lambda: is_ready(proxy), "the login")
    before = len(cli.emulator.postgres_report().logins)
    for _ in range(5):
        assert is_ready(proxy)
    assert len(cli.emulator.postgres_report().logins) == before
    proxy.stop()


def test_readyz_by_the_server_tells_why_it_fails(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    proxy = start("--ready-check", "server", variables={"PGPORT": str(port)})
    wait_for(lambda: proxy.get("/readyz")[1].get("reason") == "server", "the failed login")
    status, body = proxy.get("/readyz")
    assert status == 503 and body["detail"]
    proxy.stop()


def test_ready_file_exists_while_the_proxy_is_ready(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "ready"
    proxy = start("--ready-file", file)
    wait_for(file.exists, "the file")
    proxy.stop()
    assert not file.exists()


def test_readyz_while_draining_fails(start: Start) -> None:
    psycopg = pytest.importorskip("psycopg")
    proxy = start("--drain", "100s")
    wait_for(lambda: is_ready(proxy), "the token")
    with psycopg.connect(**proxy.conninfo()) as connection:
        connection.execute("select 1")
        proxy.process.send_signal(signal.SIGTERM)
        wait_for(lambda: proxy.get("/readyz")[1].get("reason") == "draining", "the drain")
        assert proxy.get("/livez")[0] == 200
    proxy.stop()


# The end by HTTP.


def test_quit_drains_the_proxy(start: Start) -> None:
    proxy = start("--allow-quit")
    assert proxy.get("/quit")[0] == 405
    for headers in (
        {"Host": f"evil.example:{proxy.http.rpartition(':')[2]}"},
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert proxy.get("/quit", method="POST", **headers)[0] == 403
    assert proxy.process.poll() is None
    assert proxy.get("/quit", method="POST") == (202, {"status": "draining"})
    assert proxy.process.wait(timeout=LIMIT_S) == 0
    proxy.stop()


def test_quit_needs_a_loopback_address(cli: Cli) -> None:
    arguments = ("proxy", "--listen", "127.0.0.1:0", "--allow-quit")
    assert "--allow-quit" in cli.run(*arguments, "--http", "0.0.0.0:0", code=2).stderr
    assert "--http" in cli.run(*arguments, code=2).stderr


# Metrics.

NAMES = {
    "proxy_sessions": "gauge",
    "proxy_connections_total": "counter",
    "proxy_refusals_total": "counter",
    "proxy_login_seconds": "histogram",
    "proxy_connect_seconds": "histogram",
    "proxy_bytes_total": "counter",
    "proxy_cancels_total": "counter",
    "proxy_guard_refusals_total": "counter",
    "proxy_waiting_logins": "gauge",
    "token_expires_in_seconds": "gauge",
    "token_refresh_due_in_seconds": "gauge",
    "token_consecutive_failures": "gauge",
    "token_fetches_total": "counter",
    "build_info": "gauge",
}


def test_metrics_have_the_documented_names_and_no_roles(start: Start) -> None:
    psycopg = pytest.importorskip("psycopg")
    proxy = start("--allow-uid", "any")
    with psycopg.connect(**proxy.conninfo()) as connection:
        connection.execute("select repeat('x', 100000)")
        assert proxy.metrics()["pgentra_proxy_sessions"] == 1
    status, text = proxy.get("/metrics")
    assert status == 200
    types = dict(re.findall(r"^# TYPE pgentra_(\S+) (\S+)$", text, re.MULTILINE))
    assert types == NAMES
    for line in text.splitlines():
        if not line.startswith("#") and not line.startswith("pgentra_build_info"):
            assert re.fullmatch(r'pgentra_\w+\{server="[^"]+"(,\w+="[^"]+")*\} \S+', line), line
    assert "app-mi" not in text and "anything" not in text and "eyJ" not in text
    wait_for(lambda: proxy.metrics()["pgentra_proxy_sessions"] == 0, "the end of the session")
    found = proxy.metrics()
    assert found['pgentra_proxy_connections_total{outcome="session"}'] == 1
    assert found['pgentra_proxy_bytes_total{direction="from_server"}'] > 100000
    assert found["pgentra_proxy_login_seconds_count"] == found["pgentra_proxy_connect_seconds_count"] == 1
    assert found["pgentra_token_expires_in_seconds"] > 0 and found["pgentra_token_fetches_total"] >= 1
    proxy.stop()


def test_metrics_count_refusals(start: Start) -> None:
    require_other_users()
    proxy = start()
    assert startup_as(OTHER_UID, "127.0.0.1", proxy.port)[0] == "E"
    found = proxy.metrics()
    assert found['pgentra_proxy_refusals_total{cause="uid"}'] == 1
    assert found["pgentra_proxy_guard_refusals_total"] == 1
    assert found['pgentra_proxy_connections_total{outcome="refused"}'] == 1
    proxy.stop()


def test_metrics_have_roles_on_request(start: Start) -> None:
    proxy = start("--metrics-roles")
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=LIMIT_S) as connection:
        assert startup(connection) == ("R", 0)
        wait_for(lambda: proxy.metrics().get('pgentra_proxy_sessions{role="app-mi"}') == 1, "the session")
    proxy.stop()


# pgentra ready.


def test_ready_follows_the_proxy(start: Start, cli: Cli) -> None:
    cli.emulator.add_fault(endpoint="app_service", status=400)
    proxy = start()
    wait_for(lambda: "Managed" in str(proxy.get("/readyz")[1].get("detail")), "the failed token request")
    done = cli.run("ready", "--http", proxy.http, code=1)
    assert "not ready" in done.stderr and "Managed" in done.stderr
    waiting = cli.start("ready", "--http", proxy.http, "--wait", "100s")
    cli.emulator.reset()
    assert waiting.wait(timeout=LIMIT_S) == 0
    assert cli.run("ready", "--http", proxy.http).stdout == ""
    assert cli.json("ready", "--http", proxy.http) == {"status": "ok"}
    # The same variable configures both.
    cli.run("ready", PGENTRA_HTTP=proxy.http)
    proxy.stop()
    assert "network" in cli.run("ready", "--http", proxy.http, code=6).stderr
    assert "network" in cli.run("ready", "--http", proxy.http, "--wait", "300ms", code=6).stderr


def test_ready_refuses_other_servers(cli: Cli) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()
            self.wfile.write(b"<html>" + b"x" * 1000)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = cli.run("ready", "--http", f"127.0.0.1:{server.server_port}", code=1)
        assert "404" in done.stderr
        server.shutdown()
    # A server that never responds.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = cli.run("ready", "--http", f"127.0.0.1:{silent.getsockname()[1]}", "--wait", "500ms", code=6)
        assert "time limit" in done.stderr


# systemd.


@pytest.fixture
def notifications(tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """A socket for NOTIFY_SOCKET, and the messages that arrive there."""
    path = tmp_path / "notify"
    messages: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        receiver.settimeout(0.2)
        ended = threading.Event()

        def receive() -> None:
            while not ended.is_set():
                try:
                    messages.extend(receiver.recv(4096).decode().splitlines())
                except TimeoutError:
                    continue

        thread = threading.Thread(target=receive)
        thread.start()
        yield path, messages
        ended.set()
        thread.join()


def test_systemd_is_notified(start: Start, notifications: tuple[Path, list[str]]) -> None:
    path, messages = notifications
    variables: dict[str, str | None] = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000"}
    proxy = start(variables=variables)
    wait_for(lambda: "READY=1" in messages, "READY=1")
    assert any(message.startswith("STATUS=") for message in messages)
    wait_for(lambda: messages.count("WATCHDOG=1") >= 3, "the watchdog")
    assert "STOPPING=1" not in messages
    proxy.stop()
    wait_for(lambda: "STOPPING=1" in messages, "STOPPING=1")


def activation(sockets: list[socket.socket], names: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """A launcher and the options that pass sockets as systemd does: descriptors from 3 on, for the process's own id."""
    numbers = [one.fileno() for one in sockets]
    # The shell moves the descriptors, and `exec` keeps its process id.
    moves = " ".join(f"{3 + index}<&{number}" for index, number in enumerate(numbers))
    script = f'exec {moves}; LISTEN_PID=$$ LISTEN_FDS={len(sockets)} LISTEN_FDNAMES={names} exec "$@"'
    return ("bash", "-c", script, "bash"), {"pass_fds": numbers}


def test_systemd_passes_sockets(start: Start, tmp_path: Path) -> None:
    psycopg = pytest.importorskip("psycopg")
    path = tmp_path / ".s.PGSQL.5432"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        # Far from 3, so that the shell's moves do not overwrite them.
        moved = [socket.socket(fileno=os.dup2(one.fileno(), 100 + index)) for index, one in enumerate((tcp, unix))]
        launcher, options = activation(moved, "pgentra:pgentra")
        proxy = start(listen=("fd:pgentra",), launcher=launcher, sockets=2, **options)
        with psycopg.connect(**proxy.conninfo(port=tcp.getsockname()[1])) as connection:
            assert connection.execute("select current_user").fetchone() == ("app-mi",)
        with psycopg.connect(host=str(tmp_path), dbname="postgres", user="x") as connection:
            assert connection.execute("select current_user").fetchone() == ("app-mi",)
        proxy.stop()
        # The socket is systemd's.
        assert path.exists()
        for one in moved:
            one.close()


def test_systemd_without_the_socket_fails(cli: Cli) -> None:
    done = cli.run("proxy", "--listen", "fd:pgentra", code=2)
    assert "pgentra" in done.stderr and "FileDescriptorName" in done.stderr


def test_systemd_units_are_valid(tmp_path: Path) -> None:
    service, sockets = (UNITS / f"pgentra-proxy.{kind}" for kind in ("service", "socket"))
    text = service.read_text()
    for setting in (
        "Type=notify",
        "WatchdogSec=",
        "DynamicUser=yes",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
        "LimitCORE=0",
    ):
        assert f"\n{setting}" in text, setting
    # Users of clients would be unknown to the proxy.
    assert not re.search(r"^PrivateUsers=", text, re.MULTILINE)
    name = re.search(r"^FileDescriptorName=(\S+)$", sockets.read_text(), re.MULTILINE)
    assert name is not None and f"--listen fd:{name[1]}" in text
    drain = re.search(r"--drain (\d+)s", text)
    stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert drain and stop and int(stop[1]) > int(drain[1])
    # Its arguments are those of this program.
    command = re.search(r"^ExecStart=\S+ (proxy .*)$", text, re.MULTILINE)
    assert command is not None
    done = subprocess.run([PGENTRA, *command[1].split(), "--help"], capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    if shutil.which("systemd-analyze") is None:
        pytest.skip("the units are only checked as text: systemd-analyze is missing")
    (tmp_path / service.name).write_text(text.replace("/usr/local/bin/pgentra", str(PGENTRA.absolute())))
    (tmp_path / sockets.name).write_text(sockets.read_text())
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / service.name, tmp_path / sockets.name],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert (done.returncode, done.stderr) == (0, "")


# Networks that drop packets.


def static_credential(cli: Cli, folder: Path) -> Path:
    """A configuration with a token, for a proxy that reaches no token source."""
    config = folder / "proxy.toml"
    token = cli.emulator.mint("app-mi").token
    config.write_text(f'[credential]\ntype = "static_token"\ntoken = "{token}"\n')
    config.chmod(0o600)
    return config


def connect_to(directory: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(LIMIT_S)
    connection.connect(str(directory / ".s.PGSQL.5432"))
    return connection


def test_sessions_have_keepalives_on_both_sides(start: Start) -> None:
    ss = shutil.which("ss")
    if ss is None:
        pytest.skip("ss of iproute2 is missing")
    proxy = start()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=LIMIT_S) as connection:
        assert startup(connection) == ("R", 0)

        def timers() -> list[str]:
            done = subprocess.run([ss, "-Htnpo", "state", "established"], capture_output=True, text=True, check=True)
            lines = [line for line in done.stdout.splitlines() if f"pid={proxy.process.pid}," in line]
            return [line for line in lines if "timer:(keepalive," in line]

        # The client's connection and the server's.
        lines = wait_for(lambda: found if len(found := timers()) >= 2 else None, "two connections with keepalive")
        for line in lines:
            left = re.search(r"timer:\(keepalive,(?:(\d+)min)?(\d+)?(?:\.\d+)?(ms|sec)?", line)
            assert left is not None and int(left[1] or 0) * 60 + int(left[2] or 0) <= 60, line
    proxy.stop()


def test_connection_to_a_server_that_drops_packets_fails_in_time(start: Start, cli: Cli, tmp_path: Path) -> None:
    namespace = require_namespace("--user", "--map-root-user", "--net")
    # The kernel drops what arrives at the loopback device for another machine.
    script = "ip link set lo up && ip route add 10.9.9.0/24 dev lo"
    done = subprocess.run([*namespace, "sh", "-c", script], capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode != 0:
        pytest.skip(f"no routes can be made in a network namespace: {done.stderr.strip()}")
    launcher = (*namespace, "sh", "-c", f'{script}; exec "$@"', "sh")
    directory = tmp_path / "s"
    config = static_credential(cli, tmp_path)
    arguments = ("--config", config, "-U", "app-mi", "-h", "10.9.9.2")
    proxy = start(*arguments, listen=(f"unix:{directory}",), launcher=launcher)
    began = time.monotonic()
    with connect_to(directory) as connection:
        kind, fields = startup(connection)
    assert kind == "E" and fields["C"] in ("57P03", "08001"), fields
    assert "10.9.9.2" in fields["M"]
    # The limit is 10 s; the kernel's own would be two minutes.
    assert 5 < time.monotonic() - began < 100
    proxy.stop()


class Forwarder:
    """Forwards connections from an address to another one."""

    def __init__(self, listen: str, port: int) -> None:
        self._port = port
        self._listener = socket.create_server((listen, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        self._listener.close()


@pytest.mark.skipif(not os.environ.get("PGENTRA_LONG"), reason="takes two minutes; PGENTRA_LONG=1")
@pytest.mark.timeout(600)
def test_session_ends_when_its_server_drops_packets(start: Start, cli: Cli, tmp_path: Path) -> None:
    psycopg = pytest.importorskip("psycopg")
    if os.geteuid() != 0:
        pytest.skip("only root can connect network namespaces")
    number = os.getpid() % 10000
    outside, inside, net = f"pga{number}", f"pgb{number}", f"10.203.{number % 250}"
    namespace = require_namespace("--net")
    script = f"""
        while ! ip link show {inside} >/dev/null 2>&1; do sleep 0.1; done
        ip link set lo up; ip addr add {net}.2/30 dev {inside}; ip link set {inside} up
        exec "$@"
    """
    directory = tmp_path / "s"
    config = static_credential(cli, tmp_path)
    process = subprocess.Popen([*namespace, "sleep", "1000"])
    try:
        enter = ("nsenter", f"--net=/proc/{process.pid}/ns/net", "--")
        # `unshare` has replaced itself by the program when the namespace is another one.
        own = os.readlink("/proc/self/ns/net")
        wait_for(lambda: os.readlink(f"/proc/{process.pid}/ns/net") != own, "the namespace")
        made = subprocess.run(
            ["ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", str(process.pid)],
            capture_output=True,
            text=True,
        )
        if made.returncode != 0:
            pytest.skip(f"no devices can be made: {made.stderr.strip()}")
        subprocess.run(["ip", "addr", "add", f"{net}.1/30", "dev", outside], check=True)
        subprocess.run(["ip", "link", "set", outside, "up"], check=True)
        forwarder = Forwarder(f"{net}.1", cli.emulator.server.port)
        proxy = start(
            f"host={cli.emulator.server.host} hostaddr={net}.1 port={forwarder.port}",
            *("--config", config, "-U", "app-mi"),
            listen=(f"unix:{directory}",),
            launcher=(*enter, "sh", "-c", script, "sh"),
            http=f"{net}.2:0",
        )
        with psycopg.connect(host=str(directory), dbname="postgres", user="x") as connection:
            assert connection.execute("select current_user").fetchone() == ("app-mi",)
            assert proxy.metrics()["pgentra_proxy_sessions"] == 1
            # The cable is unplugged: packets are dropped, and nothing is reported.
            subprocess.run(["ip", "link", "set", outside, "down"], check=True)
            began = time.monotonic()
            # The session is idle until the keepalives fail. Its socket becomes readable then.
            assert select.select([connection.fileno()], [], [], 400)[0]
            with pytest.raises(psycopg.OperationalError):
                connection.execute("select 1")
            took = time.monotonic() - began
            assert 60 < took < 390, took
        subprocess.run(["ip", "link", "set", outside, "up"], check=True)
        wait_for(lambda: proxy.metrics()["pgentra_proxy_sessions"] == 0, "the end of the session")
        # New sessions work again.
        with psycopg.connect(host=str(directory), dbname="postgres", user="x") as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        proxy.stop()
        forwarder.close()
    finally:
        process.kill()
        process.wait(timeout=LIMIT_S)
        subprocess.run(["ip", "link", "del", outside], capture_output=True)
