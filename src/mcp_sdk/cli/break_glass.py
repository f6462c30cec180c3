"""``mcpctl break-glass``: have one service refuse nothing for a while, by a server or by a signed file."""

from __future__ import annotations

import getpass
import json
import os
import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mcp_sdk.cli.arguments import checked
from mcp_sdk.cli.asking import add_server, ask, require_reason, scope_of, seconds
from mcp_sdk.cli.command import OK, Command, WrongUsage
from mcp_sdk.cli.entities import services_of
from mcp_sdk.cli.following import following
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import connected
from mcp_sdk.cli.times import short
from mcp_sdk.config import from_env
from mcp_sdk.exceptions import ConfigurationError, MeshError, did_you_mean
from mcp_sdk.glass import sign_glass
from mcp_sdk.ports import Identity
from mcp_sdk.protocol.manifests import Signer
from mcp_sdk.snapshot import Override

__all__ = ["COMMAND"]

PATH = "/v1/overrides"
LONGEST, USUAL = 86_400.0, "15m"
"""Seconds, as the server has it; and for how long where nothing is said."""
_EXAMPLES = {
    False: 'mcpctl break-glass --service shop --ttl 15m --reason "provider down"',
    True: "mcpctl break-glass --offline --key operator.key --file /run/shop/glass.json "
    '--service shop --ttl 15m --reason "provider down"',
}


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("keygen",), help="keygen: make an operator's key")
    parser.add_argument("--service", default="", help="the service that is to refuse nothing")
    parser.add_argument("--ttl", metavar="TIME", help=f"for how long, 24h at most (default: {USUAL})")
    parser.add_argument("--reason", default="", help="why; the log and the audit show it")
    parser.add_argument("--list", action="store_true", dest="listed", help="show what is overridden")
    parser.add_argument("--end", action="store_true", help="have the service refuse again, at once")
    parser.add_argument("--offline", action="store_true", help="ask no server: write a signed file")
    parser.add_argument("--key", default="", metavar="PATH", help="the operator's key, of keygen")
    parser.add_argument("--file", default="", metavar="PATH", help="where the service looks: MCP_SDK_BREAK_GLASS_FILE")
    parser.add_argument("--mesh", default=None, help="the mesh's name, with --offline (MCP_SDK_MESH, else default)")
    add_server(parser, scope=True, action=False)


def _run(args: Namespace, output: Output) -> int:
    if args.action == "keygen":
        return _keygen(args, output)
    _check(args)
    if args.listed:
        return _list(args, output)
    _need(args, "service")
    if args.end:
        return _end(args, output)
    _need(args, "reason")
    return _offline(args, output) if args.offline else _break(args, output)


def _check(args: Namespace) -> None:
    """Raise ``WrongUsage`` for options that would do nothing: whoever gave one believes that it holds."""
    if args.offline and args.end:
        file = shlex.quote(args.file) if args.file else "FILE"
        raise WrongUsage(f"--end asks a server, and --offline asks none. To end what a signed file does: rm {file}")
    if args.listed:
        _refuse(args, "--list shows all that the server has overridden", "service", "end", "ttl", "reason", "offline")
    if not args.offline:
        _refuse(args, "it is for a signed file, which takes --offline", "key", "file", "mesh")
    if args.end:
        _refuse(args, "--end ends it at once", "ttl", "reason")


def _refuse(args: Namespace, why: str, *names: str) -> None:
    given = [f"--{name}" for name in names if getattr(args, name) not in (None, "", False)]
    if given:
        raise WrongUsage(f"{' and '.join(given)} would do nothing here: {why}. Leave out what is not meant")


def _need(args: Namespace, *names: str) -> None:
    for name in names:
        if not getattr(args, name):
            raise WrongUsage(f"--{name} is missing. For example: {_EXAMPLES[args.offline]}")


def _ttl(args: Namespace) -> float:
    ttl = seconds(USUAL if args.ttl is None else args.ttl)
    if ttl > LONGEST:
        raise WrongUsage(f"--ttl {args.ttl} is too long: 24h at the most. Break the glass again when it has ended")
    require_reason(args.reason)
    return ttl


def _break(args: Namespace, output: Output) -> int:
    wanted = {"service": args.service, "ttl": _ttl(args), "reason": args.reason}
    said = ask(args, "POST", PATH, json=wanted, params=scope_of(args))
    _tell(args, said, output)
    output.out.flush()  # whoever is in an emergency has it before more is asked
    with suppress(MeshError, OSError):  # what was done is done, whether or not its name can be looked at
        _doubt(args, output)
    return OK


def _doubt(args: Namespace, output: Output) -> None:
    """Say of a service that nobody knows here that it may be another's name mistyped."""
    with connected(args) as mesh:
        known = services_of(mesh)
    if args.service not in known:
        nearest = did_you_mean(args.service, known)
        output.remark(f"no service of the name {args.service!r} is registered or governed here.{nearest}")


def _tell(args: Namespace, said: dict[str, Any], output: Output) -> None:
    if output.for_machines:
        output.data({"service": args.service, **said})
        return
    until = short(said["until"])
    output.sentence(f"{args.service} refuses nothing until {until}; what it would refuse is still logged")
    end = following(f"mcpctl break-glass --service {shlex.quote(args.service)} --end", args)
    output.say(f"to end it sooner: {shlex.join(['rm', args.file]) if args.offline else end}")


def _list(args: Namespace, output: Output) -> int:
    found = ask(args, "GET", PATH, params=scope_of(args))["overrides"]
    if output.for_machines:
        output.data({name: {**one, "over": _over(one)} for name, one in found.items()})
    else:
        rows = [[name, one["mode"], _when(one), one.get("by", ""), one["reason"]] for name, one in found.items()]
        output.listing(["service", "mode", "until", "by", "reason"], rows, 4)
    return OK


def _over(one: Mapping[str, Any]) -> bool:
    return datetime.fromisoformat(one["until"]) <= datetime.now(UTC)


def _when(one: Mapping[str, Any]) -> str:
    return f"{short(one['until'])}{' (over)' * _over(one)}"


def _end(args: Namespace, output: Output) -> int:
    ask(args, "DELETE", PATH, params={"service": args.service, **scope_of(args)})
    if output.for_machines:
        output.data({"service": args.service, "ended": True})
    else:
        output.line(f"{args.service} refuses again, by its own mode")
    return OK


def _offline(args: Namespace, output: Output) -> int:
    _need(args, "key", "file")
    scope = {"namespace": args.namespace, "environment": args.environment}
    config = checked(from_env(service="mcpctl", mesh=args.mesh, **scope))
    who = Identity(args.service, config.mesh, config.namespace, config.environment)
    now = datetime.now(UTC)
    override = Override("observe", now + timedelta(seconds=_ttl(args)), args.reason)
    envelope = sign_glass(_signer(Path(args.key)), who, override, by=getpass.getuser(), now=now)
    _put(Path(args.file), json.dumps(envelope.to_dict()))
    _tell(args, override.to_dict(), output)
    return OK


def _signer(path: Path) -> Signer:
    try:
        seed = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise ConfigurationError(f"the key {path} cannot be read: {error.strerror}") from error
    except ValueError:
        seed = b""
    if len(seed) != 32:
        raise ConfigurationError(f"{path} holds no key. Make one with: mcpctl break-glass keygen --key {path}")
    return Signer(seed)


def _put(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)  # whole: a service never reads half of it
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error


def _keygen(args: Namespace, output: Output) -> int:
    path, signer = Path(args.key or "operator.key"), Signer()
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(signer.seed.hex() + "\n")
    except OSError as error:
        raise ConfigurationError(f"{path} is not written, and nothing is overwritten: {error.strerror}") from error
    if output.for_machines:
        output.data({"key": str(path), "public": signer.public.hex()})
    else:
        output.line(signer.public.hex())
        output.remark(f"{path} is the secret half: keep it where operators reach it with everything else down.")
        output.remark("Services believe it when they start with MCP_SDK_BREAK_GLASS_KEYS set to the line above")
    return OK


COMMAND = Command(
    name="break-glass",
    summary="have a service refuse nothing for a while",
    description="""\
Put one service into observe: it decides, logs and counts as before, and carries
no refusal out. It ends by itself. With the control plane dead, an operator's
signed file does the same where the service was started with
MCP_SDK_BREAK_GLASS_FILE and MCP_SDK_BREAK_GLASS_KEYS.

  mcpctl break-glass --service shop --ttl 15m --reason "provider down"
  mcpctl break-glass --list
  mcpctl break-glass --service shop --end
  mcpctl break-glass keygen --key operator.key
  mcpctl break-glass --offline --key operator.key --file /run/shop/glass.json \\
    --service shop --ttl 15m --reason "provider down, control plane too"
""",
    configure=_configure,
    run=_run,
)
