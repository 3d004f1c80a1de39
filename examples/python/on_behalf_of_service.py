"""A web service that connects to PostgreSQL as its caller: python on_behalf_of_service.py [--port 8000]

The caller sends a token for this service; the service exchanges it for one for the database, in which the caller is the
user. Roles, grants and row-level security then count for the person, not for the service.

Takes HOSTNAME, DATABASE, TENANT_ID, CLIENT_ID and CLIENT_SECRET from a `.env` beside it.
"""

from __future__ import annotations

import argparse
import base64
import os
import time
from pathlib import Path

from dotenv import dotenv_values
from flask import Flask, Response, request
from werkzeug.serving import make_server

from pgentra import decode_jwt
from pgentra.errors import AuthenticationError, PgEntraError, TokenDecodeError
from pgentra.identity import OnBehalfOfCredential
from pgentra.psycopg3 import EntraConnection

# A container's own HOSTNAME is not the server's, so the file takes precedence.
SETTINGS = {**os.environ, **dotenv_values(Path(__file__).with_name(".env"))}
CONNINFO = f"postgresql://{SETTINGS['HOSTNAME']}/{SETTINGS['DATABASE']}"

app = Flask(__name__)


class Unauthorized(Exception):
    """The caller has to send another token."""


@app.get("/me")
def me() -> dict[str, str]:
    # A connection belongs to one user, so there is no pool. The tokens of the last 12,288 users are cached, each until
    # it has not been requested for its lifetime.
    with EntraConnection.connect(CONNINFO, credential=on_behalf_of_caller()) as connection:
        (role,) = connection.execute("select current_user").fetchone() or ("no role",)
    return {"role": role}


def on_behalf_of_caller() -> OnBehalfOfCredential:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not token:
        raise Unauthorized
    try:
        # Entra validates the token during the exchange. The exchanged token is cached and may be valid for longer.
        is_over = decode_jwt(token)["exp"] <= time.time()
    except (TokenDecodeError, KeyError, TypeError):
        raise Unauthorized from None
    if is_over:
        raise Unauthorized
    return OnBehalfOfCredential(
        SETTINGS["TENANT_ID"] or "",
        SETTINGS["CLIENT_ID"] or "",
        client_secret=SETTINGS["CLIENT_SECRET"],
        user_assertion=token,
        authority=SETTINGS.get("AUTHORITY_HOST"),
    )


@app.errorhandler(Unauthorized)
def unauthorized(_: Unauthorized) -> Response:
    return Response(status=401, headers={"WWW-Authenticate": "Bearer"})


@app.errorhandler(AuthenticationError)
def not_authenticated(error: AuthenticationError) -> Response:
    app.logger.warning("%s", error)
    challenge = "Bearer"
    if error.code == "interaction_required":
        # The user has to act: the caller signs in again with these claims, and sends the new token.
        challenge += ' error="insufficient_claims"'
        if claims := error.detail.get("claims"):
            challenge += f', claims="{base64.b64encode(claims.encode()).decode()}"'
    elif error.aadsts in (50013, 50027, 50034, 500133):
        # The token is for another service, expired or not yet valid, or not a user's.
        challenge += ' error="invalid_token"'
    else:
        # The cause is the service's secret, Entra or the network.
        return Response("no login at present\n", status=503, headers={"Retry-After": "5"})
    return Response(status=401, headers={"WWW-Authenticate": challenge})


@app.errorhandler(PgEntraError)
def not_connected(error: PgEntraError) -> Response:
    app.logger.warning("%s", error)
    return Response("no login\n", status=500)


def main() -> None:
    parser = argparse.ArgumentParser(description="PostgreSQL as the caller, over Microsoft Entra")
    parser.add_argument("--port", type=int, default=8000)
    # For development. In production: `gunicorn on_behalf_of_service:app`.
    server = make_server("127.0.0.1", parser.parse_args().port, app, threaded=True)
    print(f"http://127.0.0.1:{server.server_port}/me", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
