"""``mcpctl history``: the revisions of the policy set."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from itertools import pairwise

from mcp_sdk.cli.command import OK, Command
from mcp_sdk.cli.documents import documents
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import add_store, connected
from mcp_sdk.snapshot import PolicyRevision

__all__ = ["COMMAND", "changed"]


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="how many, at most (default: 20)")
    add_store(parser)


def changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Name the policies that came (``+``), went (``-``) and were written anew (``~``) between two sets of sources."""
    before, after = (_written(sources) for sources in (old, new))
    signs = {name: "~" if name in before else "+" for name in after if after[name] != before.get(name)}
    signs |= {name: "-" for name in before if name not in after}
    return [f"{sign}{name}" for name, sign in sorted(signs.items())]


def _written(sources: Mapping[str, str]) -> dict[str, str]:
    return {each.name: each.text.removeprefix("---").strip() for each in documents(sources)}


def _run(args: Namespace, output: Output) -> int:
    with connected(args) as mesh:
        limit = max(args.limit, 1)
        found = mesh.control_plane.policy_history(limit=limit + 1).result(mesh.config.start_timeout)
        where = f"namespace {mesh.config.namespace!r}, environment {mesh.config.environment!r}"
    rows = [_row(new, old) for new, old in pairwise([*found, PolicyRevision(0, {})])][:limit]
    if output.for_machines:
        output.data([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
    elif rows:
        output.table(_COLUMNS, [[*row[:3], " ".join(row[3]) or "nothing"] for row in rows])
    else:
        output.say(f"no policies were ever applied in {where}")
    return OK


_COLUMNS = ("revision", "created_at", "author", "changes")


def _row(new: PolicyRevision, old: PolicyRevision) -> tuple[int, str, str, list[str]]:
    return new.revision, new.created_at, new.author, changed(old.sources, new.sources)


COMMAND = Command(
    name="history",
    summary="list the revisions of the policy set",
    description="""\
List the revisions of the policy set, newest first: who applied it, when, and
which policies came (+), went (-) or changed (~).

  mcpctl history -s sqlite:///mesh.db
  mcpctl diff --from 3 --to 4       what calls a revision decides otherwise
  mcpctl rollback 3                 put its files in force again
""",
    configure=_configure,
    run=_run,
)
