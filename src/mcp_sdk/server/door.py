"""Who comes in: by a token of ours, by one of an OpenID provider, or by a client certificate, at a rate that holds."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from starlette.requests import HTTPConnection

from mcp_sdk.context import MESH
from mcp_sdk.ports import Change
from mcp_sdk.server.access import identities
from mcp_sdk.server.access.callers import CALLER, Caller, Permission
from mcp_sdk.server.access.oidc import Oidc
from mcp_sdk.server.access.peers import peer_of
from mcp_sdk.server.access.rates import Rates
from mcp_sdk.server.access.tokens import KIND as TOKEN
from mcp_sdk.server.access.tokens import Tokens, unauthorised
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.hub import Hub
from mcp_sdk.server.settings import ServerSettings
from mcp_sdk.server.shelf import Shelf

__all__ = ["Door", "open_door"]


class Door:
    """Says who asks. ``heard`` is a tap of the hub."""

    def __init__(self, tokens: Tokens, shelf: Shelf, settings: ServerSettings) -> None:
        self._tokens, self._shelf = tokens, shelf
        self._rates = Rates(settings.rates)
        self._oidc = Oidc(settings.oidc_issuer, settings.oidc_audience) if settings.oidc_issuer else None
        self._changed = asyncio.Event()

    async def admit(self, connection: HTTPConnection) -> Caller:
        """Give who asks; raises a 401, and a 429 where it asks too often. A request is looked at and counted once."""
        caller: Caller | None = connection.scope.get(CALLER)
        if caller is None:
            caller = connection.scope[CALLER] = await self._who(connection)
            self._rates.take(caller.key, _kind(connection))
        return caller

    async def _who(self, connection: HTTPConnection) -> Caller:
        scheme, _, text = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and text:
            return await self._by_bearer(connection, text.strip())
        peer = peer_of(connection.scope)
        if peer is not None:
            found = Caller(peer.subject, expires=peer.expires, key=peer.subject, subjects=(peer.subject,))
            return await self._granted(found)
        raise unauthorised(
            "say who you are: Authorization: Bearer TOKEN. mcpctl and services take it from MCP_SDK_TOKEN; "
            "an admin makes one with: mcpctl token create"
        )

    async def _by_bearer(self, connection: HTTPConnection, text: str) -> Caller:
        if self._oidc is None or text.startswith("mcp_"):
            return self._tokens.caller(text)
        return await self._granted(await self._oidc.caller(connection.scope))

    async def _granted(self, caller: Caller) -> Caller:
        records = await self._shelf.records(MESH, identities.KIND)
        grants, service = identities.resolve(caller.subjects, records)
        return replace(caller, grants=grants, service=service)

    def heard(self, change: Change) -> None:
        """Wake those who wait for a caller to fall."""
        if change.kind == "resync" or (change.kind == "records" and change.record in (TOKEN, identities.KIND)):
            self.changed()

    def changed(self) -> None:
        """Have everyone look anew whether its caller stands."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def fall(self, caller: Caller, still: Permission, **where: object) -> None:
        """Wait until a caller stands no longer, or may ``still`` no longer; then raise why."""
        while True:
            changed = self._changed
            await self._look(caller, still, **where)
            left = min(caller.expires - time.time(), 86_400.0)
            try:
                async with asyncio.timeout(max(left, 0.0)):
                    await changed.wait()
            except TimeoutError:
                continue

    async def _look(self, caller: Caller, still: Permission, **where: object) -> None:
        if caller.expires <= time.time():
            raise Fault(401, "unauthorised", f"what {caller.name!r} came in by has expired")
        if caller.subjects:
            (await self._granted(caller)).require(still, **where)  # type: ignore[arg-type]
        elif not self._tokens.stands(caller):
            raise Fault(401, "unauthorised", f"the token of {caller.name!r} was revoked")


def open_door(hub: Hub, settings: ServerSettings) -> tuple[Shelf, Door]:
    """Give the shelf and the door of a replica, which hear what the hub hears."""
    shelf = Shelf(hub.store)
    door = Door(hub.tokens, shelf, settings)
    hub.taps |= {shelf.heard}
    hub.taps |= {door.heard}
    return shelf, door


def _kind(connection: HTTPConnection) -> str:
    if connection.scope["type"] == "websocket":
        return "streams"
    return "transitions" if connection.url.path.startswith("/v1/transitions") else "requests"
