"""Look-ups of entities, gathered and shared."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import pytest

from mcp_sdk.context import EntityRef, ModelContext
from mcp_sdk.control.fetcher import Fetcher
from mcp_sdk.exceptions import StoreUnavailable

A, B, C = (EntityRef("order", name) for name in "abc")


class Shelf:
    """Knows A and B, slowly, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[list[EntityRef]] = []
        self.away = False
        self.begun = asyncio.Event()

    async def lookup(self, refs: Sequence[EntityRef]) -> Mapping[EntityRef, ModelContext]:
        self.asked.append(list(refs))
        self.begun.set()
        await asyncio.sleep(0.01)
        if self.away:
            raise StoreUnavailable("away")
        return {ref: ModelContext(*ref) for ref in refs if ref in (A, B)}


def test_misses_of_one_turn_are_one_look_up():
    """Many who miss the same entities at once cause one look-up, with each entity once."""

    async def scenario() -> None:
        shelf = Shelf()
        fetcher = Fetcher(shelf.lookup)
        found = await asyncio.gather(fetcher.get([A]), fetcher.get([A, B]), fetcher.get([B, C]), fetcher.get([A, A]))
        assert [set(each) for each in found] == [{A}, {A, B}, {B}, {A}]
        assert shelf.asked == [[A, B, C]]

    asyncio.run(scenario())


def test_later_askers_join_a_look_up_on_its_way():
    """Who asks for an entity while it is looked up waits for that answer; others go on their own."""

    async def scenario() -> None:
        shelf = Shelf()
        fetcher = Fetcher(shelf.lookup)
        first = asyncio.create_task(fetcher.get([A]))
        await shelf.begun.wait()
        second = asyncio.create_task(fetcher.get([A, B]))
        assert await first == {A: ModelContext(*A)}
        assert set(await second) == {A, B}
        assert shelf.asked == [[A], [B]]
        await fetcher.get([A])
        assert shelf.asked == [[A], [B], [A]]

    asyncio.run(scenario())


def test_a_failed_look_up_is_everybodys_error_and_is_tried_again():
    """All who waited hear of the failure; the next one asks anew."""

    async def scenario() -> None:
        shelf = Shelf()
        fetcher = Fetcher(shelf.lookup)
        shelf.away = True
        errors = await asyncio.gather(fetcher.get([A]), fetcher.get([A]), return_exceptions=True)
        assert [type(error) for error in errors] == [StoreUnavailable] * 2
        shelf.away = False
        assert set(await fetcher.get([A])) == {A}

    asyncio.run(scenario())


def test_who_stops_waiting_does_not_take_others_along():
    """A cancelled asker leaves the look-up to those who still wait."""

    async def scenario() -> None:
        shelf = Shelf()
        fetcher = Fetcher(shelf.lookup)
        first, second = (asyncio.create_task(fetcher.get([A])) for _ in range(2))
        await asyncio.sleep(0.002)
        first.cancel()
        assert set(await second) == {A}

    asyncio.run(scenario())


def test_a_future_gets_the_answer_or_the_error():
    """Callers of other threads get a future; one that was cancelled asks for nothing."""

    async def scenario() -> None:
        shelf = Shelf()
        fetcher = Fetcher(shelf.lookup)
        answer: Future[Mapping[EntityRef, ModelContext]] = Future()
        fetcher.want([A, C], answer)
        assert await asyncio.wrap_future(answer) == {A: ModelContext(*A)}
        shelf.away = True
        failed: Future[Mapping[EntityRef, ModelContext]] = Future()
        fetcher.want([B], failed)
        with pytest.raises(StoreUnavailable):
            await asyncio.wrap_future(failed)
        cancelled: Future[Mapping[EntityRef, ModelContext]] = Future()
        cancelled.cancel()
        fetcher.want([A], cancelled)
        assert shelf.asked == [[A, C], [B]]

    asyncio.run(scenario())
