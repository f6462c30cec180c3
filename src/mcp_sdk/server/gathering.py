"""Group commit: what several callers send while the store is at work is stored together.

A store's price is by the transaction, and with many small services most requests bring one transition each. Nobody is
made to wait for others: whatever comes while fewer than ``ABREAST`` calls of the store are under way begins at once.
Where the store is away, who waited for as long as a call that failed is told so with it: their times would add up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from mcp_sdk.context import Transition
from mcp_sdk.exceptions import StoreUnavailable
from mcp_sdk.ports import AppendResult, Store

__all__ = ["Gathering"]

ABREAST = 2
"""Calls of the store at a time: one that is being written, and one that is being made ready."""
MOST = 1_000
"""Transitions that are stored together; a request that brings more is stored by itself."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    transitions: Sequence[Transition]
    answer: asyncio.Future[tuple[AppendResult, ...]]
    since: float


class Gathering:
    """Appends to a store for the requests of one replica, on its event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[_Waiting] = deque()
        self._working: set[asyncio.Task[None]] = set()

    async def append(self, transitions: Sequence[Transition]) -> tuple[AppendResult, ...]:
        """Give one result a transition, once they are durable; raises what ``Store.append`` does.

        Transitions with a ``batch_id`` are stored by themselves, at once: another request might use the same.
        """
        if any(one.batch_id for one in transitions):
            return await self._store.append(transitions)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[AppendResult, ...]] = loop.create_future()
        self._waiting.append(_Waiting(transitions, answer, loop.time()))
        if sum(not task.done() for task in self._working) < ABREAST:  # one that is done looks for nobody any more
            task = asyncio.create_task(self._work())
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        return await answer

    async def _work(self) -> None:
        while self._waiting:
            await self._store_all(self._next())

    def _next(self) -> list[_Waiting]:
        """Take the requests that are to be stored together: those that came first."""
        first = self._waiting.popleft()
        taken, size = [first], len(first.transitions)
        while self._waiting:
            size += len(self._waiting[0].transitions)
            if size > MOST:
                break
            taken.append(self._waiting.popleft())
        return taken

    async def _store_all(self, taken: Sequence[_Waiting]) -> None:
        began = asyncio.get_running_loop().time()
        try:
            results = await self._store.append([one for each in taken for one in each.transitions])
        except StoreUnavailable as error:
            _refuse([*taken, *self._waited(began)], error)
        except Exception as error:  # noqa: BLE001 - whoever it is for raises it
            await self._apart(taken, error)
        except BaseException:
            _refuse(taken, StoreUnavailable("the server is stopping"))
            raise
        else:
            _answer(taken, results)

    async def _apart(self, taken: Sequence[_Waiting], error: Exception) -> None:
        """Tell the one whose it is; where it is of several, store each by itself, so that it hurts no other."""
        if len(taken) == 1:
            _refuse(taken, error)
            return
        for each in taken:
            await self._store_all([each])

    def _waited(self, began: float) -> list[_Waiting]:
        """Take those that waited since a call began, or for longer."""
        found = []
        while self._waiting and self._waiting[0].since <= began:
            found.append(self._waiting.popleft())
        return found


def _refuse(taken: Sequence[_Waiting], error: Exception) -> None:
    for each in taken:
        if not each.answer.done():
            each.answer.set_exception(error)


def _answer(taken: Sequence[_Waiting], results: tuple[AppendResult, ...]) -> None:
    start = 0
    for each in taken:
        end = start + len(each.transitions)
        if not each.answer.done():
            each.answer.set_result(results[start:end])
        start = end
