"""The backend ``pgentra.django.postgis``."""

from __future__ import annotations

from django.contrib.gis.db.backends.postgis import base

from ..base import EntraMixin

__all__ = ["DatabaseWrapper"]


class DatabaseWrapper(EntraMixin, base.DatabaseWrapper):  # type: ignore[misc]
    """Django's PostGIS ``DatabaseWrapper``, which logs in with a token."""
