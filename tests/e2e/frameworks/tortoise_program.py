"""Tortoise ORM over asyncpg: the password is a function."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from tortoise import Tortoise, fields, run_async
from tortoise.models import Model

import pgentra.asyncpg

server = urlsplit(os.environ["DATABASE_URL"])
host, port, database = server.hostname, server.port, server.path[1:]
role = os.environ["TEST_ROLE"]

credentials = {"host": host, "port": port, "database": database, "user": role, "ssl": "verify-full"}
config = {
    "connections": {
        "default": {
            "engine": "tortoise.backends.asyncpg",
            "credentials": {**credentials, "password": pgentra.asyncpg.password(**credentials)},
        }
    },
    "apps": {"shop": {"models": ["__main__"], "default_connection": "default"}},
}


class Role(Model):
    """PostgreSQL's own table of roles."""

    rolname = fields.CharField(max_length=63, primary_key=True)

    class Meta:
        table = "pg_roles"


async def main() -> None:
    await Tortoise.init(config=config)
    print((await Role.raw("select rolname from pg_roles where rolname = current_user"))[0].rolname)


run_async(main())
