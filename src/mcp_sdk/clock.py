"""Time and ids as the process makes them; tests put others in their place."""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mcp_sdk.ports import Clock

__all__ = ["EventIds", "Runtime", "SystemClock"]


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(functools.partial(datetime.now, UTC))
    """Give the current time in UTC."""

    monotonic = staticmethod(time.monotonic)
    """Give seconds that never go backwards."""


class EventIds:
    """Makes event ids: a random prefix for each process and a count. A forked child takes a prefix of its own."""

    __slots__ = ("_source",)

    def __init__(self) -> None:
        self._source: tuple[int, str, Iterator[int]] = (0, "", itertools.count(1))

    def __call__(self) -> str:
        """Give an id that no other process will."""
        pid, prefix, count = self._source
        if pid != os.getpid():
            pid, prefix, count = self._source = (os.getpid(), f"{os.urandom(8).hex()}-", itertools.count(1))
        return f"{prefix}{next(count)}"


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where a mesh gets time and ids from."""

    clock: Clock = field(default_factory=SystemClock)
    ids: Callable[[], str] = field(default_factory=EventIds)
