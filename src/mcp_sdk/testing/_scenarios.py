"""What the cases of ``StoreSuite`` are written with."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, aclosing
from pathlib import Path
from typing import Any, TypeAlias

from mcp_sdk.context import EntityRef, ModelContext, Scope, Transition
from mcp_sdk.ports import AppendResult, AppendStatus, Change, Cursor, Store

__all__ = [
    "APPLIED",
    "DUPLICATE",
    "LATE",
    "LOGGED",
    "ORDER",
    "PATIENCE",
    "SCOPE",
    "Cases",
    "collect",
    "context_of",
    "move",
    "scenario",
    "statuses",
    "watching",
]

SCOPE = Scope()
ORDER = EntityRef("order", "o-1")
APPLIED, DUPLICATE, LATE, LOGGED = AppendStatus.APPLIED, AppendStatus.DUPLICATE, AppendStatus.LATE, AppendStatus.LOGGED
PATIENCE = 20.0

Scenario: TypeAlias = Callable[..., Awaitable[None]]


class Cases:
    """What a store's test is made of.

    ``remembers`` is False for a store that keeps nothing once it is closed; ``connected`` is True where a handle talks
    to a server, and ``cut`` then is to be given too.
    """

    remembers = True
    connected = False

    def store(self, place: Path, *, clock: Callable[[], float] = time.time) -> Store:
        """Give a store, not yet open, over the storage that belongs to ``place``.

        ``place`` is an empty directory, another one for each test; its name is unique too. Called again with the same
        ``place``, this gives another handle on the same storage, or the same store. ``clock`` gives the seconds since
        the epoch that this machine believes in; a store that goes by its server's clock has no use for it.
        """
        raise NotImplementedError

    async def cut(self, store: Store) -> None:
        """Cut every connection that an open handle holds, as a network that fails does; the server goes on."""
        raise NotImplementedError

    def server_clock(self, place: Path) -> AbstractContextManager[Callable[[float], None]] | None:
        """Have the handles on a place talk to a server of its own, and give what sets the clock of that server.

        It is called with the seconds that the clock shall be ahead of the true time. Without this, or where it skips,
        what a jump of the server's clock does is not tested.
        """
        del place
        return None


def move(entity_id: str = "o-1", to_state: str | None = "created", **fields: Any) -> Transition:
    """Give a transition of an ``order`` with an event id of its own."""
    fields.setdefault("event_id", uuid.uuid4().hex)
    return Transition(fields.pop("model", "order"), entity_id, to_state, **fields)


def scenario(test: Scenario) -> Callable[..., None]:
    """Turn ``async def test(self, store, …)`` into a test; further parameters are further handles on the storage."""
    names = test.__code__.co_varnames[1 : test.__code__.co_argcount]

    def run(self: Cases, tmp_path: Path) -> None:
        asyncio.run(_within(self, tmp_path, len(names), test))

    run.__name__, run.__doc__, run.__qualname__ = test.__name__, test.__doc__, test.__qualname__
    return run


async def _within(suite: Cases, place: Path, handles: int, test: Scenario) -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        stores = []
        for _ in range(handles):
            store = suite.store(place)
            await store.open()
            stack.push_async_callback(store.close)
            stores.append(store)
        await test(suite, *stores)


async def collect(store: Store, cursor: Cursor, count: int) -> list[Change]:
    """Give the ``count`` changes after a position, waiting for them if need be."""
    found: list[Change] = []
    async with aclosing(watching(store, cursor)) as changes, asyncio.timeout(PATIENCE):
        while len(found) < count:
            found.append(await anext(changes))
    return found


async def watching(store: Store, cursor: Cursor) -> AsyncGenerator[Change, None]:
    """Give what a watch yields, as what can be closed."""
    async for change in store.watch(cursor):
        yield change


def statuses(results: Sequence[AppendResult]) -> list[AppendStatus]:
    """Give what became of each transition."""
    return [result.status for result in results]


async def context_of(store: Store, ref: EntityRef = ORDER, scope: Scope = SCOPE) -> ModelContext | None:
    """Give an entity's context, or None."""
    return (await store.get(scope, [ref])).get(ref)
