"""``mcpctl get``: what the mesh knows."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from datetime import datetime
from typing import Any

from mcp_sdk.cli.command import OK, Command, WrongUsage
from mcp_sdk.cli.entities import moment
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import add_store, connected
from mcp_sdk.context import ModelContext
from mcp_sdk.exceptions import UnknownModel
from mcp_sdk.mesh import Mesh

__all__ = ["COMMAND"]


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("what", metavar="WHAT", help="policies, models, services, or the name of a model")
    parser.add_argument("name", nargs="?", default="", help="a service's name, or the start of an entity's id")
    parser.add_argument("--state", help="only entities in this state")
    parser.add_argument("--limit", type=int, default=100, help="how many at the most (default: 100)")
    add_store(parser)


def _run(args: Namespace, output: Output) -> int:
    with connected(args) as mesh:
        listing = {"policies": _policies, "models": _models, "services": _services}.get(args.what, _entities)
        columns, rows = listing(mesh, args)
    if output.for_machines:
        output.data([dict(zip(columns, map(_plain, row), strict=True)) for row in rows])
    elif rows:
        output.table(columns, [[_shown(cell) for cell in row] for row in rows])
    else:
        output.say(
            f"no {args.what} found in namespace {mesh.config.namespace!r}, environment {mesh.config.environment!r}"
        )
    return OK


def _plain(cell: Any) -> Any:
    return moment(cell) if isinstance(cell, datetime) else cell


def _shown(cell: Any) -> Any:
    return "" if cell is None else moment(cell) if isinstance(cell, datetime) else cell


Listing = tuple[list[str], list[list[Any]]]


def _policies(mesh: Mesh, _: Namespace) -> Listing:
    snapshot = mesh.control_plane.snapshot()
    rows = [
        [policy["kind"], policy["name"], policy["service"], snapshot.revision]
        for policy in snapshot.programs.get("policies", ())
    ]
    return ["kind", "name", "service", "revision"], rows


def _models(mesh: Mesh, _: Namespace) -> Listing:
    found = mesh.control_plane.snapshot().models.values()
    return ["model", "key", "states", "attributes"], [
        [model.name, model.key, ", ".join(model.states), ", ".join(model.attributes)] for model in found
    ]


def _services(mesh: Mesh, args: Namespace) -> Listing:
    if not args.name:
        raise WrongUsage("which service? Say it: mcpctl get services order-service")
    found = mesh.control_plane.endpoints(args.name)
    labels = ((endpoint, ",".join(f"{k}={v}" for k, v in endpoint.labels.items())) for endpoint in found)
    return ["service", "version", "url", "weight", "labels"], [
        [endpoint.service, endpoint.version, endpoint.url, endpoint.weight, text] for endpoint, text in labels
    ]


def _entities(mesh: Mesh, args: Namespace) -> Listing:
    declared = mesh.control_plane.snapshot().models
    if declared and args.what not in declared:
        raise WrongUsage(str(UnknownModel(args.what, [*declared, "policies", "models", "services"])))
    model = declared.get(args.what) or mesh.models.named(args.what)
    state = model.check_state(args.state) if args.state is not None else None
    listing = mesh.control_plane.list(model.name, state=state, id_prefix=args.name, limit=args.limit)
    page = listing.result(mesh.config.start_timeout)
    return ["id", "state", "revision", "observed_at", "source", "attributes"], [
        _entity(context, model.attributes) for context in page.contexts
    ]


def _entity(context: ModelContext, declared: Any) -> list[Any]:
    shown = (
        f"{name}={declared[name].present(value) if name in declared else value}"
        for name, value in context.attributes.items()
    )
    return [context.entity_id, context.state, context.revision, context.observed_at, context.source, ", ".join(shown)]


COMMAND = Command(
    name="get",
    summary="list entities, policies, models or services",
    description="""\
List what the mesh knows.

  mcpctl get order -s sqlite:///mesh.db --state created
  mcpctl get policies -s sqlite:///mesh.db
  mcpctl get services order-service -s sqlite:///mesh.db
""",
    configure=_configure,
    run=_run,
)
