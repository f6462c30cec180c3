"""``mcpctl model``: which services own a model."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from mcp_sdk.cli.asking import add_action, add_server, ask, scope_of
from mcp_sdk.cli.command import OK, Command
from mcp_sdk.cli.output import Output

__all__ = ["COMMAND"]


def _configure(parser: ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="ACTION", required=True)
    own = add_action(
        verbs,
        "own",
        "say which services may assert a model",
        "mcpctl model own order --service order-service --service payment-service",
    )
    own.add_argument("model", metavar="MODEL")
    own.add_argument("--service", action="append", required=True, help="may be given again; '*' is any service")
    own.set_defaults(act=_own)
    listed = add_action(verbs, "owners", "list models and their owners", "mcpctl model owners")
    listed.set_defaults(act=_owners)
    for each in (own, listed):
        add_server(each, scope=True)


def _own(args: Namespace, output: Output) -> int:
    body = {"services": args.service}
    found = ask(args, "PUT", f"/v1/owners/{args.model}", json=body, params=scope_of(args))["services"]
    if output.for_machines:
        output.data({"model": args.model, "services": found})
    else:
        output.line(f"{args.model} is owned by {', '.join(found)}")
    return OK


def _owners(args: Namespace, output: Output) -> int:
    found = ask(args, "GET", "/v1/owners", params=scope_of(args))["owners"]
    if output.for_machines:
        output.data(found)
    else:
        output.table(["model", "owners"], [[model, ", ".join(services)] for model, services in sorted(found.items())])
    return OK


def _run(args: Namespace, output: Output) -> int:
    return int(args.act(args, output))


COMMAND = Command(
    name="model",
    summary="say which services own a business model",
    description="""\
A service may say what happened only to entities of models that it owns. The
first service that declares a model owns it, until an operator says otherwise.

  mcpctl model own order --service order-service --service payment-service
  mcpctl model owners
""",
    configure=_configure,
    run=_run,
)
