"""Django database backend that logs in with Microsoft Entra.

Set ``"ENGINE": "pgentra.django"`` in ``DATABASES``, or ``"pgentra.django.postgis"`` for GeoDjango, and leave out
``PASSWORD``. ``USER`` is the role; without it, the role comes from ``PGUSER`` or the token. ``credential``, the options
of :class:`pgentra.TokenProvider`, ``service_connector``, ``require_entra`` and ``allow_insecure_transport`` are keys of
``OPTIONS``. Everything else is as in Django's own PostgreSQL backend, which this one extends: psycopg 3 and psycopg2,
Django's connection pool, persistent connections, ``migrate``, ``test`` and ``dbshell``.
"""
