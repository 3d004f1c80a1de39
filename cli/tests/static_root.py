"""Runs a program in an empty root directory, in a network whose only name server is this process.

    unshare --map-root-user --net python3 static_root.py PROGRAM EMULATOR

`pgentra token` requests a token from a host whose name is resolved in four ways. For each of them, a JSON document is
printed: the exit status, whether a token was printed, standard error, the names that were queried.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

NAME = "entra.example.test"
LIMIT_S = 120
#: The files in the root directory; the resolver's default is a name server at 127.0.0.1.
WAYS = {
    "no file": {},
    "resolv.conf": {"resolv.conf": "nameserver 127.0.0.1\n"},
    "hosts": {"hosts": f"127.0.0.1 {NAME}\n"},
    # Modules that a static program must not load.
    "nsswitch.conf": {"nsswitch.conf": "hosts: mymachines\npasswd: sss\n", "resolv.conf": "nameserver 127.0.0.1\n"},
}
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
A, AAAA, CNAME = 1, 28, 5


def bring_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(control, SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def encoded(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def response(query: bytes, queries: list[str]) -> bytes:
    """Returns the response to a query: NAME is an alias of a host with the address 127.0.0.1, no other name exists."""
    end = query.index(b"\0", 12) + 5
    question = query[12:end]
    name, kind = decoded(question), struct.unpack("!H", question[-4:-2])[0]
    queries.append(name)
    answers = []
    if name == NAME:
        target = encoded("host." + NAME)
        answers.append(b"\xc0\x0c" + struct.pack("!HHIH", CNAME, 1, 60, len(target)) + target)
        if kind == A:
            answers.append(target + struct.pack("!HHIH", A, 1, 60, 4) + bytes([127, 0, 0, 1]))
    code = 0 if answers else 3
    return query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(answers), 0, 0) + question + b"".join(answers)


def decoded(question: bytes) -> str:
    labels, at = [], 0
    while length := question[at]:
        labels.append(question[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels).lower()


def serve_names(queries: list[str]) -> None:
    """Answers queries at 127.0.0.1, in a thread that ends with the process."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))

    def loop() -> None:
        while True:
            query, client = server.recvfrom(4096)
            server.sendto(response(query, queries), client)

    threading.Thread(target=loop, daemon=True).start()


def main(program: str, emulator: str) -> None:
    bring_loopback_up()
    queries: list[str] = []
    serve_names(queries)
    running = subprocess.Popen(
        [emulator, "--no-postgres", "--dns-name", NAME], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    try:
        assert running.stdout is not None
        addresses = json.loads(running.stdout.readline())
        for way in WAYS:
            with tempfile.TemporaryDirectory() as root:
                queries.clear()
                done = run_in(Path(root), way, program, addresses)
                document = {"way": way, "status": done.returncode, "token": done.stdout.count(".") == 2}
                print(json.dumps(document | {"stderr": done.stderr, "queries": sorted(set(queries))}), flush=True)
    finally:
        running.terminate()
        running.wait(LIMIT_S)


def run_in(root: Path, way: str, program: str, addresses: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs `pgentra token` with nothing else in the root directory than the program and one file of certificates."""
    (root / "pgentra").write_bytes(Path(program).read_bytes())
    (root / "pgentra").chmod(0o755)
    (root / "ca.pem").write_bytes(Path(addresses["ca_file"]).read_bytes())
    (root / "etc").mkdir()
    for name, text in WAYS[way].items():
        (root / "etc" / name).write_text(text)
    environment = {
        "AZURE_TENANT_ID": addresses["tenant_id"],
        "AZURE_AUTHORITY_HOST": addresses["authority_host"].replace("localhost", NAME),
        "AZURE_CLIENT_ID": "11111111-0000-0000-0000-000000000005",
        "AZURE_CLIENT_SECRET": "orders-api-secret",
    }

    def enter() -> None:
        os.chroot(root)
        os.chdir("/")

    return subprocess.run(
        ["/pgentra", "token", "--ca-file", "/ca.pem"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        preexec_fn=enter,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
