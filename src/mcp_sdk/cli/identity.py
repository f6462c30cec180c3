"""``mcpctl identity``: what certificates and OpenID claims may do."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from mcp_sdk.cli.asking import add_grant, add_server, ask, grants
from mcp_sdk.cli.command import OK, Command
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.token import shown_grants

__all__ = ["COMMAND"]


def _configure(parser: ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="ACTION", required=True)
    grant = verbs.add_parser("grant", help="let all whose certificate or claims fit a pattern do something")
    grant.add_argument(
        "pattern", metavar="PATTERN", help="spiffe://…, cn:NAME, oidc:sub:ID, oidc:group:ID, oidc:role:ID"
    )
    add_grant(grant)
    grant.set_defaults(act=_grant)
    listed = verbs.add_parser("list", help="list patterns and their grants")
    listed.set_defaults(act=_list)
    revoke = verbs.add_parser("revoke", help="take all grants of a pattern away")
    revoke.add_argument("id", metavar="ID", help="as list prints it")
    revoke.set_defaults(act=_revoke)
    for each in (grant, listed, revoke):
        add_server(each)


def _grant(args: Namespace, output: Output) -> int:
    body = {"pattern": args.pattern, "grants": grants(args), "service": args.service}
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
    ask(args, "DELETE", f"/v1/identities/{args.id}")
    if output.for_machines:
        output.data({"revoked": args.id})
    else:
        output.line(f"{args.id} is revoked")
    return OK


def _run(args: Namespace, output: Output) -> int:
    return int(args.act(args, output))


COMMAND = Command(
    name="identity",
    summary="say what certificates and OpenID claims may do",
    description="""\
A caller may come by a client certificate (mcpctl serve --tls-client-ca) or by a
token of an OpenID provider (--oidc-issuer) in place of a token of the server's
own. What it may do is granted to a pattern; * is any text without a slash.

  mcpctl identity grant spiffe://mesh/ns/shop/sa/orders --role publisher --service orders
  mcpctl identity grant oidc:group:platform --role operator --environment prod
""",
    configure=_configure,
    run=_run,
)
