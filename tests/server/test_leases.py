"""Leases: one replica at a time does what is done for all."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from mcp_sdk.context import MESH
from mcp_sdk.ports import Record
from mcp_sdk.server.leases import KIND, SKEW, Lease
from mcp_sdk.stores.memory import MemoryStore


class Clock:
    """A clock that is moved by hand, and ``ahead`` of it another."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def tick(self, seconds: float) -> None:
        """Let time pass."""
        self.moment += timedelta(seconds=seconds)


def test_one_of_many_holds_it() -> None:
    """However many ask at once, one gets it."""

    async def asking() -> list[bool]:
        store = MemoryStore()
        await store.open()
        return await asyncio.gather(*(Lease(store, "a", str(each)).take() for each in range(20)))

    assert sum(asyncio.run(asking())) == 1


def test_it_is_renewed_and_passes_on_when_its_holder_is_gone() -> None:
    """The holder keeps it as long as it renews; another takes it only after its end and the clocks' difference."""

    async def living() -> None:
        clock, store = Clock(), MemoryStore()
        await store.open()
        one, two = (Lease(store, "a", name, ttl=30.0, clock=clock) for name in "12")
        assert await one.take()
        for _ in range(5):
            clock.tick(20)
            assert await one.take()
            assert not await two.take()
        clock.tick(31)
        assert not one.held
        assert not await two.take()
        clock.tick(SKEW)
        assert await two.take()
        assert not await one.take()

    asyncio.run(living())


def test_clocks_that_differ_never_make_two_holders() -> None:
    """A replica whose clock is ahead by what is allowed waits until the other has stopped."""

    async def living() -> None:
        clock, store = Clock(), MemoryStore()
        await store.open()
        slow = Lease(store, "a", "slow", ttl=30.0, clock=clock)
        fast = Lease(store, "a", "fast", ttl=30.0, clock=lambda: clock.moment + timedelta(seconds=SKEW))
        assert await slow.take()
        for _ in range(80):
            clock.tick(0.5)
            await fast.take()
            assert not (slow.held and fast.held)
        assert fast.held

    asyncio.run(living())


def test_it_is_released_and_what_cannot_be_read_is_nobodys() -> None:
    """A replica that leaves does not keep the others waiting."""

    async def living() -> None:
        store = MemoryStore()
        await store.open()
        one, two = Lease(store, "a", "1"), Lease(store, "a", "2")
        assert await one.take()
        await two.release()
        assert not await two.take()
        await one.release()
        assert await two.take()
        (record,) = await store.records(MESH, KIND)
        await store.put_record(MESH, Record(KIND, "a", {"until": 7}, record.revision))
        assert await one.take()

    asyncio.run(living())
