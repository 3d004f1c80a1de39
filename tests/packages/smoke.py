"""Uses an installed wheel once: the native module loads, derives a role from a token, and reports an error.

python -I tests/packages/smoke.py        the wheel of pgentra
python -I tests/packages/smoke.py emulator    both wheels: the emulator's identity endpoint issues the token
"""

import base64
import importlib
import json
import os
import subprocess
import sys

import pgentra
from pgentra.identity import ManagedIdentityCredential, StaticTokenCredential


def encoded(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def main(arguments: list[str]) -> None:
    claims = {"upn": "anna@contoso.example", "exp": 4_000_000_000, "oid": "o", "tid": "t"}
    provider = pgentra.TokenProvider(
        credential=StaticTokenCredential(f"{encoded({'alg': 'none'})}.{encoded(claims)}.x"), management_lookup=False
    )
    assert provider.login()["user"] == "anna@contoso.example"
    if arguments == ["emulator"]:
        use_emulator()
    print("pgentra", pgentra.__version__, "on", sys.platform, sys.version.split()[0])


def use_emulator() -> None:
    # Not installed where types are checked.
    pgentra_emulator = importlib.import_module("pgentra_emulator")
    process = subprocess.Popen([pgentra_emulator.path(), "--no-postgres"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        service = json.loads(process.stdout.readline())["app_service"]
        os.environ.update(IDENTITY_ENDPOINT=service["endpoint"], IDENTITY_HEADER=service["header"])
        login = pgentra.TokenProvider(credential=ManagedIdentityCredential()).login()
        assert login["user"] == "app-mi", login["user"]
    finally:
        process.terminate()
        process.wait(60)


if __name__ == "__main__":
    main(sys.argv[1:])
