"""Onlookers at replicas in this process, and decisions for them to see."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

from mcp_sdk.context import MESH, Scope
from mcp_sdk.ports import Record, Store
from mcp_sdk.protocol.filters import Filter
from mcp_sdk.server.app import create_app
from mcp_sdk.server.live import Live
from mcp_sdk.server.relays import batches, lookouts
from mcp_sdk.server.settings import ServerSettings

__all__ = ["SCOPE", "WHO", "Looking", "decide", "eventually", "gone", "kept", "seen_across"]

SCOPE = Scope()
WHO = {"service": "shop"}


class Looking:
    """Somebody who looks on while it is entered: ``shown`` are operations, ``missing`` counts what was not shown."""

    def __init__(self, live: Live, wanted: Filter) -> None:
        self.filter, self._live = wanted, live
        self.shown: list[Any] = []
        self.missing = 0

    def __enter__(self) -> Self:
        self._live.taps.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.taps.leave(self)

    def decision(self, record: Any, who: Any) -> None:
        """Note a decision."""
        self.shown.append(record["operation"])
        assert who == WHO

    def lost(self, count: int) -> None:
        """Note how many were not shown."""
        self.missing += count

    def transition(self, *_: Any) -> None:
        """Take what is not looked at here."""

    missed = bye = transition


def decide(live: Live, operation: str, **more: Any) -> None:
    """Have a client of a replica decide."""
    if live.taps.open:
        live.taps.decided({"operation": operation, "service": "shop", **more}, WHO)


async def eventually(holds: Callable[[], Awaitable[object] | object]) -> None:
    """Wait until something holds."""
    while True:
        found = holds()
        if await found if isinstance(found, Awaitable) else found:
            return
        await asyncio.sleep(0.02)


async def kept(store: Store, scope: Scope = SCOPE) -> tuple[Record, ...]:
    """Give all that taps have in the store."""
    return await store.records(MESH, lookouts.KIND) + await store.records(scope, batches.KIND)


async def gone(store: Store) -> bool:
    """Tell whether taps have nothing in the store."""
    return not await kept(store)


def seen_across(one: Store, other: Store) -> None:
    """See that a tap shows decisions of a replica over another handle of the store, once, and leaves nothing there."""

    async def run() -> None:
        apps = [create_app(ServerSettings(), store) for store in (one, other)]
        async with apps[0].router.lifespan_context(apps[0]), apps[1].router.lifespan_context(apps[1]):
            here, there = [await app.state.desk.hub.scope(SCOPE) for app in apps]
            with Looking(here, Filter(service="shop")) as looking:
                await eventually(lambda: there.taps.open)
                for number in range(50):
                    decide(there, f"GET /\0{number}")
                    await asyncio.sleep(0.02)
                await eventually(lambda: len(looking.shown) >= 50)
            assert looking.shown == [f"GET /\0{number}" for number in range(50)]
            await eventually(lambda: gone(one))

    asyncio.run(asyncio.wait_for(run(), 60))
