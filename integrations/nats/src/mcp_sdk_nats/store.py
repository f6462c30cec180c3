"""The store on NATS JetStream, shared by many machines.

One stream is the log and the truth: whoever writes publishes one message, on condition that the log ends where his copy
of it does. Every handle follows the log and keeps the contexts in memory; before it answers it asks where the log ends,
so that what anybody was told is stored is seen by everybody. See ``docs/decisions``, "One log on JetStream".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from mcp_sdk.context import EntityRef, ModelContext, Scope, Transition
from mcp_sdk.exceptions import RevisionConflict, StoreError, StoreUnavailable
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import AppendResult, Applied, Change, Cursor, Page, Receipt, Record, SigningKey, Store
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk_nats import bodies, catalogue, checkpoints, erasing, watching
from mcp_sdk_nats.address import Address, parse
from mcp_sdk_nats.appending import Appender
from mcp_sdk_nats.messages import Note
from mcp_sdk_nats.replica import Draft, Replica
from mcp_sdk_nats.ring import ENTRIES
from mcp_sdk_nats.streams import Streams
from mcp_sdk_nats.view import Lease, View

__all__ = ["NatsStore", "connect"]

T = TypeVar("T")
IDLE = 5.0


def connect(url: str, *, poll_interval: float = 0.05) -> NatsStore:
    """Give the store of ``nats://host:4222/name``; the entry points ``nats`` and ``tls+nats`` of ``mcp_sdk.stores``.

    It polls nothing. Raises ``ConfigurationError``.
    """
    del poll_interval
    return NatsStore(parse(url))


class NatsStore(Store):
    """Keeps everything in the streams of ``address``. One instance is used from one event loop at a time.

    Leases, retention and the day for which event ids are remembered go by the server's clock. ``kept`` counts the last
    transitions that watchers are told from memory.
    """

    def __init__(self, address: Address, *, kept: int = ENTRIES) -> None:
        self._replica = Replica(address, checkpoints.restore, kept)
        self._appender = Appender(self._replica)
        self._writing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, create the streams where they are missing, and read what the log holds."""
        self._replica.closed = False
        await self._replica.fresh()
        with suppress(StoreUnavailable):  # it is done at the next opening
            await erasing.finish(self._replica)
            await erasing.trim(self._replica)
        self._consider()

    async def close(self) -> None:
        """End every watch and the connection."""
        if self._writing is not None and self._writing.get_loop() is asyncio.get_running_loop():
            self._writing.cancel()
        await self._replica.close()

    async def append(self, transitions: Sequence[Transition]) -> tuple[AppendResult, ...]:
        """Apply transitions in order; see ``Store.append``."""
        results = await self._appender.append(transitions)
        self._consider()
        return results

    def _consider(self) -> None:
        if checkpoints.due(self._replica) and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(self._checkpoint())

    async def _checkpoint(self) -> None:
        with suppress(StoreError):  # the next append tries again
            await checkpoints.write(self._replica)

    async def get(self, scope: Scope, refs: Sequence[EntityRef]) -> Mapping[EntityRef, ModelContext]:
        """Look entities up; see ``Store.get``."""
        view = await self._replica.fresh()
        found = view.contexts({(*scope, *ref) for ref in refs})
        return {context.ref: context for context in found.values()}

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
        """List entities by id; see ``Store.list``. Looks at every entity after ``after`` until the page is full."""
        view = await self._replica.fresh()
        every = view.kind(scope, model).after(after, id_prefix)
        found = tuple(islice((c for c in every if state is None or c.state == state), limit + 1))
        page = found[:limit]
        return Page(page, page[-1].entity_id if len(found) > limit else "")

    async def history(self, scope: Scope, ref: EntityRef, *, limit: int = 100) -> tuple[Applied, ...]:
        """Give the last transitions of an entity; see ``Store.history``. Reads a message for each."""
        await self._replica.fresh()
        found = await erasing.chain(self._replica, (*scope, *ref), limit=limit)
        entries = [entry.applied for _, _, entries in reversed(found) for entry in entries]
        return tuple(entries[-limit:])

    async def cursor(self) -> Cursor:
        """Give the position after the newest change: the log's identity and a sequence."""
        return watching.position(await self._replica.fresh())

    async def watch(self, cursor: Cursor) -> AsyncIterator[Change]:
        """Yield every change after a position; see ``Store.watch``.

        A position of other streams, or older than a notice that was erased after its day, yields ``resync`` first.
        """
        replica, news = self._replica, asyncio.Event()
        try:
            await replica.fresh()
            while not replica.closed:
                await replica.streams()
                replica.news.add(news)
                changes = await watching.after(replica, cursor)
                for change in changes:
                    cursor = change.cursor
                    yield change
                if not changes and not await _told(news):
                    await replica.fresh()
        except StoreUnavailable:
            if not replica.closed:
                raise
        finally:
            replica.news.discard(news)

    async def put_models(
        self, scope: Scope, models: Sequence[BusinessModel], *, held: Sequence[BusinessModel] | None = None
    ) -> bool:
        """Declare models; see ``Store.put_models``."""
        return await self._commit(catalogue.declared, scope, models, held)

    async def models(self, scope: Scope) -> tuple[BusinessModel, ...]:
        """Give the declared models, by name."""
        shelf = (await self._replica.fresh()).shelf(scope)
        return tuple(model for _, model in sorted(shelf.models.items()))

    async def put_policies(self, scope: Scope, policies: PolicyRevision) -> PolicyRevision:
        """Store the next revision of the policy set; see ``Store.put_policies``."""
        streams = await self._replica.streams()
        texts = await bodies.save(streams, [dict(policies.programs), dict(policies.sources)])
        try:
            return await self._commit(catalogue.revised, scope, policies, texts)
        except RevisionConflict:
            await bodies.erase(streams, texts)
            raise

    async def policies(self, scope: Scope, revision: int | None = None) -> PolicyRevision | None:
        """Give one revision of the policy set, or the current one."""
        kept = (await self._replica.fresh()).shelf(scope).policies
        index = len(kept) if revision is None else revision
        return await self._revision(kept[index - 1]) if 0 < index <= len(kept) else None

    async def policy_history(self, scope: Scope, *, limit: int = 50) -> tuple[PolicyRevision, ...]:
        """Give the revisions, newest first, without their programs."""
        kept = (await self._replica.fresh()).shelf(scope).policies
        found = [await self._revision(sequence) for sequence in kept[::-1][:limit]]
        return tuple(PolicyRevision(f.revision, {}, f.sources, f.author, f.created_at) for f in found)

    async def _revision(self, sequence: int) -> PolicyRevision:
        message = await self._replica.message(sequence)
        assert isinstance(message, Note)
        facts: Mapping[str, Any] = message.content
        programs, sources = await bodies.load(await self._replica.streams(), facts["texts"])
        return PolicyRevision(facts["revision"], programs, sources, facts["author"], facts["created_at"])

    async def register(self, scope: Scope, endpoint: Endpoint, *, ttl: float) -> None:
        """Announce an endpoint or renew its lease; see ``Store.register``. A renewal is not in the log."""
        gone = await self._dead(scope)
        number = await self._commit(catalogue.announced, scope, (endpoint, ttl), gone)
        if number:
            until = self._replica.now() + ttl
            await (await self._replica.streams()).put(f"l{number}", repr(until).encode(), only=True)
            lease = self._replica.view.shelf(scope).leases.get((endpoint.service, endpoint.url))
            if lease is not None and lease.number == number:
                lease.until = until

    async def deregister(self, scope: Scope, endpoint: Endpoint) -> None:
        """Take an endpoint away."""
        await self._commit(catalogue.deregistered, scope, endpoint)

    async def endpoints(self, scope: Scope) -> tuple[Endpoint, ...]:
        """Give every endpoint whose lease has not run out, in order of registration."""
        await self._replica.fresh()
        dead = await self._dead(scope)
        leases = self._replica.view.shelf(scope).leases
        return tuple(lease.endpoint for key, lease in leases.items() if key not in dead)

    async def _dead(self, scope: Scope) -> tuple[tuple[str, str], ...]:
        """Give the keys of the leases that ran out, once it is sure that nobody renewed them."""
        leases = self._replica.view.shelf(scope).leases
        now = self._replica.now()
        doubtful = {key: lease for key, lease in leases.items() if lease.until <= now}
        if doubtful:
            streams = await self._replica.streams()
            await asyncio.gather(*(_renewed(streams, lease) for lease in doubtful.values()))
        return tuple(key for key, lease in doubtful.items() if lease.until <= now)

    async def put_key(self, scope: Scope, key: SigningKey) -> None:
        """Add a signing key as the newest."""
        await self._commit(lambda _, now: catalogue.keyed(now, scope, key))

    async def keys(self, scope: Scope) -> tuple[SigningKey, ...]:
        """Give the signing keys, newest first."""
        return tuple(reversed((await self._replica.fresh()).shelf(scope).keys.values()))

    async def put_record(self, scope: Scope, record: Record) -> Record:
        """Write a record; see ``Store.put_record``."""
        return await self._commit(catalogue.recorded, scope, record)

    async def delete_record(self, scope: Scope, record: Record) -> None:
        """Delete a record; see ``Store.delete_record``."""
        await self._commit(catalogue.unrecorded, scope, record)

    async def records(self, scope: Scope, kind: str) -> tuple[Record, ...]:
        """Give the records of a kind, by name."""
        found = (await self._replica.fresh()).shelf(scope).records
        return tuple(record for key, record in sorted(found.items(), key=lambda item: item[0]) if key[0] == kind)

    async def append_audit(self, number: int, entry: str) -> None:
        """Add an entry to the audit log; see ``Store.append_audit``."""
        await self._commit(catalogue.entered, number, entry)

    async def audit(self, *, after: int = 0, limit: int = 1000) -> tuple[str, ...]:
        """Give the entries after a number, in order."""
        wanted = (await self._replica.fresh()).audits[after : after + limit]
        found = await asyncio.gather(*(self._replica.message(sequence) for sequence in wanted))
        return tuple(message.content["entry"] for message in found if isinstance(message, Note))

    async def retain(self, scope: Scope, model: str, before: datetime) -> int:
        """Erase what has not changed since ``before``; see ``Store.retain``."""
        erased = await erasing.retain(self._replica, scope, model, before.timestamp())
        await erasing.trim(self._replica)
        return erased

    async def forget(self, scope: Scope, ref: EntityRef) -> Receipt:
        """Erase an entity, its bytes in the stream included, and tell every watcher; see ``Store.forget``.

        The notice to watchers holds the model and the id for a day, and is then erased too.
        """
        receipt = await erasing.forget(self._replica, scope, ref)
        await erasing.trim(self._replica)
        return receipt

    async def _commit(self, draft: Callable[..., Draft[T]], *facts: Any) -> T:
        def make(view: View, now: float) -> Draft[T]:
            return draft(view, now, *facts)

        return await self._replica.commit(make)


async def _renewed(streams: Streams, lease: Lease) -> None:
    found = await streams.look(f"l{lease.number}")
    if found is not None:
        lease.until = max(lease.until, float(found.body))


async def _told(news: asyncio.Event) -> bool:
    """Wait for news, but not for ever; tell whether there is any."""
    # Not wait_for: before Python 3.12 it may swallow a cancellation that comes together with the event.
    with suppress(TimeoutError):
        async with asyncio.timeout(IDLE):
            await news.wait()
    told = news.is_set()
    news.clear()
    return told
