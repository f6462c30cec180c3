"""The store on PostgreSQL: many machines, one truth.

Connections and tasks are made in the loop that uses them, and anew in a forked child. Times (leases, retention, the day
in which an event id is recognised) are the server's. A name of the handle stands in ``pg_stat_activity``.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Concatenate, ParamSpec, TypeAlias, TypeVar

from mcp_sdk.context import EntityRef, ModelContext, Scope, Transition
from mcp_sdk.exceptions import StoreUnavailable
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import AppendResult, Applied, Change, Cursor, Page, Receipt, Record, SigningKey, Store
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk.stores.echoes import Echo, Echoes, numbered
from mcp_sdk.stores.gathering import Answer, Call, Gathering
from mcp_sdk_postgres import catalogue, entities, log
from mcp_sdk_postgres.address import Address, read
from mcp_sdk_postgres.connections import Connections
from mcp_sdk_postgres.failures import Conflict, failures, unavailable
from mcp_sdk_postgres.listener import Listener, Place
from mcp_sdk_postgres.schema import prepare
from mcp_sdk_postgres.session import PARTITION, Numbers, Session

__all__ = ["PostgresStore", "connect"]

ATTEMPTS = 50
"""How often a transaction is tried that another's comes before; each time somebody got on."""
Answers: TypeAlias = list[Answer]
Append: TypeAlias = Callable[[Sequence[Call]], Awaitable[Answers]]
P = ParamSpec("P")
T = TypeVar("T")


def connect(url: str, *, poll_interval: float = 0.05) -> PostgresStore:
    """Give the store of ``postgresql://user:password@host:5432/database?schema=mcp_sdk``.

    The entry points ``postgresql`` and ``postgres``. ``poll_interval`` is in seconds: how often a watch looks while
    notifications cannot be had. Raises ``ConfigurationError``.
    """
    return PostgresStore(read(url), poll_interval=poll_interval)


class _Here:
    """What belongs to one loop of one process."""

    def __init__(self, address: Address, name: str, poll_interval: float, append: Append) -> None:
        self.pid, self.loop = os.getpid(), asyncio.get_running_loop()
        self.connections = Connections(address, name)
        self.gathering = Gathering(append)
        self.echoes: Echoes[Place] = Echoes()
        self.listener = Listener(self.connections, self.echoes, poll_interval)

    def is_current(self) -> bool:
        return self.pid == os.getpid() and self.loop is asyncio.get_running_loop()

    async def close(self) -> None:
        await self.listener.close()
        await self.gathering.close()
        await self.connections.close()


_inherited: list[_Here] = []


class PostgresStore(Store):
    """Keeps everything in one schema of a database. One instance is used from one event loop at a time.

    ``partition`` is how many entries of the log go into one of its partitions that are made from now on.
    """

    def __init__(self, address: Address, *, poll_interval: float = 0.05, partition: int = PARTITION) -> None:
        self.name = f"{address.libpq.get('application_name', 'mcp-sdk')[:40]} {uuid.uuid4().hex[:12]}"
        self._address = address
        self._poll_interval = poll_interval
        self._partition = partition
        self._numbers = Numbers()
        self._identity = ""
        self._closed = True
        self._current: _Here | None = None

    async def open(self) -> None:
        """Bring the schema up to date, and forget what a day has made superfluous.

        Raises ``StoreError`` for a schema newer than this package.
        """
        with failures(self._address):
            self._identity = await prepare(self._address, self.name)
        self._numbers.clear()
        self._closed = False
        await self._run(Session.prepare)
        with suppress(StoreUnavailable, Conflict):  # it is done at the next opening
            await self._once(log.trim)

    async def close(self) -> None:
        """End every watch, let appends end, and close the connections."""
        self._closed = True
        here, self._current = self._current, None
        if here is not None and here.is_current():
            await here.close()

    async def append(self, transitions: Sequence[Transition]) -> tuple[AppendResult, ...]:
        """Apply transitions in one transaction, together with other calls that wait; see ``Store.append``."""
        return await self._here().gathering.append(transitions) if transitions else ()

    async def get(self, scope: Scope, refs: Sequence[EntityRef]) -> Mapping[EntityRef, ModelContext]:
        """Look entities up; see ``Store.get``."""
        return await self._run(entities.get, scope, refs)

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
        found = await self._run(entities.listing, scope, model, wanted)
        page = found[:limit]
        return Page(page, page[-1].entity_id if len(found) > limit else "")

    async def history(self, scope: Scope, ref: EntityRef, *, limit: int = 100) -> tuple[Applied, ...]:
        """Give the last transitions of an entity; see ``Store.history``."""
        return await self._run(log.history, scope, ref, limit)

    async def cursor(self) -> Cursor:
        """Give the position after the newest change: the schema's identity and a number of its log."""
        return Cursor(f"{self._identity}:{await self._run(log.newest)}")

    async def watch(self, cursor: Cursor) -> AsyncIterator[Change]:
        """Yield every change after a position; see ``Store.watch``.

        A position of another schema, or older than the notices that are kept for a day, yields ``resync`` first.
        """
        if self._closed:
            return
        listener = self._here().listener
        echo = listener.join()
        try:
            while not self._closed:
                try:
                    changes = await self._after(echo, cursor)
                except StoreUnavailable:
                    if self._closed:
                        return
                    raise
                for change in changes:
                    cursor = change.cursor
                    yield change
                if not changes and not self._closed:
                    await echo.wait(listener.interval)
        finally:
            await listener.leave(echo)

    async def _after(self, echo: Echo[Place], cursor: Cursor) -> Sequence[Change]:
        """Give the changes after a position: those that were written here as they were, and others from the log."""
        place = log.position(cursor)
        if own := await echo.following(place):
            return own
        limit = echo.limit
        if limit is not None and limit[0] == place[0]:
            others = await self._run(log.after, cursor, limit[1]) or echo.take(limit)
            if others:  # else what others wrote was erased, and this handle's own as well
                return others
        return await self._run(log.after, cursor)

    async def put_models(
        self, scope: Scope, models: Sequence[BusinessModel], *, held: Sequence[BusinessModel] | None = None
    ) -> bool:
        """Declare models; see ``Store.put_models``."""
        return await self._run(catalogue.put_models, scope, models, held)

    async def models(self, scope: Scope) -> tuple[BusinessModel, ...]:
        """Give the declared models, by name."""
        return await self._run(catalogue.models, scope)

    async def put_policies(self, scope: Scope, policies: PolicyRevision) -> PolicyRevision:
        """Store the next revision of the policy set; see ``Store.put_policies``."""
        return await self._run(catalogue.put_policies, scope, policies)

    async def policies(self, scope: Scope, revision: int | None = None) -> PolicyRevision | None:
        """Give one revision of the policy set, or the current one."""
        return await self._run(catalogue.policies, scope, revision)

    async def policy_history(self, scope: Scope, *, limit: int = 50) -> tuple[PolicyRevision, ...]:
        """Give the revisions, newest first, without their programs."""
        return await self._run(catalogue.policy_history, scope, limit)

    async def register(self, scope: Scope, endpoint: Endpoint, *, ttl: float) -> None:
        """Announce an endpoint or renew its lease; see ``Store.register``."""
        await self._run(catalogue.register, scope, endpoint, ttl)

    async def deregister(self, scope: Scope, endpoint: Endpoint) -> None:
        """Take an endpoint away."""
        await self._run(catalogue.deregister, scope, endpoint)

    async def endpoints(self, scope: Scope) -> tuple[Endpoint, ...]:
        """Give every endpoint whose lease has not run out, in order of registration."""
        return await self._run(catalogue.endpoints, scope)

    async def put_key(self, scope: Scope, key: SigningKey) -> None:
        """Add a signing key as the newest."""
        await self._run(catalogue.put_key, scope, key)

    async def keys(self, scope: Scope) -> tuple[SigningKey, ...]:
        """Give the signing keys, newest first."""
        return await self._run(catalogue.keys, scope)

    async def put_record(self, scope: Scope, record: Record) -> Record:
        """Write a record; see ``Store.put_record``."""
        return await self._run(catalogue.put_record, scope, record)

    async def delete_record(self, scope: Scope, record: Record) -> None:
        """Delete a record; see ``Store.delete_record``."""
        await self._run(catalogue.delete_record, scope, record)

    async def records(self, scope: Scope, kind: str) -> tuple[Record, ...]:
        """Give the records of a kind, by name."""
        return await self._run(catalogue.records, scope, kind)

    async def append_audit(self, number: int, entry: str) -> None:
        """Add an entry to the audit log; see ``Store.append_audit``."""
        await self._run(catalogue.append_audit, number, entry)

    async def audit(self, *, after: int = 0, limit: int = 1000) -> tuple[str, ...]:
        """Give the entries after a number, in order."""
        return await self._run(catalogue.audit, after, limit)

    async def retain(self, scope: Scope, model: str, before: datetime) -> int:
        """Erase what has not changed since ``before``, some entities a transaction; see ``Store.retain``.

        Partitions of the log that this empties are dropped, and give their disk space back.
        """
        erased, start = 0, ""
        with self._here().echoes.erasing():
            while old := await self._run(log.older, scope, model, before, start):
                for at in range(0, len(old), log.BATCH):
                    erased += await self._run(log.retain, scope, old[at : at + log.BATCH], before)
                start = old[-1].entity_id
            while await self._run(log.retain_orphans, scope, model, before):
                pass
        await self._tidy()
        return erased

    async def forget(self, scope: Scope, ref: EntityRef) -> Receipt:
        """Erase an entity, and tell every watcher; see ``Store.forget``.

        The notice to watchers holds the model and the id for a day, and is then erased too.
        """
        with self._here().echoes.erasing():
            receipt = await self._run(log.forget, scope, ref)
        await self._tidy()
        return receipt

    async def _tidy(self) -> None:
        with suppress(StoreUnavailable, Conflict):  # it is done at the next opening, or the next sweep
            await self._once(log.trim)
            await self._once(log.drop_empty)

    def _here(self) -> _Here:
        if self._closed:
            raise StoreUnavailable(f"{self._address}: the store is not open.")
        here = self._current
        if here is None or not here.is_current():
            if here is not None and here.pid != os.getpid():
                _inherited.append(here)  # the parent's sockets: nothing here may end them
            here = self._current = _Here(self._address, self.name, self._poll_interval, self._append)
        return here

    async def _append(self, calls: Sequence[Call]) -> Answers:
        here = self._here()
        with here.echoes.writing() as tell:
            written = await self._run(entities.append, calls)
            if written.entries:
                tell(written.before, written.size, lambda: numbered(*written.before, written.entries))
        return written.results

    async def _run(
        self, function: Callable[Concatenate[Session, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        conflict: Conflict | None = None
        for _ in range(ATTEMPTS):
            try:
                return await self._once(function, *args, **kwargs)
            except Conflict as error:
                conflict = error
        raise unavailable(self._address, f"others came first {ATTEMPTS} times: {conflict}")

    async def _once(
        self, function: Callable[Concatenate[Session, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        async with self._here().connections.use() as connection:
            return await function(Session(connection, self._address, self._numbers, self._partition), *args, **kwargs)
