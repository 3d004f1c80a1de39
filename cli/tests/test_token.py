"""`pgentra token` and `pgentra whoami`, and what all commands share: options, variables, errors, exit codes."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli

SECRET = {"AZURE_CLIENT_ID": "11111111-0000-0000-0000-000000000005", "AZURE_CLIENT_SECRET": "orders-api-secret"}


def application(cli: Cli) -> dict[str, Any]:
    """The variables of the application `orders-api`, whose tokens contain no role name."""
    tenant = {"AZURE_TENANT_ID": cli.emulator.tenant_id, "AZURE_AUTHORITY_HOST": cli.emulator.authority_host}
    return {**SECRET, **tenant, "IDENTITY_ENDPOINT": None}


def test_token_is_printed_alone(cli: Cli) -> None:
    done = cli.run("token")
    assert done.stdout.count(".") == 2 and done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_token_as_json(cli: Cli) -> None:
    document = cli.json("token", "--format", "json")
    assert document == cli.json("token") | {"token": document["token"], "expires_on": document["expires_on"]} | {
        "expires_in": document["expires_in"]
    }
    assert set(document) == {
        "token", "expires_on", "expires_in", "user", "user_source", "scope", "credential", "principal",
    }  # fmt: skip
    assert (document["user"], document["user_source"]) == ("app-mi", "management token")
    assert document["principal"] == {
        "kind": "user_assigned_identity",
        "oid": "aaaaaaaa-0000-0000-0000-000000000001",
        "tid": cli.emulator.tenant_id,
    }
    assert document["credential"] == "DefaultAzureCredential > ManagedIdentityCredential (App Service)"
    assert abs(document["expires_on"] - time.time() - document["expires_in"]) < 60


def test_token_without_a_role_name_is_still_json(cli: Cli) -> None:
    document = cli.json("token", **application(cli))
    assert (document["user"], document["user_source"]) == (None, None)
    failed = cli.run("token", "--format", "env", code=2, **application(cli))
    assert failed.stderr.startswith("pgentra: username_extraction: ")


def test_token_as_a_line_of_the_password_file(cli: Cli) -> None:
    line = cli.run("token", "--format", "pgpass", "--user", r"a:b\c").stdout
    host, port = cli.emulator.server.host, cli.emulator.server.port
    assert line.startswith(rf"{host}:{port}:*:a\:b\\c:ey")
    assert line.count("\n") == 1
    assert "no server is given" in cli.run("token", "--format", "pgpass", code=2, PGHOST=None).stderr


@pytest.mark.parametrize("role", ["app-mi", "a'b", "'$(touch hit)`touch hit`\"\\ ;*", "ä€ \t"])
def test_token_for_a_shell_is_quoted(cli: Cli, role: str, tmp_path: Path) -> None:
    text = cli.run("token", "--format", "env", "--user", role).stdout
    script = f'{text.rstrip()}\nprintf %s "$PGUSER|$PGPASSWORD"'
    shown = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    user, password = shown.rsplit("|", 1)
    assert user == role and password.startswith("ey")
    assert not (tmp_path / "hit").exists()


@pytest.mark.parametrize("form", ["env", "pgpass"])
def test_token_for_a_role_with_a_line_break_is_refused(cli: Cli, form: str) -> None:
    failed = cli.run("token", "--format", form, "--user", "a\nb", code=2)
    assert failed.stdout == "" and "line break" in failed.stderr


def test_token_with_too_little_life_fails(cli: Cli) -> None:
    cli.emulator.set_tokens(lifetime_s=50)
    failed = cli.run("token", code=5)
    assert failed.stdout == "" and "--min-life" in failed.stderr
    assert cli.run("token", "--min-life", "10").stdout.startswith("ey")


def test_whoami_shows_identity_credential_role_and_token(cli: Cli) -> None:
    lines = dict(line.split(maxsplit=1) for line in cli.run("whoami").stdout.splitlines())
    assert list(lines) == ["identity", "credential", "role", "token"]
    assert lines["identity"].startswith("user-assigned managed identity, object id aaaaaaaa-")
    assert lines["credential"] == "DefaultAzureCredential > ManagedIdentityCredential (App Service)"
    assert lines["role"] == "app-mi (from a management token)"
    assert lines["token"].startswith("for https://ossrdbms-aad.database.windows.net, ")
    document = cli.json("whoami")
    assert (document["user"], document["principal"]["kind"]) == ("app-mi", "user_assigned_identity")
    assert document["length"] > 500 and "ey" not in str(document["user"])


def test_whoami_without_a_role_name_says_what_to_do(cli: Cli) -> None:
    text = cli.run("whoami", **application(cli)).stdout
    assert "role        unknown: " in text and "PGUSER" in text


def test_user_option_precedes_variables_and_the_token(cli: Cli) -> None:
    def role(*arguments: str, **variables: Any) -> Any:
        return cli.json("token", *arguments, **variables)["user"]

    assert role("--user", "a", PGENTRA_USER="b", PGUSER="c") == "a"
    assert role(PGENTRA_USER="b", PGUSER="c") == "b"
    assert role("postgresql://d@localhost/", PGUSER="c") == "d"
    assert role(PGUSER="c") == "c"


def test_options_have_variables(cli: Cli) -> None:
    assert json.loads(cli.run("token", PGENTRA_FORMAT="json", PGENTRA_CREDENTIAL="managed_identity").stdout)[
        "credential"
    ] == ("ManagedIdentityCredential (App Service)")
    assert json.loads(cli.run("token", PGENTRA_JSON="1").stdout)["user"] == "app-mi"
    assert cli.run("token", code=2, PGENTRA_CREDENTIAL="nothing").stderr.startswith("pgentra: invalid_configuration: ")


@pytest.mark.parametrize("name", ["a.toml", "a.json"])
def test_config_file_has_the_lowest_precedence(cli: Cli, tmp_path: Path, name: str) -> None:
    toml = 'user = "of-file"\n[credential]\ntype = "managed_identity"\n[serve]\nlisten = "127.0.0.1:0"\n'
    document = {"user": "of-file", "credential": {"type": "managed_identity"}}
    file = tmp_path / name
    file.write_text(toml if name.endswith("toml") else json.dumps(document))
    found = cli.json("token", "--config", file)
    assert (found["user"], found["credential"]) == ("of-file", "ManagedIdentityCredential (App Service)")
    assert cli.json("token", "--config", file, "--user", "a")["user"] == "a"
    assert cli.json("token", PGENTRA_CONFIG=str(file))["user"] == "of-file"


@pytest.mark.parametrize(
    ("text", "named"),
    [("scop = 1", "scop"), ("[serve]\nlisten = 1\nport = 2", "serve.port"), ("[agent]\nx = 1", "agent.x")],
)
def test_config_file_with_an_unknown_key_names_it(cli: Cli, tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(text)
    assert named in cli.run("token", "--config", file, code=2).stderr


def test_server_is_read_in_each_form(cli: Cli, tmp_path: Path) -> None:
    host, port = cli.emulator.server.host, cli.emulator.server.port
    services = tmp_path / "services"
    services.write_text(f"[shop]\nhost={host}\nport={port}\nuser=of-service\npassword=never-used\n")

    def line(*arguments: str, **variables: Any) -> str:
        return cli.run("token", "--format", "pgpass", *arguments, **variables).stdout

    none: dict[str, Any] = {"PGHOST": None, "PGPORT": None}
    expected = f"{host}:{port}:*:app-mi:ey"
    for server in (f"{host}:{port}", f"postgresql://{host}:{port}/shop", f"host={host} port={port}"):
        assert line(server, **none).startswith(expected), server
    assert line("-h", host, "-p", str(port), **none).startswith(expected)
    assert line(PGENTRA_HOST=host, PGENTRA_PORT=str(port), **none).startswith(expected)
    assert line(f"{host}:{port}", PGENTRA_HOST="other", PGENTRA_PORT="1", **none).startswith(expected)
    assert line(PGSERVICE="shop", PGSERVICEFILE=str(services), **none).startswith(f"{host}:{port}:*:of-service:ey")


def test_server_with_a_password_is_refused_without_repeating_it(cli: Cli) -> None:
    failed = cli.run("token", "postgresql://u:canary@h/", code=2)
    assert "password" in failed.stderr and "canary" not in failed.stderr


@pytest.mark.parametrize(
    ("fault", "code", "name"),
    [
        ({"status": 503}, 5, "service_unavailable"),
        ({"status": 429}, 5, "throttled"),
        ({"aadsts": 7000215}, 4, "authentication_failed"),
        ({"connection": "drop"}, 5, "network"),
    ],
)
def test_errors_have_exit_codes_and_documents(cli: Cli, fault: dict[str, object], code: int, name: str) -> None:
    retry = json.dumps({"credential": {"type": "environment", "retry": {"max_retries": 0}}})
    (cli.folder / "c.json").write_text(retry)
    cli.emulator.add_fault(endpoint="token", **fault)
    arguments = ("token", "--config", cli.folder / "c.json")
    failed = cli.run(*arguments, code=code, **application(cli))
    assert failed.stdout == "" and failed.stderr.startswith(f"pgentra: {name}: EnvironmentCredential: "), failed.stderr
    document = json.loads(cli.run(*arguments, "--json", code=code, **application(cli)).stderr)["error"]
    assert document["code"] == name and document["message"] and document["advice"]


def test_errors_without_a_credential(cli: Cli) -> None:
    nothing = {"IDENTITY_ENDPOINT": None, "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential"}
    failed = cli.run("token", code=3, **nothing)
    assert failed.stderr.startswith("pgentra: credential_unavailable: ")
    assert "\n  - EnvironmentCredential: " in failed.stderr
    document = json.loads(cli.run("token", "--json", code=3, **nothing).stderr)["error"]
    assert document["attempts"][0]["credential"] == "EnvironmentCredential"


def test_log_is_on_standard_error(cli: Cli) -> None:
    done = cli.run("token", "-v")
    assert done.stdout.startswith("ey") and done.stderr.startswith("pgentra: ") and "eyJ" not in done.stderr
    lines = [json.loads(line) for line in cli.run("token", "-v", "--log", "json").stderr.splitlines()]
    assert lines and all(set(line) == {"level", "target", "message"} for line in lines)


def test_arguments_that_are_unknown_end_with_2(cli: Cli) -> None:
    assert "--nothing" in cli.run("token", "--nothing", code=2).stderr
    assert "Usage: pgentra" in cli.run("--help").stdout
    assert cli.run("--version").stdout.startswith("pgentra ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_are_valid_scripts(cli: Cli, shell: str) -> None:
    script = cli.run("completions", shell).stdout
    assert "whoami" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_man_pages_exist_for_each_command(cli: Cli, tmp_path: Path) -> None:
    cli.run("man", tmp_path / "man")
    pages = {page.name for page in (tmp_path / "man").iterdir()}
    assert {"pgentra.1", "pgentra-token.1", "pgentra-exec.1", "pgentra-doctor.1"} <= pages
