"""Celery: a task in a forked worker reads the role."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from celery import Celery
from celery.signals import worker_process_init
from sqlalchemy import create_engine, text

from pgentra.sqlalchemy import enable_entra_authentication

folder = Path(os.environ["TEST_FOLDER"])
app = Celery("celery_program", broker="filesystem://", backend=f"file://{folder}")
app.conf.broker_transport_options = {
    "data_folder_in": str(folder / "queue"),
    "data_folder_out": str(folder / "queue"),
    "control_folder": str(folder / "control"),
}

engine = create_engine(os.environ["DATABASE_URL"])
enable_entra_authentication(engine)


@worker_process_init.connect
def forget_connections(**_: object) -> None:
    """A forked process must not use its parent's connections."""
    engine.dispose(close=False)


@app.task(name="current_role")
def current_role() -> str:
    with engine.connect() as connection:
        return str(connection.scalar(text("select current_user")))


if __name__ == "__main__":
    (folder / "queue").mkdir()
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "celery_program", "worker", "--pool", "prefork", "--concurrency", "2"],
        cwd=Path(__file__).parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        print(current_role.delay().get(timeout=60))
    finally:
        worker.terminate()
        worker.wait(30)
