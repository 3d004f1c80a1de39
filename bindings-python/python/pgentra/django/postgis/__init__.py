"""GeoDjango's PostGIS backend with the logins of :mod:`pgentra.django`."""
