"""Credential arguments: what they stand for, and how custom credentials are called.

``source``: resolves a credential argument to a :class:`~pgentra._credentials.source.CredentialSource`. ``custom``:
requests tokens from a custom credential, on its thread or its event loop. ``invocation``: the arguments of that call.
``response``: reads what it returns.
"""
