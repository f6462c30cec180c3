"""Time and ids as the process makes them; tests put others in their place."""

from __future__ import annotations

import functools
import itertools
import os
import sys
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


_process = [0 if "uwsgi" in sys.modules else os.getpid()]
"""This process's id, for asking costs a tenth of a microsecond; 0 in uWSGI, which forks and tells nobody."""

os.register_at_fork(after_in_child=lambda: _process.__setitem__(0, _process[0] and os.getpid()))


class EventIds:
    """Makes event ids: a random prefix for each process and a count. A forked child takes a prefix of its own."""

    __slots__ = ("_source",)

    def __init__(self) -> None:
        self._source: tuple[int, str, Iterator[int]] = (0, "", itertools.count(1))

    def __call__(self) -> str:
        """Give an id that no other process will."""
        pid, prefix, count = self._source
        if pid != (_process[0] or os.getpid()):
            pid, prefix, count = self._source = (os.getpid(), f"{os.urandom(8).hex()}-", itertools.count(1))
        return f"{prefix}{next(count)}"


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where a mesh gets time and ids from."""

    clock: Clock = field(default_factory=SystemClock)
    ids: Callable[[], str] = field(default_factory=EventIds)
