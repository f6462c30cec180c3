"""Asking a control-plane server for what only a server has: tokens, identities, the audit log, changes, owners."""

from __future__ import annotations

import re
from argparse import SUPPRESS, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping
from typing import Any

from mcp_sdk.cli import servers
from mcp_sdk.cli.arguments import checked, filled
from mcp_sdk.cli.command import WrongUsage
from mcp_sdk.cli.plane import add_scope
from mcp_sdk.clients import api
from mcp_sdk.config import Config, from_env
from mcp_sdk.exceptions import ConfigurationError, StoreUnavailable

__all__ = ["add_action", "add_grant", "add_server", "ask", "grants", "is_id", "require_reason", "scope_of", "seconds"]

SHORTEST_REASON, LONGEST_REASON = 3, 500
"""Characters: as the server has it."""
ROLES = ("viewer", "publisher", "operator", "admin")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def add_server(parser: ArgumentParser, *, scope: bool = False, action: bool = True) -> None:
    """Add the options that say which server is meant, and which part of the mesh; ``action`` is one of a verb."""
    parser.add_argument(
        "-s",
        "--store",
        metavar="URL",
        help="the server, e.g. https://mesh.internal (else MCP_SDK_CONTROL_PLANE); it is told MCP_SDK_TOKEN",
    )
    if scope:
        add_scope(parser)
    if action:
        parser.add_argument("-o", "--output", choices=("table", "json", "yaml"), default=SUPPRESS, help="how to print")


def add_action(verbs: Any, name: str, summary: str, *examples: str) -> ArgumentParser:
    """Add what a verb can do, with examples of it."""
    said = f"{summary[0].upper()}{summary[1:]}.\n\n" + "".join(f"  {example}\n" for example in examples)
    parser: ArgumentParser = verbs.add_parser(
        name, help=summary, description=said, formatter_class=RawDescriptionHelpFormatter
    )
    return parser


def add_grant(parser: ArgumentParser) -> None:
    """Add the options that say what is granted. None may be empty: where one is left out, it is granted for all."""
    parser.add_argument("--role", required=True, choices=ROLES, metavar="ROLE", help=f"{', '.join(ROLES)}")
    parser.add_argument("--service", type=filled, help="the one service that the holder speaks for")
    parser.add_argument("--namespace", type=filled, default="*", help="where it holds (default: everywhere)")
    parser.add_argument("--environment", type=filled, default="*", help="where it holds (default: everywhere)")
    parser.add_argument(
        "--target",
        type=filled,
        action="append",
        metavar="SERVICE",
        help="a service that it holds for (default: --service, or all)",
    )


def grants(args: Namespace) -> list[dict[str, Any]]:
    """Give the grant that ``add_grant`` read, as plain JSON."""
    targets = args.target or ([args.service] if args.service else ["*"])
    where = {"namespace": args.namespace, "environment": args.environment}
    return [{"role": args.role, **where, "targets": targets}]


def is_id(text: str) -> bool:
    """Tell whether a text can be the id of a token or an identity."""
    return re.fullmatch(r"[a-z0-9]{12,16}", text) is not None


def seconds(text: str) -> float:
    """Read a length of time: ``90s``, ``15m``, ``12h``, ``30d``; raises ``WrongUsage``."""
    found = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if found is None or not int(found[1]):
        raise WrongUsage(f"{text!r:.40} is no length of time. Write it like 15m, 12h or 30d")
    return float(int(found[1]) * _UNITS[found[2]])


def require_reason(reason: str) -> None:
    """Raise ``WrongUsage`` for a reason that the server would not take."""
    if len(reason.strip()) < SHORTEST_REASON:
        raise WrongUsage(f"--reason {reason!r} says nothing: whoever reads the log wants to know why")
    if len(reason) > LONGEST_REASON:
        raise WrongUsage(f"--reason has {len(reason)} characters: {LONGEST_REASON} at the most. Say it in fewer words")


def ask(
    args: Namespace,
    method: str,
    path: str,
    *,
    json: Any = None,
    params: Mapping[str, str | int] | None = None,
    patience: float = 0.0,
) -> Any:
    """Make one request of whichever replica answers and give the JSON of its answer; raises ``StoreError``.

    With ``patience`` it may take so many seconds, as where policies are compiled; see ``mcp_sdk.clients.api.Call``.
    """
    call: api.Call[Any] = api.Call(method, path, _same, params or {}, json, patience=patience)
    config = _config(args)
    try:
        return servers.ask(config, call)
    except StoreUnavailable as error:
        raise StoreUnavailable(servers.with_mend(error, config)) from error


def scope_of(args: Namespace) -> dict[str, str | int]:
    """Give the part of the mesh that is meant, as parameters of a request; raises ``WrongUsage`` for no name."""
    config = checked(_config(args))
    return {"namespace": config.namespace, "environment": config.environment}


def _config(args: Namespace) -> Config:
    where = {name: getattr(args, name, None) for name in ("namespace", "environment")}
    where = {name: value for name, value in where.items() if value != "*"}
    config = from_env(service="mcpctl", url="", control_plane=args.store, **where)
    if not config.control_plane.startswith(("http://", "https://")):
        raise ConfigurationError(
            "this is asked of a server. Name it: -s https://mesh.internal, or MCP_SDK_CONTROL_PLANE; "
            "start one with: mcpctl serve"
        )
    return config


def _same(plain: Any) -> Any:
    return plain
