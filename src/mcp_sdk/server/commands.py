"""Commands of ``mcpctl`` in what the server says: typed as they stand, they mean the part of the mesh it speaks of."""

from __future__ import annotations

import shlex

from mcp_sdk.context import Scope

__all__ = ["command"]

USUAL = Scope()


def command(text: str, scope: Scope) -> str:
    """Give a command with the namespace and the environment, where these are not what ``mcpctl`` takes by itself."""
    named = (("-n", scope.namespace, USUAL.namespace), ("-e", scope.environment, USUAL.environment))
    return " ".join([text, *(f"{option} {shlex.quote(value)}" for option, value, usual in named if value != usual)])
