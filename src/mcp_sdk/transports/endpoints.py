"""Which endpoint takes a call: weighted, least requests first, and not one that was dead a moment ago."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from threading import Lock
from weakref import WeakSet

from mcp_sdk.ports import Clock
from mcp_sdk.services import Endpoint

__all__ = ["Balancer"]

EJECTED = 5.0
"""Seconds that an endpoint is passed over after it could not be reached, while another is there."""


class Balancer:
    """Chooses among endpoints by what this process has running on each. Safe in threads and after a fork.

    Among endpoints of equal weight the one with the fewest requests running takes the call, by turns where several do.
    Where weights differ, an endpoint's chance is its weight over its running requests plus one, as Envoy's weighted
    least request.
    """

    def __init__(self, clock: Clock, *, rng: random.Random | None = None) -> None:
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, hides nothing
        self._lock = Lock()
        self._running: dict[str, int] = {}
        self._dead_until: dict[str, float] = {}
        self._turn = 0
        _alive.add(self)

    def after_fork(self) -> None:
        """Begin with nothing running in a forked child, and with turns of its own."""
        self._lock = Lock()
        self._running = {}
        self._rng = random.Random()  # noqa: S311 - as above

    def choose(self, endpoints: Sequence[Endpoint], tried: Sequence[str] = ()) -> Endpoint | None:
        """Take one of ``endpoints`` whose URL was not ``tried``; None when there is none. ``end`` gives it back."""
        with self._lock:
            able = [endpoint for endpoint in endpoints if endpoint.weight > 0 and endpoint.url not in tried]
            if not able:
                return None
            chosen = self._pick(self._living(able))
            self._running[chosen.url] = self._running.get(chosen.url, 0) + 1
            return chosen

    def end(self, endpoint: Endpoint, *, dead: bool = False) -> None:
        """Count a call out; ``dead`` when the endpoint could not be reached."""
        with self._lock:
            left = self._running.get(endpoint.url, 1) - 1
            if left > 0:
                self._running[endpoint.url] = left
            else:
                self._running.pop(endpoint.url, None)
            if dead:
                self._dead_until[endpoint.url] = self._clock.monotonic() + EJECTED

    def running(self, endpoint: Endpoint) -> int:
        """How many calls of this process run on an endpoint."""
        return self._running.get(endpoint.url, 0)

    def _living(self, able: list[Endpoint]) -> list[Endpoint]:
        if not self._dead_until:
            return able
        now = self._clock.monotonic()
        self._dead_until = {url: until for url, until in self._dead_until.items() if until > now}
        return [endpoint for endpoint in able if endpoint.url not in self._dead_until] or able

    def _pick(self, able: list[Endpoint]) -> Endpoint:
        if len(able) == 1:
            return able[0]
        if len({endpoint.weight for endpoint in able}) > 1:
            return self._rng.choices(able, [each.weight / (self.running(each) + 1) for each in able])[0]
        least = min(self.running(endpoint) for endpoint in able)
        idle = [endpoint for endpoint in able if self.running(endpoint) == least]
        self._turn += 1
        return idle[self._turn % len(idle)]


_alive: WeakSet[Balancer] = WeakSet()


def _after_fork() -> None:
    for balancer in list(_alive):
        balancer.after_fork()


os.register_at_fork(after_in_child=_after_fork)
