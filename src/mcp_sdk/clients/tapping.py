"""Shows this process's decisions to whoever looks on at the control plane; does nothing while nobody does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from mcp_sdk.control.loop import LoopThread
from mcp_sdk.protocol.filters import Filter
from mcp_sdk.protocol.plain import each

__all__ = ["Tapping"]

MOST_UNDER_WAY = 100
Say = Callable[..., Coroutine[Any, Any, None]]


class Tapping:
    """Sends records that fit a filter, ``rate`` a second at most; what does not fit into that is counted.

    Records come from any thread, ``look`` and ``stop`` are called on the loop. ``spawn`` begins a task there.
    """

    def __init__(self, loop: LoopThread, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._loop, self._spawn, self._pid = loop, spawn, os.getpid()
        self._say: Say | None = None
        self._filters: tuple[Filter, ...] = ()
        self._rate = self._sent = self._dropped = self._second = self._under_way = 0

    def look(self, say: Say, said: Mapping[str, Any]) -> bool:
        """Send by what a frame ``tap`` says from now on; tell whether anybody looks."""
        self._say, self._rate = say, int(said.get("rate", 0))
        self._filters = tuple(each(Filter.from_dict, said.get("filters", ())))
        return bool(self._filters)

    def stop(self) -> None:
        """Send nothing from now on."""
        self._say, self._filters = None, ()

    def show(self, record: Mapping[str, Any]) -> None:
        """Send a masked record of a decision, if somebody wants it. Returns at once."""
        if self._pid != os.getpid() or not any(one.fits_decision(record) for one in self._filters):
            return
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._sent = second, 0
        if self._sent >= self._rate or self._under_way >= MOST_UNDER_WAY:
            self._dropped += 1
            return
        self._sent += 1
        self._loop.call(self._begin, record)

    def _begin(self, record: Mapping[str, Any]) -> None:
        self._spawn(self._send(record))

    async def _send(self, record: Mapping[str, Any]) -> None:
        say, dropped = self._say, self._dropped
        if say is None:
            return
        self._under_way += 1
        try:
            self._dropped -= dropped
            await say("decision", record=record, dropped=dropped)
        finally:
            self._under_way -= 1
