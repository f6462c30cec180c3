"""Puts the calls that wait for one handle into one transaction.

Transactions of a store commit one after another, each with a flush to disk. While one runs the next calls gather, and
go together: each is settled as if it were alone, and answered when all are durable. Where the server is away, those
that wait are told so with those that tried: they waited for as long, and one after another their times would add up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeAlias

from mcp_sdk.context import Transition
from mcp_sdk.exceptions import StoreError, StoreUnavailable
from mcp_sdk.ports import AppendResult

__all__ = ["Writer"]

MOST = 1000
"""Transitions in one transaction, unless one call alone has more."""

Call: TypeAlias = Sequence[Transition]
Answer: TypeAlias = tuple[AppendResult, ...]
Append: TypeAlias = Callable[[Sequence[Call]], Awaitable[list[Answer]]]


class _Waiting(NamedTuple):
    call: Call
    answer: asyncio.Future[Answer]


class Writer:
    """Gathers calls and has ``append`` make transactions of them, one at a time."""

    def __init__(self, append: Append) -> None:
        self._append = append
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    async def append(self, call: Call) -> Answer:
        """Give the results of one call; raises what ``append`` raises."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(call, answer))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._drain())
        return await answer

    async def close(self) -> None:
        """Wait for what was asked before."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._together(self._gathered())
        finally:
            self._task = None
            for left in self._waiting:
                _refuse([left], StoreUnavailable("the loop of this store ended before its turn came."))

    def _gathered(self) -> list[_Waiting]:
        group = [self._waiting.popleft()]
        size = len(group[0].call)
        while self._waiting and size + len(self._waiting[0].call) <= MOST:
            size += len(self._waiting[0].call)
            group.append(self._waiting.popleft())
        return group

    async def _together(self, group: list[_Waiting]) -> None:
        try:
            answers = await self._append([waiting.call for waiting in group])
        except StoreUnavailable as error:
            _refuse((*group, *self._waiting), error)
            self._waiting.clear()
        except StoreError as error:
            await self._apart(group, error)
        except BaseException as error:
            _refuse(group, error)
            raise
        else:
            for waiting, answer in zip(group, answers, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)

    async def _apart(self, group: list[_Waiting], error: StoreError) -> None:
        """Do each call alone, so that one that cannot be stored refuses no other."""
        if len(group) == 1:
            _refuse(group, error)
            return
        for waiting in group:
            await self._together([waiting])


def _refuse(group: Sequence[_Waiting], error: BaseException) -> None:
    for waiting in group:
        if not waiting.answer.done():
            if isinstance(error, asyncio.CancelledError):
                waiting.answer.cancel()
            else:
                waiting.answer.set_exception(error)
