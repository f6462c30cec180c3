"""``mcpctl policy explain-index``: show by which key each rule is found, or why it has none."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections import Counter
from typing import TYPE_CHECKING

from mcp_sdk.cli.command import OK
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import add_store, connected
from mcp_sdk.cli.policy.verb import Verb, add_output, counted
from mcp_sdk.cli.sources import read_models, read_policies

if TYPE_CHECKING:
    from mcp_sdk.policy.engine import Engine
    from mcp_sdk.policy.placement import Placement

__all__ = ["VERB"]


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", metavar="PATH", help="policy files or folders; none: those in force")
    parser.add_argument("--scanned", action="store_true", help="only the rules that no key leads to")
    add_store(parser)
    add_output(parser)


def _run(args: Namespace, output: Output) -> int:
    from mcp_sdk.policy.placement import placements  # noqa: PLC0415 - the engine's load is for this verb alone

    found = list(placements(_engine(args)))
    shown = [placement for placement in found if not (args.scanned and placement.ways)]
    if output.for_machines:
        output.data([placement.to_dict() for placement in shown])
        return OK
    rows = [(one.policy, one.rule, "" if one.sure else "yes", str(one)) for one in shown]
    output.table(("policy", "rule", "asked", "found by"), rows)
    output.say(_summary(found))
    return OK


def _engine(args: Namespace) -> Engine:
    from mcp_sdk.policy import Engine, compile_policies  # noqa: PLC0415 - as above

    if args.paths:
        models = read_models(args.paths)
        return Engine(compile_policies(read_policies(args.paths), models), models)
    with connected(args) as mesh:
        snapshot = mesh.control_plane.snapshot()
        return Engine(snapshot.programs, snapshot.models, epoch=snapshot.epoch, revision=snapshot.revision)


def _summary(found: list[Placement]) -> str:
    counts = Counter(bool(placement.ways) for placement in found)
    return f"{counted(len(found), 'rule')}: {counts[True]} found by a key, {counts[False]} scanned"


VERB = Verb(
    name="explain-index",
    summary="show by which key each rule is found, or why it is scanned",
    examples="""\
  mcpctl policy explain-index policies/             rules, with facts that lead
  mcpctl policy explain-index policies/ --scanned   those that each call tries
  mcpctl policy explain-index -s sqlite:///mesh.db  the policies in force
""",
    configure=_configure,
    run=_run,
)
