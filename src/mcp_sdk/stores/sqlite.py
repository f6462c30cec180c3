"""The store in one SQLite file, shared by many processes of one machine.

Write-ahead log with ``synchronous=FULL``: what ``append`` acknowledged survives SIGKILL and the loss of power. Writers
of all processes take turns by ``BEGIN IMMEDIATE``; watchers poll ``PRAGMA data_version`` and read the ``log`` table by
its sequence, in whose order writers commit. The file holds the signing keys, and is created with mode 0600.

https://sqlite.org/wal.html, https://sqlite.org/pragma.html#pragma_data_version
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from mcp_sdk.context import EntityRef, ModelContext, Scope, Transition
from mcp_sdk.exceptions import ConfigurationError, StoreUnavailable
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import AppendResult, Applied, Change, Cursor, Page, Receipt, Record, SigningKey, Store
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk.stores import _sqlite_catalogue as catalogue
from mcp_sdk.stores import _sqlite_entities as entities
from mcp_sdk.stores import _sqlite_log as log
from mcp_sdk.stores import _sqlite_records as shared
from mcp_sdk.stores._sqlite_file import failures, prepare
from mcp_sdk.stores._sqlite_worker import Session, Worker
from mcp_sdk.stores.echoes import Echoes, numbered

__all__ = ["SqliteStore", "connect"]

FORGET_BATCH = 200
P = ParamSpec("P")
T = TypeVar("T")


def connect(url: str, *, poll_interval: float = 0.05) -> SqliteStore:
    """Give the store of ``sqlite:///relative.db`` or ``sqlite:////absolute.db``; the entry point ``sqlite``.

    ``poll_interval`` is in seconds: how often a watch looks for what other processes did. Raises
    ``ConfigurationError``.
    """
    path = url.partition(":")[2].removeprefix("//").removeprefix("/")
    if not path or path.startswith(":") or path.endswith("/"):
        raise ConfigurationError(
            f"{url!r} names no file. Write sqlite:///mesh.db or sqlite:////var/lib/mesh.db; memory: keeps nothing."
        )
    return SqliteStore(Path(path), poll_interval=poll_interval)


class SqliteStore(Store):
    """Keeps everything in the file ``path``. One instance is used from one event loop at a time.

    ``poll_interval`` is in seconds, ``busy_timeout`` those that a writer waits for another. ``clock`` gives seconds
    since the epoch; leases, retention and the day for which event ids are remembered after ``forget`` go by it.
    """

    def __init__(
        self,
        path: Path,
        *,
        poll_interval: float = 0.05,
        busy_timeout: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path.absolute()
        self._poll_interval = poll_interval
        self._clock = clock
        self._identity = ""
        self._closed = False
        self._busy_timeout = busy_timeout
        self._writer = Worker(self._path, "writer", busy_timeout=busy_timeout)
        self._reader = Worker(self._path, "reader", busy_timeout=busy_timeout)
        self._pid = os.getpid()
        self._own: Echoes[int] = Echoes()

    async def open(self) -> None:
        """Create the file where it is missing, and bring its schema up to date.

        Raises ``StoreError`` for a schema newer than this package and for another application's database.
        """
        await self._reader.reset()
        await self._writer.reset()
        self._identity = await self._writer.call(self._prepare)
        if await self._reader.run(log.untrimmed, self._clock()):
            with suppress(StoreUnavailable):  # it is done at the next opening
                await self._writer.run(log.trim, self._clock())
        self._closed = False

    def _prepare(self) -> str:
        with failures(self._path):
            return prepare(self._path, self._busy_timeout)

    async def close(self) -> None:
        """End every watch and close the connections."""
        self._closed = True
        self._echoes().clear()
        await self._reader.close()
        await self._writer.close()

    async def append(self, transitions: Sequence[Transition]) -> tuple[AppendResult, ...]:
        """Apply transitions in one transaction; see ``Store.append``."""
        with self._echoes().writing() as tell:
            results, entries, before, size = await self._writer.run(entities.append, transitions, self._clock())
            if entries:
                tell(before, size, lambda: numbered(self._identity, before, entries))
        return results

    async def get(self, scope: Scope, refs: Sequence[EntityRef]) -> Mapping[EntityRef, ModelContext]:
        """Look entities up; see ``Store.get``."""
        return await self._reader.run(entities.get, scope, refs)

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
        """List entities by id, with an index by state; see ``Store.list``."""
        wanted = entities.Wanted(state, id_prefix, limit + 1, after)
        found = await self._reader.run(entities.listing, scope, model, wanted)
        page = found[:limit]
        return Page(page, page[-1].entity_id if len(found) > limit else "")

    async def history(self, scope: Scope, ref: EntityRef, *, limit: int = 100) -> tuple[Applied, ...]:
        """Give the last transitions of an entity; see ``Store.history``."""
        return await self._reader.run(log.history, scope, ref, limit)

    async def cursor(self) -> Cursor:
        """Give the position after the newest change: the file's identity and a number of its log."""
        return Cursor(f"{self._identity}:{await self._reader.run(log.newest)}")

    async def watch(self, cursor: Cursor) -> AsyncIterator[Change]:
        """Yield every change after a position; see ``Store.watch``.

        A position of another file, or older than the notices that are kept for a day, yields ``resync`` first.
        """
        echoes = self._echoes()
        echo = echoes.join()
        version: log.Version = None
        try:
            while not self._closed:
                own = changes = echo.take(log.position(self._identity, cursor))
                if not own:
                    version, changes = await self._reader.run(log.after, self._identity, cursor, version)
                for change in changes:
                    cursor = change.cursor
                    yield change
                if not changes or (own and echo.limit is None):
                    await echo.wait(self._poll_interval)
        finally:
            echoes.leave(echo)

    async def put_models(
        self, scope: Scope, models: Sequence[BusinessModel], *, held: Sequence[BusinessModel] | None = None
    ) -> bool:
        """Declare models; see ``Store.put_models``."""
        return await self._write(catalogue.put_models, scope, models, held, self._clock())

    async def models(self, scope: Scope) -> tuple[BusinessModel, ...]:
        """Give the declared models, by name."""
        return await self._reader.run(catalogue.models, scope)

    async def put_policies(self, scope: Scope, policies: PolicyRevision) -> PolicyRevision:
        """Store the next revision of the policy set; see ``Store.put_policies``."""
        return await self._write(catalogue.put_policies, scope, policies, self._clock())

    async def policies(self, scope: Scope, revision: int | None = None) -> PolicyRevision | None:
        """Give one revision of the policy set, or the current one."""
        return await self._reader.run(catalogue.policies, scope, revision)

    async def policy_history(self, scope: Scope, *, limit: int = 50) -> tuple[PolicyRevision, ...]:
        """Give the revisions, newest first, without their programs."""
        return await self._reader.run(catalogue.policy_history, scope, limit)

    async def register(self, scope: Scope, endpoint: Endpoint, *, ttl: float) -> None:
        """Announce an endpoint or renew its lease; see ``Store.register``."""
        await self._write(catalogue.register, scope, endpoint, ttl, self._clock())

    async def deregister(self, scope: Scope, endpoint: Endpoint) -> None:
        """Take an endpoint away."""
        await self._write(catalogue.deregister, scope, endpoint, self._clock())

    async def endpoints(self, scope: Scope) -> tuple[Endpoint, ...]:
        """Give every endpoint whose lease has not run out, in order of registration."""
        return await self._reader.run(catalogue.endpoints, scope, self._clock())

    async def put_key(self, scope: Scope, key: SigningKey) -> None:
        """Add a signing key as the newest."""
        await self._write(catalogue.put_key, scope, key, self._clock())

    async def keys(self, scope: Scope) -> tuple[SigningKey, ...]:
        """Give the signing keys, newest first."""
        return await self._reader.run(catalogue.keys, scope)

    async def put_record(self, scope: Scope, record: Record) -> Record:
        """Write a record; see ``Store.put_record``."""
        return await self._write(shared.put_record, scope, record, self._clock())

    async def delete_record(self, scope: Scope, record: Record) -> None:
        """Delete a record; see ``Store.delete_record``."""
        await self._write(shared.delete_record, scope, record, self._clock())

    async def records(self, scope: Scope, kind: str) -> tuple[Record, ...]:
        """Give the records of a kind, by name."""
        return await self._reader.run(shared.records, scope, kind)

    async def append_audit(self, number: int, entry: str) -> None:
        """Add an entry to the audit log; see ``Store.append_audit``."""
        await self._write(shared.append_audit, number, entry, self._clock())

    async def audit(self, *, after: int = 0, limit: int = 1000) -> tuple[str, ...]:
        """Give the entries after a number, in order."""
        return await self._reader.run(shared.audit, after, limit)

    async def retain(self, scope: Scope, model: str, before: datetime) -> int:
        """Erase what has not changed since ``before``, a few entities a transaction; see ``Store.retain``."""
        limit, erased = before.timestamp(), 0
        old = await self._reader.run(log.older, scope, model, limit)
        for start in range(0, len(old), FORGET_BATCH):
            erased += await self._write(log.retain, scope, old[start : start + FORGET_BATCH], limit, self._clock())
        await self._write(log.retain_orphans, scope, model, limit, self._clock())
        await self._writer.run(log.shred)
        return erased

    async def forget(self, scope: Scope, ref: EntityRef) -> Receipt:
        """Erase an entity, its bytes in the file included, and tell every watcher; see ``Store.forget``.

        The notice to watchers holds the model and the id for a day, and is then erased too.
        """
        receipt = await self._write(log.forget, scope, ref, self._clock())
        await self._writer.run(log.shred)
        return receipt

    async def _write(self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._echoes().erasing():  # it may, and in any case watches are to look
            return await self._writer.run(function, *args, **kwargs)

    def _echoes(self) -> Echoes[int]:
        if self._pid != os.getpid():
            self._pid, self._own = os.getpid(), Echoes()
        return self._own
