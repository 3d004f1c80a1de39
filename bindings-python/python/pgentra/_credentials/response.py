"""Reads what a custom credential returned, and responds to the engine's request with it."""

from __future__ import annotations

from time import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._native import CustomTokenRequest

_LONGEST_LIFETIME = 10**9
"""In seconds. As seconds since the epoch it is a moment of 2001, before any token of Entra."""


class TokenResponseError(Exception):
    """The error response that a callable returned instead of a token, as MSAL's functions do."""


def read_token(result: Any, request: CustomTokenRequest) -> None:
    """Responds with the token in ``result``: a string; an object with ``token``; a pair of a token and its expiry or
    its lifetime; a token response, as MSAL's functions return it."""
    refresh_on = None
    if isinstance(result, str):
        token, expires_on = result, None
    elif hasattr(result, "token"):
        token, expires_on = result.token, getattr(result, "expires_on", None)
        refresh_on = getattr(result, "refresh_on", None)
    elif isinstance(result, (tuple, list)) and len(result) == 2:
        token, expires_on = result
        expires_on = _after_now(expires_on) if _is_lifetime(expires_on) else expires_on
    elif isinstance(result, dict) and "access_token" in result:
        token, expires_on = result["access_token"], _number(result.get("expires_on"))
        if expires_on is None:
            expires_on = _after_now(_number(result.get("expires_in")))
        refresh_on = _after_now(_number(result.get("refresh_in")))
    elif isinstance(result, dict) and "error" in result:
        parts = (result["error"], result.get("error_description"))
        return request.fail(TokenResponseError(": ".join(str(part) for part in parts if part)))
    else:
        return request.reject(f"{_type(result)}, where a token and its expiry were expected")
    if not isinstance(token, str):
        return request.reject(f"a token of type {_type(token)}, where a string was expected")
    if _is_naive(expires_on) or _is_naive(refresh_on):
        return request.reject(
            "an expiry without a time zone, which does not say when the token expires. Return a datetime with "
            "tzinfo, such as datetime.now(timezone.utc) + timedelta(hours=1), or seconds since the epoch"
        )
    try:
        request.succeed(token, _epoch(expires_on), _epoch(refresh_on))
    except (TypeError, ValueError, OverflowError, OSError):
        request.reject(
            f"an expiry of type {_type(expires_on)}, where seconds since the epoch, a datetime or None were expected"
        )


def read_assertion(result: Any, request: CustomTokenRequest) -> None:
    """Responds with the assertion that a callback returned."""
    if isinstance(result, str):
        request.succeed(result, None, None)
    else:
        request.reject(f"{_type(result)}, where an assertion, a string, was expected")


def _is_lifetime(value: Any) -> bool:
    """Returns whether the second item of a pair is ``expires_in``, as token endpoints return it, and not a moment."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < _LONGEST_LIFETIME


def _after_now(seconds: Any) -> Any:
    """Returns the moment after a number of seconds, in seconds since the epoch."""
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool):
        return time() + seconds
    return seconds


def _number(value: Any) -> Any:
    """Converts a number of a token response, which some endpoints send as text."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _is_naive(moment: Any) -> bool:
    """Returns whether it is a ``datetime`` without a time zone. Python regards that as local time, but most are UTC."""
    offset = getattr(moment, "utcoffset", None)
    return callable(offset) and offset() is None


def _epoch(moment: Any) -> int | None:
    if moment is None:
        return None
    if isinstance(moment, (int, float)) and not isinstance(moment, bool):
        return max(-(2**62), min(int(moment), 2**62))
    if hasattr(moment, "timestamp"):
        return int(moment.timestamp())
    raise TypeError


def _type(value: Any) -> str:
    return "None" if value is None else type(value).__name__
