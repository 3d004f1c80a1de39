"""`pgentra doctor`: golden output, and a fault for every check that can fail."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, wait_for
from test_token import application

HERE = Path(__file__).parent

#: What differs between runs and machines.
PLACEHOLDERS = [
    (r"\bin \d+ ms", "in N ms"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"(as|\d+ s (ahead of|behind)) (the token service|the server)'s", r"as \3's"),
    (r"pgentra \d+\.\d+\.\d+", "pgentra VERSION"),
    (r"\d+ h \d+ min left", "N h N min left"),
    (r"\d+ days left", "N days left"),
    (r"[\d,]+ characters", "N characters"),
    (r"PostgreSQL [\d.]+[^,]*,", "PostgreSQL VERSION,"),
    (r"\d+ of \d+ connections", "N of N connections"),
    (r"of \d+ tables", "of N tables"),
]


def golden(name: str, text: str) -> None:
    """Compares the output with a file of the folder `golden`. PGENTRA_GOLDEN=1 writes the files."""
    for pattern, placeholder in PLACEHOLDERS:
        text = re.sub(pattern, placeholder, text)
    file = HERE / "golden" / name
    if os.environ.get("PGENTRA_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


def sql(cli: Cli, statement: str) -> None:
    """Runs a statement as the server's superuser."""
    subprocess.run(["psql", cli.emulator.admin_dsn, "-qc", statement], env=cli.environment, check=True, timeout=60)


def checks(cli: Cli, *arguments: str, code: int = 0, **variables: str | None) -> dict[str, dict[str, Any]]:
    """Returns the checks of the document by their names, after looking for tokens in both forms."""
    found = cli.json("doctor", *arguments, code=code, **variables)
    assert set(found) == {"checks"}
    assert all(set(check) == {"id", "status", "summary", "detail", "fix"} for check in found["checks"])
    return {check["id"]: check for check in found["checks"]}


def fails(cli: Cli, name: str, *arguments: str, **variables: str | None) -> dict[str, Any]:
    """Returns the one check that fails. It must say what to do."""
    found = checks(cli, *arguments, code=1, **variables)
    assert [check["id"] for check in found.values() if check["status"] == "fail"] == [name], found
    assert found[name]["fix"], found[name]
    text = cli.run("doctor", *arguments, code=1, **variables).stdout
    assert f"FAIL  {name}" in text and "eyJ" not in text + json.dumps(found)
    return found[name]


@pytest.fixture
def readable(cli: Cli) -> None:
    """A table that the role can read."""
    sql(cli, "create table if not exists shop_order (id int); grant select on shop_order to public")


@pytest.mark.usefixtures("readable")
def test_doctor_of_a_login_that_works(cli: Cli) -> None:
    # The name localhost has different addresses on different machines.
    server = f"127.0.0.1:{cli.emulator.server.port}"
    done = cli.run("doctor", server)
    golden("works.txt", done.stdout)
    assert done.stderr == ""
    golden("works.json", json.dumps(cli.json("doctor", server), indent=2) + "\n")


def test_doctor_of_a_missing_role(cli: Cli) -> None:
    server = f"127.0.0.1:{cli.emulator.server.port}"
    golden("role-missing.txt", cli.run("doctor", server, "--user", "nobody", code=1).stdout)
    golden("role-missing.json", json.dumps(cli.json("doctor", server, "--user", "nobody", code=1), indent=2) + "\n")


def test_doctor_of_a_chain_without_credentials(cli: Cli) -> None:
    cli.emulator.add_fault(endpoint="app_service", status=400)
    variables: dict[str, Any] = {"AZURE_TOKEN_CREDENTIALS": "prod", "AZURE_CLIENT_ID": ""}
    golden("no-credential.txt", cli.run("doctor", "--no-server", code=1, **variables).stdout)


def test_doctor_environment_that_cannot_be_used(cli: Cli) -> None:
    found = fails(cli, "environment", AZURE_AUTHORITY_HOST="not an address")
    assert "AZURE_AUTHORITY_HOST" in found["summary"]


def test_doctor_environment_with_contradictions(cli: Cli) -> None:
    variables: dict[str, Any] = {
        "AZURE_CLIENT_ID": "",
        "PGPASSWORD": "canary",
        "AZURE_FEDERATED_TOKEN_FILE": "/no/such/file",
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
    }
    found = checks(cli, "--no-server", **variables)["environment"]
    assert found["status"] == "warn"
    for name in variables:
        assert name in found["detail"]
    assert "canary" not in json.dumps(found)
    checks(cli, "--no-server", "--strict", code=1, **variables)


def test_doctor_credential_that_fails(cli: Cli) -> None:
    cli.emulator.add_fault(endpoint="token", aadsts=7000215)
    found = fails(cli, "credential", "--no-server", **application(cli))
    assert "AADSTS7000215" in found["summary"]


def test_doctor_asks_every_credential(cli: Cli) -> None:
    detail = checks(cli, "--no-server", "--all-credentials")["credential"]["detail"].splitlines()
    assert len(detail) == 6
    assert any(re.fullmatch(r"ManagedIdentityCredential: a token in \d+ ms", line) for line in detail)
    assert any(line.startswith("AzureCliCredential: ") for line in detail)


@pytest.mark.parametrize(
    ("claims", "text"),
    [({"aud": "https://vault.azure.net"}, "vault.azure.net"), ({"padding": "x" * 70_000}, "65,530")],
    ids=["audience", "length"],
)
def test_doctor_token_that_no_server_accepts(cli: Cli, claims: dict[str, str], text: str) -> None:
    identity = cli.emulator.add_principal(claims=claims)
    found = fails(cli, "token", "--no-server", "--client-id", identity.appid, "--user", "a")
    assert text in found["summary"]


def test_doctor_token_that_is_long(cli: Cli) -> None:
    identity = cli.emulator.add_principal(claims={"padding": "x" * 5000})
    found = checks(cli, "--no-server", "--client-id", identity.appid, PGPORT="6432")["token"]
    assert found["status"] == "warn" and "terminal" in found["detail"] and "6432" in found["detail"]


@pytest.mark.parametrize("skew", [600, -600])
def test_doctor_clock_that_differs(cli: Cli, skew: int) -> None:
    cli.emulator.set_tokens(clock_skew_s=skew)
    found = fails(cli, "clock", "--no-server")
    assert ("behind" if skew > 0 else "ahead") in found["summary"]


def test_doctor_clock_that_differs_a_little(cli: Cli) -> None:
    cli.emulator.set_tokens(clock_skew_s=120)
    assert checks(cli, "--no-server")["clock"]["status"] == "warn"


def test_doctor_role_that_no_token_names(cli: Cli) -> None:
    found = fails(cli, "role", "--no-server", **application(cli))
    assert "--user" in found["fix"]


def test_doctor_dns_without_the_name(cli: Cli) -> None:
    assert "nowhere.invalid" in fails(cli, "dns", "nowhere.invalid")["summary"]


def test_doctor_tcp_that_is_refused(cli: Cli) -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        found = fails(cli, "tcp", f"127.0.0.1:{port}")
    assert "refuses" in found["summary"] and "firewall" in found["fix"]


def test_doctor_tls_of_an_unknown_issuer(cli: Cli, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    certificates = Path(cli.emulator.bundle_file).read_text().split("-----END CERTIFICATE-----\n")
    other.write_text(certificates[0] + "-----END CERTIFICATE-----\n")
    found = fails(cli, "tls", PGSSLROOTCERT=str(other))
    assert "issuer is not trusted" in found["summary"] and "sslrootcert" in found["fix"]


def test_doctor_tls_of_another_name(cli: Cli) -> None:
    server = f"host=other.example hostaddr=127.0.0.1 port={cli.emulator.server.port}"
    found = fails(cli, "tls", server)
    assert "another name" in found["summary"] and "localhost" in found["detail"]
    assert checks(cli, f"{server} sslmode=verify-ca")["tls"]["status"] == "warn"


def test_doctor_tls_of_a_server_without_it_sends_no_token(cli: Cli) -> None:
    cli.emulator.control_postgres(plaintext=True)
    assert "does not support TLS" in fails(cli, "tls")["summary"]
    assert cli.emulator.postgres_report().plaintext_password_bytes == 0


@pytest.mark.parametrize(
    ("refusal", "text"),
    [("token_expired", "token_expired"), ("not_in_group", "not_in_group"), ("starting_up", "starting up")],
)
def test_doctor_login_that_is_refused(cli: Cli, refusal: str, text: str) -> None:
    cli.emulator.control_postgres(refuse_next=2, refuse_with=refusal)
    found = checks(cli, code=1)["login"]
    assert found["status"] == "fail" and text in found["summary"], found


def test_doctor_label_of_a_second_factor(cli: Cli) -> None:
    cli.emulator.add_principal("user", "mfa@contoso.example")
    sql(cli, "update pgaadauth.labels set label = label || ',mfa' where role = '\"mfa@contoso.example\"'::regrole")
    tools = cli.emulator.tools("mfa@contoso.example")
    variables: dict[str, Any] = {"PATH": f"{tools}:{cli.environment['PATH']}", "IDENTITY_ENDPOINT": None}
    found = fails(cli, "label", "--credential", "azure_cli", **variables)
    assert "second factor" in found["detail"]


def test_doctor_label_of_another_principal(cli: Cli) -> None:
    other = "aaaaaaaa-0000-0000-0000-0000000000ff"
    name = cli.emulator.add_principal().name
    change = "update pg_shseclabel set label = 'aadauth,oid={},type={}' where objoid = '\"{}\"'::regrole"
    client = next(one["appid"] for one in cli.emulator.call("GET", "/principals") if one["name"] == name)
    sql(cli, change.format(other, "service", name))
    assert other in fails(cli, "label", "--client-id", client)["summary"]
    oid = next(one["oid"] for one in cli.emulator.call("GET", "/principals") if one["name"] == name)
    sql(cli, change.format(oid, "user", name))
    assert "type service" in fails(cli, "label", "--client-id", client)["fix"]


def test_doctor_principals_as_an_administrator(cli: Cli) -> None:
    tools = cli.emulator.tools("admin@contoso.example")
    sql(cli, 'drop role if exists "Admin@contoso.example"')
    cli.emulator.add_principal("user", "Admin@contoso.example")
    variables: dict[str, Any] = {"PATH": f"{tools}:{cli.environment['PATH']}", "IDENTITY_ENDPOINT": None}
    found = checks(cli, "--credential", "azure_cli", **variables)
    assert found["principals"]["status"] == "warn"
    assert "another spelling" in found["principals"]["detail"]
    assert "admin" in found["label"]["summary"]


def test_doctor_grants_of_a_role_without_tables(cli: Cli) -> None:
    sql(cli, "drop table if exists shop_order; drop table if exists shop_secret; create table shop_secret (id int)")
    found = checks(cli)["grants"]
    assert found["status"] == "warn" and "grant select, insert" in found["fix"] and '"app-mi"' in found["fix"]


def test_doctor_leaves_checks_out(cli: Cli) -> None:
    assert "clock" not in checks(cli, "--no-server", "--skip", "clock")
    assert "dns" not in checks(cli, "--no-server")
    assert "login" not in checks(cli, "--skip", "login,label,principals,grants,server")
    assert "possible values" in cli.run("doctor", "--skip", "nothing", code=2).stderr


def test_doctor_proxy_at_the_default_socket(cli: Cli) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="pgentra-") as folder,
        closing(socket.create_server(("127.0.0.1", 0))) as free,
    ):
        address = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        variables: dict[str, Any] = {"XDG_RUNTIME_DIR": folder, "PGENTRA_HTTP": address}
        path = Path(folder) / "pgentra" / "localhost" / ".s.PGSQL.5432"
        assert checks(cli, "--no-server", **variables)["proxy"]["status"] == "skip"
        process = cli.start("proxy", "--listen", f"unix:{path.parent}", **variables)
        wait_for(path.exists, "the socket")
        cli.run("ready", "--wait", "60s", **variables)
        found = checks(cli, "--no-server", **variables)["proxy"]
        assert found["status"] == "ok" and f"for processes of the user id {os.geteuid()}" in found["summary"]
        assert found["detail"] == f"http://{address}/readyz: ready"
        cli.emulator.add_fault(endpoint="app_service", status=500)
        path.chmod(0o666)
        assert "0666" in checks(cli, "--no-server", code=1, **variables)["proxy"]["detail"]
        process.kill()
        process.communicate(timeout=60)
        found = checks(cli, "--no-server", code=1, **variables)["proxy"]
        assert found["status"] == "warn" and "has ended" in found["detail"]
        assert "proxy" not in checks(cli, "--no-server", "--skip", "proxy", code=1, **variables)
