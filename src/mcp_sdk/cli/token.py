"""``mcpctl token``: make, list and revoke tokens of a server."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from typing import Any

from mcp_sdk.cli.arguments import filled
from mcp_sdk.cli.asking import add_action, add_grant, add_server, ask, grants, is_id, seconds
from mcp_sdk.cli.command import OK, Command, WrongUsage
from mcp_sdk.cli.following import following
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.times import short

__all__ = ["COMMAND", "shown_grants"]

LONGEST = 3660
"""Days: as the server has it."""


def _configure(parser: ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="ACTION", required=True)
    create = add_action(
        verbs,
        "create",
        "make a token, and print it this once",
        "mcpctl token create --role publisher --service shop --ttl 30d",
        "mcpctl token create --role operator --name eve --ttl 12h",
    )
    add_grant(create)
    create.add_argument("--name", default="", help="what it is called in the audit log (default: service or role)")
    create.add_argument(
        "--ttl", type=filled, metavar="TIME", help="how long it lasts, e.g. 30d (default: as long as yours)"
    )
    create.set_defaults(act=_create)
    listed = add_action(verbs, "list", "list tokens, without what proves them", "mcpctl token list")
    listed.set_defaults(act=_list)
    revoke = add_action(verbs, "revoke", "have a token taken no longer", "mcpctl token revoke h3kq0c2m9xza")
    revoke.add_argument("id", metavar="ID", help="as list prints it")
    revoke.set_defaults(act=_revoke)
    for each in (create, listed, revoke):
        add_server(each)


def _create(args: Namespace, output: Output) -> int:
    body: dict[str, Any] = {"name": args.name or args.service or args.role, "grants": grants(args)}
    body |= {"service": args.service or "", "ttl": _ttl(args.ttl)}
    made = ask(args, "POST", "/v1/tokens", json=body)
    if output.for_machines:
        output.data(made)
    else:
        output.line(made["text"])
        output.remark(
            f"{made['id']}, {_until(made['expires_at'])}. It is shown this once: keep it where secrets are kept"
        )
    return OK


def _ttl(given: str | None) -> float | None:
    ttl = None if given is None else seconds(given)
    if ttl is not None and ttl > LONGEST * 86_400:
        raise WrongUsage(f"--ttl {given} is too long: {LONGEST}d at the most. Make another token before it has ended")
    return ttl


def _list(args: Namespace, output: Output) -> int:
    found = ask(args, "GET", "/v1/tokens")["tokens"]
    if output.for_machines:
        output.data(found)
    else:
        columns = ["id", "name", "service", "ends", "grants"]
        rows = [
            [one["id"], one["name"], one["service"], _until(one["expires_at"]), shown_grants(one["grants"])]
            for one in found
        ]
        output.listing(columns, rows, 4)
    return OK


def _revoke(args: Namespace, output: Output) -> int:
    if not is_id(args.id):
        raise WrongUsage(f"{args.id!r:.60} is no token's id. See them with: {following('mcpctl token list', args)}")
    ask(args, "DELETE", f"/v1/tokens/{args.id}")
    if output.for_machines:
        output.data({"revoked": args.id})
    else:
        output.line(f"{args.id} is revoked; its streams end within a second")
    return OK


def _until(moment: float | None) -> str:
    if moment is None:
        return "lasts"
    word = "until" if moment > time.time() else "ended"
    return f"{word} {short(moment)}"


def shown_grants(found: list[dict[str, Any]]) -> str:
    """Give grants as people read them."""
    return "; ".join(
        f"{one['role']} in {one['namespace']}/{one['environment']} for {','.join(one['targets'])}" for one in found
    )


def _run(args: Namespace, output: Output) -> int:
    return int(args.act(args, output))


COMMAND = Command(
    name="token",
    summary="make, list and revoke tokens of a server",
    description="""\
A token is who a service or a person is to the server. It is printed once, and
kept as a hash. You cannot grant more than you have.

  mcpctl token create --role publisher --service shop --ttl 30d
  mcpctl token list
  mcpctl token revoke h3kq0c2m9xza
""",
    configure=_configure,
    run=_run,
)
