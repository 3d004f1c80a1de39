"""Django's database backend `pgentra.django`, with each supported version of Django in an environment of its own.

The site is in `django_site/`; its commands run as their own processes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from support.emulator import ROOT, Emulator, Principal

pytestmark = pytest.mark.one_python

SITE = Path(__file__).parent / "django_site"
VERSIONS = ["4.2", "5.2", "6.1"]
#: Before a test changes it: pip needs the proxies.
ENVIRONMENT = dict(os.environ)

#: Resolves to this machine, but is not a loopback address, so pgentra treats it as remote.
NOT_LOOPBACK = "0.0.0.0"


@cache
def python_of(version: str) -> Path:
    """The Python of the environment with that version of Django."""
    command = [sys.executable, str(ROOT / "tools" / "environment.py"), "venv", f"django-{version}"]
    made = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True)
    return Path(made.stdout.strip()) / "bin" / "python"


@dataclass(frozen=True)
class Site:
    """The site with one version of Django, one driver and one way to keep connections."""

    version: str
    driver: str
    emulator: Emulator
    identity: Principal
    settings: dict[str, Any]

    def try_run(self, *command: str, **variables: str | None) -> subprocess.CompletedProcess[str]:
        """Runs a program of the site, which may fail; `None` removes a variable."""
        given = {
            **self.emulator.environment(),
            "SITE_CLIENT_ID": self.identity.appid,
            "SITE_ROLE": self.identity.name,
            "SITE_CONTROL": self.emulator.control,
            "SITE_DRIVER": self.driver,
            "SITE_DATABASE": json.dumps(self.settings),
            "PYTHONWARNINGS": "default",
            **variables,
        }
        return subprocess.run(
            [python_of(self.version), *command],
            cwd=SITE,
            env={name: value for name, value in given.items() if value is not None},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def run(self, *command: str, **variables: str | None) -> subprocess.CompletedProcess[str]:
        """Runs a program of the site, which must not fail."""
        done = self.try_run(*command, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def manage(self, *command: str, **variables: str | None) -> str:
        """The output of a management command."""
        return self.run("manage.py", *command, **variables).stdout

    def steps(self, *names: str, **variables: str | None) -> Any:
        """What steps of `steps.py` return, in one process."""
        return json.loads(self.run("steps.py", *names, **variables).stdout)

    def step(self, name: str, **variables: str | None) -> Any:
        """What one step returns."""
        (result,) = self.steps(name, **variables)
        return result

    def but(self, **settings: Any) -> Site:
        """The same with other settings of the database."""
        return Site(self.version, self.driver, self.emulator, self.identity, {**self.settings, **settings})


KEPT: dict[str, dict[str, Any]] = {
    "no pool": {},
    "CONN_MAX_AGE": {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True},
    "pool": {"OPTIONS": {"pool": {"min_size": 2, "max_size": 2, "timeout": 10}}, "CONN_HEALTH_CHECKS": True},
}
#: Django's pool exists since 5.1 and needs psycopg 3.
EVERY_SITE = [
    (version, driver, kept)
    for version in VERSIONS
    for driver in ("psycopg", "psycopg2")
    for kept in KEPT
    if kept != "pool" or (driver == "psycopg" and version != "4.2")
]
#: Each version, each driver and each way to keep connections. `make test-all` runs every combination.
SOME_SITES = {
    ("4.2", "psycopg2", "CONN_MAX_AGE"),
    ("5.2", "psycopg2", "no pool"),
    ("5.2", "psycopg", "pool"),
    ("6.1", "psycopg", "no pool"),
    ("6.1", "psycopg", "pool"),
}


def on_sites(*kept: str, only_newest: bool = False) -> pytest.MarkDecorator:
    """Runs a test on the sites that keep connections in one of these ways, by default in any.

    `only_newest`: `make test` runs it with the newest version of Django only, because the versions do not differ.
    """
    sites = [site for site in EVERY_SITE if site[2] in kept or not kept]
    quick = {site for site in SOME_SITES if site in sites}
    # A version whose quick site keeps connections in another way.
    quick |= {site for site in sites if site[0] not in {one[0] for one in quick} and site[1] == "psycopg2"}
    if only_newest:
        quick = {site for site in quick if site[0] == VERSIONS[-1]}
    parameters = [
        pytest.param(site, id=", ".join(site), marks=[] if site in quick else [pytest.mark.long]) for site in sites
    ]
    return pytest.mark.parametrize("site", parameters, indirect=True)


@pytest.fixture
def site(request: pytest.FixtureRequest, emulator: Emulator) -> Site:
    """A site whose identity may create tables and databases."""
    version, driver, kept = request.param
    return make_site(emulator, version, driver, KEPT[kept])


def make_site(emulator: Emulator, version: str, driver: str, kept: dict[str, Any]) -> Site:
    place = emulator.server
    if version not in ("4.2", "5.2") and sys.version_info < (3, 12):
        pytest.skip(f"Django {version} needs Python 3.12 or newer")
    identity = emulator.add_principal("user_assigned", role={"admin": True})
    settings = {
        "ENGINE": "pgentra.django",
        "NAME": place.database,
        "HOST": place.host,
        "PORT": place.port,
        **kept,
        "OPTIONS": {"sslmode": "verify-full", **kept.get("OPTIONS", {})},
    }
    return Site(version, driver, emulator, identity, settings)


@on_sites()
def test_requests(site: Site) -> None:
    (first, second), versions = site.steps("two_requests", "versions")
    assert (first[0], second[0]) == (site.identity.name, site.identity.name)
    # A persistent connection is kept for the next request.
    assert (first[1] == second[1]) or "CONN_MAX_AGE" not in site.settings
    assert {login.role for login in site.emulator.postgres_report().logins} == {site.identity.name}
    assert len(site.emulator.database_requests(site.identity)) == 1
    version = [int(part) for part in site.version.split(".")]
    assert versions == [version, site.driver, "postgresql", "pgentra.django.base"]


@on_sites("no pool")
def test_migrate(site: Site) -> None:
    assert "shop.0001_initial" in site.manage("migrate", "--no-color")
    try:
        assert "No changes" in site.manage("makemigrations", "--check", "--dry-run")
    finally:
        site.manage("migrate", "shop", "zero")
        site.manage("dbshell", "--", "-c", "drop table django_migrations")


@on_sites("no pool", "pool")
def test_test_command(site: Site) -> None:
    """The test database is created, migrated and dropped, and an async view runs."""
    done = site.run("manage.py", "test", "--noinput")
    assert "Ran 2 tests" in done.stderr and "\nOK\n" in done.stderr
    assert {login.role for login in site.emulator.postgres_report().logins} == {site.identity.name}


@on_sites("no pool")
def test_dbshell(site: Site) -> None:
    assert site.manage("dbshell", "--", "-tAc", "select current_user").strip() == site.identity.name


@on_sites("no pool", only_newest=True)
def test_dbshell_without_tls(site: Site) -> None:
    """psql is given `sslmode=require` if the settings have no mode."""
    site.emulator.control_postgres(plaintext=True)
    done = site.but(HOST=NOT_LOOPBACK, OPTIONS={}).try_run("manage.py", "dbshell", "--", "-c", "select 1")
    assert done.returncode != 0 and "SSL" in done.stderr
    assert site.emulator.postgres_report().plaintext_password_bytes == 0


@on_sites()
def test_connection_without_tls(site: Site) -> None:
    site.emulator.control_postgres(plaintext=True)
    options = {name: value for name, value in site.settings["OPTIONS"].items() if name != "sslmode"}
    if "pool" in options:
        options["pool"] = {**options["pool"], "timeout": 1}
    modes = (None, "prefer", "disable") if site.version == VERSIONS[-1] else (None,)
    for sslmode in modes:
        mode = {"sslmode": sslmode} if sslmode else {}
        classes, text, _ = site.but(HOST=NOT_LOOPBACK, OPTIONS={**options, **mode}).step("error")
        assert "SSL" in text or "TLS" in text
        assert "OperationalError" in classes or sslmode == "disable"
    assert site.emulator.postgres_report().plaintext_password_bytes == 0


@on_sites()
def test_refused_login_once(site: Site) -> None:
    first, second = site.step("retry")
    assert (first[0], second[0]) == (site.identity.name, site.identity.name)
    outcomes = [login.outcome for login in site.emulator.postgres_report().logins]
    assert outcomes.count("refused") == 1


@on_sites()
def test_expiry_with_connections_cut(site: Site) -> None:
    """The site goes on after its token's end, without its connections."""
    roles = [role for role, _ in site.step("outlive")]
    assert roles == [site.identity.name] * 3
    assert len(site.emulator.database_requests(site.identity)) > 1
    assert {login.outcome for login in site.emulator.postgres_report().logins} == {"logged_in"}


@on_sites(only_newest=True)
def test_refused_login_is_explained(site: Site) -> None:
    site.emulator.control_postgres(refuse_next=100, refuse_with="role_missing")
    if "pool" in site.settings["OPTIONS"]:
        site = site.but(OPTIONS={**site.settings["OPTIONS"], "pool": {"timeout": 2}})
    classes, text, _ = site.step("error")
    assert "OperationalError" in classes
    assert "pgaadauth_create_principal" in text


@on_sites(only_newest=True)
def test_error_without_identity(site: Site) -> None:
    """Django's own class, and pgentra's; a pool's time limit does not hide the cause."""
    if pool := "pool" in site.settings["OPTIONS"]:
        site = site.but(OPTIONS={**site.settings["OPTIONS"], "pool": {"timeout": 1}})
    nothing: dict[str, str | None] = {
        "SITE_CLIENT_ID": None,
        "IDENTITY_ENDPOINT": None,
        "IDENTITY_HEADER": None,
        "PATH": "/nowhere",
    }
    variables = {"AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential", **nothing}
    classes, text, _ = site.step("error", **variables)
    assert "OperationalError" in classes and "Error" in classes
    assert "EntraConnectionValueError" in classes or pool
    assert "Could not retrieve Entra credentials" in text


@on_sites("no pool", only_newest=True)
def test_commands_without_identity(site: Site) -> None:
    """What a build does without a database works with a warning, as with Django's own backend."""
    nothing: dict[str, str | None] = {"SITE_CLIENT_ID": None, "IDENTITY_ENDPOINT": None, "IDENTITY_HEADER": None}
    variables = {"AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential", **nothing}
    done = site.run("manage.py", "makemigrations", "--check", "--dry-run", **variables)
    assert "No changes" in done.stdout
    site.manage("check", **variables)


READERS = {
    "dj_database_url, engine": ("dj_database_url", "postgres", "pgentra.django"),
    "dj_database_url, scheme": ("dj_database_url", "postgresql+entra", None),
    "environ, engine": ("environ", "postgres", "pgentra.django"),
    "environ, scheme": ("environ", "postgresql+entra", None),
}


@on_sites("no pool", only_newest=True)
@pytest.mark.parametrize("reader", READERS)
def test_urls(site: Site, reader: str) -> None:
    package, scheme, engine = READERS[reader]
    place = site.emulator.server
    url = f"{scheme}://{place.host}:{place.port}/{place.database}?sslmode=verify-full"
    found = site.step("two_requests", SITE_URL_READER=package, SITE_ENGINE=engine, DATABASE_URL=url)
    assert found[0][0] == site.identity.name


@on_sites("no pool", only_newest=True)
def test_service_connector(site: Site) -> None:
    """The variables of its client type Django, and a user-assigned identity."""
    place = site.emulator.server
    settings = {"ENGINE": "pgentra.django", "PORT": place.port, "OPTIONS": {"service_connector": True}}
    site = Site(site.version, site.driver, site.emulator, site.identity, settings)
    variables: dict[str, str | None] = {
        "AZURE_POSTGRESQL_NAME": place.database,
        "AZURE_POSTGRESQL_HOST": place.host,
        "AZURE_POSTGRESQL_USER": site.identity.name,
        "AZURE_POSTGRESQL_CLIENTID": site.identity.appid,
        "SITE_CLIENT_ID": None,
    }
    assert site.step("two_requests", **variables)[0][0] == site.identity.name
    shown = site.manage("dbshell", "--", "-tAc", "select current_user || ' ' || current_database()", **variables)
    assert shown.split() == [site.identity.name, place.database]
    assert "\nOK\n" in site.run("manage.py", "test", "--noinput", **variables).stderr
    # Without the variables, a command that does not connect runs.
    site.manage("check", SITE_CLIENT_ID=None)
    classes, text, _ = site.step("error", SITE_CLIENT_ID=None)
    assert "no variable of Azure Service Connector is set" in text and "EntraConnectionValueError" in classes


@pytest.mark.parametrize("identity", ["system-assigned", "user-assigned", "service-principal"])
@on_sites("no pool", only_newest=True)
def test_service_connector_identity(site: Site, identity: str, record_property: Callable[[str, object], None]) -> None:
    """Each kind of identity logs in from the variables of the client type Django alone."""
    place = site.emulator.server
    settings = {"ENGINE": "pgentra.django", "PORT": place.port, "OPTIONS": {"service_connector": True}}
    site = Site(site.version, site.driver, site.emulator, site.identity, settings)
    principal = site.emulator.add_principal("service_principal")
    identities: dict[str, tuple[str, dict[str, str | None]]] = {
        "system-assigned": ("app-mi", {}),
        "user-assigned": (site.identity.name, {"CLIENTID": site.identity.appid}),
        "service-principal": (
            principal.name,
            {"CLIENTID": principal.appid, "TENANTID": site.emulator.tenant_id, "CLIENTSECRET": principal.secret},
        ),
    }
    role, more = identities[identity]
    named = {"NAME": place.database, "HOST": place.host, "USER": role, **more}
    variables: dict[str, str | None] = {f"AZURE_POSTGRESQL_{name}": value for name, value in named.items()}
    # The emulator's authority; Service Connector does not set this variable.
    variables |= {"SITE_CLIENT_ID": None, "AZURE_AUTHORITY_HOST": site.emulator.authority_host}
    assert site.step("two_requests", **variables)[0][0] == role
    record_property("connector", f"{identity} / Django / Python")


@on_sites("no pool", only_newest=True)
def test_explicit_password(site: Site) -> None:
    """It is used, and no token is requested."""
    classes, text, _ = site.but(USER="app-mi", PASSWORD="placeholder").step("error")
    assert "OperationalError" in classes and "Entra was not used" in text
    assert site.emulator.requests() == []
    options = {**site.settings["OPTIONS"], "require_entra": True}
    classes, text, _ = site.but(USER="app-mi", PASSWORD="placeholder", OPTIONS=options).step("error")
    assert "require_entra" in text and "EntraConnectionValueError" in classes
    options = {**site.settings["OPTIONS"], "ignore_password": True}
    named = site.but(USER=site.identity.name, PASSWORD="placeholder", OPTIONS=options)
    assert named.step("two_requests")[0][0] == site.identity.name


PAGE = "".join((ROOT / page).read_text() for page in ("docs/django.md", "bindings-python/README.md"))
SNIPPETS = re.findall(r"^```python settings\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(1, len(SNIPPETS) + 1))
def test_documentation(snippet: str, emulator: Emulator) -> None:
    """The settings of docs/django.md and of the package's README log in."""
    site = make_site(emulator, VERSIONS[-1], "psycopg", {})
    place = emulator.server
    scheme = "postgresql+entra" if "postgresql+entra" in snippet else "postgres"
    variables: dict[str, str | None] = {
        "SITE_CODE": snippet.replace("shop.postgres.database.azure.com", place.host),
        "SITE_CLIENT_ID": None,
        "PGPORT": str(place.port),
        "DATABASE_URL": f"{scheme}://{place.host}/{place.database}?sslmode=verify-full",
        "AZURE_POSTGRESQL_NAME": place.database,
        "AZURE_POSTGRESQL_HOST": place.host,
        "AZURE_POSTGRESQL_USER": "app-mi",
    }
    assert site.step("two_requests", **variables)[0][0] == "app-mi"


def test_sample(emulator: Emulator, tmp_path: Path) -> None:
    """The example logs in, in both modes."""
    site, place = make_site(emulator, VERSIONS[-1], "psycopg", {}), emulator.server
    shutil.copy(ROOT / "examples" / "python" / "django_sample.py", tmp_path)
    (tmp_path / ".env").write_text(f"HOSTNAME={place.host}\nDATABASE={place.database}\n")
    done = site.run(str(tmp_path / "django_sample.py"), PGPORT=str(place.port), PGSSLMODE="verify-full")
    assert re.findall(r"^(\w+): logged in as (\S+) after", done.stdout, re.MULTILINE) == [
        ("sync", "app-mi"),
        ("async", "app-mi"),
    ]


@pytest.mark.long
@pytest.mark.parametrize("kept", ["no pool", "pool"])
def test_postgis(emulator: Emulator, kept: str) -> None:
    """GeoDjango's backend logs in; the server here does not have the extension."""
    site = make_site(emulator, "gis", "psycopg", KEPT[kept]).but(ENGINE="pgentra.django.postgis")
    assert site.step("versions", SITE_GIS="1")[3] == "pgentra.django.postgis.base"
    assert site.step("two_requests", SITE_GIS="1")[0][0] == site.identity.name
    shown = site.manage("dbshell", "--", "-tAc", "select current_user", SITE_GIS="1")
    assert shown.strip() == site.identity.name
