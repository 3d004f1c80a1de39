#!/usr/bin/env python3
"""Checks the manifests of all packages, and changes their version.

    tools/manifests.py check              prints what is missing or differs; the exit status is 1 if anything does
    tools/manifests.py version            prints the version
    tools/manifests.py version X.Y.Z      writes this version into every manifest, lock file and generated header
    tools/manifests.py crates             prints the crates that are published
    tools/manifests.py release vX.Y.Z     the exit status is 1 unless manifests and changelog are ready for this tag

The version is that of the workspace in `Cargo.toml`. Every package has a description, the address of this repository,
documentation that exists, and, where the format has them, keywords. Needs Python 3.11.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = "https://github.com/pgentra/pgentra"
VERSION = r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?"

#: The folders of the crates that are published. Each needs only ones before it.
PUBLISHED_CRATES = ("core", "proxy", "emulator", "cli", "drivers")


class Place(NamedTuple):
    """Where the version is written: a pattern whose group `version` is the version in all files of a glob."""

    files: str
    pattern: str


GO_MODULE = r"github\.com/pgentra/pgentra/bindings-go(?:/\w+)*"
MAVEN = r"<groupId>io\.github\.pgentra</groupId>\s*<artifactId>[\w-]+</artifactId>\s*<version>"
PLACES = (
    Place("Cargo.toml", rf'^version = "(?P<version>{VERSION})"'),
    Place("Cargo.toml", rf'^pgentra[\w-]* = \{{ path = "[^"]+", version = "(?P<version>{VERSION})"'),
    Place("tests/fuzz/Cargo.toml", rf'^version = "(?P<version>{VERSION})"'),
    Place("bindings-dotnet/Directory.Build.props", rf"<Version>(?P<version>{VERSION})</Version>"),
    Place("bindings-dotnet/tests/PgEntra.Tests/PackageTests.cs", rf'\$"(?P<version>{VERSION})-test\.'),
    Place("examples/dotnet/Samples.csproj", rf'Include="PgEntra" Version="(?P<version>{VERSION})"'),
    Place("*/package.json", rf'^ {{2}}"version": "(?P<version>{VERSION})"'),
    Place("bindings-ruby/lib/pgentra/version.rb", rf'VERSION = "(?P<version>{VERSION})"'),
    Place("*/pgentra.h", rf'#define PGENTRA_VERSION "(?P<version>{VERSION})"'),
    Place("bindings-c/src/global.rs", rf'such as "(?P<version>{VERSION})"'),
    Place("bindings-go/tests/build_test.go", rf"require %s%s v(?P<version>{VERSION})"),
    Place("*/go.mod", rf"{GO_MODULE} v(?P<version>{VERSION})"),
    Place("*.md", rf"{GO_MODULE}@v(?P<version>{VERSION})"),
    Place("*/pom.xml", rf"{MAVEN}(?P<version>{VERSION})</version>"),
    Place("*/pom.xml", rf"<pgentra\.version>(?P<version>{VERSION})</pgentra\.version>"),
    Place("*.md", rf"{MAVEN}(?P<version>{VERSION})</version>"),
    Place("*.md", rf"io\.github\.pgentra:[\w-]+:(?P<version>{VERSION})"),
    Place("*.kt", rf'^ *fun `version is that of the library`\(\) = assertEquals\("(?P<version>{VERSION})"'),
)


class Finding(NamedTuple):
    file: str
    text: str


def files(glob: str) -> list[str]:
    """The tracked and the new files that match, as paths below the root; `*` also matches `/`."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", glob]
    listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return sorted(name for name in set(filter(None, listed.split("\0"))) if (ROOT / name).is_file())


def toml(file: str) -> dict[str, Any]:
    # Not in Python 3.10, by which types are checked.
    tomllib = importlib.import_module("tomllib")
    document: dict[str, Any] = tomllib.loads((ROOT / file).read_text(encoding="utf-8"))
    return document


def version() -> str:
    found: str = toml("Cargo.toml")["workspace"]["package"]["version"]
    return found


# Versions


def check_versions() -> Iterator[Finding]:
    expected = version()
    for place in PLACES:
        found = 0
        for file in files(place.files):
            for match in re.finditer(place.pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE):
                found += 1
                if match["version"] != expected:
                    yield Finding(file, f"version {match['version']} instead of {expected}")
        if not found and not place.files.endswith(".md"):
            yield Finding(place.files, f"no version is found by {place.pattern}: correct tools/manifests.py")
    for file in files("*/package-lock.json"):
        for name, package in own_packages(json.loads((ROOT / file).read_text(encoding="utf-8"))):
            if package["version"] != expected:
                yield Finding(file, f"version {package['version']} of {name or 'the package'} instead of {expected}")


def own_packages(lock: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """This repository's packages in a lock file of npm."""
    for name, package in lock["packages"].items():
        if "node_modules/" not in name and "version" in package:
            yield name, package


def write_version(new: str) -> None:
    if not re.fullmatch(VERSION, new):
        sys.exit(f"not a version: {new}")
    for place in PLACES:
        for file in files(place.files):
            path = ROOT / file
            text = path.read_text(encoding="utf-8")
            changed = re.sub(place.pattern, lambda match: with_version(match, new), text, flags=re.MULTILINE)
            if changed != text:
                path.write_text(changed, encoding="utf-8")
                print(file)
    for file in files("*/package-lock.json"):
        path = ROOT / file
        lock = json.loads(path.read_text(encoding="utf-8"))
        for name, package in own_packages(lock):
            package["version"] = new
            if name == "":
                lock["version"] = new
        path.write_text(json.dumps(lock, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for command in (
        ["cargo", "update", "--quiet", "--workspace"],
        ["cargo", "update", "--quiet", "--workspace", "--manifest-path", "tests/fuzz/Cargo.toml"],
        ["cargo", "xtask", "header"],
        ["cp", "bindings-c/include/pgentra.h", "bindings-go/pgentra.h"],
    ):
        subprocess.run(command, cwd=ROOT, check=True)


def with_version(match: re.Match[str], new: str) -> str:
    start, end = match.start("version") - match.start(), match.end("version") - match.start()
    return match[0][:start] + new + match[0][end:]


# Metadata


def check_cargo(file: str) -> Iterator[str]:
    if file in ("Cargo.toml", "tests/fuzz/Cargo.toml"):
        return
    package, shared = toml(file)["package"], toml("Cargo.toml")["workspace"]["package"]
    values = {key: shared.get(key) if isinstance(value, dict) else value for key, value in package.items()}
    yield from missing(values, "description", "license", "repository", "documentation", "keywords")
    yield from wrong_repository(values.get("repository"))
    yield from wrong_documentation(values.get("documentation"))
    # The limits of the registry of crates.
    keywords = values.get("keywords") or []
    if len(keywords) > 5 or any(not re.fullmatch(r"[a-z0-9][a-z0-9_+-]{0,19}", keyword) for keyword in keywords):
        yield "keywords: at most 5, of at most 20 characters each"
    published = values.get("publish", True) is not False
    if published != (str(Path(file).parent) in PUBLISHED_CRATES):
        yield "is published, or is not, unlike PUBLISHED_CRATES of tools/manifests.py"
    if published:
        yield from missing(values, "readme", "categories")
        if not (ROOT / file).with_name(str(values.get("readme"))).is_file():
            yield f"readme does not exist: {values.get('readme')}"
        if not any("LICENSE" in path for path in packaged(Path(file).parent)):
            yield "the package has no LICENSE"


def packaged(folder: Path) -> list[str]:
    """What `cargo package` takes from the top of a crate's folder."""
    return [path.name for path in (ROOT / folder).iterdir()]


def check_pyproject(file: str) -> Iterator[str]:
    project = toml(file)["project"]
    yield from missing(project, "name", "description", "readme", "license", "keywords", "classifiers", "authors")
    urls = project.get("urls", {})
    yield from missing(urls, "Repository", "Documentation", "Changelog", "Issues")
    yield from wrong_repository(urls.get("Repository"))
    for url in urls.values():
        yield from wrong_documentation(url)


def check_npm(file: str) -> Iterator[str]:
    package = json.loads((ROOT / file).read_text(encoding="utf-8"))
    if package.get("private") or "name" not in package:
        return
    yield from missing(
        package, "description", "license", "author", "repository", "homepage", "bugs", "keywords", "engines"
    )
    repository = package.get("repository", {})
    yield from wrong_repository(repository.get("url", "").removeprefix("git+").removesuffix(".git"))
    if repository.get("directory") != str(Path(file).parent):
        yield "repository.directory is not the package's folder"
    yield from wrong_documentation(package.get("homepage"))


def check_composer(file: str) -> Iterator[str]:
    package = json.loads((ROOT / file).read_text(encoding="utf-8"))
    if package.get("type") == "project" or "name" not in package:
        return
    yield from missing(package, "description", "license", "homepage", "keywords", "support", "authors")
    support = package.get("support", {})
    yield from missing(support, "source", "docs", "issues", "security")
    yield from wrong_repository(support.get("source"))
    yield from wrong_documentation(support.get("docs"))
    yield from wrong_documentation(support.get("security"))


def check_gemspec(file: str) -> Iterator[str]:
    text = (ROOT / file).read_text(encoding="utf-8").replace("#{spec.homepage}", REPOSITORY)
    for name in ("summary", "description", "license", "homepage", "authors", "required_ruby_version"):
        if f"spec.{name} = " not in text:
            yield f"{name} is missing"
    if f'spec.homepage = "{REPOSITORY}"' not in text:
        yield f"homepage is not {REPOSITORY}"
    for name in ("source_code_uri", "documentation_uri", "changelog_uri", "bug_tracker_uri"):
        match = re.search(rf'"{name}" => (?:"(?P<url>[^"]+)"|spec\.homepage)', text)
        if match is None:
            yield f"metadata {name} is missing"
        else:
            yield from wrong_documentation(match["url"] or REPOSITORY)


def check_msbuild(file: str) -> Iterator[str]:
    """A project that is packed, with the properties of the folders above it."""
    folder = (ROOT / file).parent
    properties: dict[str, str] = {}
    for path in [*(parent / "Directory.Build.props" for parent in reversed([folder, *folder.parents])), ROOT / file]:
        if path.is_file():
            for element in ElementTree.parse(path).iter():
                properties[element.tag] = element.text or ""
    wanted = ("Description", "Authors", "PackageLicenseExpression", "PackageTags", "PackageReadmeFile")
    yield from missing(
        properties, *wanted, "PackageProjectUrl", "RepositoryUrl", "RepositoryType", "PackageReleaseNotes"
    )
    yield from wrong_repository(properties.get("RepositoryUrl"))
    yield from wrong_documentation(properties.get("PackageProjectUrl"))
    yield from wrong_documentation(properties.get("PackageReleaseNotes"))


def check_maven(file: str) -> Iterator[str]:
    def values(path: str) -> dict[str, str]:
        project = ElementTree.parse(ROOT / path).getroot()
        namespace = project.tag.partition("}")[0] + "}"
        found = {child.tag.removeprefix(namespace): (child.text or "").strip() for child in project}
        for parent in ("scm", "issueManagement", "developers", "licenses"):
            if (element := project.find(namespace + parent)) is not None:
                found[parent] = ElementTree.tostring(element, encoding="unicode")
        return found

    own = values(file)
    yield from missing(own, "name", "description")
    # The rest is inherited.
    shared = values("bindings-java/pom.xml") | own
    yield from missing(shared, "url", "scm", "issueManagement", "developers", "licenses")
    yield from wrong_documentation(shared.get("url"))
    if f">{REPOSITORY}<" not in shared.get("scm", ""):
        yield f"scm has no url {REPOSITORY}"


PACKAGE_COMMENT = re.compile(r"^(// Package \w+ .*\n(?://.*\n)*|/\*\nPackage .*)package ", re.MULTILINE)


def check_go(file: str) -> Iterator[str]:
    """Go reads a module's description, documentation and licence from its files."""
    folder = ROOT / Path(file).parent
    module = re.search(r"^module (\S+)", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    prefix = f"{REPOSITORY.removeprefix('https://')}/{folder.relative_to(ROOT)}"
    if module is None or module[1] != prefix:
        yield f"the module is not {prefix}"
    sources = [path.read_text(encoding="utf-8") for path in folder.glob("*.go") if not path.name.endswith("_test.go")]
    if not any(PACKAGE_COMMENT.search(text) for text in sources):
        yield "no file has a comment of the package"


CHECKS: tuple[tuple[str, Callable[[str], Iterator[str]]], ...] = (
    ("*Cargo.toml", check_cargo),
    ("*pyproject.toml", check_pyproject),
    ("*package.json", check_npm),
    ("*composer.json", check_composer),
    ("*.gemspec", check_gemspec),
    ("bindings-dotnet/src/*.csproj", check_msbuild),
    ("bindings-java/pgentra*/pom.xml", check_maven),
    ("bindings-go/*go.mod", check_go),
)
#: Modules and packages of tests.
TESTS = ("tests/e2e/", "bindings-go/tests/")


def missing(values: dict[str, Any], *keys: str) -> Iterator[str]:
    for key in keys:
        if not values.get(key):
            yield f"{key} is missing"


def wrong_repository(url: str | None) -> Iterator[str]:
    if url and url != REPOSITORY:
        yield f"the repository is {url} instead of {REPOSITORY}"


def wrong_documentation(url: str | None) -> Iterator[str]:
    """A link into this repository must lead to a file or a folder of it."""
    if url and (match := re.match(rf"{REPOSITORY}/(?:blob|tree)/main/([^#]*)", url)) and not (ROOT / match[1]).exists():
        yield f"{match[1]} does not exist, in {url}"


CHANGELOG = "CHANGELOG.md"
#: The headings of Keep a Changelog.
RELEASE = re.compile(rf"## (?:\[Unreleased\]|\[(?P<version>{VERSION})\] - \d{{4}}-\d\d-\d\d)")
SECTIONS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")


def check_changelog() -> Iterator[Finding]:
    text = (ROOT / CHANGELOG).read_text(encoding="utf-8")
    sections: list[str] = []
    for heading in re.findall(r"^#{2,3} .*", text, re.MULTILINE):
        name = heading.removeprefix("### ")
        if heading.startswith("## "):
            sections = []
            if not RELEASE.fullmatch(heading):
                yield Finding(CHANGELOG, f"neither [Unreleased] nor a version with its date: {heading}")
        elif name not in SECTIONS or name in sections:
            yield Finding(
                CHANGELOG, f"each of {', '.join(SECTIONS)} is there once in a release, and no other: {heading}"
            )
        sections.append(name)


def check_release(tag: str) -> Iterator[Finding]:
    text = (ROOT / CHANGELOG).read_text(encoding="utf-8")
    released = [match["version"] for match in map(RELEASE.fullmatch, text.splitlines()) if match]
    if tag != f"v{version()}":
        yield Finding("Cargo.toml", f"the version is {version()}, the tag {tag}")
    if version() not in released:
        yield Finding(CHANGELOG, f"no section ## [{version()}] - DATE")


def check() -> list[Finding]:
    findings = [*check_versions(), *check_changelog()]
    for glob, checked in CHECKS:
        for file in files(glob):
            if not file.startswith(TESTS):
                findings += [Finding(file, text) for text in checked(file)]
    return findings


def main(arguments: list[str]) -> int:
    match arguments:
        case ["check"] | ["release", _]:
            findings = check()
            if arguments[0] == "release":
                findings += check_release(arguments[1])
            for finding in findings:
                print(f"{finding.file}: {finding.text}")
            return 1 if findings else 0
        case ["version"]:
            print(version())
        case ["version", new]:
            write_version(new)
        case ["crates"]:
            for folder in PUBLISHED_CRATES:
                print(toml(f"{folder}/Cargo.toml")["package"]["name"])
        case _:
            sys.exit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
