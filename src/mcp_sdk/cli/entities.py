"""Entities and their transitions, as verbs look them up and print them."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from mcp_sdk.cli.arguments import several
from mcp_sdk.cli.command import WrongUsage
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.times import short
from mcp_sdk.context import EntityRef, ModelContext
from mcp_sdk.exceptions import UnknownModel
from mcp_sdk.mesh import Mesh
from mcp_sdk.models import Attribute, BusinessModel, Value
from mcp_sdk.ports import Applied

__all__ = [
    "Listing",
    "add_limit",
    "attributes",
    "context_of",
    "listed",
    "model_of",
    "moment",
    "move_of",
    "plain_applied",
    "plain_row",
    "plain_transition",
    "say_more",
    "services_of",
    "shown",
    "transition_row",
]

PAGE = 1_000
"""Entities that are asked for at once, at most."""
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


def add_limit(parser: ArgumentParser) -> None:
    """Add ``--limit`` to a verb that lists entities."""
    parser.add_argument("--limit", type=several, default=100, metavar="N", help="how many, at most (default: 100)")


def say_more(found: Sequence[object], limit: int, output: Output) -> None:
    """Say of a listing of one more than ``limit`` that it is cut there."""
    if len(found) > limit:
        output.say(f"these are the first {limit}; list more with --limit N")


def listed(mesh: Mesh, model: str, *, state: str | None, prefix: str, limit: int) -> list[ModelContext]:
    """Give entities of a model by id, and one more than ``limit`` where there are more.

    They are asked for page by page: a server cuts pages by their size too.
    """
    found, after = list[ModelContext](), ""
    while len(found) <= limit:
        wanted = min(limit + 1 - len(found), PAGE)
        asked = mesh.control_plane.list(model, state=state, id_prefix=prefix, limit=wanted, after=after)
        page = asked.result(mesh.config.start_timeout)
        found += page.contexts
        after = page.after
        if not after:
            break
    return found


def services_of(mesh: Mesh) -> set[str]:
    """Name the services that are registered, and those that policies govern."""
    governed = {policy["service"] for policy in mesh.control_plane.snapshot().programs.get("policies", ())}
    return governed | {endpoint.service for endpoint in mesh.control_plane.endpoints("")}


def attributes(values: Mapping[str, Any], model: BusinessModel) -> dict[str, Any]:
    """Give attributes as JSON has them: a decimal as text in major units, a timestamp in ISO 8601."""
    declared = model.attributes
    return {name: _plain(value, declared.get(name)) for name, value in values.items()}


def _plain(value: Value, declared: Attribute | None) -> Any:
    if isinstance(value, tuple):
        return list(value)
    written = isinstance(value, datetime) or (declared is not None and declared.type == "decimal")
    return (declared or Attribute("value")).present(value) if written else value


def shown(cell: Any) -> str:
    """Write a value as a person reads it in a table."""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, Mapping):
        return ", ".join(f"{name}={value}" for name, value in cell.items())
    if isinstance(cell, list):
        return ", ".join(map(str, cell))
    return short(cell) if isinstance(cell, datetime) else "" if cell is None else str(cell)


def plain_row(columns: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    """Give a row of a table for machines: names without blanks, moments to the millisecond."""
    cells = (moment(cell) if isinstance(cell, datetime) else cell for cell in row)
    return {column.replace(" ", "_"): cell for column, cell in zip(columns, cells, strict=True)}


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
    """Give what ``plain_transition`` does, with the attributes as a person reads them."""
    plain = plain_transition(applied, model)
    return {**plain, "attributes": shown(plain["attributes"])}


def plain_transition(applied: Applied, model: BusinessModel) -> dict[str, Any]:
    """Give a transition as plain JSON for a stream of lines."""
    names = ("at", "from", "to", "revision", "status", "source", "attributes")
    row = dict(zip(names, transition_row(applied, model), strict=True))
    return {"at": row.pop("at"), "model": model.name, "id": applied.transition.entity_id, **row}


def move_of(told: Mapping[str, Any]) -> str:
    """Write a move: the state before is not known of what its maker had not looked up."""
    before = told["from"] or ("new" if told["revision"] == 1 else "")
    return f"{before} -> {told['to'] or 'no state'}".lstrip()
