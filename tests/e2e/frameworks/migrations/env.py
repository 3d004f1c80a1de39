"""Alembic's environment, as `alembic init` and `alembic init -t async` write it, each with one line for Entra."""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection, engine_from_config, pool
from sqlalchemy.ext.asyncio import async_engine_from_config

from pgentra.sqlalchemy import enable_entra_authentication, enable_entra_authentication_async

config = context.config
target_metadata = None


def do_run_migrations(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=target_metadata)
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_online() -> None:
    connectable = engine_from_config(
        config.get_section(config.config_ini_section, {}),
        prefix="sqlalchemy.",
        poolclass=pool.NullPool,
    )
    enable_entra_authentication(connectable)
    with connectable.connect() as connection:
        do_run_migrations(connection)


async def run_async_migrations() -> None:
    connectable = async_engine_from_config(
        config.get_section(config.config_ini_section, {}),
        prefix="sqlalchemy.",
        poolclass=pool.NullPool,
    )
    enable_entra_authentication_async(connectable)
    async with connectable.connect() as connection:
        await connection.run_sync(do_run_migrations)
    await connectable.dispose()


if config.get_main_option("asynchronous"):
    asyncio.run(run_async_migrations())
else:
    run_migrations_online()
