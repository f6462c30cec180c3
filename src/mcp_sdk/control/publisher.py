"""The background publisher: a bounded queue, batches, retries, and one deadline at the end.

It knows no store: ``send`` may append to one or post to a server. Delivery is at least once; receivers recognise event
ids.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from threading import Lock
from typing import TypeAlias

from mcp_sdk.context import Transition
from mcp_sdk.control.loop import LoopThread, logger
from mcp_sdk.exceptions import StoreDenied, StoreUnavailable
from mcp_sdk.ports import AppendResult

__all__ = ["Backoff", "Hooks", "Publisher", "PublisherOptions", "Send", "Unit"]

Send: TypeAlias = Callable[[Sequence[Transition]], Awaitable[Sequence[AppendResult]]]
Unit: TypeAlias = tuple[Transition, ...]
"""Transitions that are sent together: one, or all of a ``batch_id`` that were published in one call."""


@dataclass(frozen=True)
class PublisherOptions:
    """``queue_size`` and ``batch_size`` count transitions; ``linger`` is the seconds that a batch waits for company."""

    queue_size: int = 10_000
    batch_size: int = 500
    linger: float = 0.01


@dataclass(frozen=True)
class Hooks:
    """What a publisher tells its owner, and asks it.

    ``settled`` gets each transition with its result, ``dropped`` what is lost with the reason (``queue_full``,
    ``store_refused``, ``shutdown``); ``prepare`` gives a unit as it is to be sent. All but ``dropped`` run on the
    loop's thread.
    """

    settled: Callable[[Transition, AppendResult], None]
    dropped: Callable[[Sequence[Transition], str], None]
    prepare: Callable[[Unit], Unit] = lambda unit: unit


SCAN = 4
GRACE = 0.2
ALERT = 1.0


_random = random.SystemRandom()
"""Of its own: an application that seeds ``random`` must get the numbers that it asked for."""


class Backoff:
    """Jittered exponential delays, in seconds.

    https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """

    def __init__(self, first: float = 0.05, most: float = 2.0) -> None:
        self._first, self._most = first, most
        self._next = first

    def delay(self) -> float:
        """Give the next delay."""
        bound, self._next = self._next, min(self._next * 2, self._most)
        return bound * (0.5 + _random.random() / 2)

    def reset(self) -> None:
        """Begin anew after a success."""
        self._next = self._first


class Publisher:
    """Takes transitions from any thread, and sends them from a loop's thread in the order of each entity.

    A transition that has a base revision waits until those before it on the same entity are settled, for only then is
    it known which revision it stands on.
    """

    def __init__(self, send: Send, hooks: Hooks, *, loop: LoopThread, options: PublisherOptions) -> None:
        self._send, self._hooks, self._loop, self._options = send, hooks, loop, options
        self._lock = Lock()
        self._queue: deque[Unit] = deque()
        self._backlog: deque[tuple[int, Unit]] = deque()
        self._size = self._published = self._drained = 0
        self._idle = True
        self._closing = self._denied = False
        self._flying: list[tuple[int, Unit]] = []
        self._task: asyncio.Task[None] | None = None
        self._pause: asyncio.Future[None] | None = None
        self._flushes: list[tuple[int, Future[bool]]] = []

    @property
    def size(self) -> int:
        """How many transitions are published and not yet settled."""
        return self._size

    def publish(self, transitions: Sequence[Transition]) -> bool:
        """Queue transitions, all or, when the queue has no room for them, none. Never waits, never raises."""
        count = len(transitions)
        units = (tuple(transitions),) if count == 1 else tuple(_units(transitions))
        with self._lock:
            refused = (
                "shutdown" if self._closing else "queue_full" if self._size + count > self._options.queue_size else ""
            )
            if not refused:
                self._size += count
                self._published += len(units)
                self._queue.extend(units)
                wake, self._idle = self._idle, False
        if refused:
            self._hooks.dropped(transitions, refused)
            return False
        if wake:
            self._loop.call(self._begin)
        return True

    def flush(self, timeout: float) -> bool:
        """Wait ``timeout`` seconds at most until all that is published by now is settled; tell whether it is."""
        future: Future[bool] = Future()
        with self._lock:
            target = self._published
            if self._size == 0:
                return True
        self._loop.call(self._ask, target, future)
        with suppress(TimeoutError):
            return future.result(max(timeout, 0))
        return False

    def close(self, timeout: float) -> bool:
        """Send what is queued within ``timeout`` seconds and drop the rest; tell whether all was sent."""
        deadline = time.monotonic() + timeout
        with self._lock:
            self._closing = True
        done = self.flush(timeout)
        if not done:
            with suppress(TimeoutError, StoreUnavailable):
                self._loop.submit(self._abandon).result(max(deadline - time.monotonic(), GRACE))
        return done

    async def _abandon(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._drain()
        left = [transition for _, unit in (*self._flying, *self._backlog) for transition in unit]
        self._flying = []
        self._backlog.clear()
        self._hooks.dropped(left, "shutdown")
        with self._lock:
            self._size = 0

    def _begin(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._pump())
        self._rouse()

    def _rouse(self) -> None:
        if self._pause is not None and not self._pause.done():
            self._pause.set_result(None)

    def _ask(self, target: int, future: Future[bool]) -> None:
        self._flushes.append((target, future))
        self._begin()
        self._answer()

    def _answer(self) -> None:
        heads = [waiting[0][0] for waiting in (self._flying, self._backlog) if waiting]
        oldest = min(heads, default=self._drained)
        for target, future in [flush for flush in self._flushes if flush[0] <= oldest]:
            self._flushes.remove((target, future))
            if not future.done():
                future.set_result(True)

    async def _pump(self) -> None:
        quiet = 0.0
        while True:
            if not self._queue and not self._backlog:
                quiet = await self._rest(quiet)
                continue
            if self._size < self._options.batch_size and not self._flushes:
                await self._sleep(self._options.linger)
            quiet = 0.0
            self._flying = self._take()
            for transition, result in await self._deliver([unit for _, unit in self._flying]):
                self._settle(transition, result)
            with self._lock:
                self._size -= sum(len(unit) for _, unit in self._flying)
            self._flying = []
            self._answer()

    async def _rest(self, quiet: float) -> float:
        """Look again soon; after ``ALERT`` quiet seconds wait to be woken, which costs a publishing thread 50 µs."""
        if quiet < ALERT:
            await self._sleep(self._options.linger)
            return quiet + max(self._options.linger, 0.001)
        with self._lock:
            idle = self._idle = not self._queue
        if idle:
            await self._sleep(None)
        return 0.0

    async def _sleep(self, delay: float | None) -> None:
        loop = asyncio.get_running_loop()
        self._pause = loop.create_future()
        timer = None if delay is None else loop.call_later(delay, self._rouse)
        try:
            await self._pause
        finally:
            self._pause = None
            if timer is not None:
                timer.cancel()

    def _drain(self) -> None:
        while self._queue:
            self._backlog.append((self._drained, self._queue.popleft()))
            self._drained += 1

    def _take(self) -> list[tuple[int, Unit]]:
        self._drain()
        chosen: list[tuple[int, Unit]] = []
        kept: list[tuple[int, Unit]] = []
        taken: set[object] = set()
        blocked: set[object] = set()
        count = 0
        for _ in range(min(len(self._backlog), self._options.batch_size * SCAN)):
            number, unit = self._backlog.popleft()
            keys = {(t.namespace, t.environment, t.model, t.entity_id) for t in unit}
            chained = any(t.base_revision is not None for t in unit) and not taken.isdisjoint(keys)
            if chained or not blocked.isdisjoint(keys):
                blocked |= keys
                kept.append((number, unit))
                continue
            chosen.append((number, unit))
            taken |= keys
            count += len(unit)
            if count >= self._options.batch_size:
                break
        self._backlog.extendleft(reversed(kept))
        return chosen

    async def _deliver(self, units: Sequence[Unit]) -> list[tuple[Transition, AppendResult | None]]:
        backoff = Backoff()
        prepared = [transition for unit in units for transition in self._hooks.prepare(unit)]
        originals = [transition for unit in units for transition in unit]
        while True:
            try:
                results = await self._send(prepared)
                self._denied = False
                return list(zip(originals, results, strict=True))
            except StoreUnavailable as error:
                self._say(error)
                await asyncio.sleep(backoff.delay())
            except Exception as error:  # noqa: BLE001 - one bad transition must not stop the others
                return await self._divide(units, error)

    def _say(self, error: StoreUnavailable) -> None:
        """Log why transitions wait; once, and loudly, where somebody has to mend it first."""
        news = isinstance(error, StoreDenied) and not self._denied
        self._denied = self._denied or news
        logger.log(logging.WARNING if news else logging.INFO, "transitions wait for the store: %s", error)

    async def _divide(self, units: Sequence[Unit], error: Exception) -> list[tuple[Transition, AppendResult | None]]:
        if len(units) > 1:
            middle = len(units) // 2
            return [*await self._deliver(units[:middle]), *await self._deliver(units[middle:])]
        logger.warning("the store refused a transition of %r: %s", units[0][0].model, error)
        return [(transition, None) for transition in units[0]]

    def _settle(self, transition: Transition, result: AppendResult | None) -> None:
        try:
            if result is None:
                self._hooks.dropped((transition,), "store_refused")
            else:
                self._hooks.settled(transition, result)
        except Exception:  # noqa: BLE001 - the next transition is to be sent
            logger.exception("what followed a stored transition failed")


def _units(transitions: Sequence[Transition]) -> Iterator[Unit]:
    for batch_id, group in groupby(transitions, key=lambda transition: transition.batch_id):
        if batch_id:
            yield tuple(group)
        else:
            yield from ((transition,) for transition in group)
