"""Flask-SQLAlchemy: a view reads the role."""

from __future__ import annotations

import os

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text

from pgentra.sqlalchemy import enable_entra_authentication

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
database = SQLAlchemy(app)
with app.app_context():
    enable_entra_authentication(database.engine)


@app.get("/")
def index() -> str:
    return str(database.session.scalar(text("select current_user")))


print(app.test_client().get("/").text)
