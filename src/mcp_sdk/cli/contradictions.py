"""Models of files against those that the mesh holds: what contradicts is told at its place, before anything is done."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping

from mcp_sdk.cli.following import following
from mcp_sdk.exceptions import Finding, PolicyError
from mcp_sdk.merging import differences
from mcp_sdk.mesh import Mesh
from mcp_sdk.models import BusinessModel

__all__ = ["require_agreement"]


def require_agreement(
    mesh: Mesh, models: Mapping[str, BusinessModel], declarations: Mapping[str, str], args: Namespace
) -> None:
    """Raise ``PolicyError`` with a finding for each way in which ``models`` contradict what is held by their names.

    ``declarations`` are the texts that they were read from, by file; ``args`` are those of the verb.
    """
    from mcp_sdk.policy.source.declarations import places_of  # noqa: PLC0415 - the load is for verbs that read files

    held, places = mesh.control_plane.snapshot().models, places_of(declarations)
    where = f"{mesh.config.namespace}/{mesh.config.environment}"
    findings = [
        Finding("MCP0032", _said(name, each, where, args), at.file, at.line, at.column)
        for name, at in places.items()
        if name in held and name in models
        for each in differences(held[name], models[name])
    ]
    if findings:
        raise PolicyError(findings)


def _said(name: str, difference: str, where: str, args: Namespace) -> str:
    see = following(f"mcpctl describe model {name}", args)
    return (
        f"against what {where} holds, {difference} (as held, and as written here). Write it here as it is held, or "
        f"give the model another name; see it with: {see}"
    )
