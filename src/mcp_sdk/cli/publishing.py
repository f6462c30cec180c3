"""The policy set in force and its revisions, for every verb that puts another one in its place."""

from __future__ import annotations

from mcp_sdk.cli.following import following_of
from mcp_sdk.exceptions import ConfigurationError, StoreError
from mcp_sdk.mesh import Mesh
from mcp_sdk.snapshot import PolicyRevision

__all__ = ["current", "outrun", "revision_of"]


def current(mesh: Mesh) -> PolicyRevision:
    """Give the policy set in force; raises ``ConfigurationError`` where there is none."""
    found = mesh.control_plane.policies().result(mesh.config.start_timeout)
    if found is None:
        config = mesh.config
        where = f"namespace {config.namespace!r}, environment {config.environment!r}"
        raise ConfigurationError(f"no policies are in force in {where}")
    return found


def revision_of(mesh: Mesh, number: int) -> PolicyRevision:
    """Give one revision of the policy set; raises ``ConfigurationError`` where it never was."""
    found = mesh.control_plane.policies(number).result(mesh.config.start_timeout) if number > 0 else None
    if found is None:
        held = mesh.control_plane.snapshot().revision
        see = following_of("mcpctl history", mesh.config)
        raise ConfigurationError(f"there is no revision {number}; {held} is in force. See them with: {see}")
    return found


def outrun(mesh: Mesh, expected: int, actual: int, *, then: str = "apply them") -> StoreError:
    """Give the error that says who published since ``expected``, and how to go on; ``then`` is what to do at last."""
    found = mesh.control_plane.policy_history(limit=50).result(mesh.config.start_timeout)
    told = [f"revision {each.revision} by {each.author} at {each.created_at}" for each in found[::-1]]
    since = [text for each, text in zip(found[::-1], told, strict=True) if each.revision > expected]
    who = f"since then came {'; '.join(since)}" if since else f"revision {actual} is in force"
    see = following_of(f"mcpctl diff --from {expected}", mesh.config)
    return StoreError(
        f"nothing was changed: revision {expected} was to be replaced, and {who}. See what changed with: "
        f"{see}. Take it into your files, and {then} with --replaces {actual}"
    )
