"""``mcpctl protect``, ``changes`` and ``approve``: policy changes that need a second person."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

from mcp_sdk.cli.asking import add_server, ask, scope_of
from mcp_sdk.cli.command import OK, Command, WrongUsage
from mcp_sdk.cli.following import following
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.times import short
from mcp_sdk.clients.api import COMPILING

__all__ = ["APPROVE", "CHANGES", "PROTECT"]

KINDS = ("AccessPolicy", "TrafficPolicy", "QosPolicy", "RateLimitPolicy")


def _configure_protect(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--kind",
        default="AccessPolicy",
        choices=KINDS,
        metavar="KIND",
        help=f"{', '.join(KINDS)} (default: AccessPolicy)",
    )
    parser.add_argument("--lift", action="store_true", help="need no second person any more, once one approved that")
    add_server(parser, scope=True, action=False)


def _protect(args: Namespace, output: Output) -> int:
    ask(args, "DELETE" if args.lift else "PUT", f"/v1/protections/{args.kind}", params=scope_of(args))
    kinds = ask(args, "GET", "/v1/protections", params=scope_of(args))["kinds"]
    if output.for_machines:
        output.data({"protected": kinds})
    else:
        where = "{namespace}/{environment}".format(**scope_of(args))
        output.line(f"a second person approves changes in {where} of: {', '.join(kinds) or 'nothing'}")
    return OK


def _configure_changes(parser: ArgumentParser) -> None:
    add_server(parser, scope=True, action=False)


def _changes(args: Namespace, output: Output) -> int:
    found = ask(args, "GET", "/v1/changes", params=scope_of(args))["changes"]
    if output.for_machines:
        output.data(found)
    else:
        columns = ["change", "author", "replaces", "until", "kinds"]
        rows = [[one["id"], one["author"], one["replaces"], short(one["expires_at"]), _what(one)] for one in found]
        output.listing(columns, rows, 4)
    return OK


def _what(change: Mapping[str, Any]) -> str:
    kinds = ", ".join(change["kinds"])
    rolling = f"{kinds}, by the rollout {change['rollout']}" if change.get("rollout") else kinds
    return f"lift {change['lifts']}" if change["lifts"] else rolling


def _configure_approve(parser: ArgumentParser) -> None:
    parser.add_argument("change", metavar="CHANGE", help="as apply and changes print it")
    parser.add_argument("--reject", action="store_true", help="take the change away")
    add_server(parser, scope=True, action=False)


def _approve(args: Namespace, output: Output) -> int:
    if re.fullmatch(r"c-[0-9a-f]{10}", args.change) is None:
        see = following("mcpctl changes", args)
        raise WrongUsage(f"{args.change!r:.60} is no change, like c-4f1d0a9b2e. See what waits with: {see}")
    path, where = f"/v1/changes/{args.change}", scope_of(args)
    if args.reject:
        ask(args, "DELETE", path, params=where)
        result = {"change": args.change, "rejected": True}
    else:
        stored = ask(args, "POST", f"{path}/approve", params=where, patience=COMPILING)
        names = ("revision", "lifted", "rollout")
        result = {"change": args.change, **{name: stored[name] for name in names if name in stored}}
    if output.for_machines:
        output.data(result)
    elif args.reject:
        output.line(f"{args.change} is taken away")
    elif "lifted" in result:
        output.line(f"{result['lifted']} is protected no longer")
    elif "rollout" in result and result["rollout"]["id"][1:] == args.change[1:]:
        output.line(f"the rollout {result['rollout']['id']} goes on")
    elif "rollout" in result:
        output.line(f"{args.change} begins as the rollout {result['rollout']['id']}")
    else:
        output.line(f"{args.change} is in force as revision {result['revision']}")
    return OK


PROTECT = Command(
    name="protect",
    summary="have changes of a kind of policy need a second person",
    description="""\
What changes the effect of a protected kind then waits for an approval by
somebody else than its author.

  mcpctl protect -e prod --kind AccessPolicy
  mcpctl protect -e prod --kind AccessPolicy --lift     waits for another admin
""",
    configure=_configure_protect,
    run=_protect,
)
CHANGES = Command(
    name="changes",
    summary="list policy changes that wait for a second person",
    description="""\
List what was applied and waits for an approval, with who applied it.

  mcpctl changes -e prod
  mcpctl changes -e prod -o yaml     the policy files too
""",
    configure=_configure_changes,
    run=_changes,
)
APPROVE = Command(
    name="approve",
    summary="approve a policy change that somebody else made",
    description="""\
Put a change in force that waits. It must still replace the revision that it was
made from; the author cannot approve it. A rollout that is held goes on, or is
stopped with --reject.

  mcpctl approve c-4f1d0a9b2e -e prod
  mcpctl approve c-4f1d0a9b2e -e prod --reject
""",
    configure=_configure_approve,
    run=_approve,
)
