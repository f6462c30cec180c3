"""Group commit: the calls that come while a store is at work are stored together.

A store's price is by the transaction, and with many small callers most calls bring one transition each. Nobody is made
to wait for others: what comes while fewer calls of the store are under way than may be begins at once. Where the store
is away, who waited for as long as a call that failed is told so with it: one after another their times would add up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mcp_sdk.context import Transition
from mcp_sdk.exceptions import StoreUnavailable
from mcp_sdk.ports import AppendResult

__all__ = ["MOST", "Answer", "Call", "Gathering"]

MOST = 1_000
"""Transitions that are stored together, unless one call alone has more."""

Call: TypeAlias = Sequence[Transition]
Answer: TypeAlias = tuple[AppendResult, ...]


@dataclass(frozen=True, slots=True)
class _Waiting:
    call: Call
    answer: asyncio.Future[Answer]
    since: float


class Gathering:
    """Gathers calls for ``append``, which stores several, each as if it were alone, and gives an answer for each.

    ``abreast`` is how many calls of ``append`` may be under way. Belongs to one event loop.
    """

    def __init__(self, append: Callable[[Sequence[Call]], Awaitable[Sequence[Answer]]], *, abreast: int = 1) -> None:
        self._append, self._abreast = append, abreast
        self._waiting: deque[_Waiting] = deque()
        self._working: set[asyncio.Task[None]] = set()

    async def append(self, call: Call) -> Answer:
        """Give one result a transition, once they are durable; raises what ``append`` does."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append(_Waiting(call, answer, loop.time()))
        if sum(not task.done() for task in self._working) < self._abreast:  # one that is done looks for nobody any more
            task = loop.create_task(self._work())
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        return await answer

    async def close(self) -> None:
        """Wait for what was asked before."""
        if self._working:
            await asyncio.wait(self._working)

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._store_all(self._next())
        except asyncio.CancelledError:
            _refuse(self._taken(), StoreUnavailable("the store was closed before its turn came"))
            raise

    def _next(self) -> list[_Waiting]:
        """Take the calls that are to be stored together: those that came first."""
        first = self._waiting.popleft()
        taken, size = [first], len(first.call)
        while self._waiting:
            size += len(self._waiting[0].call)
            if size > MOST:
                break
            taken.append(self._waiting.popleft())
        return taken

    async def _store_all(self, taken: Sequence[_Waiting]) -> None:
        began = asyncio.get_running_loop().time()
        try:
            answers = await self._append([each.call for each in taken])
        except StoreUnavailable as error:
            _refuse([*taken, *self._taken(began)], error)
        except Exception as error:  # noqa: BLE001 - whoever it is for raises it
            await self._apart(taken, error)
        except BaseException:
            _refuse(taken, StoreUnavailable("the store was closed meanwhile"))
            raise
        else:
            for each, answer in zip(taken, answers, strict=True):
                if not each.answer.done():
                    each.answer.set_result(answer)

    async def _apart(self, taken: Sequence[_Waiting], error: Exception) -> None:
        """Tell the one whose it is; where it is of several, store each by itself, so that it hurts no other."""
        if len(taken) == 1:
            _refuse(taken, error)
            return
        for each in taken:
            await self._store_all([each])

    def _taken(self, began: float = float("inf")) -> list[_Waiting]:
        """Take those that waited since a call began, or for longer."""
        found = []
        while self._waiting and self._waiting[0].since <= began:
            found.append(self._waiting.popleft())
        return found


def _refuse(taken: Sequence[_Waiting], error: Exception) -> None:
    for each in taken:
        if not each.answer.done():
            each.answer.set_exception(error)
