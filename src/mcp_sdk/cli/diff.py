"""``mcpctl diff``: what files, or another revision, would decide otherwise than what is in force."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from mcp_sdk.cli.command import Command, WrongUsage
from mcp_sdk.cli.following import following
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import add_store
from mcp_sdk.cli.policy.diff import BUDGET, SHOWN, VERB

__all__ = ["COMMAND"]

CURRENT = "current"


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("path", nargs="?", metavar="PATH", help="policy files: a file or a folder")
    parser.add_argument("--from", dest="old", metavar="REV", help="a revision (default: the one in force)")
    parser.add_argument("--to", dest="new", metavar="REV", help="a revision (default: the one in force)")
    add_store(parser)


def _run(args: Namespace, output: Output) -> int:
    if args.path is None and args.old is None:
        files, since = (following(f"mcpctl diff {what}", args) for what in ("policies/", "--from 3"))
        raise WrongUsage(f"what is to be compared? Say files: {files}, or a revision: {since}")
    if args.path is not None and args.new is not None:
        again = following(f"mcpctl diff {args.path} --from {args.old or CURRENT}", args)
        raise WrongUsage(f"files stand in the place of --to: {again}")
    old, new = args.old or CURRENT, args.path or args.new or CURRENT
    return VERB.run(Namespace(**{**vars(args), "old": old, "new": new, "budget": BUDGET, "show": SHOWN}), output)


COMMAND = Command(
    name="diff",
    summary="say what files or revisions decide otherwise than what is in force",
    description="""\
Say what files, or another revision, decide otherwise than what is in force:
each difference with a call that shows it. Exit status 1 where there is one.

  mcpctl diff policies/ -s sqlite:///mesh.db    what applying them would change
  mcpctl diff --from 3 -s sqlite:///mesh.db     what changed since revision 3
  mcpctl diff --from 3 --to 4 -s sqlite:///mesh.db
""",
    configure=_configure,
    run=_run,
)
