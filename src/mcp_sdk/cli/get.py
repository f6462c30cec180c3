"""``mcpctl get``: what the mesh knows."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from mcp_sdk.cli.command import OK, Command, WrongUsage
from mcp_sdk.cli.entities import add_limit, attributes, listed, plain_row, say_more, shown
from mcp_sdk.cli.following import following
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import add_store, connected
from mcp_sdk.exceptions import UnknownModel
from mcp_sdk.mesh import Mesh

__all__ = ["COMMAND"]

FIRST = 4
"""How many columns stand in the first line of a row that has two."""


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("what", metavar="WHAT", help="policies, models, services, or the name of a model")
    parser.add_argument("name", nargs="?", default="", help="a service's name, or the start of an entity's id")
    parser.add_argument("--state", help="only entities in this state")
    add_limit(parser)
    add_store(parser)


def _run(args: Namespace, output: Output) -> int:
    with connected(args) as mesh:
        listing = {"policies": _policies, "models": _models, "services": _services}.get(args.what, _entities)
        columns, found = listing(mesh, args)
    limit = args.limit if listing is _entities else len(found)
    rows = found[:limit]
    if output.for_machines:
        output.data([plain_row(columns, row) for row in rows])
    elif rows:
        output.listing(columns, [[shown(cell) for cell in row] for row in rows], FIRST)
    else:
        output.say(
            f"no {args.what} found in namespace {mesh.config.namespace!r}, environment {mesh.config.environment!r}"
        )
    say_more(found, limit, output)
    return OK


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
        [model.name, model.key, list(model.states), list(model.attributes)] for model in found
    ]


def _services(mesh: Mesh, args: Namespace) -> Listing:
    if not args.name:
        raise WrongUsage(f"which service? Say it: {following('mcpctl get services order-service', args)}")
    found = mesh.control_plane.endpoints(args.name)
    return ["service", "version", "url", "weight", "labels"], [
        [endpoint.service, endpoint.version, endpoint.url, endpoint.weight, dict(endpoint.labels)] for endpoint in found
    ]


def _entities(mesh: Mesh, args: Namespace) -> Listing:
    declared = mesh.control_plane.snapshot().models
    if declared and args.what not in declared:
        raise WrongUsage(str(UnknownModel(args.what, [*declared, "policies", "models", "services"])))
    model = declared.get(args.what) or mesh.models.named(args.what)
    state = model.check_state(args.state) if args.state is not None else None
    found = listed(mesh, model.name, state=state, prefix=args.name, limit=args.limit)
    return ["id", "state", "revision", "observed_at", "source", "attributes"], [
        [each.entity_id, each.state, each.revision, each.observed_at, each.source, attributes(each.attributes, model)]
        for each in found
    ]


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
