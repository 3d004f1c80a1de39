"""Connection URLs with a token as the password."""

from __future__ import annotations

from . import _native
from ._roots import find_roots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def url_settings(given: Mapping[str, Any]) -> _native.UrlSettings:
    """Returns the settings of a URL from the given ones and the ``PG*`` variables.

    Raises ``EntraConnectionValueError`` for settings that the URL must not have.
    """
    settings: dict[str, str] = {name: str(value) for name, value in given.items() if value is not None}
    if roots := find_roots(settings):
        settings["sslrootcert"] = roots
    return _native.UrlSettings(settings, _native.environment())
