"""Connection URLs with a token as the password."""

from __future__ import annotations

import os
from urllib.parse import quote, urlencode

from . import _native
from ._roots import find_roots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .errors import PgEntraError

_VARIABLES = {"dbname": "PGDATABASE", "host": "PGHOST", "port": "PGPORT"}


def settings_of(given: Mapping[str, Any]) -> dict[str, str]:
    """Returns the settings of a URL from the given ones and the ``PG*`` variables.

    Raises ``EntraConnectionValueError`` for settings that the URL must not have.
    """
    settings: dict[str, str] = {name: str(value) for name, value in given.items() if value is not None}
    for name in ("password", "service", "servicefile"):
        if name in settings:
            raise _refused(f"{name}: the URL contains the token as its password, and all settings of the connection")
    if settings.setdefault("sslmode", "verify-full") != "verify-full":
        raise _refused("sslmode: the URL has verify-full, because it contains a token")
    for name, variable in _VARIABLES.items():
        if name not in settings and (value := os.environ.get(variable)):
            settings[name] = value
    if not settings.get("host"):
        raise _refused("host: the URL needs the server's name: pass it as host=..., or set PGHOST")
    if roots := find_roots(settings):
        settings["sslrootcert"] = roots
    return settings


def connection_url(scheme: str, settings: Mapping[str, str], user: str, password: str) -> str:
    """Returns a URL by libpq's rules. The password and all settings are percent-encoded."""
    parameters = dict(settings)
    hosts, port, dbname = (parameters.pop(name, "") for name in ("host", "port", "dbname"))
    if hosts.startswith(("/", "@")):
        parameters["host"], servers = hosts, ""
        if port:
            parameters["port"] = port
    else:
        ports = port.split(",")
        pairs = (
            (name, ports[index] if index < len(ports) else ports[0]) for index, name in enumerate(hosts.split(","))
        )
        servers = ",".join(_server(*pair) for pair in pairs)
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return f"{scheme}://{login}@{servers}/{quote(dbname, safe='')}?{urlencode(parameters, quote_via=quote, safe='')}"


def _server(name: str, port: str) -> str:
    name = f"[{name}]" if ":" in name else quote(name, safe="")
    return f"{name}:{port}" if port else name


def _refused(message: str) -> PgEntraError:
    return _native.error("invalid_connection", message, None)
