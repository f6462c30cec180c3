"""The keys that services sign baggage with: a scope's first one is made when a service comes that may have it.

``mcpctl`` is no service: to look at a mistyped namespace must leave nothing in it.
"""

from __future__ import annotations

import secrets

from mcp_sdk.ports import SigningKey
from mcp_sdk.server.access.callers import Caller
from mcp_sdk.server.desk import Desk
from mcp_sdk.server.live import Live

__all__ = ["first_key"]


async def first_key(desk: Desk, caller: Caller, live: Live) -> None:
    """Make the first signing key of a scope where there is none; the audit log hears of it, and not of the secret."""
    hub = desk.hub
    async with hub.keying:
        if hub.keyed(live) or await hub.learn_keys(live):
            return
        key = SigningKey(secrets.token_hex(4), secrets.token_bytes(32))
        async with desk.auditor.change(caller, "keys.create", scope=live.scope, target=key.kid):
            await desk.store.put_key(live.scope, key)
        await hub.learn_keys(live)
