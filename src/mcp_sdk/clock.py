"""Time and ids as the process makes them; tests put others in their place."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mcp_sdk.ports import Clock

__all__ = ["EventIds", "Runtime", "SystemClock"]


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Give the current time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Give seconds that never go backwards."""
        return time.monotonic()


class EventIds:
    """Makes event ids: a random prefix for each process and a count. A forked child takes a prefix of its own."""

    __slots__ = ("_count", "_pid", "_prefix")

    def __init__(self) -> None:
        self._pid = 0

    def __call__(self) -> str:
        """Give an id that no other process will."""
        if self._pid != os.getpid():
            self._begin()
        return f"{self._prefix}{next(self._count):x}"

    def _begin(self) -> None:
        self._prefix = f"{os.urandom(8).hex()}-"
        self._count = itertools.count(1)
        self._pid = os.getpid()


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where a mesh gets time and ids from."""

    clock: Clock = field(default_factory=SystemClock)
    ids: Callable[[], str] = field(default_factory=EventIds)
