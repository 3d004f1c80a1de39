"""gunicorn, preloaded: the application connects before the workers are forked, and each worker connects too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

if "--serve" not in sys.argv and __name__ == "__main__":
    command = ["-m", "gunicorn", "-c", "gunicorn.conf.py", "--workers", "2", "--bind", "127.0.0.1:0"]
    command += ["gunicorn_program:app"]
    server = subprocess.Popen([sys.executable, *command], cwd=Path(__file__).parent, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    lines = []
    try:
        for line in server.stderr:
            lines.append(line)
            if match := re.search(r"Listening at: (http://127\.0\.0\.1:\d+)", line):
                break
        else:
            sys.exit("".join(lines))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(4):
            with opener.open(match[1], timeout=30) as response:
                role = response.read().decode()
        print(role)
    finally:
        server.terminate()
        server.communicate(timeout=30)
else:
    from sqlalchemy import create_engine, text

    from pgentra.sqlalchemy import enable_entra_authentication

    engine = create_engine(os.environ["DATABASE_URL"])
    enable_entra_authentication(engine)

    def current_role() -> str:
        with engine.connect() as connection:
            return str(connection.scalar(text("select current_user")))

    current_role()

    def app(_: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]) -> Iterable[bytes]:
        body = current_role().encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]
