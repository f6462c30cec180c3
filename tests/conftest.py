"""Fixtures of more than one test module."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fakes import FakePlane
from shop import Order

from mcp_sdk import current
from mcp_sdk.models import BusinessModel
from mcp_sdk.testing import RecordingMesh, recording_mesh


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let golden files be written anew."""
    parser.addoption(
        "--update-golden", action="store_true", help="write golden files anew instead of comparing with them"
    )


@pytest.fixture
def plane() -> FakePlane:
    """A control plane that applies at once."""
    return FakePlane()


@pytest.fixture
def make_mesh(plane: FakePlane) -> Iterator[Callable[..., RecordingMesh]]:
    """Start meshes over ``plane``; they are closed after the test."""
    started: list[RecordingMesh] = []

    def start(*models: BusinessModel, strict: bool = False, **settings: Any) -> RecordingMesh:
        mesh = recording_mesh(models=models, control_plane=plane, **settings)
        mesh.models.strict = strict
        started.append(mesh)
        return mesh.start()

    gc.collect()
    current.forget()
    yield start
    for mesh in started:
        mesh.close()
    current.forget()


@pytest.fixture
def shop(make_mesh: Callable[..., RecordingMesh]) -> RecordingMesh:
    """A started mesh that knows ``Order`` under the name ``order``."""
    mesh = make_mesh()
    mesh.model(name="order", key="number", state="status", attributes=("amount",), sensitive=("card",))(Order)
    return mesh
