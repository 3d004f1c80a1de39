#!/usr/bin/env python3
"""Checks that shared libraries run on the Linux systems of releases: those with this glibc or a newer one.

    tools/glibc.py target          prints the target of releases: this machine's, with that glibc
    tools/glibc.py check FILE...   exit status 1 if a file needs a symbol of a newer glibc

`cargo zigbuild --target $(tools/glibc.py target)` builds such a library on any machine; `tools/environment.py zig`
installs the linker. maturin does the same with `--zig --compatibility manylinux_2_28`.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys

#: RHEL 8, Debian 10, Ubuntu 20.04, Amazon Linux 2023.
OLDEST = (2, 28)

SYMBOL = re.compile(r"\(?GLIBC_(?P<version>[0-9.]+)\)?\s+(?P<name>\S+)")


def too_new(file: str) -> list[str]:
    """Returns the symbols that an older glibc does not have, each with its version."""
    table = subprocess.run(["objdump", "--dynamic-syms", file], capture_output=True, text=True, check=True).stdout
    if "DYNAMIC SYMBOL TABLE" not in table:
        sys.exit(f"{file}: no dynamic symbols")
    found = []
    for line in table.splitlines():
        match = SYMBOL.search(line)
        # A weak symbol is optional.
        if match and " w " not in line and tuple(map(int, match["version"].split("."))) > OLDEST:
            found.append(f"{match['name']} of glibc {match['version']}")
    return found


def main(arguments: list[str]) -> int:
    match arguments:
        case ["target"]:
            print(f"{platform.machine()}-unknown-linux-gnu.{'.'.join(map(str, OLDEST))}")
            return 0
        case ["check", *files] if files:
            wrong = {file: symbols for file in files if (symbols := too_new(file))}
            for file, symbols in wrong.items():
                print(f"{file} needs {', '.join(symbols)}", file=sys.stderr)
            return 1 if wrong else 0
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
