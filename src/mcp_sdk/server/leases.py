"""Short leases: what one replica of several does for all of them.

A lease is a record that is written by compare-and-set. Whoever holds it renews it well before it ends, and stops at its
own ``until``; others take it only ``SKEW`` seconds after that, so that clocks may differ by as much. Work under a lease
must still be harmless when done twice: a process may be halted for longer than any lease.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from mcp_sdk.context import MESH
from mcp_sdk.exceptions import RevisionConflict
from mcp_sdk.ports import Record, Store

__all__ = ["Lease"]

KIND = "lease"
SKEW = 5.0
"""Seconds by which the clocks of two replicas may differ."""


def _now() -> datetime:
    return datetime.now(UTC)


class Lease:
    """The lease ``name``, as ``holder`` sees it; ``ttl`` is in seconds."""

    def __init__(
        self, store: Store, name: str, holder: str, *, ttl: float = 30.0, clock: Callable[[], datetime] = _now
    ) -> None:
        self._store, self._name, self._holder, self._ttl, self._clock = store, name, holder, ttl, clock
        self._until: datetime | None = None

    @property
    def held(self) -> bool:
        """Whether it is held here now."""
        return self._until is not None and self._clock() < self._until

    async def take(self) -> bool:
        """Acquire the lease, or renew it; tell whether it is held here. Raises ``StoreUnavailable``."""
        current = next((one for one in await self._store.records(MESH, KIND) if one.name == self._name), None)
        if current is not None and not self._free(current.content):
            self._until = None
            return False
        until = self._clock() + timedelta(seconds=self._ttl)
        content = {"holder": self._holder, "until": until.isoformat()}
        try:
            await self._store.put_record(MESH, Record(KIND, self._name, content, current.revision if current else 0))
        except RevisionConflict:
            self._until = None
            return False
        self._until = until
        return True

    async def release(self) -> None:
        """Let others take it at once, if it is held here."""
        for record in await self._store.records(MESH, KIND):
            if record.name == self._name and record.content.get("holder") == self._holder:
                try:
                    await self._store.delete_record(MESH, record)
                except RevisionConflict:
                    break
        self._until = None

    def _free(self, content: Any) -> bool:
        """Tell whether a lease as it is stored may be taken; one that cannot be read is nobody's."""
        if content.get("holder") == self._holder:
            return True
        try:
            until = datetime.fromisoformat(content["until"])
            return until + timedelta(seconds=SKEW) <= self._clock()
        except (KeyError, TypeError, ValueError):
            return True
