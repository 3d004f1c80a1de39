"""Files of certificate authorities for drivers that need one."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Files of the system's certificate authorities: Debian, Red Hat, SUSE, Alpine and macOS."""


def _libpqs_file() -> str:
    """Returns the path of the file that libpq reads by default."""
    if sys.platform == "win32":
        return os.path.join(os.environ.get("APPDATA", ""), "postgresql", "root.crt")
    return os.path.join(os.path.expanduser("~"), ".postgresql", "root.crt")


_MOZILLA = os.path.join(os.path.dirname(__file__), "mozilla_roots.pem")
"""Mozilla's certificate authorities, a file of this package."""


def find_roots(parameters: Mapping[str, Any]) -> str | None:
    """Returns the file of certificate authorities for libpq: the system's, otherwise that of certifi if it is
    installed, otherwise Mozilla's in this package. Empty if libpq has a file already, None if there is no file, because
    the package is not in a folder."""
    if parameters.get("sslrootcert") or os.environ.get("PGSSLROOTCERT") or os.path.exists(_libpqs_file()):
        return ""
    return _file()


def _file() -> str | None:
    named = os.environ.get("SSL_CERT_FILE")
    found = next((file for file in (named, *_BUNDLES) if file and os.path.isfile(file)), None)
    if found is None:
        with suppress(ImportError):
            from certifi import where

            return where()
        return _MOZILLA if os.path.isfile(_MOZILLA) else None
    return found


def file_for_context() -> str | None:
    """Returns the file of certificate authorities for Python's ``ssl`` if Python itself finds none, as in an image
    without a certificate store; otherwise None."""
    if sys.platform == "win32":
        return None  # Python reads the system's store.
    from ssl import get_default_verify_paths

    paths = get_default_verify_paths()
    if paths.cafile is not None or (paths.capath is not None and os.listdir(paths.capath)):
        return None
    return _file()
