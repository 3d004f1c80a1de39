"""Runs tests/vectors in the suites in Python: prepares a case and compares its result."""

from __future__ import annotations

import base64
import datetime
import email.utils
import json
import os
import re
import shlex
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

VECTORS = Path(__file__).parents[1] / "vectors"


def cases(file: str, group: str) -> list[Any]:
    found: list[Any] = json.loads((VECTORS / file).read_text())[group]
    assert found
    return [pytest.param(case, id=str(case.get("name", index))) for index, case in enumerate(found)]


def check_error(error: Any, expected: dict[str, Any]) -> None:
    """Compares an error with the expected one, except for `definite`, which the API does not show."""
    assert (error.code, error.aadsts) == (expected["kind"], expected.get("aadsts")), str(error)
    for part in expected.get("text", []):
        assert part in str(error)
    assert {key: error.detail.get(key) for key in expected.get("detail", {})} == expected.get("detail", {})
    attempts = [[attempt.get("credential", ""), attempt["code"]] for attempt in error.detail.get("attempts", [])]
    assert attempts == expected.get("attempts", [])
    assert "canary" not in (str(error) + repr(error) + repr(error.detail)).lower()


# Tokens


def joined(token: Any) -> str:
    if isinstance(token, str):
        return token
    return "".join(part if isinstance(part, str) else part["repeat"] * part["times"] for part in token)


def token_with(claims: dict[str, Any]) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.sig"


def token_of(principal: dict[str, Any]) -> str:
    """Returns a token with the claims of that kind of principal."""
    prefix = "/subscriptions/s/resourcegroups/g/providers"
    of_kind: dict[str, dict[str, Any]] = {
        "user": {"idtyp": "user"},
        "guest": {"idtyp": "user", "acct": 1},
        "service_principal": {"idtyp": "app", "appidacr": "1"},
        "user_assigned_identity": {"xms_mirid": f"{prefix}/Microsoft.ManagedIdentity/userAssignedIdentities/app-mi"},
        "system_assigned_identity": {"xms_mirid": f"{prefix}/Microsoft.Compute/virtualMachines/vm"},
        "application": {"idtyp": "app"},
        "unknown": {},
    }
    ids = {key: principal[key] for key in ("oid", "tid", "appid") if principal.get(key)}
    return token_with({**of_kind[principal["kind"]], **ids})


def refusal_with(cause: str) -> tuple[str | None, str]:
    """Returns the SQLSTATE and message of a login error with that cause."""
    login_errors = json.loads((VECTORS / "login_errors.json").read_text())["login_errors"]
    case = next(case for case in login_errors if case["cause"] == cause)
    return case.get("sqlstate"), case["message"]


def check_explanation(explanation: str, case: dict[str, Any]) -> None:
    for part in case["contains"]:
        assert part in explanation
    for part in case.get("lacks", []):
        assert part not in explanation
    assert (explanation == "") is (case["cause"] == "not_a_login")


# A token does not show that a principal is a group: explanations never create a role for a group.
CREATED_ROLES = [case for case in cases("claims.json", "create_role") if case.values[0]["type"] != "group"]


def owner_of(created: dict[str, Any]) -> str:
    """Returns the token for which an explanation contains the statement that creates the role."""
    return token_of({"kind": {"user": "user", "service": "application"}[created["type"]], "oid": created["oid"]})


# Credentials

#: Cases without requests and without custom credentials, for which each suite has its own tests.
SILENT_CREDENTIALS = [
    pytest.param(case, id=f"{file.stem}: {case['name']}")
    for file in sorted((VECTORS / "credentials").glob("*.json"))
    for case in json.loads(file.read_text())["cases"]
    if not case.get("exchanges") and '"custom_credential"' not in json.dumps(case["credential"])
]


def prepared(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Creates the files and tools of a case in the folder and returns the case with its environment."""
    case = json.loads(re.sub(r"\{(text|base64|certificate):([^}]+)\}|\{dir\}", filled(folder), json.dumps(case)))
    tools = folder / "bin"
    tools.mkdir()
    for name, content in case.get("files", {}).items():
        if isinstance(content, str):
            content = content.encode()
        else:
            fixture = VECTORS / "certificates" / content.get("fixture", "")
            content = fixture.read_bytes() if "fixture" in content else bytes(content["zeros"])
        (folder / name).write_bytes(content)
    for name, tool in case.get("tools", {}).items():
        words = [shlex.quote(tool.get(stream, "")) for stream in ("stdout", "stderr")]
        (tools / name).write_text(
            f"#!/bin/sh\nprintf %s {words[0]}\nprintf %s {words[1]} >&2\nexit {tool.get('exit', 0)}\n"
        )
        (tools / name).chmod(0o755)
    case["environment"] = {"PATH": str(tools)} | case.get("environment", {})
    return case


def filled(folder: Path) -> Callable[[re.Match[str]], str]:
    """Returns a function that replaces a name in braces: by the folder, or by a certificate file's content."""

    def fill(match: re.Match[str]) -> str:
        kind, name = match.groups()
        if kind is None:
            return str(folder)
        content = (VECTORS / "certificates" / name).read_bytes()
        return base64.b64encode(content).decode() if kind == "base64" else json.dumps(content.decode())[1:-1]

    return fill


# Clocks and requests are not visible in the API. A build with the feature `testing` runs these cases in the engine.

#: Runs a case of a group in an empty folder and returns its result as JSON, or raises its error.
RunVector = Callable[[str, str, Path], str]

ENGINE_CASES = [
    *(
        pytest.param(group, case, id=f"{group}: {case['name']}")
        for group, key in (("timing", "cases"), ("refresh_points", "refresh_points"))
        for case in json.loads((VECTORS / "timing.json").read_text())[key]
    ),
    *(
        pytest.param("credentials", case, id=f"{file.stem}: {case['name']}")
        for file in sorted((VECTORS / "credentials").glob("*.json"))
        for case in json.loads(file.read_text())["cases"]
    ),
    *(
        pytest.param(group, case, id=f"{group}: {index}")
        for file, group in (("claims", "resource_ids"), ("claims", "create_role"), ("clouds", "resources"))
        for index, case in enumerate(json.loads((VECTORS / f"{file}.json").read_text())[group])
    ),
]


#: The key of the expected result, by group.
EXPECTED = {"resource_ids": "identity_name", "create_role": "statement", "resources": "resource"}


def check_in_engine(
    run: RunVector, error_class: type[BaseException], group: str, case: dict[str, Any], folder: Path
) -> None:
    """Runs a case and compares its result, or the binding's error, with the expected one."""
    case = json.loads(json.dumps(case).replace("{dir}", str(folder)))
    expected_error = case.get("build_error") or case.get("error")
    if expected_error is not None:
        with pytest.raises(error_class) as caught:
            run(group, json.dumps(case), folder)
        check_error(caught.value, expected_error)
        return
    outcome = json.loads(run(group, json.dumps(case), folder))
    if group == "timing":
        assert outcome == [step.get("expect") for step in case["steps"]]
    elif group == "refresh_points":
        assert outcome == {"from": case["from"], "to": case["to"]}
    elif group == "credentials":
        assert {key: outcome[key] for key in case["token"]} == case["token"]
    else:
        assert outcome == case[EXPECTED[group]]


# Entra


def make_certificate(file: Path) -> None:
    """Writes a new key and a self-signed certificate for `localhost`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))


class CannedEntra:
    """Entra's token endpoint on loopback; returns ``response``, in the form of the vectors, for every request."""

    def __init__(self, folder: Path) -> None:
        self.response: dict[str, Any] = {}
        self._certificate = folder / "entra.pem"
        make_certificate(self._certificate)
        canned = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 30

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                canned._answer(self)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def config(self, **settings: Any) -> dict[str, Any]:
        """Returns a configuration whose credential sends one request here and shares no cache entry."""
        credential = {
            "type": "client_secret",
            "tenant_id": "contoso.com",
            "client_id": os.urandom(8).hex(),
            "client_secret": "Canary&secret=1",
            "authority_host": f"https://localhost:{self._server.server_port}",
            "retry": {"max_retries": 0},
        }
        return {"credential": credential, "ca_file": str(self._certificate), **settings}

    def give(self, token: str) -> None:
        self.response = {"status": 200, "body": {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}}

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        response = self.response
        text, times = response.get("repeated", (response.get("body", ""), 1))
        body = (text if isinstance(text, str) else json.dumps(text)).encode() * times
        headers = dict(response.get("headers", {}))
        if "date_offset" in response:
            headers["date"] = email.utils.formatdate(time.time() + response["date_offset"], usegmt=True)
        try:
            # `send_response` would add a date.
            handler.send_response_only(response["status"])
            for header in {**headers, "content-length": str(len(body))}.items():
                handler.send_header(*header)
            handler.end_headers()
            handler.wfile.write(body)
        except OSError:
            pass  # The client has closed the connection.
