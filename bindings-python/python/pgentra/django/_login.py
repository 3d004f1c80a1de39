"""The login of a Django connection: from the settings of ``DATABASES`` to a connection plan."""

from __future__ import annotations

from django.db import OperationalError
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from .. import _native
from .._login import plan, take_options
from ..errors import PgEntraError, _also, _rebuild

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._login import ConnectionPlan

_NOT_LIBPQ = frozenset(
    {
        "async",
        "async_",
        "autocommit",
        "connection_factory",
        "context",
        "cursor_factory",
        "prepare_threshold",
        "row_factory",
    }
)
"""Arguments of the drivers that are not settings of libpq."""

_READ_BY_DBSHELL = ("passfile", "service", "sslcert", "sslkey", "sslmode", "sslrootcert")
"""The keys of ``OPTIONS`` that Django passes to psql."""


def plan_of(parameters: dict[str, Any], transient: type[BaseException]) -> ConnectionPlan:
    """Returns the plan of a connection. Removes pgentra's options from ``parameters``, the driver's arguments."""
    credential, options = take_options(parameters)
    own = {name: value for name, value in parameters.items() if name not in _NOT_LIBPQ}
    text = own.pop("conninfo" if is_psycopg3 else "dsn", None) or ""
    if is_psycopg3:
        from psycopg.conninfo import conninfo_to_dict

        settings = conninfo_to_dict(text, **own)
    else:
        from psycopg2.extensions import make_dsn, parse_dsn

        settings = parse_dsn(make_dsn(text, **own))
    return plan(settings, credential, options, transient=transient)


def fill_from_service_connector(settings_dict: dict[str, Any]) -> None:
    """Sets an empty ``NAME`` to the database of Azure Service Connector, if ``OPTIONS`` selects its variables.

    Django needs the name before it connects, for example for the name of the test database. The other settings are
    read for each connection.
    """
    connector = settings_dict["OPTIONS"].get("service_connector")
    if settings_dict["NAME"] != "" or connector is None or connector is False:
        return
    request = {"arguments": {}, "service_connector": connector, "repeat_warnings": True}
    read = _native.connection_plan(request, _native.environment())
    settings_dict["NAME"] = read.settings.get("dbname", "")


def for_psql(settings_dict: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings of a database with the role and the token as ``USER`` and ``PASSWORD``."""
    fill_from_service_connector(settings_dict)
    options = dict(settings_dict["OPTIONS"])
    credential, entra = take_options(options)
    keys = {"host": "HOST", "port": "PORT", "dbname": "NAME", "user": "USER", "password": "PASSWORD"}
    given = {name: settings_dict.get(key) for name, key in keys.items()}
    given |= {name: options.get(name) for name in _READ_BY_DBSHELL}
    planned = plan({name: value for name, value in given.items() if value}, credential, entra)
    settings = planned.settings(planned.login()).over()
    replaced = {key: settings.pop(name) for name, key in keys.items() if name in settings}
    return {**settings_dict, **replaced, "OPTIONS": {**options, **settings}}


def as_django_error(error: PgEntraError) -> PgEntraError:
    """Returns the same error as a ``django.db.OperationalError``.

    Django catches this class where a database may be out of reach, and replaces an error of the driver's class by one
    of its own, which is not a pgentra error.
    """
    _, (bases, arguments, state) = error.__reduce__()
    bases = tuple(base for base in bases if issubclass(base, PgEntraError))
    raised = _also(_rebuild(bases, arguments, state), OperationalError)
    return raised.with_traceback(error.__traceback__)
