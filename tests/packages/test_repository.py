"""The files that GitHub reads: issue forms, owners of code, Dependabot, workflows that call what the Makefile has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GITHUB = ROOT / ".github"
#: The manifest that Dependabot looks for, by its name of the ecosystem.
MANIFESTS = {
    "cargo": ["Cargo.toml"],
    "pip": ["*.txt"],
    "npm": ["package.json"],
    "nuget": ["**/*.csproj"],
    "maven": ["pom.xml"],
    "gomod": ["go.mod"],
    "github-actions": [".github/workflows/*.yml"],
}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_codeowners_names_paths_that_exist() -> None:
    lines = [line.split() for line in (GITHUB / "CODEOWNERS").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0][0] == "*"
    for pattern, *owners in lines:
        assert owners and all(re.fullmatch(r"@pgentra/[a-z]+", owner) for owner in owners)
        assert pattern == "*" or (ROOT / pattern.strip("/")).exists(), pattern


def test_dependabot_names_folders_with_manifests() -> None:
    updates = load(GITHUB / "dependabot.yml")["updates"]
    assert {update["package-ecosystem"] for update in updates} == set(MANIFESTS)
    for update in updates:
        for directory in update.get("directories", [update.get("directory")]):
            folder = ROOT / directory.strip("/")
            assert any(any(folder.glob(glob)) for glob in MANIFESTS[update["package-ecosystem"]]), directory


@pytest.mark.parametrize("form", sorted(path.name for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml")))
def test_issue_form_has_what_github_requires(form: str) -> None:
    document = load(GITHUB / "ISSUE_TEMPLATE" / form)
    if form == "config.yml":
        assert document["blank_issues_enabled"] is False
        assert all({"name", "url", "about"} == set(link) for link in document["contact_links"])
        return
    assert document["name"] and document["description"]
    ids = [part["id"] for part in document["body"] if part["type"] != "markdown"]
    assert len(ids) == len(set(ids))
    for part in document["body"]:
        assert part["type"] in ("markdown", "input", "textarea", "dropdown", "checkboxes")
        assert part["type"] == "markdown" or part["attributes"]["label"]
        assert part["type"] != "dropdown" or part["attributes"]["options"]


def commands(workflow: Any) -> list[str]:
    return [step["run"] for job in workflow["jobs"].values() for step in job.get("steps", []) if "run" in step]


def test_workflows_call_targets_and_scripts_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z0-9.-]+):", makefile, re.MULTILINE))
    targets |= set(re.findall(r"[\w.-]+", "".join(re.findall(r"^(?:SUITES|LINTS) = (.*)$", makefile, re.MULTILINE))))
    called: set[str] = set()
    for path in (GITHUB / "workflows").glob("*.yml"):
        workflow = load(path)
        texts = commands(workflow)
        for job in workflow["jobs"].values():
            for row in job.get("strategy", {}).get("matrix", {}).get("include", []):
                if "suites" in row:
                    texts.append("make " + row["suites"])
        for text in texts:
            for words in re.findall(r"\bmake ((?:[a-z][\w.-]*(?:\s+|$))+)", text.replace("${{ matrix.suites }}", "")):
                called |= set(words.split())
            for script in re.findall(r"\btools/[\w.-]+\.(?:sh|py)", text):
                assert (ROOT / script).is_file(), script
    assert called <= targets, called - targets
    assert {"lint", "soak", "fuzz", "docs-reference", "demo", "advisories"} <= called


def test_ci_runs_every_suite() -> None:
    (suites,) = re.findall(r"^SUITES = (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    rows = load(GITHUB / "workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]["include"]
    assert sorted(suites.split()) == sorted(" ".join(row["suites"] for row in rows).split())


def test_ci_requires_every_job() -> None:
    jobs = load(GITHUB / "workflows/ci.yml")["jobs"]
    assert set(jobs["done"]["needs"]) == set(jobs) - {"done"}


def test_release_publishes_only_after_approval_and_tests() -> None:
    jobs = load(GITHUB / "workflows/release.yml")["jobs"]
    assert jobs["publish"]["environment"] == "release"
    assert jobs["publish"]["if"] == "github.ref_type == 'tag'"
    assert set(jobs["collect"]["needs"]) == set(jobs) - {"collect", "publish"}
    writers = {name for name, job in jobs.items() if "id-token" in job.get("permissions", {})}
    assert writers == {"collect", "publish"}
