"""Group commit: the calls that wait together are settled together, and become one message.

A call is never torn over messages but where it is larger than the server takes, and then only between batches.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from mcp_sdk.context import Transition
from mcp_sdk.exceptions import StoreError
from mcp_sdk.ports import AppendResult
from mcp_sdk.stores.ledger import Ledger, entity_key, event_key
from mcp_sdk_nats.messages import Batch, Entry, pack
from mcp_sdk_nats.replica import Draft, Replica
from mcp_sdk_nats.view import View

__all__ = ["Appender"]

GROUP = 2000
Results = list[tuple[AppendResult, ...]]


@dataclass(frozen=True, slots=True)
class _Call:
    transitions: Sequence[Transition]
    answer: asyncio.Future[tuple[AppendResult, ...]]


class _TooLarge(Exception):
    """The message would be larger than the server takes."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Appender:
    """Appends to the log of a replica, one message at a time."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._waiting: deque[_Call] = deque()
        self._running: asyncio.Task[None] | None = None

    async def append(self, transitions: Sequence[Transition]) -> tuple[AppendResult, ...]:
        """Give one result a transition, once they are durable."""
        if not transitions:
            return ()
        loop = asyncio.get_running_loop()
        call = _Call(transitions, loop.create_future())
        self._waiting.append(call)
        if self._running is None or self._running.done() or self._running.get_loop() is not loop:
            self._running = asyncio.create_task(self._drain(loop))
        return await call.answer

    async def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            group = self._group(loop)
            if group:
                await self._settle(group)

    def _group(self, loop: asyncio.AbstractEventLoop) -> list[_Call]:
        group, size = list[_Call](), 0
        while self._waiting and (not group or size + len(self._waiting[0].transitions) <= GROUP):
            call = self._waiting.popleft()
            if not call.answer.done() and call.answer.get_loop() is loop:  # a fork, or a loop that ended, left others
                group.append(call)
                size += len(call.transitions)
        return group

    async def _settle(self, group: list[_Call]) -> None:
        try:
            results = await self._write([call.transitions for call in group])
        except _TooLarge as large:
            await self._settle_parts(group, large)
        except BaseException as error:
            for call in group:
                if not call.answer.done():
                    call.answer.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            if not isinstance(error, Exception):
                raise
        else:
            for call, result in zip(group, results, strict=True):
                if not call.answer.done():
                    call.answer.set_result(result)

    async def _settle_parts(self, group: list[_Call], large: _TooLarge) -> None:
        if len(group) > 1:
            middle = len(group) // 2
            await self._settle(group[:middle])
            await self._settle(group[middle:])
            return
        (call,) = group
        try:
            result = await self._in_parts(call.transitions, large)
        except Exception as error:  # noqa: BLE001 - it belongs to who asked
            call.answer.set_exception(error)
        else:
            call.answer.set_result(result)

    async def _in_parts(self, transitions: Sequence[Transition], large: _TooLarge) -> tuple[AppendResult, ...]:
        at = _cut(transitions)
        if not at:
            what = f"the batch {transitions[0].batch_id!r}" if transitions[0].batch_id else "a transition"
            raise StoreError(
                f"{what} makes a message of {large.size} bytes, more than this NATS takes. Raise max_payload of the "
                "server, or publish less in one batch."
            )
        results: tuple[AppendResult, ...] = ()
        for part in (transitions[:at], transitions[at:]):
            try:
                results += (await self._write([part]))[0]
            except _TooLarge as still:
                results += await self._in_parts(part, still)
        return results

    async def _write(self, calls: Sequence[Sequence[Transition]]) -> Results:
        everything = [transition for transitions in calls for transition in transitions]
        keys, events = {*map(entity_key, everything)}, list(map(event_key, everything))
        room = (await self._replica.streams()).room

        def settle(view: View, now: float) -> Draft[Results]:
            ledger = Ledger(view.contexts(keys), view.events.among(events))
            results = [ledger.settle(transitions) for transitions in calls]
            if not ledger.entries:
                return Draft(None, results)
            batch = Batch(now, [Entry(applied, _last(view, applied.transition)) for applied in ledger.entries])
            body = pack(batch)
            if len(body) > room:
                raise _TooLarge(len(body))
            return Draft(batch, results, body)

        return await self._replica.commit(settle, fresh=False)


def _last(view: View, transition: Transition) -> int:
    line = view.line(entity_key(transition))
    return 0 if line is None else line.last


def _cut(transitions: Sequence[Transition]) -> int:
    """Give the place nearest to the middle at which no batch is torn; 0 where there is none."""
    last = {(t.namespace, t.environment, t.batch_id): index for index, t in enumerate(transitions) if t.batch_id}
    places, ends = [], 0
    for index, t in enumerate(transitions):
        if index and index > ends:
            places.append(index)
        ends = max(ends, last.get((t.namespace, t.environment, t.batch_id), index))
    middle = len(transitions) / 2
    return min(places, key=lambda place: abs(place - middle), default=0)
