"""Debian's PgBouncer in front of a server, with the `auth_file` of `pgentra agent`."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.emulator import ServerAddress, wait_until

#: The program, or None.
PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

PORT = 6432
LIMIT_S = 120


class PgBouncer:
    """A PgBouncer whose database `shop` logs in as one role; it listens on a Unix socket only."""

    def __init__(self, server: ServerAddress, role: str, bundle: str, variables: Mapping[str, str]) -> None:
        # A socket's path is short, and the token is not written to a disk.
        self._directory = tempfile.TemporaryDirectory(prefix="pgb-", dir="/dev/shm")
        self.folder = Path(self._directory.name)
        self.users = self.folder / "users.txt"
        self.log = self.folder / "log"
        self._variables = dict(variables)
        self._process: subprocess.Popen[bytes] | None = None
        self._role = role
        shutil.copy(bundle, self.folder / "ca.pem")
        # With that lifetime, most sessions begin with a login at the server.
        (self.folder / "pgbouncer.ini").write_text(f"""
            [databases]
            shop = host={server.host} port={server.port} dbname={server.database} user={role}
            [pgbouncer]
            logfile = {self.log}
            unix_socket_dir = {self.folder}
            listen_port = {PORT}
            auth_type = trust
            auth_file = {self.users}
            admin_users = {role}
            server_tls_sslmode = verify-full
            server_tls_ca_file = {self.folder}/ca.pem
            server_lifetime = 1
            server_login_retry = 0
        """)
        #: Further options of `pgentra agent`.
        self.agent_options: list[str] = []
        self._user: list[str] = []
        if os.geteuid() == 0:
            # It does not run as root. Its own user reads the file by the file's group.
            users = {one.pw_name: one for one in pwd.getpwall()}
            user = users.get("postgres") or users["nobody"]
            os.chown(self.folder, user.pw_uid, 0)
            self.folder.chmod(0o770)
            for file in self.folder.iterdir():
                os.chown(file, user.pw_uid, 0)
            self.agent_options = ["--file-group", str(user.pw_gid)]
            self._user = ["-u", user.pw_name]

    def command(self, database: str, query: str) -> list[str]:
        """Returns the words of psql for a query."""
        where = ["-h", str(self.folder), "-p", str(PORT), "-U", self._role, "-d", database]
        return ["psql", *where, "-Atqc", query]

    def start(self) -> None:
        """Starts it, when the agent has written its file."""
        wait_until(self.users.exists, LIMIT_S, "the file of the agent")
        words = [str(PROGRAM), *self._user, str(self.folder / "pgbouncer.ini")]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until((self.folder / f".s.PGSQL.{PORT}").exists, LIMIT_S, "the pooler's socket")

    def psql(self, query: str) -> subprocess.CompletedProcess[str]:
        """Runs a query through the pooler."""
        command = self.command("shop", query)
        return subprocess.run(command, env=self._variables, capture_output=True, text=True, timeout=LIMIT_S)

    def __enter__(self) -> PgBouncer:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(LIMIT_S)
        self._directory.cleanup()
