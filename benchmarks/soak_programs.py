"""Builds the programs of the soak: the pools of each language. Each prints a line for each login, until its standard
input ends: pool, time of begin, seconds, role, error, with tabulators between them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "benchmarks"
#: The folder with the files that cargo built.
TARGET = Path(os.environ.get("PGENTRA_TARGET", ROOT / "target" / "debug")).resolve()
PROFILE = os.environ.get("PROFILE", "dev")


@dataclass(frozen=True)
class Program:
    """A program with pools: its command and variables."""

    language: str
    command: list[str]
    variables: dict[str, str] = field(default_factory=dict)


class Missing(Exception):
    """What this machine lacks for a language."""


def run(*command: str | Path, folder: Path = ROOT, variables: dict[str, str] | None = None) -> str:
    """Runs a command, which must succeed, and returns its output."""
    words = [str(word) for word in command]
    environment = os.environ | (variables or {})
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{words}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
    return done.stdout


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            raise Missing(f"no {program} on this machine")


def python(_: Path) -> Program:
    return Program("Python", [sys.executable, str(HERE / "python" / "pools.py")])


def node(_: Path) -> Program:
    need("node", "npm")
    run("tools/node.sh", "addon")
    run("tools/node.sh", "packages", "examples/node")
    # A small heap is collected often, so that its growth can be seen.
    return Program("Node", ["node", "--max-old-space-size=96", str(HERE / "node" / "pools.mjs")])


def c(folder: Path) -> Program:
    need("cc", "pkg-config")
    run("cargo", "build", "--quiet", "--profile", PROFILE, "-p", "pgentra-c")
    library, program = TARGET / "libpgentra.so", folder / "pools-c"
    (folder / "libpgentra.so.1").symlink_to(library)
    flags = run("pkg-config", "--cflags", "--libs", "libpq").split()
    flags += [f"-I{ROOT / 'bindings-c' / 'include'}", str(library), "-lpthread", f"-Wl,-rpath,{folder}"]
    run("cc", "-O2", HERE / "c" / "pools.c", "-o", program, *flags)
    return Program("C", [str(program)])


def dotnet(_: Path) -> Program:
    need("dotnet")
    run("cargo", "build", "--quiet", "--profile", PROFILE, "-p", "pgentra-c")
    project = HERE / "dotnet"
    library = f"-p:PgEntraLibrary={TARGET / 'libpgentra.so'}"
    run("dotnet", "build", project, "-c", "Release", "-v", "q", "-nologo", library)
    program = project / "bin" / "Release" / "net10.0" / "PgEntra.Benchmarks.dll"
    settings = {"DOTNET_gcServer": "0", "DOTNET_GCHeapHardLimit": "0x6000000", "DOTNET_TieredPGO": "0"}
    return Program(".NET", ["dotnet", str(program), "pools"], settings)


def java(folder: Path) -> Program:
    need("mvn", "javac")
    run("cargo", "build", "--quiet", "--profile", PROFILE, "-p", "pgentra-java")
    native = TARGET / "java"
    native.mkdir(exist_ok=True)
    shutil.copy(TARGET / "libpgentra_jni.so", native)
    binding = ROOT / "bindings-java"
    goals = ["compile", "dependency:build-classpath", "-Dmdep.outputFile=target/classpath.txt"]
    run("mvn", "-q", "-B", "-f", binding / "pom.xml", "-pl", "pgentra", *goals, f"-Dpgentra.native.folder={native}")
    compiled = binding / "pgentra" / "target"
    path = os.pathsep.join([str(folder), str(compiled / "classes"), (compiled / "classpath.txt").read_text()])
    run("javac", "--release", "17", "-cp", path, "-d", folder, HERE / "java" / "Pools.java")
    # A heap of one size, touched at the start: what grows then is not Java's.
    heap = ["-Xms48m", "-Xmx48m", "-XX:+UseSerialGC", "-XX:+AlwaysPreTouch"]
    return Program("Java", ["java", *heap, "-cp", path, "Pools"])


def go(folder: Path) -> Program:
    found = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if found is None:
        raise Missing("no go on this machine")
    path = f"{os.environ['PATH']}{os.pathsep}{Path(found).parent}"
    variables = {"PATH": path, "GOTOOLCHAIN": "local", "PROFILE": PROFILE, "PGENTRA_TARGET": str(TARGET)}
    run(ROOT / "tools" / "go.sh", "archive", variables=variables)
    program = folder / "pools-go"
    # The archive is not an input of go's cache.
    flags = ["-buildvcs=false", "-ldflags", f"-X main.built={time.time()}"]
    run(found, "build", *flags, "-o", program, "./pools", folder=HERE / "go", variables=variables)
    return Program("Go", [str(program)])


def php(_: Path) -> Program:
    need("php")
    if "FFI" not in run("php", "-m").split():
        raise Missing("PHP has no FFI")
    run("cargo", "build", "--quiet", "--profile", PROFILE, "-p", "pgentra-c")
    return Program("PHP", ["php", str(HERE / "php" / "pools.php")], {"PGENTRA_LIBRARY": str(TARGET / "libpgentra.so")})


def ruby(_: Path) -> Program:
    need("ruby")
    if subprocess.run(["ruby", "-e", "require 'ffi'; require 'pg'; require 'sequel'"], check=False).returncode:
        raise Missing("Ruby has no ffi, pg and sequel")
    run("cargo", "build", "--quiet", "--profile", PROFILE, "-p", "pgentra-c")
    library = {"PGENTRA_LIBRARY": str(TARGET / "libpgentra.so")}
    return Program("Ruby", ["ruby", str(HERE / "ruby" / "pools.rb")], library)


def rust(_: Path) -> Program:
    run("cargo", "build", "--quiet", "--profile", PROFILE, "-p", "pgentra-benchmarks", "--bin", "pgentra-pools")
    return Program("Rust", [str(TARGET / "pgentra-pools")])


BUILDERS: dict[str, Callable[[Path], Program]] = {
    "python": python,
    "node": node,
    "dotnet": dotnet,
    "c": c,
    "java": java,
    "go": go,
    "php": php,
    "ruby": ruby,
    "rust": rust,
}


def build(names: list[str], folder: Path) -> list[Program]:
    """Builds the programs of some languages into `folder`; reports those that this machine cannot build.

    With CI=true a language that cannot be built is an error.
    """
    programs = []
    for name in names:
        try:
            programs.append(BUILDERS[name](folder))
        except Missing as reason:
            if os.environ.get("CI") == "true":
                raise
            print(f"not tried: {name}: {reason}", flush=True)
    return programs


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for program in build(sys.argv[1:] or list(BUILDERS), Path(scratch)):
            print(program.language, program.command)
