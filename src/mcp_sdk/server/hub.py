"""The one watch of a replica: it hears every change of the store, and passes each on to the scope that it is of.

The last changes are kept, so that a stream that comes back with its cursor is told what it missed. While the store is
away the replica goes on by what it knows, for ``staleness`` seconds; after that it says so instead of deciding. A watch
that hears nothing looks like one that is cut off, so the store is asked for a sign of life too; what counts is when it
was asked, not when an answer was given up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from weakref import WeakSet

from mcp_sdk.context import Scope
from mcp_sdk.control.publisher import Backoff
from mcp_sdk.exceptions import StoreError, StoreUnavailable
from mcp_sdk.ports import Change, Cursor, Store
from mcp_sdk.protocol.manifests import Signer
from mcp_sdk.server.access.tokens import KIND as TOKEN
from mcp_sdk.server.access.tokens import Tokens
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.kept import Kept
from mcp_sdk.server.live import Listening, Live, signer_of
from mcp_sdk.server.scopes import Scopes
from mcp_sdk.server.settings import ServerSettings
from mcp_sdk.tasks import ended

__all__ = ["Hub"]

logger = logging.getLogger("mcp_sdk.server")
BEAT = 2.0
"""Seconds between signs of life."""
_LEARNED_BY = {
    "policies": Live.learn_policies,
    "models": Live.learn_policies,
    "services": Live.learn_services,
    "keys": Live.learn_keys,
}


class Hub:
    """Runs on the server's loop. ``start`` it, ``close`` it.

    ``taps`` are told every change but transitions, ``opened`` every scope that is known from now on.
    """

    def __init__(self, store: Store, settings: ServerSettings) -> None:
        self.store: Store = store
        self.tokens: Tokens = Tokens(store)
        self.taps: set[Callable[[Change], None]] = set()
        self.opened: set[Callable[[Live], None]] = set()
        self.cursor: Cursor = Cursor("")
        self.resyncs = 0
        self._settings = settings
        self._signer: Signer | None = None
        self.keying = asyncio.Lock()
        self._scopes = Scopes()
        self._keyed: WeakSet[Live] = WeakSet()
        self._opening = asyncio.Lock()
        self._kept: Kept = Kept()
        self._heard = time.monotonic()
        self._connected = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def scopes(self) -> tuple[Live, ...]:
        """The scopes that are known, those first in which something is stored."""
        return self._scopes.all()

    def everyone(self) -> list[Listening]:
        """Give every stream that is open."""
        return [stream for live in self.scopes for stream in live.streams]

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return sum(len(live.streams) for live in self.scopes)

    @property
    def silence(self) -> float:
        """Seconds since the store was heard; a few at the most while it answers."""
        return time.monotonic() - self._heard

    @property
    def stale(self) -> str:
        """Why nothing may be decided by what is known here; empty while it may."""
        if self.silence <= self._settings.staleness:
            return ""
        return f"this replica has not heard its store for {self.silence:.0f} s, and decides no longer"

    @property
    def signer(self) -> Signer:
        """The signer of the mesh; raises ``StoreUnavailable`` until the store was reached."""
        if self._signer is None:
            raise StoreUnavailable("the store was not reached yet")
        return self._signer

    async def start(self) -> None:
        """Open the store and begin to watch; raises ``StoreError`` where it cannot be opened."""
        await self._reach()
        self._tasks = [asyncio.create_task(each) for each in (self._run(), self._look(), self._listen())]

    async def close(self) -> None:
        """Stop, and close the store."""
        await ended(self._tasks)
        await self.store.close()

    async def scope(self, scope: Scope) -> Live:
        """Give what is known of a scope, learned when it is asked for the first time."""
        live = self._scopes.get(scope)
        if live is None:
            async with self._opening:
                live = self._scopes.get(scope) or await self._open(scope)
        return self._scopes.keep(live)

    async def _open(self, scope: Scope) -> Live:
        self._make_room()
        live = Live(scope, self.store, self.signer, self._settings.mesh)
        for tell in self.opened:
            tell(live)
        await self._learn_all(live)
        self._scopes.keep(live)
        await self._learn_all(live)  # what changed in between was told to nobody
        return live

    async def _learn_all(self, live: Live) -> None:
        await live.learn_policies()
        await live.learn_services()
        await self.learn_keys(live)

    def keyed(self, live: Live) -> bool:
        """Tell whether the signing keys of a scope are known."""
        return live in self._keyed

    async def learn_keys(self, live: Live) -> bool:
        """Learn the signing keys of a scope where there are some, making none; tell whether there are."""
        if await self.store.keys(live.scope):
            await live.learn_keys()
            self._keyed.add(live)
        return live in self._keyed

    def _make_room(self) -> None:
        if len(self.scopes) >= self._settings.scopes:
            raise Fault(503, "too-many-scopes", f"this replica knows {self._settings.scopes} scopes, and takes no more")

    def since(self, cursor: Cursor) -> Sequence[Change] | None:
        """Give the changes after a position, or None where they are no longer kept."""
        if cursor == self.cursor:
            return ()
        return self._kept.since(cursor)

    async def _reach(self) -> None:
        began = time.monotonic()
        await self.store.open()
        self._signer = await signer_of(self.store)
        if not self.cursor:
            self.cursor = await self.store.cursor()
        await self.tokens.learn()
        for live in self.scopes:
            await self._learn_all(live)
        self._connected, self._heard = True, began

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            try:
                if not self._connected:
                    await self._reach()
                    backoff.reset()
                async for change in self.store.watch(self.cursor):
                    if change.kind == "transition":  # the many: nothing is learned of them, and nobody waits for them
                        self._moved(change)
                    else:
                        await self._hear(change)
                    self.cursor = change.cursor
            except Exception as error:  # noqa: BLE001 - the watch must outlive whatever happens to it
                self._lost(error)
            await asyncio.sleep(backoff.delay())

    def _lost(self, error: Exception) -> None:
        if self._connected:
            logger.warning("the store is away; what is known holds for %g s: %s", self._settings.staleness, error)
        self._connected = False

    def _moved(self, change: Change) -> None:
        self._kept.add(change)
        live = self._scopes.get(change.scope)
        if live is not None:
            live.hear(change)

    async def _hear(self, change: Change) -> None:
        if change.kind == "resync":
            await self._resync(change)
            return
        self._kept.add(change)
        live = self._scopes.get(change.scope)
        if live is not None:
            await self._learn(live, change)
            live.hear(change)
        if change.kind == "records":
            await self._records(change)
        for tap in tuple(self.taps):
            tap(change)

    async def _learn(self, live: Live, change: Change) -> None:
        learn: Callable[[Live], Awaitable[None]] | None = _LEARNED_BY.get(change.kind)
        if change.kind == "records" and change.record in ("override", "rollout"):
            learn = Live.learn_policies
        if learn is not None:
            await learn(live)
        if change.kind == "keys":
            self._keyed.add(live)

    async def _records(self, change: Change) -> None:
        if change.record == TOKEN:
            await self.tokens.learn()
        elif change.record == "epoch":
            for live in self.scopes:
                await live.learn_policies()

    async def _resync(self, change: Change) -> None:
        self._kept.clear()
        await self.tokens.learn()
        for live in self.scopes:
            await self._learn_all(live)
            live.resync(change.cursor)
        for tap in tuple(self.taps):
            tap(change)

    async def _look(self) -> None:
        """Look after what changes without an event: leases that end."""
        while True:
            await asyncio.sleep(self._settings.lease_check)
            for live in self.scopes:
                try:
                    if self._connected and live.streams:
                        await live.learn_services()
                except StoreError as error:
                    logger.info("endpoints wait for the store: %s", error)

    async def _listen(self) -> None:
        """Ask the store for a sign of life, several times within what may be decided by silence."""
        while True:
            await asyncio.sleep(min(BEAT, self._settings.staleness / 4))
            began = time.monotonic()
            try:
                await self.store.cursor()
            except Exception as error:  # noqa: BLE001 - whatever it is, the store was not heard
                logger.info("the store gives no sign of life: %s", error)
            else:
                self._heard = began if self._connected else self._heard
