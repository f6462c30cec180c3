"""``mcpctl identity``: what certificates and OpenID claims may do."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from mcp_sdk.cli.asking import add_action, add_grant, add_server, ask, grants, is_id
from mcp_sdk.cli.command import OK, Command, WrongUsage
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.token import shown_grants
from mcp_sdk.exceptions import did_you_mean

__all__ = ["COMMAND"]


def _configure(parser: ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="ACTION", required=True)
    grant = add_action(
        verbs,
        "grant",
        "let all whose certificate or claims fit a pattern do something",
        "mcpctl identity grant spiffe://mesh/ns/shop/sa/orders \\\n    --role publisher --service orders",
        "mcpctl identity grant oidc:group:platform --role operator --environment prod",
    )
    grant.add_argument(
        "pattern", metavar="PATTERN", help="spiffe://…, cn:NAME, oidc:sub:ID, oidc:group:ID, oidc:role:ID"
    )
    add_grant(grant)
    grant.set_defaults(act=_grant)
    listed = add_action(verbs, "list", "list patterns and their grants", "mcpctl identity list")
    listed.set_defaults(act=_list)
    revoke = add_action(
        verbs, "revoke", "take all grants of a pattern away", "mcpctl identity revoke oidc:group:platform"
    )
    revoke.add_argument("id", metavar="ID", help="the id or the pattern, as list prints them")
    revoke.set_defaults(act=_revoke)
    for each in (grant, listed, revoke):
        add_server(each)


def _grant(args: Namespace, output: Output) -> int:
    body = {"pattern": args.pattern, "grants": grants(args), "service": args.service or ""}
    made = ask(args, "POST", "/v1/identities", json=body)
    if output.for_machines:
        output.data(made)
    else:
        output.line(f"{made['id']}  {made['pattern']}: {shown_grants(made['grants'])}")
    return OK


def _list(args: Namespace, output: Output) -> int:
    found = ask(args, "GET", "/v1/identities")["identities"]
    if output.for_machines:
        output.data(found)
    else:
        rows = [[one["id"], one["pattern"], one["service"], shown_grants(one["grants"])] for one in found]
        output.table(["id", "pattern", "service", "grants"], rows)
    return OK


def _revoke(args: Namespace, output: Output) -> int:
    found = _id(args)
    ask(args, "DELETE", f"/v1/identities/{found}")
    if output.for_machines:
        output.data({"revoked": found})
    else:
        output.line(f"{args.id} is revoked")
    return OK


def _id(args: Namespace) -> str:
    if is_id(args.id):
        return str(args.id)
    known = {one["pattern"]: one["id"] for one in ask(args, "GET", "/v1/identities")["identities"]}
    if args.id not in known:
        raise WrongUsage(f"nothing is granted to {args.id!r:.200}.{did_you_mean(args.id, known)}")
    return str(known[args.id])


def _run(args: Namespace, output: Output) -> int:
    return int(args.act(args, output))


COMMAND = Command(
    name="identity",
    summary="say what certificates and OpenID claims may do",
    description="""\
A caller may come by a client certificate (mcpctl serve --tls-client-ca) or by a
token of an OpenID provider (--oidc-issuer) in place of a token of the server's
own. What it may do is granted to a pattern; * is any text without a slash.

  mcpctl identity grant spiffe://mesh/ns/shop/sa/orders \\
    --role publisher --service orders
  mcpctl identity grant oidc:group:platform --role operator --environment prod
  mcpctl identity revoke oidc:group:platform
""",
    configure=_configure,
    run=_run,
)
