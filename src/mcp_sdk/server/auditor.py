"""Writes the audit log of the mesh: an entry before every change, and one after it.

The first is written ahead, so that nothing happens that the log does not know of, even where a replica dies in between;
a change whose first entry cannot be stored is refused. Several replicas write one chain by compare-and-set.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from mcp_sdk.audit import GENESIS, Entry, Head
from mcp_sdk.context import MESH, Scope
from mcp_sdk.exceptions import MeshError, ProtocolError, RevisionConflict, StoreUnavailable
from mcp_sdk.ports import Store
from mcp_sdk.server.access.callers import Caller
from mcp_sdk.server.faults import Fault

__all__ = ["Audited", "Auditor"]

logger = logging.getLogger("mcp_sdk.server")
ATTEMPTS = 200
UNREADABLE = ""
"""The digest of an entry that cannot be read."""
PAUSE = 0.05
"""Seconds at most between two attempts of a replica that lost the race for a number."""
_random = random.SystemRandom()


@dataclass
class Audited:
    """A change that is under way: set ``after`` to what holds once it is done."""

    after: Any = None


class Auditor:
    """The audit log, as one replica writes and reads it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._head = GENESIS
        self._writing = asyncio.Lock()

    async def head(self) -> Head:
        """Give the number and digest of the last entry."""
        async with self._writing:
            await self._catch_up()
            return self._head

    @asynccontextmanager
    async def change(
        self, caller: Caller, what: str, *, scope: Scope = MESH, target: str = "", before: Any = None
    ) -> AsyncIterator[Audited]:
        """Audit what is done within: an entry before it, and how it ended after it.

        Raises ``StoreUnavailable`` before anything is done where the log cannot be written. Where the second entry
        cannot be, the first stands alone, and says that the outcome is unknown.
        """
        begun = await self._write(
            Entry(0, "", caller.name, what, "begun", scope, caller.key, target=target, before=before)
        )
        audited = Audited()
        try:
            yield audited
        except BaseException as error:
            await self._end(replace(begun, phase="failed", detail=_said(error)), begun)
            raise
        await self._end(replace(begun, phase="done", after=audited.after), begun)

    async def note(self, caller: Caller, what: str, *, scope: Scope, target: str, after: Any) -> None:
        """Audit what was done by nobody's wish and is known afterwards only, in one entry."""
        await self._write(Entry(0, "", caller.name, what, "done", scope, caller.key, target=target, after=after))

    async def _end(self, entry: Entry, begun: Entry) -> None:
        try:
            await asyncio.shield(self._write(replace(entry, begun=begun.number)))
        except MeshError as error:
            logger.error("the audit log does not hear how change %d ended: %s", begun.number, error)  # noqa: TRY400

    async def _write(self, entry: Entry) -> Entry:
        async with self._writing:
            if self._head == GENESIS:
                await self._catch_up()
            for _ in range(ATTEMPTS):
                if self._head.digest == UNREADABLE:
                    raise StoreUnavailable(
                        "the audit log's last entry cannot be read, so that none can follow it, and nothing is done. "
                        "mcpctl audit verify says which it is; restore it from an export"
                    )
                made = self._next(entry)
                try:
                    await self._store.append_audit(made.number, made.text())
                except RevisionConflict:
                    await asyncio.sleep(_random.uniform(0, PAUSE))
                    await self._catch_up()
                else:
                    self._head = made.head
                    return made
        raise StoreUnavailable("the audit log could not be written, so nothing was done: too many replicas write to it")

    def _next(self, entry: Entry) -> Entry:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        return replace(entry, number=self._head.number + 1, time=now, previous=self._head.digest).sealed()

    async def _catch_up(self) -> None:
        """Learn the last entry. Numbers have no gaps, so it is found by doubling and halving, not by reading all."""
        if self._head.number:
            await self._look_back()
        low, step = self._head.number, 1
        while await self._store.audit(after=low + step - 1, limit=1):
            low, step = low + step, step * 2
        while step > 1:
            step //= 2
            if await self._store.audit(after=low + step - 1, limit=1):
                low += step
        if low > self._head.number:
            self._head = await self._last(low)

    async def _look_back(self) -> None:
        """Look whether the last entry that is known here stands still; a store that was set back has lost it."""
        held = await self._store.audit(after=self._head.number - 1, limit=1)
        if not held:
            logger.error("the audit log had %d entries and was cut off, or restored from a backup", self._head.number)
            self._head = GENESIS
        elif self._head.digest not in held[0]:
            logger.error("the audit log's entry %d is not the one that was written", self._head.number)
            self._head = GENESIS

    async def _last(self, number: int) -> Head:
        (text,) = await self._store.audit(after=number - 1, limit=1)
        found = _read(text)
        return Head(number, UNREADABLE) if isinstance(found, str) else found.head

    async def entries(self, *, after: int, limit: int) -> tuple[Entry | str, ...]:
        """Give the entries after a number; one that cannot be read as the text that it is."""
        return tuple(map(_read, await self._store.audit(after=after, limit=limit)))


def _read(text: str) -> Entry | str:
    try:
        return Entry.from_text(text)
    except ProtocolError:
        return text


def _said(error: BaseException) -> str:
    """Give why a change failed: texts of our own errors hold no secrets, others might."""
    known = isinstance(error, (MeshError, Fault))
    return f"{type(error).__name__}: {error}"[:500] if known else type(error).__name__
