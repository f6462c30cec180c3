"""``mcpctl rollback``: put the files of an earlier revision in force again."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from mcp_sdk.cli.apply import Heed, publish
from mcp_sdk.cli.command import OK, Command
from mcp_sdk.cli.history import changed
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import add_store, connected
from mcp_sdk.cli.publishing import current, revision_of

__all__ = ["COMMAND"]


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("revision", nargs="?", type=int, metavar="REV", help="the revision (default: the one before)")
    parser.add_argument("--dry-run", action="store_true", help="compile it against the models of today, change nothing")
    add_store(parser)


def _run(args: Namespace, output: Output) -> int:
    with connected(args) as mesh:
        now = current(mesh)
        old = revision_of(mesh, now.revision - 1 if args.revision is None else args.revision)
        heed = Heed(old.sources, output)
        revision = publish(mesh, old.sources, {}, dry_run=args.dry_run, replaces=now.revision, heed=heed)
    changes = changed(now.sources, old.sources)
    if output.for_machines:
        done = {"restored": old.revision, "revision": revision, "applied": not args.dry_run, "changes": changes}
        output.data(heed.beside(done))
    else:
        done_as = "would replace" if args.dry_run else "in force again as"
        output.line(f"revision {old.revision} {done_as} revision {revision}: {' '.join(changes) or 'nothing changes'}")
    return OK


COMMAND = Command(
    name="rollback",
    summary="put an earlier revision of the policies in force again",
    description="""\
Put the files of an earlier revision in force again, as a new revision. They are
compiled anew against the models of today; where they no longer check nothing
changes, and every finding is told. Warnings, as mcpctl policy check has them,
are shown and stop nothing.

  mcpctl rollback -s sqlite:///mesh.db              the revision before this
  mcpctl rollback 3 --dry-run -s sqlite:///mesh.db  would 3 still check?
""",
    configure=_configure,
    run=_run,
)
