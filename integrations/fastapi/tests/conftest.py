"""A mesh, policies and uvicorn on a free loopback port."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from mcp_sdk import BusinessModel, EntityRef, Mesh, ModelContext
from mcp_sdk.policy import compile_policies
from mcp_sdk.snapshot import PolicyRevision


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    mesh = Mesh(service="orders", fetch_timeout=5.0)
    mesh.model(BusinessModel("order", key="number", states=("created", "paid"), attributes={"amount": "decimal"}))
    yield mesh
    mesh.close()


@pytest.fixture
def apply(mesh: Mesh) -> Callable[[str], None]:
    """Put policies in force in place of those before."""

    def put(text: str) -> None:
        held = mesh.control_plane.snapshot().revision
        programs = compile_policies({"test.yaml": text}, dict(mesh.models))
        mesh.control_plane.apply(PolicyRevision(held, programs)).result(5)

    return put


@pytest.fixture
def stored(mesh: Mesh) -> Callable[[str], ModelContext | None]:
    """Give what the store holds of an order once all that was published is there."""

    def look_up(number: str) -> ModelContext | None:
        assert mesh.control_plane.flush(5)
        ref = EntityRef("order", number)
        return mesh.control_plane.fetch([ref]).result(5).get(ref)

    return look_up


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
