"""What every route has at hand, and who asks."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from math import inf
from typing import Annotated, cast

from fastapi import Depends, Query, Request, Security
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from mcp_sdk.context import Scope
from mcp_sdk.ports import Store
from mcp_sdk.server.access.callers import Caller
from mcp_sdk.server.appending import Appender
from mcp_sdk.server.auditor import Auditor
from mcp_sdk.server.door import Door
from mcp_sdk.server.endpoints import Endpoints
from mcp_sdk.server.exits import Exits
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.hub import Hub
from mcp_sdk.server.live import Live, Part
from mcp_sdk.server.metrics import Metrics
from mcp_sdk.server.pages import READERS
from mcp_sdk.server.settings import ServerSettings
from mcp_sdk.server.shelf import Shelf

__all__ = ["Asker", "At", "Desk", "Here", "caller_of", "desk_of"]

_BEARER = HTTPBearer(auto_error=False, description="a token, as mcpctl token create prints it")
"""For the OpenAPI document alone: ``caller_of`` decides."""


PAUSE = 0.2
"""Seconds between two readings of the store for parts that are not known."""


@dataclass(frozen=True)
class Desk:
    """One replica's parts."""

    store: Store
    hub: Hub
    settings: ServerSettings
    metrics: Metrics
    exits: Exits
    shelf: Shelf
    door: Door
    auditor: Auditor
    appender: Appender
    endpoints: Endpoints
    compiling: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while policies are compiled: one set at a time, for many would take every thread from everybody else."""
    reading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(READERS))
    """Held while a page is put together."""
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    asked: dict[Scope, float] = field(default_factory=dict)

    async def newer_part(self, live: Live, digest: str) -> Part | None:
        """Give a part that another replica may have told of first: read the store for it, but not for every asker."""
        async with self.asking:
            if live.part(digest) is None and time.monotonic() - self.asked.get(live.scope, -inf) >= PAUSE:
                await live.learn_policies()
                self.asked[live.scope] = time.monotonic()
            return live.part(digest)

    async def live(self, scope: Scope) -> Live:
        """Give a scope to decide in; raises a 503 where it is not known what is in force."""
        found = await self.known(scope)
        if why := found.unusable(self.settings.staleness):
            raise Fault(503, "not-loaded", why, headers=(("retry-after", "5"),))
        return found

    async def known(self, scope: Scope) -> Live:
        """Give what is known of a scope; raises a 503 where it has been too long since the store was heard."""
        found = await self.hub.scope(scope)
        if self.hub.stale:
            raise Fault(503, "stale", self.hub.stale, headers=(("retry-after", "1"),))
        return found


def desk_of(connection: HTTPConnection) -> Desk:
    """Give the desk of the application that serves a request or WebSocket."""
    return cast("Desk", connection.app.state.desk)


async def caller_of(connection: HTTPConnection) -> Caller:
    """Give who asks; raises a 401, and a 429 for one that asks too often."""
    return await desk_of(connection).door.admit(connection)


async def _here(connection: HTTPConnection) -> Desk:
    return desk_of(connection)


async def _asker(request: Request, _: Annotated[object, Security(_BEARER)]) -> Caller:
    return await caller_of(request)


async def _scope(
    namespace: Annotated[str, Query(max_length=200, description="part of the mesh")] = "default",
    environment: Annotated[str, Query(max_length=200, description="part of the mesh, e.g. prod")] = "default",
) -> Scope:
    return Scope(namespace, environment)


# Dependencies are coroutines, however little they do: FastAPI runs others on a thread, which takes longer than they do.
Here = Annotated[Desk, Depends(_here)]
Asker = Annotated[Caller, Depends(_asker)]
At = Annotated[Scope, Depends(_scope)]
