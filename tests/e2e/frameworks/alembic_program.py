"""Alembic: a migration creates a table and reads the role."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config

config = Config()
config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
command.upgrade(config, "head")
command.downgrade(config, "base")
