"""A FastCGI client for tests: one request a connection, as a web server sends it to PHP-FPM."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping

BEGIN, END, PARAMS, STDIN, STDOUT, STDERR = 1, 3, 4, 5, 6, 7
LIMIT_S = 120.0


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack("!BBHHBB", 1, kind, 1, len(content), 0, 0) + content


def _pair(name: str, value: str) -> bytes:
    lengths = b""
    for text in (name, value):
        size = len(text.encode())
        lengths += bytes([size]) if size < 128 else struct.pack("!I", size | 0x80000000)
    return lengths + name.encode() + value.encode()


def _read(stream: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = stream.recv(size - len(found))
        if not part:
            raise EOFError("PHP-FPM closed the connection")
        found += part
    return found


def request(address: str, script: str, query: str = "", parameters: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Runs a script through the Unix socket of PHP-FPM. Returns its body and what it wrote to its standard error."""
    given = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REQUEST_METHOD": "GET",
        "SCRIPT_FILENAME": script,
        "SCRIPT_NAME": "/test.php",
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/1.1",
        **(parameters or {}),
    }
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(LIMIT_S)
        stream.connect(address)
        pairs = b"".join(_pair(name, value) for name, value in given.items())
        stream.sendall(
            _record(BEGIN, struct.pack("!HBxxxxx", 1, 0))
            + _record(PARAMS, pairs)
            + _record(PARAMS, b"")
            + _record(STDIN, b"")
        )
        output = {STDOUT: b"", STDERR: b""}
        while True:
            _, kind, _, size, padding, _ = struct.unpack("!BBHHBB", _read(stream, 8))
            content = _read(stream, size)
            _read(stream, padding)
            if kind == END:
                break
            output[kind] += content
    _, _, body = output[STDOUT].decode().partition("\r\n\r\n")
    return body, output[STDERR].decode()
