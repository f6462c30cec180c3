"""What an operator does: put policies in force, and look what is stored."""

from __future__ import annotations

from mcp_sdk import EntityRef, Mesh, ModelContext
from mcp_sdk.policy import compile_policies
from mcp_sdk.snapshot import PolicyRevision


def apply_to(mesh: Mesh, text: str) -> None:
    """Put policies in force in place of those before."""
    held = mesh.control_plane.snapshot().revision
    programs = compile_policies({"test.yaml": text}, dict(mesh.models))
    mesh.control_plane.apply(PolicyRevision(held, programs)).result(5)


def stored_in(mesh: Mesh, number: str) -> ModelContext | None:
    """Give what the store holds of an order once all that was published is there."""
    assert mesh.control_plane.flush(5)
    ref = EntityRef("order", number)
    return mesh.control_plane.fetch([ref]).result(5).get(ref)
