"""A program in another language that runs the calls of tests: one JSON object a line in, one a line out.

A request is `{"call": NAME, ...}`. A response is `{"result": VALUE}` or `{"error": {"code", "message", "detail", "class"}}`.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LIMIT_S = 240.0


class Failed(Exception):
    """An error of the binding."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code: str = error["code"]
        self.detail: dict[str, Any] = error["detail"]
        #: The class in that language.
        self.class_name: str = error["class"]
        self.aadsts: int | None = self.detail.get("aadsts")

    def __repr__(self) -> str:
        return f"{self.class_name}({self})"


def _result(line: str, log: str) -> Any:
    if not line:
        raise RuntimeError(f"the program ended without a response: {log}")
    response = json.loads(line)
    if "error" in response:
        raise Failed(response["error"])
    return response["result"]


class LanguageProgram:
    """The program's command, and one process of it."""

    def __init__(self, command: Sequence[str | Path], variables: Mapping[str, str] | None = None) -> None:
        self._command = [str(word) for word in command]
        self._variables = dict(variables or {})
        self._process: subprocess.Popen[str] | None = None

    def call(self, name: str, **arguments: Any) -> Any:
        """Runs a call in the process, which lives until `stop`. It has the environment of the first call."""
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env=os.environ | self._variables,
            )
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        watchdog = threading.Timer(LIMIT_S, process.kill)
        watchdog.start()
        try:
            process.stdin.write(json.dumps({"call": name, **arguments}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        finally:
            watchdog.cancel()
        return _result(line, "see its output")

    def stop(self) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    def call_once(self, name: str, **arguments: Any) -> Any:
        """Runs a call in a new process with the present environment of this one."""
        return self.call_with_output(name, **arguments)[0]

    def call_with_output(self, name: str, **arguments: Any) -> tuple[Any, str]:
        """As `call_once`; returns what the process wrote to its standard error too."""
        done = subprocess.run(
            self._command,
            input=json.dumps({"call": name, **arguments}) + "\n",
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=os.environ | self._variables,
            timeout=LIMIT_S,
        )
        lines = done.stdout.splitlines()
        result = _result(lines[-1] if lines else "", done.stderr)
        assert done.returncode == 0, done.stderr
        return result, done.stderr
