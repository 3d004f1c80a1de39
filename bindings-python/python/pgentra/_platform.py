"""The error of a platform without a native module."""

from __future__ import annotations


def explained(error: ImportError) -> ImportError:
    """Returns the error of an import of the native module, with the platform and what to do."""
    import platform
    import sys
    import sysconfig

    abi = sysconfig.get_config_var("SOABI") or sys.implementation.name
    python = f"{platform.python_implementation()} {platform.python_version()}, {abi}"
    return ImportError(
        f"pgentra has no native module that loads on this platform ({sysconfig.get_platform()}, {python}): {error}. "
        "Install pgentra with pip on the platform on which the program runs. There are wheels for Linux (glibc 2.28, "
        "musl 1.2), macOS and Windows on x86_64 and arm64, for CPython 3.10 and newer.",
        name=error.name,
        path=error.path,
    )
