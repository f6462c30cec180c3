"""What a local control plane runs in one process: the loop thread, the publisher, the watch, the leases."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

from mcp_sdk.context import MESH, EntityRef, ModelContext, Transition
from mcp_sdk.control.cache import ContextCache
from mcp_sdk.control.decider import build
from mcp_sdk.control.fetcher import Fetcher
from mcp_sdk.control.known import Known
from mcp_sdk.control.leases import Leases
from mcp_sdk.control.loop import LoopThread, logger
from mcp_sdk.control.plane import Shared
from mcp_sdk.control.publisher import Backoff, Publisher
from mcp_sdk.control.trial import Tally
from mcp_sdk.exceptions import (
    MeshError,
    ModelError,
    ProtocolError,
    RevisionConflict,
    StoreError,
    StoreUnavailable,
)
from mcp_sdk.merging import merge_all
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import (
    Applied,
    Change,
    Cursor,
    Page,
    Probe,
    Receipt,
    Record,
    SigningKey,
    Status,
    Store,
)
from mcp_sdk.protocol.frames import LOOKER
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import Override, PolicyRevision, Snapshot
from mcp_sdk.tasks import ended

__all__ = ["PROBE", "Session", "probed"]

PROBE = "probe"
"""The kind of the record that is written to see whether a store can be written."""

HOUSEKEEPING = 60.0
OVERRIDE = "override"
"""The kind of the records that put a service into another mode; its name is the service's."""
STEADY = 5.0
"""Seconds that a watch has run after which its end is news; a failure that comes back at once is said once."""


class Session:
    """One process's part of a local control plane. Begins with the first ``begin`` and ends with ``end``."""

    def __init__(self, shared: Shared, store: Store) -> None:
        self._shared, self._store = shared, store
        self._scope = shared.identity.scope
        self.loop: LoopThread = LoopThread(f"mcp-sdk-{shared.identity.service or 'mesh'}")
        self._known = known = Known(shared, self.loop, store.append, self._lookup, everything=True)
        self.cache: ContextCache = known.cache
        self.publisher: Publisher = known.publisher
        self.fetcher: Fetcher = known.fetcher
        self.tally: Tally = Tally()
        self.begun = False
        self._connected = self._broken = False
        self._refusal: Exception | None = None
        self._why: Exception | None = None
        self._first = asyncio.Event()
        self._learning = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._leases = Leases(self._register, self._deregister, self._spawn)

    @property
    def status(self) -> Status:
        """How fresh the policies in force are."""
        if not self._shared.learned:
            return Status.UNAVAILABLE
        return Status.READY if self._connected and not self._broken else Status.STALE

    @property
    def why(self) -> str:
        """What keeps them from being fresh; empty where nothing does, or is known."""
        error = self._refusal if self._broken else None if self._connected else self._why
        return "" if error is None else str(error) or type(error).__name__

    def begin(self) -> None:
        """Start the thread and what runs on it; calling it again does nothing."""
        if not self.begun:
            self.begun = True
            self.loop.call(self._start)

    def publish(self, transitions: Sequence[Transition]) -> None:
        """Put transitions on top of the cache, and queue them."""
        self._known.publish(transitions)

    async def first(self) -> None:
        """Wait for the first snapshot; raises what makes waiting for it useless."""
        await self._first.wait()
        if self._refusal is not None:
            raise self._refusal

    async def opened(self) -> Store:
        """Give the store once it was reached, within ``start_timeout`` seconds; raises ``StoreUnavailable``."""
        if self._connected:
            return self._store
        timeout = self._shared.config.start_timeout
        try:
            async with asyncio.timeout(timeout):
                await self._first.wait()
        except TimeoutError:
            raise StoreUnavailable(
                f"the store could not be reached within {timeout} s; it is tried again."
            ) from self._why
        if self._refusal is not None and not self._connected:
            raise self._refusal
        return self._store

    async def declare(self) -> None:
        """Tell the store of models that were declared after the beginning."""
        await self.first()
        await self._put_models()
        await self.learn_policies()

    async def apply(self, revision: PolicyRevision) -> PolicyRevision:
        """Check that a policy set loads, declare its models, store it, and put it in force here."""
        store = await self.opened()
        newest = await store.policy_history(self._scope, limit=1)  # also of one whose programs are damaged
        actual = newest[0].revision if newest else 0
        if actual != revision.revision:
            raise RevisionConflict("policies", expected=revision.revision, actual=actual)
        await asyncio.to_thread(build, await self._snapshot(revision))
        await self._declare(revision.models)
        stored = await store.put_policies(self._scope, replace(revision, models=()))
        await self.learn_policies()
        return stored

    async def register(self, endpoint: Endpoint, ttl: float) -> None:
        """Announce an endpoint, when the store is back at the latest, and keep its lease until the end."""
        await self._leases.keep(endpoint, ttl)
        await self._learn_endpoints()

    async def list(self, model: str, *, state: str | None, id_prefix: str, limit: int, after: str) -> Page:
        """List entities of a model as the store holds them."""
        store = await self.opened()
        return await store.list(self._scope, model, state=state, id_prefix=id_prefix, limit=limit, after=after)

    async def policies(self, revision: int | None) -> PolicyRevision | None:
        """Look a revision of the policy set up in the store."""
        return await (await self.opened()).policies(self._scope, revision)

    async def policy_history(self, limit: int) -> tuple[PolicyRevision, ...]:
        """Give the revisions that the store holds, newest first."""
        return await (await self.opened()).policy_history(self._scope, limit=limit)

    async def history(self, ref: EntityRef, limit: int) -> tuple[Applied, ...]:
        """Give the last transitions of an entity that the store holds."""
        return await (await self.opened()).history(self._scope, ref, limit=limit)

    async def forget(self, ref: EntityRef) -> Receipt:
        """Erase an entity from the store and the cache."""
        receipt = await (await self.opened()).forget(self._scope, ref)
        self.cache.forget(ref)
        return receipt

    async def probe(self) -> Probe:
        """Write a record to the store and take it away."""
        written = await probed(await self.opened())
        return Probe(version("mcp-sdk"), datetime.now(UTC), written)

    def listen(self) -> None:
        """Do nothing: whoever watches a store hears of every transition."""

    async def end(self) -> None:
        """Stop the tasks, take the endpoints away and close the store."""
        await ended(self._tasks)
        self._connected = False
        await self._leases.end()
        await self._store.close()

    def _start(self) -> None:
        self._spawn(self._run())
        self._spawn(self._every(self._shared.config.lease / 3, self._learn_endpoints))
        self._spawn(self._every(HOUSEKEEPING, self._retain))

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        backoff = Backoff()
        cursor: Cursor | None = None
        clock = asyncio.get_running_loop().time
        while True:
            reached = math.inf
            try:
                await self._store.open()
                if cursor is None:
                    start = await self._store.cursor()
                    await self._learn()
                    cursor = start
                self._reached()
                reached = clock()
                async for change in self._store.watch(cursor):
                    await self._see(change)
                    cursor = change.cursor
            except Exception as error:  # noqa: BLE001 - the watch must outlive whatever happens to it
                if clock() - reached > STEADY:
                    backoff.reset()
                    self._why = None
                self._lost(error)
            await asyncio.sleep(backoff.delay())

    def _reached(self) -> None:
        self._connected = True
        if not self._broken:
            self._refusal = None
        self._first.set()

    def _lost(self, error: Exception) -> None:
        self._connected = False
        if str(error) != str(self._why):
            logger.warning("the control plane is %s: %s", self.status.value, error or type(error).__name__)
            kind = "store_unavailable" if isinstance(error, StoreError) else "internal_error"
            self._shared.telemetry.dropped("control", kind)
        self._why = error
        if not isinstance(error, StoreUnavailable):
            self._refusal = error
            self._first.set()

    async def _learn(self) -> None:
        await self.learn_policies()
        await self._learn_endpoints()
        await self._learn_keys()
        await self._learn_override()
        # last, for a store that only lets itself be read
        await self._put_models()

    async def _put_models(self) -> None:
        """Store what is declared here, merged with what other versions declared; a contradiction is not stored."""
        try:
            await self._declare(self._shared.models)
        except ModelError as error:
            logger.error("models are not stored, and hold in this process only: %s", error)

    async def _declare(self, models: Sequence[BusinessModel]) -> None:
        stored = not models
        while not stored:  # unless another process declared one of them just now
            held = await self._store.models(self._scope)
            stored = await self._store.put_models(self._scope, merge_all(held, models), held=held)

    async def learn_policies(self) -> None:
        """Put the store's newest policies in force; a set that cannot be loaded is reported and changes nothing."""
        async with self._learning:
            newest = "the newest policies"
            try:
                stored = await self._store.policies(self._scope)
                snapshot = await self._snapshot(stored)
                newest = f"policies of revision {snapshot.revision}"
                if self._shared.decider.newer(snapshot):
                    engine = await asyncio.to_thread(self._shared.decider.build, snapshot)
                    self._shared.decider.install(snapshot, engine)
            except StoreUnavailable:
                raise
            except MeshError as error:
                self._broken, self._refusal = True, error
                logger.error("%s cannot be loaded; what was in force stays: %s", newest, error)
                self._shared.telemetry.dropped("policies", "broken")
            else:
                self._broken, self._shared.learned = False, True

    async def _snapshot(self, policies: PolicyRevision | None) -> Snapshot:
        held = await self._store.models(self._scope)
        more = () if policies is None else merge_all(held, policies.models)
        stored = {model.name: model for model in (*held, *more)}
        models = stored | {model.name: model for model in self._shared.models}
        if policies is None:
            return Snapshot(models=models)
        return Snapshot(revision=policies.revision, models=models, programs=policies.programs)

    async def _learn_endpoints(self) -> None:
        self._shared.put_endpoints(await self._store.endpoints(self._scope))

    async def _learn_keys(self) -> None:
        keys = await self._store.keys(self._scope)
        if not keys and self._makes_keys:
            await self._store.put_key(self._scope, SigningKey(secrets.token_hex(4), secrets.token_bytes(32)))
            keys = await self._store.keys(self._scope)
        self._shared.keys = tuple(keys)

    @property
    def _makes_keys(self) -> bool:
        signs = self._shared.identity.service != LOOKER and not self._shared.config.signing_keys
        return signs and self._store.shared

    async def _learn_override(self) -> None:
        try:
            records = await self._store.records(self._scope, OVERRIDE)
            found = {record.name: Override.from_dict(record.content) for record in records}
        except ProtocolError as error:
            logger.error("overrides cannot be read, and change nothing: %s", error)
        else:
            self._shared.override = found.get(self._shared.identity.service)

    async def _see(self, change: Change) -> None:
        if change.kind == "resync":
            self.cache.clear()
            await self._learn()
        elif change.scope != self._scope:
            return
        elif change.applied is not None:
            self.cache.observe(change.applied)
        elif change.ref is not None:
            self.cache.forget(change.ref)
        elif change.kind in ("policies", "models"):
            await self.learn_policies()
        elif change.kind == "services":
            await self._learn_endpoints()
        elif change.kind == "keys":
            await self._learn_keys()
        elif change.record == OVERRIDE:
            await self._learn_override()
        self._shared.tell(change)

    async def _every(self, interval: float, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            await asyncio.sleep(interval * (0.9 + secrets.randbelow(200) / 1000))
            try:
                if self._connected:
                    await work()
            except StoreError as error:
                logger.info("housekeeping waits for the store: %s", error)
            except Exception as error:  # noqa: BLE001 - it is done again
                self._shared.telemetry.failed("housekeeping", error)

    async def _register(self, endpoint: Endpoint, ttl: float) -> None:
        await self._store.register(self._scope, endpoint, ttl=ttl)

    async def _deregister(self, endpoint: Endpoint) -> None:
        await self._store.deregister(self._scope, endpoint)

    async def _retain(self) -> None:
        for model in self._shared.decider.snapshot.models.values():
            if model.retention is not None:
                before = datetime.now(UTC) - timedelta(seconds=model.retention)
                await self._store.retain(self._scope, model.name, before)

    async def _lookup(self, refs: Sequence[EntityRef]) -> Mapping[EntityRef, ModelContext]:
        store = await self.opened()
        with self.cache.flight(refs) as flight:
            return flight.land(await store.get(self._scope, refs))


async def probed(store: Store) -> float:
    """Write a record of its own name, take it away again, and give the seconds that both took."""
    began = time.monotonic()
    await store.delete_record(MESH, await store.put_record(MESH, Record(PROBE, secrets.token_hex(8))))
    return time.monotonic() - began
