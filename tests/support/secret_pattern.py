"""The pattern of secrets in tests, with which the output of tests is searched."""

from __future__ import annotations

import re

#: Two parts of a JWT, or a secret of the tests.
SECRET = re.compile(r"eyJ[\w-]{16,}\.[\w-]{16,}|orders-api-secret|secret-of-\w|canary-\w", re.IGNORECASE)
