"""``manage.py dbshell``: psql with the role and the token."""

from __future__ import annotations

from django.db.backends.postgresql import client

from ._login import for_psql

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["DatabaseClient"]


class DatabaseClient(client.DatabaseClient):  # type: ignore[misc]
    """Django's ``DatabaseClient``, which passes the token to psql in the variable ``PGPASSWORD``."""

    @classmethod
    def settings_to_cmd_args_env(cls, settings_dict: dict[str, Any], parameters: list[str]) -> Any:
        """Returns psql's command line and additional environment; blocks while a token is fetched."""
        return super().settings_to_cmd_args_env(for_psql(settings_dict), parameters)
