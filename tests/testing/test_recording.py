"""What users' tests import by name."""

from __future__ import annotations

import pytest

import mcp_sdk.testing
from mcp_sdk import DecisionRequest, Mesh
from mcp_sdk.testing import FakeClock, RecordingMesh, SequentialIds, StoreSuite, recording_mesh


def test_every_exported_name_is_there() -> None:
    """Names are imported when they are used; one that is none is an ``AttributeError``."""
    for name in mcp_sdk.testing.__all__:
        assert getattr(mcp_sdk.testing, name)
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = mcp_sdk.testing.Nothing
    assert StoreSuite.__module__ == "mcp_sdk.testing.stores"


def test_a_clock_stands_still_until_told() -> None:
    """Both of its readings go on together."""
    clock = FakeClock()
    before = clock.now()
    assert clock.now() == before
    clock.tick(2.5)
    assert (clock.monotonic(), (clock.now() - before).total_seconds()) == (2.5, 2.5)


def test_ids_are_counted() -> None:
    """From one, with a prefix."""
    ids = SequentialIds("id-")
    assert [ids(), ids()] == ["id-1", "id-2"]


def test_a_mesh_of_another_clock_says_so() -> None:
    """Only a clock that can be told how time passes is given out as one."""
    mesh = RecordingMesh(service="shop")
    with pytest.raises(TypeError, match="recording_mesh"):
        _ = mesh.clock
    assert isinstance(recording_mesh(), Mesh)


def test_words_of_policies_in_shadow_are_captured() -> None:
    """Each with what it would have changed."""
    text = "kind: AccessPolicy\nmetadata: {name: p}\nspec: {target: {service: s}, default: deny, shadow: true}\n"
    with recording_mesh() as mesh:
        mesh.policies(text)
        assert mesh.decide(DecisionRequest("s")).permitted
        assert [(reason.policy, outcome) for reason, outcome in mesh.captured.shadows] == [("p", "nothing_granted")]
        assert mesh.telemetry.shadows.read() == {("inbound", "p", "nothing_granted"): 1}
