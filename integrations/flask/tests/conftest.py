"""A control plane in a SQLite file, and gunicorn with several workers on a free loopback port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from operating import apply_to, stored_in
from servers import GUNICORN, Server

from mcp_sdk import BusinessModel, Mesh, ModelContext

HERE = Path(__file__).parent


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mesh.db'}"


@pytest.fixture
def mesh(url: str) -> Iterator[Mesh]:
    """Give the operator's own mesh on the same control plane."""
    order = BusinessModel("order", key="number", states=("created", "paid"), attributes={"amount": "decimal"})
    mesh = Mesh(service="operator", control_plane=url, models=[order])
    with mesh:
        yield mesh


@pytest.fixture
def apply(mesh: Mesh) -> Callable[[str], None]:
    return partial(apply_to, mesh)


@pytest.fixture
def stored(mesh: Mesh) -> Callable[[str], ModelContext | None]:
    return partial(stored_in, mesh)


@pytest.fixture
def gunicorn(url: str) -> Iterator[Callable[..., Server]]:
    """Give a function that starts gunicorn; every one is stopped at the end."""
    running: list[Server] = []

    def start(application: str, *, workers: int = 3, **env: str) -> Server:
        command = (*GUNICORN, "--workers", str(workers), application)
        running.append(Server(*command, directory=HERE, MCP_SDK_CONTROL_PLANE=url, **env))
        return running[-1]

    yield start
    for server in running:
        server.stop()
