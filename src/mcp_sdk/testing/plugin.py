"""The pytest plug-in: a mesh for each test that asks for one.

``mesh`` is a started ``RecordingMesh`` in memory: its ids and its clock can be foretold, ``mesh.captured`` holds the
transitions (pending ones too) and the decisions, ``mesh.policies(text)`` changes the policies within a test. What it is
built from are fixtures to override::

    @pytest.fixture
    def mesh_models():
        return shop.mesh.models.values()

    def test_paying(mesh):
        pay(Order("o-1"))
        assert mesh.captured.states("order") == ["paid"]
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mcp_sdk.models import BusinessModel
    from mcp_sdk.testing.recording import RecordingMesh

__all__ = ["mesh", "mesh_models", "mesh_settings", "pytest_runtest_setup"]


def pytest_runtest_setup() -> None:
    """Let no mesh that a test starts answer for the decorators of services that other tests import.

    ``mesh.models.strict = True`` before the start has them checked all the same.
    """
    registry = sys.modules.get("mcp_sdk.registry")
    if registry is not None:
        registry.Registry.strict = False


@pytest.fixture
def mesh_models() -> Iterable[BusinessModel]:
    """Give the models that ``mesh`` declares; override it. None makes it accept every model."""
    return ()


@pytest.fixture
def mesh_settings() -> Mapping[str, Any]:
    """Give further settings of ``mesh``, named like the fields of ``Config``; override it."""
    return {}


@pytest.fixture
def mesh(mesh_models: Iterable[BusinessModel], mesh_settings: Mapping[str, Any]) -> Iterator[RecordingMesh]:
    """Give a started mesh of this test's own."""
    from mcp_sdk import current  # noqa: PLC0415 - a test run without a mesh pays nothing
    from mcp_sdk.testing.recording import recording_mesh  # noqa: PLC0415

    current.forget()
    with recording_mesh(models=mesh_models, **mesh_settings) as started:
        yield started
    current.forget()
