"""SQLModel: a table is created and read."""

from __future__ import annotations

import os

from sqlalchemy import text
from sqlmodel import Field, Session, SQLModel, create_engine, select

from pgentra.sqlalchemy import enable_entra_authentication


class Order(SQLModel, table=True):
    __tablename__ = f"sqlmodel_{os.environ['TEST_NUMBER']}"
    id: int | None = Field(default=None, primary_key=True)
    item: str


engine = create_engine(os.environ["DATABASE_URL"])
enable_entra_authentication(engine)
SQLModel.metadata.create_all(engine)
with Session(engine) as session:
    session.add(Order(item="book"))
    session.commit()
    assert session.exec(select(Order.item)).one() == "book"
    print(session.connection().scalar(text("select current_user")))
SQLModel.metadata.drop_all(engine)
