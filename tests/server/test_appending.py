"""Requests that come while the store is at work are stored together, and each gets its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from typing import Any

import pytest

from mcp_sdk.context import EntityRef, Scope, Transition
from mcp_sdk.exceptions import StoreError, StoreUnavailable
from mcp_sdk.ports import AppendResult, AppendStatus
from mcp_sdk.server.appending import ABREAST, Appender
from mcp_sdk.stores.gathering import MOST
from mcp_sdk.stores.memory import MemoryStore
from mcp_sdk.testing.stores import move


def looped(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on a loop."""

    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


class Slow(MemoryStore):
    """A store whose appends wait until they are let go, and that notes what it was told together."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.told: list[int] = []
        self.refuses = ""
        self.raises: type[Exception] = StoreError
        self.away = False

    async def append(self, transitions: Sequence[Transition]) -> tuple[AppendResult, ...]:
        self.told.append(len(transitions))
        await self.go.wait()
        if self.away:
            raise StoreUnavailable("away")
        if any(one.entity_id == self.refuses for one in transitions):
            raise self.raises(f"cannot hold {self.refuses}")
        return await super().append(transitions)


async def sent(appender: Appender, *batches: Sequence[Transition]) -> list[asyncio.Task[tuple[AppendResult, ...]]]:
    """Begin a request for each batch, one after another."""
    tasks = []
    for batch in batches:
        tasks.append(asyncio.create_task(appender.append(batch)))
        for _ in range(3):
            await asyncio.sleep(0)
    return tasks


def moves(*ids: str, batch_id: str = "") -> list[Transition]:
    """Give a transition of each entity."""
    return [move(entity_id, event_id=f"e-{entity_id}", batch_id=batch_id) for entity_id in ids]


@looped
async def test_what_waits_is_stored_together() -> None:
    """While the store is at work, the others wait and then go in one call; each gets what became of its own."""
    store = Slow()
    appender = Appender(store)
    tasks = await sent(appender, *(moves(f"o-{number}") for number in range(ABREAST)), moves("a", "b"), moves("c"))
    store.go.set()
    results = await asyncio.gather(*tasks)
    assert store.told == [1] * ABREAST + [3]
    assert [len(one) for one in results] == [1] * ABREAST + [2, 1]
    assert len(await store.get(Scope(), [EntityRef("order", each) for each in ("a", "b", "c")])) == 3


@looped
async def test_one_that_cannot_be_stored_hurts_nobody_else() -> None:
    """Where a call of several fails for what is in it, each is stored by itself."""
    store = Slow()
    store.refuses = "bad"
    appender = Appender(store)
    tasks = await sent(appender, *(moves(f"o-{number}") for number in range(ABREAST)), moves("bad"), moves("good"))
    store.go.set()
    *_, bad, good = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(bad, StoreError)
    assert not isinstance(good, BaseException)
    assert good[0].revision == 1


@looped
async def test_a_store_that_is_away_is_told_to_everybody() -> None:
    """Nobody is kept waiting, and nothing is tried again for them."""
    store = Slow()
    store.away = True
    appender = Appender(store)
    tasks = await sent(appender, *(moves(f"o-{number}") for number in range(ABREAST)), moves("a"), moves("b"))
    store.go.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, StoreUnavailable) for one in answers)
    assert store.told == [1] * ABREAST + [2]


@looped
async def test_who_comes_as_the_last_call_ends_is_stored() -> None:
    """Though all calls end in one turn of the loop, in which nobody has let go of them yet."""
    store = Prompt()
    appender = Appender(store)
    await sent(appender, *(moves(f"o-{number}") for number in range(ABREAST)))
    assert len(store.told) == ABREAST
    store.go.set()
    assert len(await asyncio.wait_for(appender.append(moves("late")), 5)) == 1


class Prompt(Slow):
    """A store whose appends end in the very turn of the loop in which they are let go."""

    async def append(self, transitions: Sequence[Transition]) -> tuple[AppendResult, ...]:
        self.told.append(len(transitions))
        await self.go.wait()
        return tuple(AppendResult(AppendStatus.APPLIED, 1) for _ in transitions)


@looped
async def test_an_error_that_nobody_expected_hurts_nobody_else() -> None:
    """Whatever it is that a store raises."""
    store = Slow()
    store.raises, store.refuses = ValueError, "bad"
    appender = Appender(store)
    tasks = await sent(appender, *(moves(f"o-{number}") for number in range(ABREAST)), moves("bad"), moves("good"))
    store.go.set()
    *_, bad, good = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(bad, ValueError)
    assert not isinstance(good, BaseException)


@looped
async def test_waiting_for_a_store_that_halts_does_not_add_up() -> None:
    """Who waited for as long as a call that failed is told so with it, however many calls all of them would take."""
    store = Slow()
    store.away = True
    appender = Appender(store)
    large = moves(*map(str, range(MOST)))
    tasks = await sent(appender, *[large] * 20)
    store.go.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, StoreUnavailable) for one in answers)
    assert len(store.told) <= 2 * ABREAST


@looped
async def test_batches_are_stored_by_themselves_at_once() -> None:
    """Two requests that use one ``batch_id`` are not taken for one batch: the late one does not undo the other.

    None waits for others: a store that can store many calls together is told all of them.
    """
    store = Slow()
    appender = Appender(store)
    late = [move("b", event_id="e-b", batch_id="same", base_revision=7)]
    tasks = await sent(
        appender, *(moves(f"o-{number}") for number in range(ABREAST)), moves("a", batch_id="same"), late
    )
    assert len(store.told) == ABREAST + 2
    store.go.set()
    *_, kept, refused = await asyncio.gather(*tasks)
    assert [one.status.value for one in (*kept, *refused)] == ["applied", "late"]


@looped
async def test_what_is_stored_together_is_bounded() -> None:
    """A call of the store takes no more than a request may bring."""
    store = Slow()
    appender = Appender(store)
    half = [moves(*(f"{part}-{number}" for number in range(MOST // 2 + 1))) for part in "abc"]
    tasks = await sent(appender, *(moves(f"o-{number}") for number in range(ABREAST)), *half)
    store.go.set()
    await asyncio.gather(*tasks)
    assert store.told == [1] * ABREAST + [MOST // 2 + 1] * 3


@looped
async def test_who_went_away_takes_nothing_along() -> None:
    """A request that is given up is stored all the same, and the others get their answers."""
    store = Slow()
    appender = Appender(store)
    tasks = await sent(appender, *(moves(f"o-{number}") for number in range(ABREAST)), moves("a"), moves("b"))
    tasks[-2].cancel()
    store.go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[-2], asyncio.CancelledError)
    assert not isinstance(results[-1], BaseException)


@looped
async def test_one_who_is_stopped_answers_everybody() -> None:
    """When the loop's tasks are ended, whoever waits is told that the server stops."""
    store = Slow()
    appender = Appender(store)
    (task,) = await sent(appender, moves("a"))
    for work in tuple(appender._gathering._working):
        work.cancel()
    with pytest.raises(StoreUnavailable):
        await task
