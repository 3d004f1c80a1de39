"""Converts the constructor arguments of the Azure SDK for Python to the engine's documents."""

from __future__ import annotations

import sys
from binascii import b2a_base64

from .. import _native
from ..errors import PgEntraError, _also

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_COMMON = {
    "additionally_allowed_tenants": "additionally_allowed_tenants",
    "authority": "authority_host",
    "cloud": "cloud",
    "disable_instance_discovery": "disable_instance_discovery",
}
"""Options of every credential, and their names in the engine's document."""

_RETRY = {"retry_backoff_factor": "delay", "retry_backoff_max": "max_delay", "retry_total": "max_retries"}

_IGNORED = frozenset(
    {
        # Logging and tracing.
        "custom_hook_policy",
        "distributed_tracing_policy",
        "enable_support_logging",
        "http_logging_policy",
        "logger",
        "logging_enable",
        "logging_policy",
        "network_span_namer",
        "network_tracing",
        "raw_request_hook",
        "raw_response_hook",
        "tracing_attributes",
        # Headers.
        "auto_request_id",
        "base_headers",
        "headers",
        "headers_policy",
        "request_id",
        "user_agent",
        "user_agent_overwrite",
        "user_agent_policy",
        "user_agent_use_env",
        # The pipeline.
        "authentication_policy",
        "connection_data_block_size",
        "connection_timeout",
        "per_call_policies",
        "per_retry_policies",
        "permit_redirects",
        "policies",
        "proxy_policy",
        "read_timeout",
        "redirect_max",
        "redirect_policy",
        "redirect_remove_headers",
        "retry_connect",
        "retry_mode",
        "retry_on_methods",
        "retry_on_status_codes",
        "retry_policy",
        "retry_read",
        "retry_status",
        "retry_to_secondary",
        "timeout",
        # Token caches on disk.
        "allow_unencrypted_storage",
        "cache_persistence_options",
        "enable_persistent_cache",
    }
)
"""Options of the Azure SDK's pipeline that have no meaning in this library."""


class Arguments:
    """The keyword arguments of one constructor, taken one by one; the arguments left at the end are refused."""

    def __init__(self, credential: str, given: Mapping[str, Any]) -> None:
        self._credential = credential
        self._given = dict(given)
        self._ignored: list[str] = []

    def take(self, name: str, default: Any = None) -> Any:
        """Removes and returns the argument's value, or the default."""
        return self._given.pop(name, default)

    def ignore(self, *names: str) -> None:
        """Accepts arguments that have no effect."""
        self._ignored += [name for name in names if self._given.pop(name, None) is not None]

    def required(self, **given: Any) -> dict[str, Any]:
        """Returns the arguments. Raises for one that is empty."""
        for name, value in given.items():
            if not value:
                raise self.refusal(name, "expected a text that is not empty")
        return given

    def callback(self, name: str, given: Any) -> Any:
        """Returns the argument. Raises if it is neither a callable nor a credential."""
        if given is None or callable(given) or callable(getattr(given, "get_token", None)):
            return given
        raise self.refusal(name, f"expected a callable, got {type(given).__name__}")

    def certificate(
        self, name: str, content: bytes | None, password: str | bytes | None, send_chain: bool
    ) -> dict[str, Any]:
        """Returns the engine's options of a certificate."""
        text: str | None = None
        if content is not None:
            if not isinstance(content, (bytes, bytearray, memoryview)):
                raise self.refusal(name, f"expected the bytes of a PEM or PFX file, got {type(content).__name__}")
            text = b2a_base64(content, newline=False).decode()
        if isinstance(password, bytes):
            try:
                password = password.decode()
            except UnicodeDecodeError:
                raise self.refusal("password", "expected text in UTF-8") from None
        return {"certificate": text, "certificate_password": password, "send_certificate_chain": send_chain or None}

    def finish(self, kind: str, own: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str], Any]:
        """Returns the document of type ``kind``, the environment variables that replace the process's, and the file of
        certificate authorities."""
        document = {"type": kind, **{name: value for name, value in own.items() if value is not None and value != ""}}
        for name, key in _COMMON.items():
            if (value := self.take(name)) is not None:
                document[key] = list(value) if isinstance(value, (set, frozenset, tuple)) else value
        retry = {key: value for name, key in _RETRY.items() if (value := self.take(name)) is not None}
        if retry:
            document["retry"] = retry
        variables = self._proxies()
        ca_file = self._ca_file()
        self.ignore(*_IGNORED)
        for name in self._given:
            raise self.refusal(name, "transports of the Azure SDK are not supported" if name == "transport" else None)
        _log_ignored(self._credential, self._ignored)
        return document, variables, ca_file

    def refusal(self, name: str, why: str | None = None) -> PgEntraError:
        """Returns the error for an argument: a ``CredentialValueError`` and a ``TypeError``."""
        message = f"option `{name}`: {why or 'unknown option'}"
        return _also(_native.error("invalid_configuration", message, self._credential), TypeError)

    def _proxies(self) -> dict[str, str]:
        proxies = self.take("proxies")
        if proxies is None:
            return {}
        if not hasattr(proxies, "items"):
            raise self.refusal("proxies", f"expected a mapping of schemes to addresses, got {type(proxies).__name__}")
        variables = {}
        for scheme, address in proxies.items():
            if scheme not in ("http", "https", "all") or not isinstance(address, str):
                raise self.refusal("proxies", "expected the schemes http, https or all, with text as addresses")
            variables[f"{scheme}_proxy"] = variables[f"{scheme.upper()}_PROXY"] = address
        return variables

    def _ca_file(self) -> Any:
        if self.take("connection_cert") is not None:
            raise self.refusal("connection_cert", "client certificates of the connection are not supported")
        verify = self.take("connection_verify", True)
        if verify is False:
            raise self.refusal("connection_verify", "certificates are always verified; pass the file of an authority")
        return None if verify is True or verify is None else verify


def _log_ignored(credential: str, names: list[str]) -> None:
    if names and "logging" in sys.modules:
        from logging import getLogger

        getLogger("pgentra").debug("%s: options without effect: %s", credential, ", ".join(sorted(names)))
