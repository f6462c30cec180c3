"""``mcpctl context``: entities, what they are now, what becomes of them, and forgetting one."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from itertools import islice
from typing import Any

from mcp_sdk.cli import forget
from mcp_sdk.cli.command import OK, Command
from mcp_sdk.cli.entities import (
    add_limit,
    attributes,
    context_of,
    listed,
    model_of,
    move_of,
    plain_applied,
    plain_row,
    plain_transition,
    say_more,
    shown,
)
from mcp_sdk.cli.output import Output, add_output
from mcp_sdk.cli.plane import add_store, connected
from mcp_sdk.cli.watching import changes, heard
from mcp_sdk.context import ModelContext
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import Change

__all__ = ["COMMAND"]

COLUMNS = ("id", "state", "revision", "observed_at", "source", "attributes")
FIRST = 4
"""How many of these stand in the first line of an entity that has two."""


def _verb(
    verbs: Any, name: str, summary: str, examples: str, run: Callable[[Namespace, Output], int]
) -> ArgumentParser:
    parser: ArgumentParser = verbs.add_parser(
        name, help=summary, description=examples, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="the model's name, as mcpctl get models shows it")
    add_output(parser)
    add_store(parser)
    parser.set_defaults(of_context=run)
    return parser


def _configure(parser: ArgumentParser) -> None:
    parser.set_defaults(output="table")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="context_verb", required=True)
    get = _verb(verbs, "get", "what an entity is now", "  mcpctl context get order o-1 -s sqlite:///mesh.db\n", _get)
    get.add_argument("id", metavar="ID", help="the entity's id")
    listing = _verb(verbs, "list", "the entities of a model", LIST, _list)
    listing.add_argument("--state", help="only entities in this state")
    listing.add_argument("--prefix", default="", metavar="TEXT", help="only ids that begin so")
    add_limit(listing)
    watch = _verb(verbs, "watch", "what becomes of them, live", WATCH, _watch)
    watch.add_argument("id", nargs="?", default="", metavar="ID", help="one entity (default: all of the model)")
    watch.add_argument("--state", help="only changes that lead into this state")
    watch.add_argument("--count", type=int, metavar="N", help="end after N changes (default: Ctrl-C)")
    forget.configure(_verb(verbs, "forget", "erase an entity, with a receipt", forget.EXAMPLES, forget.run))


LIST = """\
  mcpctl context list order -s sqlite:///mesh.db
  mcpctl context list order --state created --prefix o- -s https://mesh.internal
"""
WATCH = """\
A line for each change as it is stored; -o json writes JSON lines. Ctrl-C ends
it.

  mcpctl context watch order -s sqlite:///mesh.db
  mcpctl context watch order o-1 -o json -s https://mesh.internal
"""


def _row(context: ModelContext, model: BusinessModel) -> list[Any]:
    told = attributes(context.attributes, model)
    return [context.entity_id, context.state, context.revision, context.observed_at, context.source, told]


def _table(rows: list[list[Any]], output: Output) -> None:
    output.listing(COLUMNS, [[shown(cell) for cell in row] for row in rows], FIRST)


def _get(args: Namespace, output: Output) -> int:
    with connected(args) as mesh:
        model = model_of(mesh, args.model)
        row = _row(context_of(mesh, model, args.id), model)
    if output.for_machines:
        output.data(plain_row(COLUMNS, row))
    else:
        _table([row], output)
    return OK


def _list(args: Namespace, output: Output) -> int:
    with connected(args) as mesh:
        model = model_of(mesh, args.model)
        state = model.check_state(args.state) if args.state is not None else None
        found = listed(mesh, model.name, state=state, prefix=args.prefix, limit=args.limit)
        rows = [_row(context, model) for context in found[: args.limit]]
    if output.for_machines:
        output.data([plain_row(COLUMNS, row) for row in rows])
    elif rows:
        _table(rows, output)
    else:
        output.say(
            f"no {model.name} found in namespace {mesh.config.namespace!r}, environment {mesh.config.environment!r}"
        )
    say_more(found, args.limit, output)
    return OK


def _watch(args: Namespace, output: Output) -> int:
    with connected(args) as mesh:
        model = model_of(mesh, args.model)
        state = model.check_state(args.state) if args.state is not None else None
        with heard(mesh, [model.name]) as waiting:
            output.say(f"watching {model.name} {args.id}".rstrip() + "; Ctrl-C ends")
            output.err.flush()
            seen = (change for change in changes(waiting) if _wanted(change, args.id, state))
            for change in islice(seen, args.count):
                _tell(change, model, output)
    return OK


def _wanted(change: Change, entity_id: str, state: str | None) -> bool:
    if change.applied is not None:
        made, after = change.applied.transition, change.applied.context.state
        return entity_id in ("", made.entity_id) and state in (None, made.to_state or after)
    return change.ref is None or entity_id in ("", change.ref.entity_id)


def _tell(change: Change, model: BusinessModel, output: Output) -> None:
    if output.for_machines:
        output.record(_plain(change, model))
    else:
        output.line(_line(change, model))
        output.out.flush()


def _plain(change: Change, model: BusinessModel) -> dict[str, Any]:
    if change.applied is not None:
        return plain_transition(change.applied, model)
    if change.ref is not None:
        return {"model": model.name, "id": change.ref.entity_id, "status": "forgotten"}
    return {"model": model.name, "status": "resync"}


def _line(change: Change, model: BusinessModel) -> str:
    if change.applied is not None:
        told = plain_applied(change.applied, model)
        status = "" if told["status"] == "applied" else f" ({told['status']})"
        moved = move_of(told)
        return (
            f"{told['at']}  {model.name} {told['id']}  {moved}{status}  {told['source']}  {told['attributes']}".rstrip()
        )
    if change.ref is not None:
        return f"{model.name} {change.ref.entity_id}  forgotten"
    return f"some changes of {model.name} were missed: the connection was away for too long"


def _run(args: Namespace, output: Output) -> int:
    return int(args.of_context(args, output))


COMMAND = Command(
    name="context",
    summary="get, list, watch or forget entities",
    description="""\
Look at the entities that the mesh knows, watch what becomes of them, or erase
one from everything that remembers it.

  mcpctl context get order o-1 -s sqlite:///mesh.db
  mcpctl context list order --state created -s sqlite:///mesh.db
  mcpctl context watch order -s https://mesh.internal
  mcpctl context forget order o-1 --decision-log decisions.jsonl
""",
    configure=_configure,
    run=_run,
)
