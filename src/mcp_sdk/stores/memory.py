"""The store in memory: the default, and the reference that other stores are tested against.

It lives as long as its process and is seen by no other (a forked child goes on with a copy), so it shares no signing
keys. The log, and with it what is recognised as a duplicate, is bounded by ``log_size`` entries.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from threading import Lock
from typing import NamedTuple

from mcp_sdk.context import MESH, EntityRef, ModelContext, Scope, Transition
from mcp_sdk.exceptions import RevisionConflict, StoreUnavailable
from mcp_sdk.merging import unmoved
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import AppendResult, Applied, Change, Cursor, Page, Receipt, Record, SigningKey, Store
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk.stores.ledger import EntityKey, EventKey, Ledger, entity_key, event_key

__all__ = ["MemoryStore", "connect"]

LOG_SIZE = 20_000
PAGE = 1000


def connect(url: str, *, poll_interval: float = 0.05) -> MemoryStore:
    """Give a new, empty store; the entry point ``memory`` of ``mcp_sdk.stores``. It polls nothing."""
    del url, poll_interval
    return MemoryStore()


@dataclass
class _Lease:
    endpoint: Endpoint
    until: float


class _Line(NamedTuple):
    """One change of the log: its number, and when it came, in seconds since the epoch."""

    number: int
    at: float
    change: Change


@dataclass
class _Shelf:
    """Everything of one scope that is not an entity."""

    models: dict[str, BusinessModel] = field(default_factory=dict)
    policies: list[PolicyRevision] = field(default_factory=list)
    leases: dict[tuple[str, str], _Lease] = field(default_factory=dict)
    keys: dict[str, SigningKey] = field(default_factory=dict)
    records: dict[tuple[str, str], Record] = field(default_factory=dict)


class MemoryStore(Store):
    """Keeps everything in dictionaries. Safe in several event loops and threads at once.

    ``clock`` gives seconds since the epoch; leases and retention go by it.
    """

    shared = False

    def __init__(self, *, clock: Callable[[], float] = time.time, log_size: int = LOG_SIZE) -> None:
        self._clock = clock
        self._log_size = log_size
        self._identity = uuid.uuid4().hex
        self._pid = os.getpid()
        self._lock = Lock()
        self._closed = False
        self._sequence = self._trimmed = 0
        self._log: deque[_Line] = deque()
        self._erased: deque[EventKey] = deque()
        self._contexts: dict[EntityKey, ModelContext] = {}
        self._changed: dict[EntityKey, float] = {}
        self._seen: dict[EventKey, AppendResult] = {}
        self._shelves: dict[Scope, _Shelf] = {}
        self._audit: list[str] = []
        self._waiters: set[_Waiter] = set()

    async def open(self) -> None:
        """Make the store ready; what it held before ``close`` is still there."""
        self._closed = False

    async def close(self) -> None:
        """End every watch."""
        with self._mine():
            self._closed = True
            self._wake()

    async def append(self, transitions: Sequence[Transition]) -> tuple[AppendResult, ...]:
        """Apply transitions in order; see ``Store.append``."""
        with self._open():
            ledger = Ledger(self._contexts, self._seen_among(transitions))
            results = ledger.settle(transitions)
            now = self._clock()
            self._contexts.update(ledger.moved)
            self._changed.update(dict.fromkeys(ledger.moved, now))
            for entry in ledger.entries:
                self._seen[event_key(entry.transition)] = AppendResult(entry.status, entry.context.revision)
                self._note(Change("transition", self._next(), entry.transition.scope, entry))
            self._wake()
        return results

    async def get(self, scope: Scope, refs: Sequence[EntityRef]) -> Mapping[EntityRef, ModelContext]:
        """Look entities up; see ``Store.get``."""
        with self._open():
            found = {ref: self._contexts.get((*scope, *ref)) for ref in refs}
        return {ref: context for ref, context in found.items() if context is not None}

    async def list(
        self,
        scope: Scope,
        model: str,
        *,
        state: str | None = None,
        id_prefix: str = "",
        limit: int = 100,
        after: str = "",
    ) -> Page:
        """List entities by id; see ``Store.list``. Looks at every entity."""
        with self._open():
            found = [
                context
                for key, context in self._contexts.items()
                if key[:3] == (*scope, model)
                and key[3] > after
                and key[3].startswith(id_prefix)
                and (state is None or context.state == state)
            ]
        found.sort(key=lambda context: context.entity_id.encode(errors="surrogatepass"))
        page = tuple(found[:limit])
        return Page(page, page[-1].entity_id if len(found) > limit else "")

    async def history(self, scope: Scope, ref: EntityRef, *, limit: int = 100) -> tuple[Applied, ...]:
        """Give the last transitions of an entity; see ``Store.history``. Looks at the whole log."""
        with self._open():
            entries = [
                line.change.applied
                for line in self._log
                if line.change.applied is not None and _key(line) == (*scope, *ref)
            ]
        return tuple(entries[-limit:])

    async def cursor(self) -> Cursor:
        """Give the position after the newest change."""
        with self._open():
            return self._cursor(self._sequence)

    async def watch(self, cursor: Cursor) -> AsyncIterator[Change]:
        """Yield every change after a position; ``resync`` for one that the log no longer holds."""
        waiter = _Waiter()
        with self._mine():
            self._waiters.add(waiter)
        try:
            while not self._closed:
                changes = self._after(cursor)
                for change in changes:
                    cursor = change.cursor
                    yield change
                if not changes:
                    await waiter.wait()
        finally:
            self._waiters.discard(waiter)

    async def put_models(
        self, scope: Scope, models: Sequence[BusinessModel], *, held: Sequence[BusinessModel] | None = None
    ) -> bool:
        """Declare models; see ``Store.put_models``."""
        with self._open():
            known = self._shelf(scope).models
            fresh = {model.name: replace(model, python_type=None) for model in models}
            changed = [name for name, model in fresh.items() if known.get(name) != model]
            if not unmoved(changed, known, held):
                return False
            if changed:
                known.update(fresh)
                self._tell("models", scope)
        return True

    async def models(self, scope: Scope) -> tuple[BusinessModel, ...]:
        """Give the declared models, by name."""
        with self._open():
            return tuple(model for _, model in sorted(self._shelf(scope).models.items()))

    async def put_policies(self, scope: Scope, policies: PolicyRevision) -> PolicyRevision:
        """Store the next revision of the policy set; see ``Store.put_policies``."""
        with self._open():
            shelf = self._shelf(scope)
            if policies.revision != len(shelf.policies):
                raise RevisionConflict("policies", expected=policies.revision, actual=len(shelf.policies))
            created = policies.created_at or datetime.fromtimestamp(self._clock(), UTC).isoformat()
            stored = replace(policies, revision=policies.revision + 1, created_at=created)
            shelf.policies.append(stored)
            self._tell("policies", scope)
        return stored

    async def policies(self, scope: Scope, revision: int | None = None) -> PolicyRevision | None:
        """Give one revision of the policy set, or the current one."""
        with self._open():
            kept = self._shelf(scope).policies
            index = len(kept) if revision is None else revision
            return kept[index - 1] if 0 < index <= len(kept) else None

    async def policy_history(self, scope: Scope, *, limit: int = 50) -> tuple[PolicyRevision, ...]:
        """Give the revisions, newest first, without their programs."""
        with self._open():
            kept = list(self._shelf(scope).policies)
        return tuple(replace(revision, programs={}) for revision in kept[::-1][:limit])

    async def register(self, scope: Scope, endpoint: Endpoint, *, ttl: float) -> None:
        """Announce an endpoint or renew its lease; see ``Store.register``."""
        with self._open():
            leases = self._shelf(scope).leases
            now, key = self._clock(), (endpoint.service, endpoint.url)
            before = leases.get(key)
            leases[key] = _Lease(endpoint, now + ttl)
            if before is None or before.until <= now or before.endpoint != endpoint:
                self._tell("services", scope)

    async def deregister(self, scope: Scope, endpoint: Endpoint) -> None:
        """Take an endpoint away."""
        with self._open():
            if self._shelf(scope).leases.pop((endpoint.service, endpoint.url), None) is not None:
                self._tell("services", scope)

    async def endpoints(self, scope: Scope) -> tuple[Endpoint, ...]:
        """Give every endpoint whose lease has not run out, in order of registration."""
        with self._open():
            now = self._clock()
            return tuple(lease.endpoint for lease in self._shelf(scope).leases.values() if lease.until > now)

    async def put_key(self, scope: Scope, key: SigningKey) -> None:
        """Add a signing key as the newest."""
        with self._open():
            keys = self._shelf(scope).keys
            keys.pop(key.kid, None)
            keys[key.kid] = key
            self._tell("keys", scope)

    async def keys(self, scope: Scope) -> tuple[SigningKey, ...]:
        """Give the signing keys, newest first."""
        with self._open():
            return tuple(reversed(self._shelf(scope).keys.values()))

    async def put_record(self, scope: Scope, record: Record) -> Record:
        """Write a record; see ``Store.put_record``."""
        with self._open():
            records = self._record_at(scope, record)
            stored = records[record.kind, record.name] = replace(record, revision=record.revision + 1)
            self._tell("records", scope, record=record.kind)
        return stored

    async def delete_record(self, scope: Scope, record: Record) -> None:
        """Delete a record; see ``Store.delete_record``."""
        with self._open():
            if (record.kind, record.name) in self._shelf(scope).records:
                del self._record_at(scope, record)[record.kind, record.name]
                self._tell("records", scope, record=record.kind)

    async def records(self, scope: Scope, kind: str) -> tuple[Record, ...]:
        """Give the records of a kind, by name."""
        with self._open():
            return tuple(record for key, record in sorted(self._shelf(scope).records.items()) if key[0] == kind)

    async def append_audit(self, number: int, entry: str) -> None:
        """Add an entry to the audit log; see ``Store.append_audit``."""
        with self._open():
            if number != len(self._audit) + 1:
                raise RevisionConflict("audit", expected=number - 1, actual=len(self._audit))
            self._audit.append(entry)
            self._tell("audit", MESH)

    async def audit(self, *, after: int = 0, limit: int = 1000) -> tuple[str, ...]:
        """Give the entries after a number, in order."""
        with self._open():
            return tuple(self._audit[after : after + limit])

    async def retain(self, scope: Scope, model: str, before: datetime) -> int:
        """Erase what has not changed since ``before``; see ``Store.retain``."""
        limit, of_model = before.timestamp(), (*scope, model)
        with self._open():
            old = {key for key, at in self._changed.items() if key[:3] == of_model and at < limit}
            orphans = {
                key
                for line in self._log
                if line.at < limit and (key := _key(line))[:3] == of_model and key not in self._contexts
            }
            self._erase(old, orphans, limit)
            return len(old)

    async def forget(self, scope: Scope, ref: EntityRef) -> Receipt:
        """Erase an entity, and tell every watcher; see ``Store.forget``."""
        key = (*scope, *ref)
        with self._open():
            held = int(key in self._contexts)
            return Receipt(ref, held, self._erase({key}, set(), 0.0))

    def _erase(self, keys: set[EntityKey], orphans: set[EntityKey], limit: float) -> int:
        """Erase entities, and of ``orphans`` the lines older than ``limit``; give how many lines went."""
        gone = [line for line in self._log if _key(line) in keys or (line.at < limit and _key(line) in orphans)]
        told = {key for key in keys if key in self._contexts} | {_key(line) for line in gone if _key(line) in keys}
        lost = set(map(id, gone))
        self._log = deque(line for line in self._log if id(line) not in lost)
        self._erased.extend(event_key(line.change.applied.transition) for line in gone if line.change.applied)
        for key in keys:
            self._contexts.pop(key, None)
            self._changed.pop(key, None)
        for key in sorted(told):
            self._note(Change("forgotten", self._next(), Scope(*key[:2]), ref=EntityRef(*key[2:])))
        self._wake()
        return len(gone)

    def _open(self) -> Lock:
        if self._closed:
            raise StoreUnavailable("the memory store is closed. Open it again, or use a plane that is not closed.")
        return self._mine()

    def _mine(self) -> Lock:
        if self._pid != os.getpid():
            self._pid, self._lock, self._waiters = os.getpid(), Lock(), set()
        return self._lock

    def _shelf(self, scope: Scope) -> _Shelf:
        return self._shelves.setdefault(scope, _Shelf())

    def _record_at(self, scope: Scope, record: Record) -> dict[tuple[str, str], Record]:
        """Give the records of a scope, once it is sure that ``record`` is of the current revision."""
        records = self._shelf(scope).records
        current = records.get((record.kind, record.name), Record(record.kind, record.name)).revision
        if record.revision != current:
            raise RevisionConflict(f"{record.kind} {record.name!r}", expected=record.revision, actual=current)
        return records

    def _seen_among(self, transitions: Sequence[Transition]) -> dict[EventKey, AppendResult]:
        keys = map(event_key, transitions)
        return {key: self._seen[key] for key in keys if key in self._seen}

    def _tell(self, kind: str, scope: Scope, *, record: str = "") -> None:
        self._note(Change(kind, self._next(), scope, record=record))
        self._wake()

    def _next(self) -> Cursor:
        return self._cursor(self._sequence + 1)

    def _note(self, change: Change) -> None:
        self._sequence += 1
        self._log.append(_Line(self._sequence, self._clock(), change))
        while len(self._log) > self._log_size:
            self._drop_oldest()
        while len(self._erased) > self._log_size:
            self._seen.pop(self._erased.popleft(), None)

    def _drop_oldest(self) -> None:
        line = self._log.popleft()
        self._trimmed = line.number
        if line.change.applied is not None:
            self._seen.pop(event_key(line.change.applied.transition), None)

    def _cursor(self, number: int) -> Cursor:
        return Cursor(f"{self._identity}:{number}")

    def _after(self, cursor: Cursor) -> Sequence[Change]:
        with self._mine():
            identity, _, number = cursor.rpartition(":")
            if (
                identity != self._identity
                or not number.isdecimal()
                or not self._trimmed <= int(number) <= self._sequence
            ):
                return [Change("resync", self._cursor(self._sequence))]
            start = bisect_right(self._log, int(number), key=lambda line: line.number)
            return tuple(line.change for line in islice(self._log, start, start + PAGE))

    def _wake(self) -> None:
        for waiter in tuple(self._waiters):
            waiter.wake()


def _key(line: _Line) -> EntityKey:
    return entity_key(line.change.applied.transition) if line.change.applied is not None else ("", "", "", "")


class _Waiter:
    """One watcher on its own event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        await self._event.wait()
        self._event.clear()

    def wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)
