"""``mcpctl policy replay``: tell whether what was decided then would be decided so again."""

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
        "-p", "--policies", action="append", metavar="PATH", help="policy files, instead of those in force"
    )
    add_store(parser)
    add_output(parser)


def _run(args: Namespace, output: Output) -> int:
    from mcp_sdk.policy.history.records import read_records  # noqa: PLC0415 - the engine's load is for this verb alone
    from mcp_sdk.policy.history.replay import replay  # noqa: PLC0415

    engine = engine_of(args.policies, args)
    report = watched(args.logs, output, lambda lines: replay(read_records(lines), engine, samples=args.samples))
    return finish(report, args, output)


VERB = Verb(
    name="replay",
    summary="decide a decision log again, and compare with what was decided then",
    examples="""\
  mcpctl policy replay decisions.jsonl -p policies/   by policy files
  mcpctl policy replay decisions.jsonl -s sqlite:///mesh.db --fail-on refused
                                                      by those in force
""",
    configure=_configure,
    run=_run,
)
