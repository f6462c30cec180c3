"""A mesh, policies and uvicorn on a free loopback port."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import pytest
import uvicorn
from operating import apply_to, stored_in

from mcp_sdk import BusinessModel, Mesh, ModelContext


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    mesh = Mesh(service="orders", fetch_timeout=5.0)
    mesh.model(BusinessModel("order", key="number", states=("created", "paid"), attributes={"amount": "decimal"}))
    yield mesh
    mesh.close()


@pytest.fixture
def apply(mesh: Mesh) -> Callable[[str], None]:
    return partial(apply_to, mesh)


@pytest.fixture
def stored(mesh: Mesh) -> Callable[[str], ModelContext | None]:
    return partial(stored_in, mesh)


@contextmanager
def serving(app: Any) -> Iterator[httpx.Client]:
    """Run an application under uvicorn and give a client of it."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="on", ws="websockets-sansio"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the application did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def serve() -> Callable[[Any], Any]:
    return serving
