"""FastAPI under uvicorn: an asynchronous view reads the role."""

from __future__ import annotations

import os
import threading
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from pgentra.sqlalchemy import enable_entra_authentication_async

engine = create_async_engine(os.environ["DATABASE_URL"])
enable_entra_authentication_async(engine)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/", response_class=PlainTextResponse)
async def index() -> str:
    async with engine.connect() as connection:
        return str(await connection.scalar(text("select current_user")))


server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
thread = threading.Thread(target=server.run)
thread.start()
try:
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/", timeout=30) as response:
        print(response.read().decode())
finally:
    server.should_exit = True
    thread.join()
