#!/usr/bin/env python3
"""Checks the jars of the JVM binding.

    tools/check_jar.py FOLDER     exit status 1 if a jar of the folder is too large, incomplete, or has a dependency
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

MOST_BYTES = 3_000_000
LIBRARY = "META-INF/native/pgentra/linux-x64/libpgentra_jni.so"
METADATA = "META-INF/native-image/io.github.pgentra/pgentra/"
CONTENT = (
    "module-info.class",
    "META-INF/LICENSE",
    METADATA + "reachability-metadata.json",
    METADATA + "native-image.properties",
    "io/github/pgentra/jdbc/EntraAuthenticationPlugin.class",
)
POM = "{http://maven.apache.org/POM/4.0.0}"
#: What Maven Central requires of a POM or of its parent.
REQUIRED = ("name", "description", "url", "licenses", "developers", "scm")


def problems(folder: Path) -> list[str]:
    found: list[str] = []
    jars = sorted(folder.glob("pgentra-[0-9]*.jar"))
    main = [jar for jar in jars if jar.stem.count("-") == 1]
    if len(main) != 1:
        return [f"{folder}: expected one jar pgentra-VERSION.jar, found {len(main)}"]
    jar = main[0]
    if jar.stat().st_size > MOST_BYTES:
        found.append(f"{jar}: {jar.stat().st_size} bytes")
    with zipfile.ZipFile(jar) as archive:
        names = set(archive.namelist())
        found += [f"{jar}: {name} is missing" for name in CONTENT if name not in names]
        pom = ElementTree.fromstring(archive.read("META-INF/maven/io.github.pgentra/pgentra/pom.xml"))
        for dependency in pom.iter(POM + "dependency"):
            name = dependency.findtext(POM + "artifactId")
            if dependency.findtext(POM + "optional") != "true" and dependency.findtext(POM + "scope") != "test":
                found.append(f"{jar}: depends on {name}")
        if LIBRARY in names:
            with tempfile.TemporaryDirectory() as temporary:
                library = archive.extract(LIBRARY, temporary)
                glibc = Path(__file__).with_name("glibc.py")
                if subprocess.run([sys.executable, str(glibc), "check", library], check=False).returncode:
                    found.append(f"{jar}: the library needs a newer glibc")
                headers = subprocess.run(["objdump", "--headers", library], capture_output=True, text=True, check=True)
                if ".symtab" in headers.stdout or ".debug_info" in headers.stdout:
                    found.append(f"{jar}: the library is not stripped")
    parent = ElementTree.parse(Path(__file__).resolve().parent.parent / "bindings-java" / "pom.xml").getroot()
    for element in REQUIRED:
        if parent.find(POM + element) is None:
            found.append(f"bindings-java/pom.xml: {element} is missing")
    for kind in ("sources", "javadoc"):
        if not list(folder.glob(f"pgentra-[0-9]*-{kind}.jar")):
            found.append(f"{folder}: the {kind} of pgentra are missing")
    return found


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.exit(__doc__)
    found = problems(Path(arguments[0]))
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        for jar in sorted(Path(arguments[0]).glob("*.jar")):
            print(f"{jar.stat().st_size:>9,} bytes  {jar.name}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
