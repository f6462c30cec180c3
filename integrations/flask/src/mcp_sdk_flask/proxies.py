"""What the request at hand was decided to be, and who calls: proxies, as Flask's own ``request`` is one."""

from __future__ import annotations

from werkzeug.local import LocalProxy

from mcp_sdk import Decision, Principal, current

__all__ = ["current_decision", "current_principal"]

current_decision: Decision = LocalProxy(current.decision)  # type: ignore[assignment]
"""The decision that let the request through, with its reasons and advice; false where the mesh is off."""

current_principal: Principal = LocalProxy(current.principal)  # type: ignore[assignment]
"""Who calls, as the reader found out; ``ANONYMOUS`` for nobody."""
