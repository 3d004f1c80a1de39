"""Plugins of every test in Python: the search for secrets in output, and the list of what works."""

import signal

pytest_plugins = ["support.redaction", "support.credential_matrix"]

# A shell ignores the signals of the keyboard in commands of the background, and the programs under test would inherit
# that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
