"""Fixtures of the tests around a scripted plane: the plane, a standing clock, meshes over both."""

import pytest
from scripted import ScriptedPlane, SetClock

from mcp_sdk import BusinessModel, Mesh
from mcp_sdk.clock import Runtime

__all__ = ["clock", "make_mesh", "mesh", "peer", "plane"]

MODELS = (
    BusinessModel("order", key="number", states=("created", "paid", "shipped"), attributes={"amount": "decimal"}),
    BusinessModel("user", states=("active", "blocked"), attributes={"tier": "string"}, principal=True),
)


@pytest.fixture
def plane():
    """Give a control plane that permits everything until it is told otherwise."""
    return ScriptedPlane()


@pytest.fixture
def clock():
    """Give a clock that stands."""
    return SetClock()


@pytest.fixture
def make_mesh(plane, clock):
    """Give a factory of started meshes over ``plane``; all are closed at the end."""
    made = []

    def make(service="orders", **settings):
        control_plane = settings.pop("control_plane", plane)
        mesh = Mesh(
            service=service, models=MODELS, control_plane=control_plane, runtime=Runtime(clock=clock), **settings
        )
        made.append(mesh)
        return mesh.start()

    yield make
    for mesh in made:
        mesh.close()


@pytest.fixture
def mesh(make_mesh):
    """Give the mesh of the service under test."""
    return make_mesh()


@pytest.fixture
def peer(make_mesh):
    """Give the mesh of another service that shares the keys."""
    return make_mesh("gateway", control_plane=ScriptedPlane())
