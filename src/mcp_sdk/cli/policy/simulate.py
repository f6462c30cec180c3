"""``mcpctl policy simulate``: tell whom changed policies would decide otherwise."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import add_store
from mcp_sdk.cli.policy.logs import add_log, engine_of, finish, watched
from mcp_sdk.cli.policy.verb import Verb, add_output

__all__ = ["VERB"]


def _configure(parser: ArgumentParser) -> None:
    add_log(parser)
    parser.add_argument(
        "-p", "--policies", action="append", metavar="PATH", required=True, help="the changed policy files"
    )
    parser.add_argument(
        "--against", action="append", metavar="PATH", help="policy files to compare with, instead of those in force"
    )
    add_store(parser)
    add_output(parser)


def _run(args: Namespace, output: Output) -> int:
    from mcp_sdk.policy.history.records import read_records  # noqa: PLC0415 - the engine's load is for this verb alone
    from mcp_sdk.policy.history.replay import simulate  # noqa: PLC0415

    current = engine_of(args.against, args)
    changed = engine_of(args.policies, args, current.models)
    report = watched(
        args.logs, output, lambda lines: simulate(read_records(lines), changed, current, samples=args.samples)
    )
    return finish(report, args, output)


VERB = Verb(
    name="simulate",
    summary="show whom changed policies would decide otherwise, by a decision log",
    examples="""\
  mcpctl policy simulate decisions.jsonl -p changed/ --against policies/
                                                      two sets of files
  mcpctl policy simulate decisions.jsonl -p changed/ -s sqlite:///mesh.db
                                                      against those in force
""",
    configure=_configure,
    run=_run,
)
