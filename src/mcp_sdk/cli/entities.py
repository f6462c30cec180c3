"""Entities and their transitions, as verbs look them up and print them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from mcp_sdk.cli.command import WrongUsage
from mcp_sdk.context import EntityRef, ModelContext
from mcp_sdk.exceptions import UnknownModel
from mcp_sdk.mesh import Mesh
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import Applied

__all__ = ["Listing", "attributes", "context_of", "model_of", "moment", "move_of", "plain_applied", "transition_row"]

Listing = tuple[Sequence[str], list[list[Any]]]
"""Columns, and rows of a table."""


def model_of(mesh: Mesh, name: str, *further: str) -> BusinessModel:
    """Give a declared model; raises ``UnknownModel`` that names it, and ``further`` words that would have done."""
    declared = mesh.control_plane.snapshot().models
    if name not in declared:
        raise UnknownModel(name, [*declared, *further])
    return declared[name]


def context_of(mesh: Mesh, model: BusinessModel, entity_id: str) -> ModelContext:
    """Give what is known of an entity; raises ``WrongUsage`` where nothing is."""
    ref = EntityRef(model.name, entity_id)
    found = mesh.control_plane.fetch([ref]).result(mesh.config.start_timeout).get(ref)
    if found is None:
        where = f"namespace {mesh.config.namespace!r}, environment {mesh.config.environment!r}"
        raise WrongUsage(f"no {model.name} {entity_id!r} is known in {where}")
    return found


def attributes(values: Mapping[str, Any], model: BusinessModel) -> str:
    """Write attributes as a person reads them."""
    declared = model.attributes
    shown = (f"{name}={declared[name].present(value) if name in declared else value}" for name, value in values.items())
    return ", ".join(shown)


def moment(at: datetime | None) -> str:
    """Write a time, to the millisecond."""
    return "" if at is None else at.isoformat(timespec="milliseconds")


def transition_row(applied: Applied, model: BusinessModel) -> list[Any]:
    """Give when, from, to, revision, status, source and attributes of a transition."""
    made = applied.transition
    after = made.to_state if made.to_state is not None else applied.context.state
    return [
        moment(made.observed_at),
        made.from_state,
        after,
        applied.context.revision,
        applied.status.value,
        made.source,
        attributes(made.attributes, model),
    ]


def plain_applied(applied: Applied, model: BusinessModel) -> dict[str, Any]:
    """Give a transition as plain JSON for a stream of lines."""
    names = ("at", "from", "to", "revision", "status", "source", "attributes")
    row = dict(zip(names, transition_row(applied, model), strict=True))
    return {"at": row.pop("at"), "model": model.name, "id": applied.transition.entity_id, **row}


def move_of(told: Mapping[str, Any]) -> str:
    """Write a move: the state before is not known of what its maker had not looked up."""
    before = told["from"] or ("new" if told["revision"] == 1 else "")
    return f"{before} -> {told['to'] or 'no state'}".lstrip()
