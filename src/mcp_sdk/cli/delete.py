"""``mcpctl delete``: take one policy away."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

from mcp_sdk.cli.apply import publish
from mcp_sdk.cli.command import OK, Command, WrongUsage
from mcp_sdk.cli.documents import documents, without
from mcp_sdk.cli.output import Output, add_output
from mcp_sdk.cli.plane import add_store, connected
from mcp_sdk.cli.publishing import current
from mcp_sdk.exceptions import did_you_mean

__all__ = ["COMMAND"]

EXAMPLES = """\
  mcpctl delete policy transfers -s sqlite:///mesh.db
  mcpctl delete policy transfers --kind AccessPolicy --dry-run \\
    -s sqlite:///mesh.db
"""


def _configure(parser: ArgumentParser) -> None:
    kinds = parser.add_subparsers(title="kinds", metavar="KIND", dest="kind_of_thing", required=True)
    policy = kinds.add_parser(
        "policy",
        help="a policy, by name",
        description=f"Put the policy set without one policy in force.\n\n{EXAMPLES}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    policy.add_argument("name", metavar="NAME", help="the policy's name, as mcpctl get policies shows it")
    policy.add_argument("--kind", default="", help="AccessPolicy, TrafficPolicy, …, where several have the name")
    policy.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")
    add_output(policy)
    add_store(policy)
    parser.set_defaults(output="table")


def _run(args: Namespace, output: Output) -> int:
    with connected(args) as mesh:
        now = current(mesh)
        found = [each for each in documents(now.sources) if each.name == args.name and args.kind in ("", each.kind)]
        if not found:
            known = did_you_mean(args.name, [each.name for each in documents(now.sources)])
            raise WrongUsage(f"no policy {args.name!r} is in force.{known}")
        if len(found) > 1:
            kinds = ", ".join(each.kind for each in found)
            raise WrongUsage(f"{len(found)} policies are named {args.name!r} ({kinds}); say --kind")
        left = without(now.sources, args.name, args.kind)
        revision = publish(mesh, left, {}, dry_run=args.dry_run, replaces=now.revision)
    if output.for_machines:
        gone = {"name": args.name, "kind": found[0].kind, "file": found[0].file}
        output.data({**gone, "revision": revision, "applied": not args.dry_run})
    else:
        done = "would be deleted; it is in" if args.dry_run else "is deleted as of"
        output.line(f"{found[0].kind} {args.name} {done} revision {revision}")
    return OK


COMMAND = Command(
    name="delete",
    summary="take one policy away",
    description=f"""\
Put the policy set without one policy in force, as a new revision. The others
stay as they are; mcpctl rollback brings it back.

{EXAMPLES}""",
    configure=_configure,
    run=_run,
)
