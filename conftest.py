"""Plugins of every test in Python: the search for secrets in output, and the list of what works."""

pytest_plugins = ["support.redaction", "support.credential_matrix"]
