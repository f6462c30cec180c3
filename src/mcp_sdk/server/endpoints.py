"""How many endpoints may be announced in a scope, and of one service in it: every client of the scope is told of all.

What is announced already may be renewed, however many there are. A renewal reads nothing, for there are many of them.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable
from math import inf
from typing import NamedTuple

from mcp_sdk.context import Scope
from mcp_sdk.ports import Store
from mcp_sdk.server.faults import Fault
from mcp_sdk.services import Endpoint

__all__ = ["Endpoints"]

FRESH = 1.0
"""Seconds for which what was read of a scope is counted by."""
SCOPES = 256
"""Scopes of which is known what is announced there; another one is read anew."""

Key = tuple[str, str]
"""Service and URL."""


class _Lease(NamedTuple):
    """When a lease was written here, and when it runs out; neither of one that was only read."""

    written: float = -inf
    until: float = -inf


class Endpoints:
    """Announces endpoints in ``store``: ``most`` of a scope, ``each`` of one service in it.

    Replicas that announce within the same second count each for itself: together they may announce a few more.
    """

    def __init__(self, store: Store, *, most: int, each: int) -> None:
        self._store, self._most, self._each = store, most, each
        self._scopes: OrderedDict[Scope, _Known] = OrderedDict()
        self._reading = asyncio.Lock()

    async def register(self, scope: Scope, endpoint: Endpoint, *, ttl: float) -> None:
        """Announce an endpoint or renew its lease for ``ttl`` seconds; raises a 503 where there are too many."""
        known, key = self._known(scope), (endpoint.service, endpoint.url)
        if not known.runs(key):
            await self._read(scope, known)
            self._require_room(scope, known, key)
        known.add(key, ttl)
        await self._store.register(scope, endpoint, ttl=ttl)

    async def deregister(self, scope: Scope, endpoint: Endpoint) -> None:
        """Take an endpoint away."""
        await self._store.deregister(scope, endpoint)
        self._known(scope).drop((endpoint.service, endpoint.url))

    def _known(self, scope: Scope) -> _Known:
        known = self._scopes.setdefault(scope, _Known())
        self._scopes.move_to_end(scope)
        if len(self._scopes) > SCOPES:
            self._scopes.popitem(last=False)
        return known

    async def _read(self, scope: Scope, known: _Known) -> None:
        async with self._reading:
            began = time.monotonic()
            if began - known.read >= FRESH:
                found = await self._store.endpoints(scope)
                known.learn(((each.service, each.url) for each in found), began)

    def _require_room(self, scope: Scope, known: _Known, key: Key) -> None:
        """Raise a 503, for leases run out: whoever asks again is let in when others went."""
        if known.holds(key):
            return
        where = "/".join(scope)
        if known.of(key[0]) >= self._each:
            raise _full(f"{key[0]!r} has {self._each} endpoints in {where} already", key)
        if known.total >= self._most:
            raise _full(f"{where} has {self._most} endpoints already", key)


def _full(what: str, key: Key) -> Fault:
    detail = (
        f"{what}, so {key[1]} is not announced; those that are may be renewed. Stop processes that are not needed, and "
        "try again when their leases have run out"
    )
    return Fault(503, "too-many-endpoints", detail, headers=(("retry-after", "5"),))


class _Known:
    """What is announced in one scope, as far as one replica read and wrote it. Moments are of the monotonic clock."""

    def __init__(self) -> None:
        self.total, self.read = 0, -inf
        self._held: dict[str, dict[str, _Lease]] = {}

    def runs(self, key: Key) -> bool:
        """Tell whether a lease that was written here still runs."""
        lease = self._held.get(key[0], {}).get(key[1])
        return lease is not None and lease.until > time.monotonic()

    def holds(self, key: Key) -> bool:
        """Tell whether an endpoint is among those that are counted."""
        return key[1] in self._held.get(key[0], {})

    def of(self, service: str) -> int:
        """Give how many endpoints a service has."""
        return len(self._held.get(service, {}))

    def add(self, key: Key, ttl: float) -> None:
        """Count an endpoint whose lease is written now."""
        now = time.monotonic()
        self._put(key, _Lease(now, now + ttl))

    def drop(self, key: Key) -> None:
        """Count an endpoint no longer."""
        if self._held.get(key[0], {}).pop(key[1], None) is not None:
            self.total -= 1

    def learn(self, found: Iterable[Key], began: float) -> None:
        """Count what the store held since ``began``, and what was written here meanwhile."""
        before, self._held, self.total, self.read = self._held, {}, 0, began
        for service, url in found:
            self._put((service, url), before.get(service, {}).get(url, _Lease()))
        for service, leases in before.items():
            for url, lease in leases.items():
                if lease.written >= began:
                    self._put((service, url), lease)

    def _put(self, key: Key, lease: _Lease) -> None:
        self.total += not self.holds(key)
        self._held.setdefault(key[0], {})[key[1]] = lease
