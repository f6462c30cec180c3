"""Calls that come while a store is at work are stored together; tests/server/test_appending has what goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from mcp_sdk.exceptions import StoreUnavailable
from mcp_sdk.ports import AppendResult, AppendStatus
from mcp_sdk.stores.gathering import Answer, Call, Gathering
from mcp_sdk.testing.stores import move


class Place:
    """Notes the calls that it is told together, and is at work until it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.told: list[int] = []
        self.gathering = Gathering(self.append)

    async def append(self, calls: Sequence[Call]) -> list[Answer]:
        self.told.append(len(calls))
        await self.go.wait()
        return [tuple(AppendResult(AppendStatus.APPLIED, 1) for _ in call) for call in calls]

    def ask(self, *sizes: int) -> list[asyncio.Task[Answer]]:
        return [asyncio.create_task(self.gathering.append([move()] * size)) for size in sizes]


def test_calls_are_told_apart() -> None:
    """One call of the store is under way at a time; of several calls each gets an answer of its own length."""

    async def run() -> None:
        place = Place()
        first = place.ask(1)
        await asyncio.sleep(0.01)
        others = place.ask(2, 3)
        await asyncio.sleep(0.01)
        place.go.set()
        assert [len(answer) for answer in await asyncio.gather(*first, *others)] == [1, 2, 3]
        assert place.told == [1, 2]

    asyncio.run(run())


def test_closing_waits_for_what_was_asked() -> None:
    """What waits when it is closed is stored."""

    async def run() -> None:
        place = Place()
        asked = place.ask(1, 1)
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(place.gathering.close())
        place.go.set()
        await closing
        await asyncio.sleep(0)
        assert all(task.done() for task in asked)

    asyncio.run(run())


def test_nobody_waits_for_a_loop_that_ends() -> None:
    """Whoever is at work or waits when the work is cancelled is told so."""

    async def run() -> None:
        place = Place()
        asked = place.ask(1)
        await asyncio.sleep(0.01)
        asked += place.ask(1)
        await asyncio.sleep(0.01)
        for work in tuple(place.gathering._working):
            work.cancel()
        for task in asked:
            with pytest.raises(StoreUnavailable):
                await task

    asyncio.run(run())
