"""`examples/container` as text, because no engine runs here: the image, the manifests, and that their options exist."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples/container"
PGENTRA = Path(os.environ.get("PGENTRA_TARGET", ROOT / "target/debug")) / "pgentra"
USER = 65532
LIMIT_S = 60


def documents(file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / file).read_text()))


def pods(file: str) -> list[dict[str, Any]]:
    return [document["spec"]["template"] for document in documents(file) if "template" in document.get("spec", {})]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def options_of(command: str) -> set[str]:
    """The long options that a command of the program has."""
    done = subprocess.run([PGENTRA, command, "--help"], capture_output=True, text=True, check=True, timeout=LIMIT_S)
    return set(re.findall(r"--[a-z][a-z-]+", done.stdout))


MANIFESTS = sorted(path.name for path in FOLDER.glob("*.yaml"))


def test_container_file_has_the_program_alone() -> None:
    lines = [line for line in (FOLDER / "Containerfile").read_text().splitlines() if line and not line.startswith("#")]
    instructions = [line.split(maxsplit=1) for line in lines]
    assert instructions[0] == ["FROM", "scratch"]
    assert [name for name, _ in instructions] == ["FROM", "COPY", "USER", "ENV", "ENTRYPOINT"]
    assert ["USER", f"{USER}:{USER}"] in instructions
    # The form that needs no shell.
    assert ["ENTRYPOINT", '["/pgentra"]'] in instructions
    assert (FOLDER / ".dockerignore").read_text().splitlines() == ["*", "!pgentra"]


@pytest.mark.parametrize("file", MANIFESTS)
def test_manifest_passes_options_that_exist(file: str) -> None:
    checked = 0
    for pod in pods(file):
        for container in containers(pod):
            command = [
                *container.get("command", ["pgentra"] if container["name"] == "pgentra" else []),
                *container.get("args", []),
            ]
            if command[:1] != ["pgentra"]:
                continue
            own = command[1 : command.index("--")] if "--" in command else command[1:]
            given = {argument.split("=")[0] for argument in own if argument.startswith("--")}
            assert given and given <= options_of(own[0]), given - options_of(own[0])
            checked += 1
    assert checked == 1


@pytest.mark.parametrize("file", MANIFESTS)
def test_manifest_runs_as_a_user_without_privileges(file: str) -> None:
    for pod in pods(file):
        shared = pod["spec"]["securityContext"]
        assert shared["runAsNonRoot"] is True
        assert shared["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(pod):
            if "pgentra" in (container["name"], *container.get("command", [])):
                own = {**shared, **container["securityContext"]}
                assert own["allowPrivilegeEscalation"] is False and own["readOnlyRootFilesystem"] is True
                assert (own["runAsUser"], own["capabilities"]) == (USER, {"drop": ["ALL"]})


def test_sidecar_is_native_and_probed() -> None:
    (pod,) = pods("sidecar.yaml")
    (sidecar,) = pod["spec"]["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    probes = {name: sidecar[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/startupz",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    port = next(port for port in sidecar["ports"] if port["name"] == "pgentra-http")["containerPort"]
    assert f"--http=0.0.0.0:{port}" in sidecar["args"]
    drain = int(next(argument for argument in sidecar["args"] if argument.startswith("--drain"))[len("--drain=") : -1])
    assert drain < pod["spec"]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("file", ["sidecar.yaml", "job.yaml"])
def test_application_connects_to_the_address_of_the_proxy(file: str) -> None:
    (pod,) = pods(file)
    (application,) = (one for one in containers(pod) if one["name"] != "pgentra")
    (sidecar,) = (one for one in containers(pod) if one["name"] == "pgentra")
    environment = {entry["name"]: entry["value"] for entry in application["env"]}
    assert f"--listen={environment['PGHOST']}:{environment['PGPORT']}" in sidecar["args"]
    assert "PGPASSWORD" not in environment


def test_job_ends_with_its_work() -> None:
    assert any("--exit-when-idle=30s" in container.get("args", []) for container in containers(pods("job.yaml")[0]))
    (container,) = containers(pods("job-exec.yaml")[0])
    assert container["args"][:2] == ["exec", "--via=proxy"]
