"""Frameworks over the drivers of Python and Node: a program for each logs in once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from support.drivers import Target
from support.emulator import ROOT, Emulator, Principal

pytestmark = pytest.mark.one_python

PROGRAMS = Path(__file__).parent / "frameworks"
#: The environment of each program.
FRAMEWORKS = {
    "airflow": "frameworks-airflow",
    "alembic": "frameworks",
    "celery": "frameworks",
    "dagster": "frameworks-dagster",
    "dbt": "frameworks-dbt",
    "fastapi": "frameworks",
    "flask_sqlalchemy": "frameworks",
    "gunicorn": "frameworks",
    "mlflow": "frameworks-mlflow",
    "pandas": "frameworks-large",
    "sqlalchemy14": "frameworks-sqlalchemy14",
    "sqlmodel": "frameworks",
    "superset": "frameworks-superset",
}
#: Environments whose install is small. `make test-all` also runs the programs of the others.
SMALL = {"frameworks", "frameworks-sqlalchemy14"}
#: Superset imports for minutes on a slow machine.
PROGRAM_LIMIT_S = 280
#: The variables before a test changes them: pip needs the proxies.
ENVIRONMENT = dict(os.environ)


@cache
def python_of(environment: str) -> Path:
    """Makes an environment and returns its Python."""
    command = [sys.executable, str(ROOT / "tools" / "environment.py"), "venv", environment]
    made = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True)
    return Path(made.stdout.strip()) / "bin" / "python"


@pytest.mark.parametrize(
    "framework",
    [
        pytest.param(name, marks=[] if environment in SMALL else [pytest.mark.long])
        for name, environment in FRAMEWORKS.items()
    ],
)
def test_framework_login(framework: str, emulator: Emulator, target: Target, tmp_path: Path) -> None:
    # The programs create tables.
    identity = emulator.add_principal("user_assigned", role={"admin": True})
    variables = {
        "AZURE_CLIENT_ID": identity.appid,
        "DATABASE_URL": target.url("postgresql+psycopg"),
        "PGENTRA_ALLOWED_HOSTS": str(target.host),
        "TEST_FOLDER": str(tmp_path),
        "TEST_NUMBER": identity.name.rsplit("-", 1)[1],
        "TEST_ROLE": identity.name,
    }
    run_program([python_of(FRAMEWORKS[framework]), PROGRAMS / f"{framework}_program.py"], emulator, identity, variables)


def run_program(command: list[str | Path], emulator: Emulator, identity: Principal, variables: dict[str, str]) -> None:
    """Runs a program, whose last line must be the identity's role; all of its logins must succeed as this role."""
    done = subprocess.run(
        command,
        env=emulator.environment() | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PROGRAM_LIMIT_S,
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, [identity.name]), done.stdout + done.stderr
    report = emulator.postgres_report()
    assert {login.outcome for login in report.logins} == {"logged_in"}
    assert {login.role for login in report.logins} == {identity.name}


def test_frameworks_all_covered() -> None:
    programs = {file.name.removesuffix("_program.py") for file in PROGRAMS.glob("*_program.py")}
    assert programs == set(FRAMEWORKS)


@cache
def install_node_packages() -> None:
    """Installs the packages of the frameworks and builds the addon."""
    tool = ROOT / "tools" / "node.sh"
    for command in (["packages", str(PROGRAMS / "node")], ["addon"]):
        subprocess.run([tool, *command], env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.skipif(shutil.which("npm") is None, reason="no Node on this machine")
@pytest.mark.parametrize("program", sorted((PROGRAMS / "node").glob("*.mjs")), ids=lambda file: file.stem)
def test_node_framework_login(program: Path, emulator: Emulator, target: Target) -> None:
    install_node_packages()
    # The programs create schemas.
    identity = emulator.add_principal("user_assigned", role={"admin": True})
    variables = {
        "AZURE_CLIENT_ID": identity.appid,
        "NODE_EXTRA_CA_CERTS": emulator.bundle_file,
        "PGHOST": str(target.host),
        "PGPORT": str(target.port),
        "PGDATABASE": str(target.database),
        "PGSSLMODE": "verify-full",
        "TEST_NUMBER": identity.name.rsplit("-", 1)[1],
    }
    run_program(["node", program], emulator, identity, variables)
