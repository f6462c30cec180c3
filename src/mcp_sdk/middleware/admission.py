"""Admission after the decision: rate limits that a decision names, and how many requests run at once.

Both count in this process alone: with N workers the limit of a policy is N times as high. A decision is pure and only
names its limits; they are spent here, all or none.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from types import MappingProxyType
from weakref import WeakSet

from mcp_sdk.decisions import Limit, Throttled
from mcp_sdk.ports import Clock

__all__ = ["SHARES", "Buckets", "Gate"]

SHARES: Mapping[str, float] = MappingProxyType({"critical": 1.0, "high": 0.9, "normal": 0.8, "low": 0.5})
"""Which part of the capacity each priority may fill: the lowest is shed first, and the last tenth is for the critical.
"""


class _Forked:
    """Something with a lock that a forked child replaces, for another thread may have held it."""

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = Lock()
        _alive.add(self)

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        self._lock = Lock()


_alive: WeakSet[_Forked] = WeakSet()


def _after_fork() -> None:
    for one in list(_alive):
        one.after_fork()


os.register_at_fork(after_in_child=_after_fork)


class Buckets(_Forked):
    """Token buckets by policy and key.

    At most ``size`` are kept: the one that was not used for longest is forgotten, and so is full again.
    """

    __slots__ = ("_buckets", "_clock", "_size")

    def __init__(self, clock: Clock, *, size: int = 100_000) -> None:
        super().__init__()
        self._clock = clock
        self._size = size
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def after_fork(self) -> None:
        """Begin with full buckets in a forked child."""
        super().after_fork()
        self._buckets = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def spend(self, limits: Sequence[Limit]) -> Throttled | None:
        """Take one token of every limit, or none at all and say which one has to be waited for longest."""
        with self._lock:
            now = self._clock.monotonic()
            levels = [self._level(limit, now) for limit in limits]
            short = [_throttled(limit, level) for limit, level in zip(limits, levels, strict=True) if level < 1]
            if short:
                return max(short, key=lambda refusal: refusal.retry_after)
            for limit, level in zip(limits, levels, strict=True):
                self._put(limit, level - 1, now)
        return None

    def left(self, limit: Limit) -> tuple[Limit, int, float]:
        """Give a limit with what remains of it and the seconds until one more is free."""
        with self._lock:
            level = self._level(limit, self._clock.monotonic())
        return limit, int(level), max(0.0, (math.floor(level) + 1 - level) / _rate(limit))

    def _level(self, limit: Limit, now: float) -> float:
        capacity = float(limit.burst or limit.requests)
        held = self._buckets.get((limit.policy, limit.key))
        if held is None:
            return capacity
        tokens, since = held
        return min(capacity, tokens + max(0.0, now - since) * _rate(limit))

    def _put(self, limit: Limit, level: float, now: float) -> None:
        name = (limit.policy, limit.key)
        self._buckets[name] = (level, now)
        self._buckets.move_to_end(name)
        while len(self._buckets) > self._size:
            self._buckets.popitem(last=False)


def _rate(limit: Limit) -> float:
    """Give a limit's tokens a second; never 0, so that a limit of nothing makes callers wait long, not for ever."""
    return max(limit.requests / limit.per if limit.per > 0 else 0.0, 1e-6)


def _throttled(limit: Limit, level: float) -> Throttled:
    return Throttled(retry_after=(1 - level) / _rate(limit), limit=limit, remaining=0)


class Gate(_Forked):
    """Counts requests that run, and lets each priority fill its share of ``capacity`` (see ``SHARES``)."""

    __slots__ = ("_bounds", "_running", "capacity")

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity: int = capacity
        self._bounds = {name: math.ceil(capacity * share) for name, share in SHARES.items()}
        self._running = 0

    def after_fork(self) -> None:
        """Begin with nothing running in a forked child."""
        super().after_fork()
        self._running = 0

    @property
    def running(self) -> int:
        """How many requests run now."""
        return self._running

    def enter(self, priority: str) -> bool:
        """Take a place for a request of ``priority``; an unknown one counts as ``normal``. False: none is free."""
        bound = self._bounds.get(priority, self._bounds["normal"])
        with self._lock:
            if self._running >= bound:
                return False
            self._running += 1
            return True

    def leave(self) -> None:
        """Give a place back."""
        with self._lock:
            self._running = max(0, self._running - 1)
