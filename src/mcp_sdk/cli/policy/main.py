"""The verbs of ``mcpctl policy``, and the way to them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

from mcp_sdk.cli.command import Command
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.policy import check, diff, explain_index, replay, simulate, test
from mcp_sdk.cli.policy.verb import Verb

__all__ = ["COMMAND", "VERBS"]

VERBS: tuple[Verb, ...] = (
    check.VERB,
    test.VERB,
    diff.VERB,
    simulate.VERB,
    replay.VERB,
    explain_index.VERB,
)


def _configure(parser: ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="policy_verb", required=True)
    for verb in VERBS:
        description = f"{verb.summary.capitalize()}.\n\n{verb.examples}"
        own = verbs.add_parser(
            verb.name, help=verb.summary, description=description, formatter_class=RawDescriptionHelpFormatter
        )
        verb.configure(own)
        own.set_defaults(run_policy_verb=verb.run)
    parser.set_defaults(output="table")


def _run(args: Namespace, output: Output) -> int:
    return int(args.run_policy_verb(args, output))


COMMAND = Command(
    name="policy",
    summary="check and test policies, and try them on recorded calls",
    description="Work on policies. Each verb's --help shows examples.\n\n" + "".join(verb.examples for verb in VERBS),
    configure=_configure,
    run=_run,
)
