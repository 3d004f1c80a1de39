"""The settings of the site, which the tests run with each version of Django. Variables `SITE_*` select what varies."""

import json
import os
import sys
from typing import Any

if os.environ.get("SITE_DRIVER") == "psycopg2":
    sys.modules["psycopg"] = None  # type: ignore[assignment]  # Django prefers psycopg 3.

from pgentra.identity import ManagedIdentityCredential


def database() -> dict[str, Any]:
    """The entry of `DATABASES`: as JSON, as a snippet of the documentation, or from a URL in `DATABASE_URL`."""
    reader = os.environ.get("SITE_URL_READER")
    if reader == "dj_database_url":
        import dj_database_url

        dj_database_url.register("postgresql+entra", "pgentra.django")
        read: Any = dj_database_url.config(engine=os.environ.get("SITE_ENGINE"))
    elif reader == "environ":
        import environ

        environ.Env.DB_SCHEMES["postgresql+entra"] = "pgentra.django"
        read = environ.Env().db(engine=os.environ.get("SITE_ENGINE"))
    elif code := os.environ.get("SITE_CODE"):
        names: dict[str, Any] = {}
        exec(code, names)
        read = names["DATABASES"]["default"]
    else:
        read = json.loads(os.environ["SITE_DATABASE"])
    if client_id := os.environ.get("SITE_CLIENT_ID"):
        read.setdefault("OPTIONS", {})["credential"] = ManagedIdentityCredential(client_id=client_id)
    return dict(read)


DATABASES = {"default": database()}
SECRET_KEY = "of the tests"
INSTALLED_APPS = ["shop"]
ROOT_URLCONF = "shop.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ALLOWED_HOSTS = ["*"]
USE_TZ = True

if os.environ.get("SITE_GIS"):
    # The libraries of two wheels. The first loads what both of them need.
    import glob

    import pyogrio
    import shapely

    def library(module: Any, pattern: str) -> str:
        (found,) = glob.glob(f"{os.path.dirname(module.__file__)}.libs/{pattern}")
        return str(found)

    GDAL_LIBRARY_PATH = library(pyogrio, "libgdal-*")
    GEOS_LIBRARY_PATH = library(shapely, "libgeos_c-*")
