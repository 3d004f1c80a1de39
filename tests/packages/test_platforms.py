"""A platform without a library gives one clear error in each language. The platform is faked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 300


def need(program: str) -> str:
    """The path of a program; without it, the test is skipped, and fails in CI."""
    found = shutil.which(program) or shutil.which(program, path="/usr/local/go/bin")
    if found is None:
        assert os.environ.get("CI") != "true", f"no {program} on this machine"
        pytest.skip(f"the platforms: no {program} on this machine")
    return found


def failure(*command: str | Path, folder: Path = ROOT, **variables: str) -> str:
    """Runs a command that must fail, and returns what it prints."""
    environment = {**os.environ, **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode != 0, done.stdout
    return done.stdout + done.stderr


def test_python_without_its_native_module(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "bindings-python/python/pgentra", tmp_path / "pgentra", ignore=ignored)
    printed = failure(sys.executable, "-S", "-c", "import pgentra", folder=tmp_path, PYTHONPATH=str(tmp_path))
    assert "ImportError: pgentra has no native module that loads on this platform (" in printed
    assert "There are wheels for Linux (glibc 2.28, musl 1.2), macOS and Windows on x86_64 and arm64" in printed


@pytest.mark.parametrize(
    ("platform", "architecture", "expected"),
    [
        ("freebsd", "x64", "pgentra has no addon for the platform freebsd x64. It supports linux-x64-gnu, "),
        ("linux", "riscv64", "pgentra has no addon for the platform linux riscv64. It supports linux-x64-gnu, "),
        (
            "win32",
            "arm64",
            "the addon of pgentra for win32 arm64 could not be loaded. It is in the package @pgentra/win32-",
        ),
    ],
)
def test_node_without_an_addon(platform: str, architecture: str, expected: str) -> None:
    program = f"""
    for (const [key, value] of Object.entries({{ platform: '{platform}', arch: '{architecture}' }}))
        Object.defineProperty(process, key, {{ value }})
    require('./bindings-node/lib/addon.js')
    """
    assert expected in failure(need("node"), "-e", program)


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        (
            ["-Dos.arch=riscv64"],
            "pgentra has no native library for the platform linux-riscv64. It supports linux-x64, linux-arm64, ",
        ),
        (
            ["-Dos.name=Mac OS X", "-Dos.arch=aarch64"],
            "pgentra has no native library for the platform macos-arm64. Add the jar with the classifier macos-arm64",
        ),
    ],
)
def test_java_without_a_library(tmp_path: Path, properties: list[str], expected: str) -> None:
    package = tmp_path / "io/github/pgentra/internal"
    package.mkdir(parents=True)
    (package / "Program.java").write_text(
        "package io.github.pgentra.internal;\n"
        "public class Program { public static void main(String[] given) { Loader.load(); } }\n"
    )
    loader = ROOT / "bindings-java/pgentra/src/main/java/io/github/pgentra/internal/Loader.java"
    compile_: list[str | Path] = [need("javac"), "-d", tmp_path, loader, package / "Program.java"]
    subprocess.run(compile_, check=True, timeout=LIMIT_S)
    printed = failure(need("java"), *properties, "-cp", tmp_path, "io.github.pgentra.internal.Program")
    assert f"UnsatisfiedLinkError: {expected}" in printed


@pytest.mark.parametrize(
    ("variables", "package"),
    [
        ({"CGO_ENABLED": "0"}, "cgo_is_required"),
        ({"CGO_ENABLED": "1", "GOOS": "windows", "GOARCH": "amd64"}, "platform_is_not_supported"),
        ({"CGO_ENABLED": "1", "GOOS": "linux", "GOARCH": "riscv64"}, "platform_is_not_supported"),
    ],
)
def test_go_without_a_library(variables: dict[str, str], package: str) -> None:
    settings = {"GOFLAGS": "-buildvcs=false", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    printed = failure(need("go"), "build", ".", folder=ROOT / "bindings-go", **settings, **variables)
    assert f"bindings-go/internal/{package}: build constraints exclude all Go files" in printed
    assert printed.count("build constraints exclude") == 1


def test_php_without_libpgentra() -> None:
    program = 'require "bindings-php/src/Internal/Library.php"; PgEntra\\Internal\\Library::load();'
    printed = failure(need("php"), "-d", "ffi.enable=1", "-r", program, PGENTRA_LIBRARY="/nonexistent/libpgentra.so.1")
    assert "RuntimeException: libpgentra cannot be loaded: " in printed
    assert "/nonexistent/libpgentra.so.1" in printed
    assert "Install libpgentra for Linux " in printed
    assert "or set the environment variable PGENTRA_LIBRARY to its file." in printed


def test_ruby_without_libpgentra() -> None:
    need("ruby")
    program = ["ruby", "-I", "bindings-ruby/lib", "-e", "require 'json'; require 'pgentra/library'"]
    if subprocess.run(["ruby", "-e", "require 'ffi'"], capture_output=True).returncode != 0:
        assert os.environ.get("CI") != "true", "no gem ffi on this machine"
        pytest.skip("the platforms: no gem ffi on this machine")
    printed = failure(*program, PGENTRA_LIBRARY="/nonexistent/libpgentra.so.1")
    assert "libpgentra cannot be loaded: " in printed and "(LoadError)" in printed
    assert "or set the environment variable PGENTRA_LIBRARY to its file." in printed
