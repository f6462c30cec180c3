"""The store in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mcp_sdk.context import Scope
from mcp_sdk.exceptions import StoreUnavailable
from mcp_sdk.stores.memory import MemoryStore, connect
from mcp_sdk.testing.stores import StoreSuite, collect, move


class TestMemoryStore(StoreSuite):
    """One store stands for all handles on a place."""

    def setup_method(self) -> None:
        self.places: dict[Path, MemoryStore] = {}

    def store(self, place: Path, *, clock: Callable[[], float] = time.time) -> MemoryStore:
        return self.places.setdefault(place, MemoryStore(clock=clock))


def test_a_url_gives_a_new_store_each_time():
    """Two connections share nothing, so no store of another test or tenant is seen."""

    async def both() -> Sequence[int]:
        first, second = connect("memory:"), connect("memory:")
        await first.append([move()])
        return [len((await store.list(Scope(), "order")).contexts) for store in (first, second)]

    assert asyncio.run(both()) == [1, 0]


def test_the_log_is_bounded_and_says_so():
    """A watcher whose position fell out of the bounded log is told to read again; entities are all kept."""

    async def overflow() -> None:
        store = MemoryStore(log_size=10)
        start = await store.cursor()
        await store.append([move(f"o-{number}") for number in range(25)])
        (change,) = await collect(store, start, 1)
        assert change.kind == "resync"
        assert len((await store.list(Scope(), "order")).contexts) == 25

    asyncio.run(overflow())


def test_a_closed_store_is_unavailable():
    """What is asked of a closed store is refused in words."""

    async def closed() -> None:
        store = MemoryStore()
        await store.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.append([move()])

    asyncio.run(closed())
