"""Measures pgentra and the libraries in use today side by side: `make bench`.

    benchmarks/run.py [PART...]    every part, or only those: rust python c php ruby dotnet java go proxy

Every figure is the median of 5 processes, ours and the peer's alternating, on one emulator. The tables are printed and
written to `results.json` and `results.md` beside this file, where they replace those of the same parts; rows that miss
their goal say so. Node's part is `node/run.mjs`.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tools")]

import environment  # noqa: E402
import proxy_bench  # noqa: E402
import report  # noqa: E402
from report import Row, Table  # noqa: E402
from support.emulator import Emulator  # noqa: E402

RUNS = 5
LIMIT_S = 180.0
SECRET = "bench-api-secret"

Result = dict[str, Any]


@dataclass
class Bench:
    """The measuring programs and the emulator."""

    emulator: Emulator
    variables: dict[str, str]
    rust: list[str]
    python: dict[str, list[str]]
    dotnet: list[str]
    java: dict[str, list[str]]
    go: list[str]
    rows: list[Row] = field(default_factory=list)

    def start(self, language: str, measure: str, who: str, **variables: str) -> subprocess.Popen[str]:
        programs = {"rust": self.rust, "dotnet": self.dotnet, "java": self.java.get(who), "go": self.go}
        program = programs.get(language) or self.python[who]
        return subprocess.Popen(
            [*program, measure, who],
            env=self.variables | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, language: str, measure: str, who: str) -> Result:
        """Measures one figure, with its token requests and connections."""
        self.emulator.call("DELETE", "/requests")
        result = finish(self.start(language, measure, who))
        seen = self.emulator.call("GET", "/requests")
        counter = seen["counters"].get(endpoint_of(language), {})
        return result | {"requests": counter.get("total", 0), "connections": seen["accepted"].get("entra", 0)}

    def both(self, language: str, measure: str) -> tuple[Result, Result]:
        """Returns our and the peer's figures, each the median of its runs."""
        runs: dict[str, list[Result]] = {"ours": [], "peer": []}
        for _ in range(RUNS):
            for who, results in runs.items():
                results.append(self.measure(language, measure, who))
        return median(runs["ours"]), median(runs["peer"])

    def next_call(self, language: str, who: str, wait_s: float, **fault: Any) -> list[Result]:
        """Measures a call `wait_s` after a token arrived, with `fault` from then on, in each run."""
        results = []
        for _ in range(RUNS if fault.get("status") is None or who == "ours" else 1):
            process = self.start(language, "next", who)
            ready(process)
            time.sleep(wait_s)
            with self.emulator.fault(endpoint=endpoint_of(language), **fault):
                results.append(proceed(process))
        return results

    def add(
        self,
        work: str,
        must: str,
        ours: str,
        peer: str,
        ok: bool,
        figures: tuple[Result, ...] = (),
        chart: str = "",
    ) -> None:
        """Adds a row. `figures` are the results behind its texts: ours, and the peer's if there is one."""
        numbers = {name: figures_of(result) for name, result in zip(("ours", "peer"), figures, strict=False)}
        self.rows.append(Row(work, must, ours, peer, ok, numbers, chart))
        say(f"{work}: {ours} (must be {must}; peer {peer}){'' if ok else '  SHORT'}")


def figures_of(result: Result) -> dict[str, float]:
    """Returns the numbers of a result; `served` is 1 if no call failed."""
    numbers = {key: round(value, 6) for key, value in result.items() if isinstance(value, (int, float))}
    return numbers | ({"served": int(not result["errors"])} if "errors" in result else {})


def endpoint_of(language: str) -> str:
    """Returns the token source. Java's peer cannot trust the emulator's token endpoint: it asks Microsoft first."""
    return "app_service" if language == "java" else "token"


def say(line: str) -> None:
    print(f"[pgentra] {line}", flush=True)


def ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    if not json.loads(process.stdout.readline() or "{}").get("ready"):
        raise RuntimeError(f"{process.args!r} did not get ready")


def proceed(process: subprocess.Popen[str]) -> Result:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return finish(process)


def finish(process: subprocess.Popen[str]) -> Result:
    try:
        out, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    if process.returncode:
        raise RuntimeError(f"{process.args!r} ended with status {process.returncode}")
    result: Result = json.loads(out.splitlines()[-1])
    return result


def median(results: list[Result]) -> Result:
    numbers = {key for key, value in results[0].items() if isinstance(value, (int, float))}
    return {key: statistics.median(result[key] for result in results) for key in numbers} | {
        "errors": [result["error"] for result in results if result.get("error")],
        "most_requests": max(result.get("requests", 0) for result in results),
        "most_connections": max(result.get("connections", 0) for result in results),
    }


def exactly(result: Result) -> str:
    requests, connections = result["most_requests"], result["most_connections"]
    return f"{requests} request{'s' * (requests != 1)}, {connections} connection{'s' * (connections != 1)}"


def rust_rows(bench: Bench) -> None:
    ours, peer = bench.both("rust", "warm")
    bare = ours["ns"] - ours["ns_of_clocks"]
    bench.add(
        "warm `login` with claims cached",
        "<= 60 ns, no allocation",
        f"{ours['ns']:.0f} ns ({bare:.0f} ns without clocks), {ours['allocations']:.2g} allocations",
        f"{peer['ns']:.0f} ns, {peer['allocations']:.2g} allocations (`get_token`)",
        ours["ns"] <= 60 and ours["allocations"] < 0.01,
        (ours, peer),
        "warm",
    )
    ours, peer = bench.both("rust", "threads")
    bench.add(
        "the same from two threads, throughput over that of one",
        ">= 1.3 x",
        f"{ours['ratio']:.2f} x",
        f"{peer['ratio']:.2f} x",
        ours["ratio"] >= 1.3,
        (ours, peer),
    )


def cold_rows(bench: Bench, language: str, callers: str) -> None:
    ours, peer = bench.both(language, "first")
    bench.add(
        "first token over TLS on loopback",
        "<= 20 ms, 1 request, 1 connection",
        f"{ours['ms']:.1f} ms, {exactly(ours)}",
        f"{peer['ms']:.1f} ms, {exactly(peer)}",
        ours["ms"] <= 20 and ours["most_requests"] == 1 and ours["most_connections"] == 1,
        (ours, peer),
    )
    with bench.emulator.fault(endpoint="token", latency_ms=200):
        ours, peer = bench.both(language, "stampede")
    bench.add(
        f"200 {callers}, cold, service takes 200 ms",
        "1 request, p99 <= 230 ms",
        f"{ours['most_requests']} request{'s' * (ours['most_requests'] != 1)}, p99 {ours['ms']:.0f} ms",
        f"{peer['requests']:.0f} requests, p99 {peer['ms']:.0f} ms",
        ours["ms"] <= 230 and ours["most_requests"] == 1,
        (ours, peer),
        "herd",
    )


def refresh_row(bench: Bench, language: str, limit_ms: float = 1) -> None:
    # Past the refresh point of 4.8..6 s, long before the expiry. The peer refreshes 300 s before the expiry.
    with tokens(bench.emulator, lifetime_s=12):
        ours = median(bench.next_call(language, "ours", 6.5, latency_ms=1000))
    with tokens(bench.emulator, lifetime_s=250):
        peer = median(bench.next_call(language, "peer", 0.0, latency_ms=1000))
    bench.add(
        "call in the refresh window, service takes 1 s",
        f"<= {limit_ms} ms",
        outcome(ours),
        outcome(peer),
        ours["ms"] <= limit_ms and not ours["errors"],
        (ours, peer),
        "slow",
    )


def outage_row(bench: Bench, language: str, ours: Result, limit_ms: float = 1) -> None:
    with tokens(bench.emulator, lifetime_s=200):
        peer = median(bench.next_call(language, "peer", 0.0, status=503))
    bench.add(
        "service answers 503, token good for 200 s more",
        f"served, <= {limit_ms} ms",
        outcome(ours),
        outcome(peer),
        ours["ms"] <= limit_ms and not ours["errors"],
        (ours, peer),
        "outage",
    )


def outcome(result: Result) -> str:
    time_ = f"{result['ms']:.3f} ms" if result["ms"] < 100 else f"{result['ms'] / 1e3:.2f} s"
    return f"error after {time_}" if result["errors"] else f"served, {time_}"


def chain_rows(bench: Bench) -> None:
    def calls(**variables: str) -> list[Result]:
        with bench.emulator.fault(endpoint="imds", connection="black_hole"):
            process = bench.start("rust", "chain", "ours", **variables)
            ready(process)
        # A failure is remembered for about a second.
        time.sleep(2)
        found: list[Result] = proceed(process)["calls"]
        return found

    peer = "no chain; managed identity alone: about 100 s, computed from its schedule"
    found = [calls(PATH="/nonexistent") for _ in range(RUNS)]
    first = statistics.median(one["ms"] for one, *_ in found) / 1e3
    again = statistics.median(two["ms"] for _, two, _ in found)
    all_failed = all(one["error"] and two["error"] for one, two, _ in found)
    sticky = [three["error"] for *_, three in found if three["error"]]
    bench.add(
        "default chain, black-holed IMDS, nothing else available; the same again; then IMDS is back",
        "<= 4.5 s (1 s probe, 3 s probe); <= 1 ms; not sticky",
        f"error after {first:.2f} s; after {again:.3f} ms; {'sticky' if sticky else 'then a token'}",
        peer,
        first <= 4.5 and again <= 1 and all_failed and not sticky,
        ({"s": first, "ms_again": again},),
    )
    with tempfile.TemporaryDirectory() as directory:
        token = bench.emulator.mint("app-mi")
        answer = {"accessToken": token.token, "expires_on": token.expires_on, "tokenType": "Bearer", "tenant": "t"}
        az = Path(directory, "az")
        az.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
        az.chmod(0o755)
        found = [calls(PATH=f"{directory}:/usr/bin:/bin") for _ in range(RUNS)]
    first = statistics.median(one["ms"] for one, *_ in found) / 1e3
    failed = [one["error"] for one, *_ in found if one["error"]]
    bench.add(
        "default chain, black-holed IMDS, `az` signed in",
        "<= 1.5 s",
        f"{'error' if failed else 'token'} after {first:.2f} s",
        peer,
        first <= 1.5 and not failed,
        ({"s": first},),
    )


def credential_rows(bench: Bench) -> None:
    """Measures what the peer has no credential for, and what it supports for the database only."""
    result = median([bench.measure("rust", "scope", "ours") for _ in range(RUNS)])
    bench.add(
        "warm token for another scope, over one for PostgreSQL",
        "<= 1.1 x",
        f"{result['ns'] / result['ns_of_database']:.2f} x ({result['ns']:.0f} ns)",
        "",
        result["ns"] <= 1.1 * result["ns_of_database"],
        (result,),
    )
    result = median([bench.measure("rust", "sign", "ours") for _ in range(RUNS)])
    bench.add(
        "certificate's assertion, RSA 2048, warm",
        "<= 1 ms",
        f"{result['ms']:.2f} ms",
        "",
        result["ms"] <= 1,
        (result,),
    )
    result = bench.measure("rust", "users", "ours")
    bench.add(
        "on behalf of 10,000 users, warm: a token; a new credential and its token",
        "<= 2 us",
        f"{result['us']:.2f} us; {result['us_anew']:.1f} us",
        "",
        result["us"] <= 2,
        (result,),
    )


def python_rows(bench: Bench) -> None:
    for measure, name in (("warm-identity", "managed identity"), ("warm-secret", "secret")):
        ours, peer = bench.both("python", measure)
        bench.add(
            f"warm `get_entra_conninfo()`, {name}",
            "<= 1.5 us",
            f"{ours['us']:.2f} us",
            f"{peer['us']:.1f} us",
            ours["us"] <= 1.5,
            (ours, peer),
            "warm" if measure == "warm-identity" else "",
        )
    ours, peer = bench.both("python", "import")
    bench.add(
        "`import pgentra.psycopg3` over importing psycopg",
        "<= 15 ms, <= 8 MB",
        f"{ours['ms']:.1f} ms, {ours['mb']:.1f} MB",
        f"{peer['ms']:.0f} ms, {peer['mb']:.0f} MB",
        ours["ms"] <= 15 and ours["mb"] <= 8,
        (ours, peer),
        "memory",
    )
    wheel = environment.wheel()
    installed, needed = installed_size(bench.python["ours"][0], "pgentra")
    peer_size, peer_packages = installed_size(bench.python["peer"][0], "azure-identity", "azure-postgresql-auth")
    wheel_mb = wheel.stat().st_size / 1e6
    bench.add(
        "wheel; installed size",
        "<= 4 MB; <= 10 MB, no dependencies",
        f"{wheel_mb:.1f} MB; {installed:.1f} MB, {needed - 1} dependencies",
        f"{peer_size:.0f} MB, {peer_packages} packages",
        wheel_mb <= 4 and installed <= 10 and needed == 1,
        ({"mb": installed, "wheel_mb": wheel_mb, "packages": needed}, {"mb": peer_size, "packages": peer_packages}),
        "size",
    )


def c_rows(bench: Bench) -> None:
    """Measures libpgentra, which has no peer."""
    say("building libpgentra, profile release")
    subprocess.run(["cargo", "build", "--quiet", "--release", "-p", "pgentra-c"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    library = target / "libpgentra.so"
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory, "measure")
        Path(directory, "libpgentra.so.1").symlink_to(library)
        words = ["cc", "-O2", f"-I{ROOT / 'bindings-c' / 'include'}", str(ROOT / "benchmarks" / "c" / "measure.c")]
        subprocess.run([*words, "-o", str(program), str(library), "-lpthread", f"-Wl,-rpath,{directory}"], check=True)
        results = [json.loads(subprocess.run([program], capture_output=True, check=True).stdout) for _ in range(RUNS)]
    warm = median(results)
    bench.add(
        "warm `pgentra_provider_get` with `pgentra_string_free`; beside a thread that does the same",
        "<= 150 ns",
        f"{warm['ns']:.0f} ns; {warm['ns_on_two_threads']:.0f} ns",
        "",
        warm["ns"] <= 150,
        (warm,),
        "warm",
    )
    size = library.stat().st_size / 1e6
    bench.add("libpgentra.so, stripped", "<= 6 MB", f"{size:.1f} MB", "", size <= 6, ({"mb": size},), "size")


def script_rows(bench: Bench, command: list[str], file: str, second: tuple[str, str, float], warm_us: float) -> None:
    """Measures a binding that loads libpgentra, which `c_rows` has built. `second` is another figure."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    variables = os.environ | {"PGENTRA_LIBRARY": str(target / "libpgentra.so")}
    words = [*command, str(ROOT / "benchmarks" / file)]
    done = [subprocess.run(words, env=variables, capture_output=True, check=True).stdout for _ in range(RUNS)]
    found = median([json.loads(output) for output in done])
    us = found["warm_us"]
    bench.add("warm `login`", f"<= {warm_us:g} us", f"{us:.2f} us", "", us <= warm_us, ({"us": us},), "warm")
    work, key, limit = second
    bench.add(work, f"<= {limit:g} us", f"{found[key]:.0f} us", "", found[key] <= limit, ({"us": found[key]},))


def build_dotnet() -> list[str]:
    """Builds the measuring program in C#; returns nothing, and reports it, if there is no .NET SDK."""
    if shutil.which("dotnet") is None:
        say("not tried: .NET: none on this machine")
        return []
    say("building the measuring program in C#, Release")
    subprocess.run(["cargo", "build", "--quiet", "--release", "-p", "pgentra-c"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    project = ROOT / "benchmarks" / "dotnet"
    words = ["dotnet", "build", str(project), "-c", "Release", "-v", "q", "-nologo"]
    subprocess.run([*words, f"-p:PgEntraLibrary={target / 'libpgentra.so'}"], check=True)
    return ["dotnet", str(project / "bin" / "Release" / "net10.0" / "PgEntra.Benchmarks.dll")]


def dotnet_rows(bench: Bench) -> None:
    """Measures PgEntra's password provider and Azure.Identity's."""
    for measure, name in (("warm-identity", "managed identity"), ("warm-secret", "secret")):
        ours, peer = bench.both("dotnet", measure)
        bench.add(
            f"warm password provider, {name}: synchronous; asynchronous; allocated a call",
            "<= 0.3 us; <= 0.4 us; 0 bytes",
            f"{ours['us']:.2f} us; {ours['us_async']:.2f} us; {ours['bytes']:.0f} bytes",
            f"{peer['us']:.1f} us; {peer['us_async']:.1f} us; {peer['bytes']:.0f} bytes",
            ours["us"] <= 0.3 and ours["us_async"] <= 0.4 and ours["bytes"] == 0,
            (ours, peer),
            "warm" if measure == "warm-identity" else "",
        )
    bare, ours, peer = (first_token(bench, "dotnet", who) for who in ("bare", "ours", "peer"))
    bench.add(
        "process start to the first token, over a bare Npgsql program",
        "<= 60 ms",
        f"+{ours['ms'] - bare['ms']:.0f} ms ({ours['ms']:.0f} ms in all)",
        f"+{peer['ms'] - bare['ms']:.0f} ms",
        ours["ms"] - bare["ms"] <= 60,
        (over(ours, bare), over(peer, bare)),
    )
    bench.add(
        "memory after it, over the same",
        "<= 8 MB",
        f"+{ours['mb'] - bare['mb']:.1f} MB",
        f"+{peer['mb'] - bare['mb']:.0f} MB",
        ours["mb"] - bare["mb"] <= 8,
        (over(ours, bare), over(peer, bare)),
        "memory",
    )
    with bench.emulator.fault(endpoint="token", latency_ms=200):
        ours, peer = bench.both("dotnet", "stampede")
    bench.add(
        "200 async callers, cold, service takes 200 ms",
        "1 request, p99 <= 230 ms",
        f"{ours['most_requests']} request{'s' * (ours['most_requests'] != 1)}, p99 {ours['ms']:.0f} ms",
        f"{peer['requests']:.0f} requests, p99 {peer['ms']:.0f} ms",
        ours["ms"] <= 230 and ours["most_requests"] == 1,
        (ours, peer),
        "herd",
    )


def build_java() -> dict[str, list[str]]:
    """Builds the jar that ships and the measuring program; reports it if there is no JDK with Maven."""
    if shutil.which("mvn") is None or shutil.which("javac") is None:
        say("not tried: Java: no JDK with Maven on this machine")
        return {}
    say("building the jar and the measuring program in Java")
    subprocess.run([str(ROOT / "tools" / "java.sh"), "jar"], check=True, stdout=subprocess.DEVNULL)
    folder, source = ROOT / ".cache" / "java" / "bench", ROOT / "benchmarks" / "java"
    copy = "org.apache.maven.plugins:maven-dependency-plugin:3.9.0:copy-dependencies"
    words = ["mvn", "--quiet", "--batch-mode", "-f", str(source / "pom.xml"), copy]
    subprocess.run([*words, f"-DoutputDirectory={folder / 'peer'}"], check=True)
    (driver,) = (folder / "peer").glob("postgresql-*.jar")
    words = ["javac", "--release", "17", "-cp", str(driver), "-d", str(folder), str(source / "Measure.java")]
    subprocess.run(words, check=True)

    def program(*jars: Path) -> list[str]:
        return ["java", "-Xmx512m", "-cp", os.pathsep.join(map(str, (folder, driver, *jars))), "Measure"]

    ours = [jar for jar in (ROOT / ".cache" / "java" / "jars").glob("pgentra-[0-9]*.jar") if jar.stem.count("-") == 1]
    peer = [jar for jar in (folder / "peer").glob("*.jar") if jar != driver]
    return {"ours": program(*ours), "peer": program(*peer), "bare": program()}


def jars_of(bench: Bench, who: str) -> list[Path]:
    """Returns the jars besides the driver."""
    path = bench.java[who][bench.java[who].index("-cp") + 1].split(os.pathsep)
    return [Path(one) for one in path[2:]]


def java_rows(bench: Bench) -> None:
    """Measures our plugin of pgjdbc and that of azure-identity-extensions."""
    ours, peer = bench.both("java", "warm-identity")
    ours_chain, peer_chain = bench.both("java", "warm-chain")
    bench.add(
        "warm login (plugin object and password): managed identity; default chain",
        "<= 0.5 us",
        f"{ours['us']:.2f} us; {ours_chain['us']:.2f} us",
        f"{peer['us']:.1f} us; {peer_chain['us']:.0f} us",
        ours["us"] <= 0.5 and ours_chain["us"] <= 0.5,
        (ours | {"us_chain": ours_chain["us"]}, peer | {"us_chain": peer_chain["us"]}),
        "warm",
    )
    bare, ours, peer = (first_token(bench, "java", who) for who in ("bare", "ours", "peer"))
    bench.add(
        "JVM start to the first token, over a bare pgjdbc program",
        "<= 80 ms",
        f"+{ours['ms'] - bare['ms']:.0f} ms ({ours['ms']:.0f} ms in all)",
        f"+{peer['ms'] - bare['ms']:.0f} ms",
        ours["ms"] - bare["ms"] <= 80,
        (over(ours, bare), over(peer, bare)),
    )
    sizes = {who: sum(jar.stat().st_size for jar in jars_of(bench, who)) / 1e6 for who in ("ours", "peer")}
    bench.add(
        "memory after it, over the same; jars besides the driver; their size",
        "<= 8 MB; 1; <= 3 MB",
        f"+{ours['mb'] - bare['mb']:.1f} MB; {len(jars_of(bench, 'ours'))}; {sizes['ours']:.1f} MB",
        f"+{peer['mb'] - bare['mb']:.0f} MB; {len(jars_of(bench, 'peer'))}; {sizes['peer']:.1f} MB",
        ours["mb"] - bare["mb"] <= 8 and len(jars_of(bench, "ours")) == 1 and sizes["ours"] <= 3,
        (
            over(ours, bare) | {"mb_of_jars": sizes["ours"]},
            over(peer, bare) | {"mb_of_jars": sizes["peer"]},
        ),
        "memory",
    )
    with bench.emulator.fault(endpoint="app_service", latency_ms=200):
        ours, peer = bench.both("java", "stampede")
    bench.add(
        "200 threads, cold, service takes 200 ms",
        "1 request, p99 <= 350 ms",
        f"{ours['most_requests']} request{'s' * (ours['most_requests'] != 1)}, p99 {ours['ms']:.0f} ms",
        f"{peer['requests']:.0f} requests, p99 {peer['ms']:.0f} ms",
        ours["ms"] <= 350 and ours["most_requests"] == 1,
        (ours, peer),
        "herd",
    )


def first_token(bench: Bench, language: str, who: str) -> Result:
    """Returns the milliseconds from the start of a process to its first line, and its memory at that time."""
    results = []
    for _ in range(RUNS):
        started = time.perf_counter()
        process = bench.start(language, "first", who)
        assert process.stdout is not None
        line = process.stdout.readline()
        ms = (time.perf_counter() - started) * 1e3
        finish_quietly(process)
        results.append(json.loads(line) | {"ms": ms})
    return median(results)


def over(result: Result, bare: Result) -> Result:
    """Returns the milliseconds and megabytes beyond those of a program without a library."""
    return {"ms": result["ms"] - bare["ms"], "mb": result["mb"] - bare["mb"]}


def finish_quietly(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=LIMIT_S)
    if process.returncode:
        raise RuntimeError(f"{process.args!r} ended with status {process.returncode}")


def build_go() -> list[str]:
    """Builds the measuring program in Go; returns nothing, and reports it, if there is no Go."""
    go = shutil.which("go") or "/usr/local/go/bin/go"
    if not Path(go).exists():
        say("not tried: Go: none on this machine")
        return []
    say("building the measuring program in Go, profile release")
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    variables = {**os.environ, "PROFILE": "release", "PGENTRA_TARGET": str(target), "GOTOOLCHAIN": "local"}
    subprocess.run([str(ROOT / "tools" / "go.sh"), "archive"], env=variables, check=True)
    program = target / "go-measure"
    # The archive is not an input of go's cache.
    words = [go, "build", "-buildvcs=false", "-ldflags", f"-X main.built={time.time()}", "-o", str(program), "."]
    subprocess.run(words, cwd=ROOT / "benchmarks" / "go", env=variables, check=True)
    return [str(program)]


def go_rows(bench: Bench) -> None:
    """Measures `TokenProvider.Login` and azidentity's `GetToken`."""
    for measure, name in (("warm-identity", "managed identity"), ("warm-secret", "secret")):
        ours, peer = bench.both("go", measure)
        bench.add(
            f"warm login, {name}",
            "<= 150 ns, 0 allocations",
            f"{ours['ns']:.0f} ns ({ours['cpu_ns']:.0f} of processor time), {ours['allocations']:.2g} allocations",
            f"{peer['ns']:.0f} ns ({peer['cpu_ns']:.0f} of processor time), {peer['allocations']:.2g} allocations",
            ours["ns"] <= 150 and ours["allocations"] < 0.01,
            (ours, peer),
            "warm" if measure == "warm-identity" else "",
        )
    ours, peer = bench.both("go", "first")
    bench.add(
        "first token over TLS on loopback",
        "<= 20 ms, 1 request, 1 connection",
        f"{ours['ms']:.1f} ms, {exactly(ours)}",
        f"{peer['ms']:.1f} ms, {exactly(peer)}",
        ours["ms"] <= 20 and ours["most_requests"] == 1 and ours["most_connections"] == 1,
        (ours, peer),
    )
    for measure, endpoint, name in (
        ("stampede-identity", "app_service", "managed identity"),
        ("stampede", "token", "secret"),
    ):
        with bench.emulator.fault(endpoint=endpoint, latency_ms=200):
            found = {who: [go_stampede(bench, measure, who, endpoint) for _ in range(RUNS)] for who in ("ours", "peer")}
        ours, peer = median(found["ours"]), median(found["peer"])
        bench.add(
            f"200 goroutines, cold, service takes 200 ms, {name}",
            "1 request, p99 <= 230 ms",
            f"{ours['most_requests']} request{'s' * (ours['most_requests'] != 1)}, p99 {ours['ms']:.0f} ms",
            f"{peer['requests']:.0f} request{'s' * (peer['requests'] != 1)}, p99 {peer['ms']:.0f} ms",
            ours["ms"] <= 230 and ours["most_requests"] == 1,
            (ours, peer),
            "herd" if measure == "stampede" else "",
        )
    go_size(bench)


def go_stampede(bench: Bench, measure: str, who: str, endpoint: str) -> Result:
    bench.emulator.call("DELETE", "/requests")
    result = finish(bench.start("go", measure, who))
    counters = bench.emulator.call("GET", "/requests")["counters"]
    return result | {"requests": counters.get(endpoint, {}).get("total", 0)}


def go_size(bench: Bench) -> None:
    archive = next((ROOT / "bindings-go" / "lib").glob("*/libpgentra.a"))
    mb = archive.stat().st_size / 1e6
    work = "the archive that a build downloads"
    bench.add(work, "<= 15 MB", f"{mb:.1f} MB", "", mb <= 15, ({"mb": mb},), "size")


def connect_row(bench: Bench) -> None:
    result = median([bench.measure("python", "connect", "ours") for _ in range(RUNS)])
    bench.add(
        "connection open through psycopg3, over a static password on the same path",
        "<= 1.02",
        f"{result['ratio']:.3f} ({result['ms']:.1f} ms)",
        "",
        result["ratio"] <= 1.02,
        (result,),
    )


def installed_size(python: str, *packages: str) -> tuple[float, int]:
    """Returns the megabytes on disk and the number of packages of `packages` with their dependencies."""
    program = """
import json, re, sys
from importlib.metadata import PackageNotFoundError, distribution
found, wanted = {}, sys.argv[1:]
while wanted:
    name = wanted.pop()
    try:
        package = distribution(name)
    except PackageNotFoundError:
        continue
    key = package.metadata["Name"].lower()
    if key in found:
        continue
    files = [file.locate() for file in package.files or () if "__pycache__" not in file.parts]
    found[key] = sum(file.stat().st_size for file in files if file.exists())
    needs = [need for need in package.requires or () if "extra ==" not in need]
    wanted += [re.match(r"[\\w.-]+", need)[0] for need in needs]
print(json.dumps([sum(found.values()) / 1e6, len(found)]))
"""
    done = subprocess.run([python, "-c", program, *packages], capture_output=True, text=True, check=True)
    size, count = json.loads(done.stdout)
    return float(size), int(count)


@contextmanager
def tokens(emulator: Emulator, **settings: Any) -> Iterator[None]:
    emulator.set_tokens(**settings)
    try:
        yield
    finally:
        emulator.set_tokens(**dict.fromkeys(settings))


def surroundings(emulator: Emulator, application: dict[str, Any]) -> str:
    place = emulator.server
    return json.dumps(
        {
            "authority_host": emulator.authority_host,
            "ca_file": emulator.bundle_file,
            "imds_host": emulator.imds_host,
            "tenant_id": emulator.tenant_id,
            "client_id": application["appid"],
            "client_secret": SECRET,
            "control": emulator.control,
            "target": {
                "host": place.host,
                "port": place.port,
                "dbname": place.database,
                "sslmode": "verify-full",
                "sslrootcert": emulator.bundle_file,
            },
        }
    )


def start_bench(
    python: dict[str, list[str]], rust: list[str], dotnet: list[str], java: dict[str, list[str]], go: list[str]
) -> Bench:
    emulator = Emulator.start("--config", str(ROOT / "benchmarks" / "emulator.toml"))
    (application,) = (one for one in emulator.call("GET", "/principals") if one["name"] == "bench-api")
    variables = emulator.environment() | {"PGENTRA_BENCHMARK": surroundings(emulator, application)}
    return Bench(emulator, variables, rust, python, dotnet, java, go)


def machine() -> list[str]:
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        processor = names[0].partition(":")[2].strip() if names else processor
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return [
        f"{os.cpu_count()} cores, {processor}",
        f"{platform.system()} {platform.release()}, {rustc}, Python {platform.python_version()}",
        "peers: azure_identity 1.0.0 (Rust); azure-identity 1.27.0 with azure-postgresql-auth 1.1.0 (Python); "
        "Azure.Identity 1.21.0 (.NET); azure-identity-extensions 1.2.9 (Java); azidentity 1.15.0 (Go)",
        "profile release",
        f"each figure the median of {RUNS} processes, ours and the peer's by turns",
    ]


class Sleepers:
    """Starts processes whose token of 400 s is past its refresh point after 200 s; others run meanwhile."""

    def __init__(self, bench: Bench, languages: list[str]) -> None:
        self.bench = bench
        bench.emulator.set_tokens(lifetime_s=400)
        self.processes = {name: [bench.start(name, "next", "ours") for _ in range(RUNS)] for name in languages}
        for process in self.all():
            ready(process)
        self.awake_at = time.monotonic() + 200

    def all(self) -> Iterator[subprocess.Popen[str]]:
        for processes in self.processes.values():
            yield from processes

    def wake(self) -> dict[str, Result]:
        """Measures a call of each library while the token source returns 503."""
        wait_s = max(0.0, self.awake_at - time.monotonic())
        say(f"waiting {wait_s:.0f} s for a token to have 200 s left")
        time.sleep(wait_s)
        for endpoint in ("token", "app_service"):
            self.bench.emulator.add_fault(endpoint=endpoint, status=503)
        return {name: median([proceed(process) for process in all_]) for name, all_ in self.processes.items()}

    def end(self) -> None:
        for process in self.all():
            process.kill()
        self.bench.emulator.stop()


#: The parts that start measuring programs against the emulator; `sleepers` are those with a row about an outage.
LANGUAGES = ("rust", "python", "c", "php", "ruby", "dotnet", "java", "go")
PARTS = (*LANGUAGES, "proxy")


def main(wanted: list[str]) -> int:
    if unknown := set(wanted) - {*PARTS, "node"}:
        sys.exit(f"[pgentra] no such part: {', '.join(sorted(unknown))}; the parts are {' '.join(PARTS)} node")
    parts = [part for part in PARTS if not wanted or part in wanted]
    found = report.read()
    tables = languages(parts) if set(parts) & set(LANGUAGES) else []
    if "proxy" in parts:
        tables += proxy_bench.measure()
    if not tables:
        return 0
    for table in tables:
        found.put(table)
    found.machine = machine()
    found.write()
    print(found.markdown())
    rows = [row for table in found.tables for row in table.rows]
    short = [row.work for row in rows if not row.ok]
    print(f"{len(short)} short" + (f": {'; '.join(short)}" if short else ""))
    return 0


def build_rust(parts: list[str]) -> list[str]:
    if "rust" not in parts:
        return []
    say("building the measuring program, profile release")
    build = ["cargo", "build", "--quiet", "--release", "-p", "pgentra-benchmarks"]
    subprocess.run(build, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return [str(target / "release" / "pgentra-benchmarks")]


def languages(parts: list[str]) -> list[Table]:
    """Measures the languages of `parts`."""
    dotnet = build_dotnet() if "dotnet" in parts else []
    java = build_java() if "java" in parts else {}
    go = build_go() if "go" in parts else []
    rust = build_rust(parts)
    python: dict[str, list[str]] = {}
    if "python" in parts:
        measure = str(ROOT / "benchmarks" / "python" / "measure.py")
        python = {"ours": [sys.executable, measure], "peer": [str(environment.peer() / "bin" / "python"), measure]}
    note = report.busy()
    built = {"rust": rust, "python": python, "dotnet": dotnet, "java": java, "go": go}

    tables: list[Table] = []
    bench = start_bench(python, rust, dotnet, java, go)
    waiting = [name for name, program in built.items() if program]
    sleepers = Sleepers(start_bench(python, rust, dotnet, java, go), waiting) if waiting else None
    outage: dict[str, Result] = {}

    def outage_of(language: str, limit_ms: float = 1) -> None:
        if not outage:
            assert sleepers is not None
            outage.update(sleepers.wake())
        outage_row(bench, language, outage[language], limit_ms)

    def finish_table(title: str) -> None:
        tables.append(Table(title, bench.rows, note=note))
        bench.rows = []

    try:
        if rust:
            rust_rows(bench)
            cold_rows(bench, "rust", "callers")
            refresh_row(bench, "rust")
            outage_of("rust")
            chain_rows(bench)
            credential_rows(bench)
            finish_table("Rust")
        if python:
            python_rows(bench)
            cold_rows(bench, "python", "threads")
            refresh_row(bench, "python")
            outage_of("python")
            connect_row(bench)
            finish_table("Python")
        if {"c", "php", "ruby"} & set(parts):
            # PHP and Ruby load the library that this builds.
            c_rows(bench)
            if "c" in parts:
                finish_table("C")
            bench.rows = []
        if "php" in parts and shutil.which("php"):
            more = ("a request of PHP-FPM: declarations, open, log in, close", "request_us", 150.0)
            script_rows(bench, ["php"], "php/measure.php", more, 3)
            finish_table("PHP")
        if "ruby" in parts and shutil.which("ruby"):
            more = ("open a provider and log in, with a cached token", "open_us", 150.0)
            script_rows(bench, ["ruby"], "ruby/measure.rb", more, 2)
            finish_table("Ruby")
        if dotnet:
            dotnet_rows(bench)
            refresh_row(bench, "dotnet")
            outage_of("dotnet")
            finish_table(".NET")
        if java:
            java_rows(bench)
            refresh_row(bench, "java")
            outage_of("java")
            finish_table("Java")
        if go:
            go_rows(bench)
            refresh_row(bench, "go", limit_ms=0.1)
            outage_of("go", limit_ms=0.1)
            finish_table("Go")
    finally:
        if sleepers is not None:
            sleepers.end()
        bench.emulator.stop()
    return tables


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
