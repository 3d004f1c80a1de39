"""A small Rails application: its connections, and `rails dbconsole`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import HERE, RUBY, TARGET

from support.emulator import Emulator

APPLICATION = """
require "rails"
require "active_record/railtie"
require "pgentra"

class Shop < Rails::Application
  config.eager_load = false
  config.logger = Logger.new($stderr, level: :warn)
end
"""
COMMAND = "APP_PATH = File.expand_path('config/application'); require 'rails/command'; Rails::Command.invoke(*ARGV)"


@pytest.fixture
def application(tmp_path: Path, emulator: Emulator) -> Path:
    found = subprocess.run([RUBY, "-e", "require 'rails'; require 'active_record/railtie'"], capture_output=True)
    if found.returncode != 0:
        pytest.skip("no Rails on this machine (Debian: apt-get install ruby-railties)")
    config = tmp_path / "config"
    config.mkdir()
    (config / "application.rb").write_text(APPLICATION)
    (config / "environment.rb").write_text('require_relative "application"\nRails.application.initialize!\n')
    server = emulator.server
    (config / "database.yml").write_text(
        f"development:\n  adapter: postgresql\n  host: {server.host}\n  port: {server.port}\n"
        f"  database: {server.database}\n  sslmode: verify-full\n  entra: true\n"
    )
    return tmp_path


def rails(application: Path, *words: str, given: str = "") -> str:
    done = subprocess.run(
        [RUBY, "-W0", "-I", HERE.parent / "lib", *words],
        cwd=application,
        input=given,
        env=os.environ | {"PGENTRA_LIBRARY": str(TARGET / "libpgentra.so"), "RAILS_ENV": "development"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "eyJ" not in done.stdout + done.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_connection_of_the_application(application: Path) -> None:
    code = "require './config/environment'; puts ActiveRecord::Base.connection.select_value('select current_user')"
    assert rails(application, "-e", code) == "app-mi\n"


def test_dbconsole(application: Path) -> None:
    assert "app-mi" in rails(application, "-e", COMMAND, "dbconsole", given="select current_user;\n")
