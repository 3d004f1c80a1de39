"""Runs one step of the site's life, `python steps.py STEP`, and prints what came of it as JSON."""

import json
import logging
import os
import sys
import time
import urllib.request

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())


def control(path, body, method="POST"):
    """A request to the emulator's control endpoint."""
    request = urllib.request.Request(os.environ["SITE_CONTROL"] + path, json.dumps(body).encode(), method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return json.load(answer)


def role():
    """The role and the server process of the connection."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("select current_user, pg_backend_pid()")
        return list(cursor.fetchone())


def request():
    """One request of the site: Django closes or keeps the connection at its end."""
    from django.db import close_old_connections

    close_old_connections()
    try:
        return role()
    finally:
        close_old_connections()


def two_requests():
    return [request(), request()]


def retry():
    """A login that the server refuses once, with a token that is old enough to be doubted."""
    control("/tokens", {"lifetime_s": 6}, "PATCH")
    first = request()
    time.sleep(0.7)
    control("/postgres", {"disconnect": True, "refuse_next": 1})
    return [first, outlive_once()]


def outlive():
    """The site after the end of its token, and without its connections."""
    control("/tokens", {"lifetime_s": 4}, "PATCH")
    first = request()
    time.sleep(4.2)
    control("/postgres", {"disconnect": True})
    return [first, outlive_once(), outlive_once()]


def outlive_once():
    """A request after a connection may have been cut: the first may be given the broken connection."""
    from django.db import OperationalError

    for _ in range(5):
        try:
            return request()
        except OperationalError as error:
            if "terminat" not in str(error) and "closed" not in str(error):
                raise
    raise AssertionError("no connection")


def error():
    """The class and the text of a failed request."""
    import django.db

    started = time.monotonic()
    try:
        request()
    except Exception as error:
        kinds = [kind for kind in ("OperationalError", "Error") if isinstance(error, getattr(django.db, kind))]
        classes = [*kinds, *(kind.__name__ for kind in type(error).__mro__ if "pgentra" in kind.__module__)]
        return [classes, str(error), round(time.monotonic() - started, 1)]
    raise AssertionError("no error")


def versions():
    from django.db import connections

    connection = connections["default"]
    return [django.VERSION[:2], connection.Database.__name__, connection.vendor, type(connection).__module__]


if __name__ == "__main__":
    django.setup()
    print(json.dumps([globals()[name]() for name in sys.argv[1:]]))
    from django.db import connections

    for connection in connections.all():
        connection.close()
        if getattr(connection, "pool", None):
            connection.close_pool()
