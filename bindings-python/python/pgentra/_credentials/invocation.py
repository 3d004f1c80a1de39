"""How a custom credential is called: which method, with which arguments, and whether it is awaitable."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._native import CustomTokenRequest

    Invocation = Callable[[Any, CustomTokenRequest], Any]

_COROUTINE_FLAGS = 0x80 | 0x100  # CO_COROUTINE, CO_ITERABLE_COROUTINE
_VARARGS_FLAG = 0x04


def get_token_info(credential: Any, request: CustomTokenRequest) -> Any:
    """Calls the Azure SDK's newer method."""
    return credential.get_token_info(request.scope, options=request.options())


def get_token(credential: Any, request: CustomTokenRequest) -> Any:
    """Calls the Azure SDK's method."""
    return credential.get_token(request.scope, **request.options())


def with_scope(function: Any, request: CustomTokenRequest) -> Any:
    """Calls a function with the scope."""
    return function(request.scope)


def with_scope_keyword(function: Any, request: CustomTokenRequest) -> Any:
    """Calls a function with the scope as a keyword."""
    return function(scope=request.scope)


def without_arguments(function: Any, request: CustomTokenRequest) -> Any:
    """Calls a function that takes no scope."""
    return function()


def is_async(function: Any) -> bool:
    """Returns whether a function returns an awaitable."""
    code = getattr(_unwrapped(function), "__code__", None) or getattr(function, "__code__", None)
    return bool(getattr(code, "co_flags", 0) & _COROUTINE_FLAGS)


def of_callable(function: Any) -> Invocation:
    """Returns how a callable is called: with the scope if it has one positional argument without a default, or
    ``*scopes``; by keyword if it has a keyword-only ``scope`` without a default; otherwise without arguments."""
    if getattr(function, "func", None) is not None:
        return _of_partial(function)
    plain = _unwrapped(function)
    code = getattr(plain, "__code__", None)
    if code is None:
        return without_arguments
    bound = 0 if plain is function else 1
    required = code.co_argcount - len(getattr(plain, "__defaults__", None) or ()) - bound
    if required == 1 or (required <= 0 and bool(code.co_flags & _VARARGS_FLAG)):
        return with_scope
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    if "scope" in keywords and "scope" not in (getattr(plain, "__kwdefaults__", None) or ()):
        return with_scope_keyword
    return without_arguments


def _of_partial(function: Any) -> Invocation:
    """The same for a ``functools.partial``, by the arguments that it leaves open."""
    from inspect import Parameter, signature

    try:
        left = signature(function).parameters.values()
    except (TypeError, ValueError):  # A built-in function may have no signature.
        return without_arguments
    required = [parameter for parameter in left if parameter.default is Parameter.empty]
    if any(parameter.kind is Parameter.KEYWORD_ONLY and parameter.name == "scope" for parameter in required):
        return with_scope_keyword
    positional = [p for p in required if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    return with_scope if len(positional) == 1 else without_arguments


def _unwrapped(function: Any) -> Any:
    """Returns the plain function behind a bound method, a partial, a callable object or a decorator that sets
    ``__wrapped__``."""
    for _ in range(16):
        for name in ("__wrapped__", "__func__", "func"):
            inner = getattr(function, name, None)
            if callable(inner):
                function = inner
                break
        else:
            if hasattr(function, "__code__") or isinstance(function, type):
                return function
            inner = type(function).__call__
            if not hasattr(inner, "__code__"):
                return function
            function = inner
    return function
