"""The program `pgentra-emulator`, as a package for test suites.

pip installs the program beside `python`: `subprocess.Popen(["pgentra-emulator"], stdout=subprocess.PIPE)` starts it
in an active environment, and `path()` finds it in any other.
"""

from __future__ import annotations

import os
import sysconfig

__all__ = ["path"]


def path() -> str:
    """Returns the path of the program.

    Raises `FileNotFoundError` if the package was copied without the program.
    """
    # `pip install --user`, and `pip install --target DIRECTORY`, which puts the program into DIRECTORY/bin.
    user = sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))
    target = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bin")
    folders = [sysconfig.get_path("scripts"), user, target]
    for folder in folders:
        program = os.path.join(folder, "pgentra-emulator")
        if os.path.isfile(program):
            return program
    raise FileNotFoundError(f"pgentra-emulator is not in {', '.join(folders)}: install the package by pip")
