"""Django in one file: python django_sample.py [--mode sync|async]

Takes HOSTNAME and DATABASE from a `.env` beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from pathlib import Path

import django
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from dotenv import dotenv_values

# A container's own HOSTNAME is not the server's, so the file takes precedence.
SETTINGS = {**os.environ, **dotenv_values(Path(__file__).with_name(".env"))}

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={
        "default": {
            "ENGINE": "pgentra.django",
            "HOST": SETTINGS["HOSTNAME"],
            "NAME": SETTINGS["DATABASE"],
            # Without USER, the role is the name in the token. Without a credential, the default chain finds the
            # identity: a managed identity, a workload identity, or the user who is signed in to `az`.
            # With one: "OPTIONS": {"credential": ...}
            # Each connection of the pool logs in with a token that is valid at that time.
            "OPTIONS": {"pool": {"min_size": 1, "max_size": 5}},
        }
    },
    ROOT_URLCONF=__name__,
)
django.setup()


def current_role() -> str:
    with connection.cursor() as cursor:
        cursor.execute("select current_user")
        return str(cursor.fetchone()[0])


def view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(current_role())


async def async_view(request: HttpRequest) -> HttpResponse:
    # Django runs database code of an async view in a thread, where waiting for a token does not block the event loop.
    return HttpResponse(await sync_to_async(current_role)())


urlpatterns = [path("", view), path("async", async_view)]


def main_sync() -> None:
    started = time.perf_counter()
    role = Client().get("/").content.decode()
    print(f"sync: logged in as {role} after {(time.perf_counter() - started) * 1000:.0f} ms")


async def main_async() -> None:
    started = time.perf_counter()
    role = (await AsyncClient().get("/async")).content.decode()
    print(f"async: logged in as {role} after {(time.perf_counter() - started) * 1000:.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description="Django over Microsoft Entra")
    parser.add_argument("--mode", choices=["sync", "async", "both"], default="both")
    mode = parser.parse_args().mode
    if mode != "async":
        main_sync()
    if mode != "sync":
        asyncio.run(main_async())
    connection.close_pool()


if __name__ == "__main__":
    main()
