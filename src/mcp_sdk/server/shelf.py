"""Records that every request looks at, kept in memory until the store says that they changed."""

from __future__ import annotations

from mcp_sdk.context import Scope
from mcp_sdk.ports import Change, Record, Store

__all__ = ["Shelf"]

MOST = 1_000
"""Scopes and kinds that are kept; the one that was read first goes first, and is read again."""


class Shelf:
    """The records of some kinds and scopes. ``heard`` is a tap of the hub."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[tuple[Scope, str], tuple[Record, ...]] = {}
        self._turn = 0

    async def records(self, scope: Scope, kind: str) -> tuple[Record, ...]:
        """Give the records of a kind, by name; raises ``StoreUnavailable`` for those that were never read."""
        held = self._held.get((scope, kind))
        return await self.read(scope, kind) if held is None else held

    async def read(self, scope: Scope, kind: str) -> tuple[Record, ...]:
        """Read them anew."""
        turn = self._turn
        found = await self._store.records(scope, kind)
        if turn == self._turn:  # else something changed while this was read, and it may be old
            self._held[scope, kind] = found
            if len(self._held) > MOST:
                del self._held[next(iter(self._held))]
        return found

    async def record(self, scope: Scope, kind: str, name: str) -> Record | None:
        """Give one record, as the store has it now."""
        return next((each for each in await self._store.records(scope, kind) if each.name == name), None)

    async def put(self, scope: Scope, record: Record) -> Record:
        """Write a record; raises ``RevisionConflict``."""
        stored = await self._store.put_record(scope, record)
        self._drop(scope, record.kind)
        return stored

    async def delete(self, scope: Scope, record: Record) -> None:
        """Delete a record; raises ``RevisionConflict``."""
        await self._store.delete_record(scope, record)
        self._drop(scope, record.kind)

    def heard(self, change: Change) -> None:
        """Forget what a change made old."""
        if change.kind == "resync":
            self._turn += 1
            self._held.clear()
        elif change.kind == "records":
            self._drop(change.scope, change.record)

    def _drop(self, scope: Scope, kind: str) -> None:
        self._turn += 1
        self._held.pop((scope, kind), None)
