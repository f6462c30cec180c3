"""``mcpctl epoch``: after a restore from a backup, have clients accept what is older than what they hold."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from mcp_sdk.cli.asking import add_server, ask, require_reason
from mcp_sdk.cli.command import OK, Command, WrongUsage
from mcp_sdk.cli.output import Output

__all__ = ["COMMAND"]

PATH = "/v1/epoch"


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("action", choices=("show", "open"), help="show it, or open the next one after a restore")
    parser.add_argument("--confirm", action="store_true", help="yes: every client is to follow what this server holds")
    parser.add_argument("--reason", default="restored from a backup", help="why; the record of it shows it")
    add_server(parser, action=False)


def _show(args: Namespace, output: Output) -> int:
    found = ask(args, "GET", PATH)
    if output.for_machines:
        output.data(found)
    else:
        output.line(str(found["epoch"]))
    return OK


def _open(args: Namespace, output: Output) -> int:
    current = ask(args, "GET", PATH)["epoch"]
    if not args.confirm:
        raise WrongUsage(
            f"this leaves epoch {current}: every client then takes what this server holds for the newest, and what was "
            "applied after the backup is no longer in force. If that is meant, add --confirm"
        )
    require_reason(args.reason)
    said = ask(args, "POST", PATH, json={"leaves": current, "reason": args.reason})
    if output.for_machines:
        output.data(said)
    else:
        output.line(f"epoch {said['epoch']} is open; clients follow within seconds")
    return OK


def _run(args: Namespace, output: Output) -> int:
    return _show(args, output) if args.action == "show" else _open(args, output)


COMMAND = Command(
    name="epoch",
    summary="show the epoch, or open the next after a restore",
    description="""\
Clients never go back to an older revision. After a restore from a backup the
server holds one, so an operator says that it is meant: a new epoch, signed by
the server's key, stands above every revision of the one before.

  mcpctl epoch show
  mcpctl epoch open --confirm --reason "disk lost, restored last night's backup"
""",
    configure=_configure,
    run=_run,
)
