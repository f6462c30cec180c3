"""Lets a tap on one replica see the decisions of every replica, by way of the store alone.

A replica at which somebody looks on says so in a record; the others write what fits into records of their own, and the
first reads them. Nothing is written or read while nobody looks on anywhere. Whatever happens to the store, decisions
and streams do not notice: all that is done here is done by one task, what waits for it is bounded, and it tries again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

from mcp_sdk.context import MESH, Scope
from mcp_sdk.exceptions import MeshError, RevisionConflict, StoreUnavailable
from mcp_sdk.ports import Change, Record, Store
from mcp_sdk.protocol.filters import Filter
from mcp_sdk.server.hub import Hub
from mcp_sdk.server.live import Live
from mcp_sdk.server.relays import batches, lookouts
from mcp_sdk.server.relays.batches import SLOTS, Batch, Incoming, Outgoing, Slot
from mcp_sdk.server.relays.lookouts import Look, Lookout, Lookouts, Looks
from mcp_sdk.server.relays.sealing import Reader, seal

__all__ = ["Relay", "erase"]

logger = logging.getLogger("mcp_sdk.server")
PAUSE = 0.2
"""Seconds for which decisions are collected, and in which the store is read and written once at most."""
BEAT = 1.0
"""Seconds after which is looked for what is over, and what was lost is said."""
PATIENCE = 2.0
"""Seconds that a replica which leaves waits for the store to erase what it wrote."""


class Relay:
    """One replica's part. Made before ``hub`` starts; ``run`` it as a task, and ``close`` it when that has ended."""

    def __init__(self, hub: Hub) -> None:
        self.name: str = secrets.token_hex(8)
        self._store = hub.store
        self._lives: WeakValueDictionary[Scope, Live] = WeakValueDictionary()
        self._lookouts = Lookouts()
        self._reader = Reader()
        self._wanted: Mapping[Scope, tuple[Filter, ...]] = {}
        self._incoming: dict[Scope, Incoming] = {}
        self._outgoing: dict[Scope, Outgoing] = {}
        self._unread: set[Scope] = set()
        self._unlearned, self._faulty = True, False
        self._said: tuple[Any, ...] = ()
        self._named: tuple[Scope, ...] = ()
        self._record: Record | None = None
        self._renewed = self._swept = 0.0
        self._news = asyncio.Event()
        self._news.set()  # for what replicas that died may have left
        hub.taps |= {self.heard}
        hub.opened |= {self.opened}

    # What is heard

    def opened(self, live: Live) -> None:
        """Look after a scope that is known from now on."""
        self._lives[live.scope] = live
        live.taps.join(_Place(self, live), self._wanted.get(live.scope, ()))

    def heard(self, change: Change) -> None:
        """Hear a change of the store."""
        if change.kind == "records":
            self._recorded(change)
        elif change.kind == "forgotten" and change.scope in self._outgoing:
            self._outgoing[change.scope].forget()
            self._news.set()
        elif change.kind == "resync":
            self._unlearned, self._unread = True, set(self._incoming)
            self._news.set()

    def _recorded(self, change: Change) -> None:
        if change.record == lookouts.KIND and change.scope == MESH:
            self._unlearned = True
            self._news.set()
        elif change.record == batches.KIND and change.scope in self._incoming:
            self._unread.add(change.scope)
            self._news.set()

    def looked(self, live: Live) -> None:
        """Hear that those who look on here changed."""
        if not live.taps.filters:
            self._incoming.pop(live.scope, None)
        elif live.scope not in self._incoming:
            self._incoming[live.scope] = Incoming()
        self._news.set()

    def outgoing(self, scope: Scope) -> Outgoing:
        """Give what is passed on of a scope; it is looked after soon."""
        self._news.set()
        return self._outgoing.setdefault(scope, Outgoing())

    # What is done

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT if self._active else None):
                    await self._news.wait()
            self._news.clear()
            await self._turn()
            await asyncio.sleep(PAUSE)

    @property
    def _active(self) -> bool:
        there = self._incoming or self._outgoing or self._record or self._lookouts.any
        return bool(there) or self._unlearned or self._faulty

    async def _turn(self) -> None:
        faulty = False
        for step in (self._learn, self._say, self._show, self._send, self._sweep):
            try:
                await step()
            except Exception as error:  # noqa: BLE001 - it is done again
                self._fault(error)
                faulty = True
        self._faulty = faulty

    def _fault(self, error: Exception) -> None:
        if not self._faulty:
            logger.warning("taps wait for the store: %s", error, exc_info=not isinstance(error, MeshError))
        self._faulty = True

    async def _learn(self) -> None:
        """Learn what the others look at, and have clients told."""
        now = time.monotonic()
        if self._unlearned:
            self._unlearned = False
            try:
                records = await self._store.records(MESH, lookouts.KIND)
            except BaseException:
                self._unlearned = True
                raise
            self._lookouts.learn((each for each in records if each.name != self.name), now, self._reader)
        before, self._wanted = self._wanted, self._lookouts.wanted(now)
        for scope in before.keys() | self._wanted.keys():
            if (live := self._lives.get(scope)) is not None:
                live.taps.want(self._wanted.get(scope, ()))

    async def _say(self) -> None:
        """Say what is looked at here, and that this replica is there, as long as anybody looks on."""
        now, looks = time.monotonic(), self._looks()
        if not (looks or self._outgoing or self._lookouts.looking(now)):
            await self._withdraw()
            return
        keys, relays = self._lookouts.keys(now) if looks else set(), tuple(self._outgoing)
        said = (looks, relays, keys)
        if said != self._said or now - self._renewed >= lookouts.RENEW:
            revision = 0 if self._record is None else self._record.revision
            record = Record(lookouts.KIND, self.name, lookouts.content(self._reader, *said), revision)
            self._record = self._record or record  # it may be there, even where nobody says so
            self._record = await _put(self._store, MESH, record)
            self._said, self._named, self._renewed = said, relays, now

    def _looks(self) -> Looks:
        found = ((scope, self._lives.get(scope), one.reader.public) for scope, one in self._incoming.items())
        return {scope: Look(live.taps.filters, key) for scope, live, key in found if live is not None}

    async def _withdraw(self) -> None:
        """Take the record away, and the key: nobody can read any more what was written for it."""
        if self._record is not None:
            await _delete(self._store, MESH, self._record)
            self._record, self._said, self._named, self._reader = None, (), (), Reader()

    async def _show(self) -> None:
        """Show what others wrote to those who look on here."""
        while self._unread:
            scope = self._unread.pop()
            try:
                records = await self._store.records(scope, batches.KIND)
            except BaseException:
                self._unread.add(scope)
                raise
            live, incoming = self._lives.get(scope), self._incoming.get(scope)
            if live is not None and incoming is not None:
                taken = incoming.take(records)
                live.taps.lost(taken.missed)
                for record, who in taken.decisions:
                    live.taps.show(record, who)

    async def _send(self) -> None:
        """Write what others look at, and erase what was there for long enough."""
        for scope, outgoing in tuple(self._outgoing.items()):
            readers = self._lookouts.readers(scope, time.monotonic())
            if not readers:
                outgoing.forget()
            batch = outgoing.batch()
            if batch is not None and readers and not outgoing.erase and scope in self._named:
                await self._write(scope, outgoing, batch, readers)
            await self._clean(scope, outgoing)
            if not readers and not outgoing.slots:
                del self._outgoing[scope]

    async def _write(self, scope: Scope, outgoing: Outgoing, batch: Batch, readers: set[bytes]) -> None:
        number = min(set(range(SLOTS)) - set(outgoing.slots), default=_oldest(outgoing))
        slot = outgoing.slots.setdefault(number, Slot(0, 0.0))
        told = {"count": outgoing.count, "first": batch.first, "next": batch.next}
        told["sealed"] = seal(batch.decisions, readers)
        try:
            stored = await _put(self._store, scope, self._slot(number, slot, told))
        except StoreUnavailable:
            raise
        except MeshError:  # whatever is wrong with this one, the next may do
            outgoing.done(batch)
            raise
        outgoing.slots[number] = Slot(stored.revision, time.monotonic())
        outgoing.done(batch)

    async def _clean(self, scope: Scope, outgoing: Outgoing) -> None:
        every = outgoing.erase
        for number in outgoing.old(time.monotonic()):
            await _delete(self._store, scope, self._slot(number, outgoing.slots[number], {}))
            del outgoing.slots[number]
        outgoing.erase = outgoing.erase and not every

    def _slot(self, number: int, slot: Slot, told: Mapping[str, Any]) -> Record:
        return Record(batches.KIND, f"{self.name}.{number}", told, slot.revision)

    async def _sweep(self) -> None:
        """Once a beat, say what was lost, and erase what replicas left that died."""
        now = time.monotonic()
        if now - self._swept < BEAT:
            return
        self._swept = now
        for scope in self._incoming:
            if (live := self._lives.get(scope)) is not None:
                live.taps.say_lost()
        for lookout in self._lookouts.left(now):
            await self._bury(lookout)

    async def _bury(self, lookout: Lookout) -> None:
        for scope in lookout.relays:
            try:
                await erase(self._store, scope, of=lookout.record.name)
            except StoreUnavailable:
                raise
            except MeshError as error:  # of a scope that no store can hold there is nothing
                logger.info("a tap's record names a scope that cannot be: %s", error)
        with suppress(RevisionConflict):  # it lives after all
            await self._store.delete_record(MESH, lookout.record)

    async def close(self) -> None:
        """Erase what this replica wrote, as far as the store answers in time."""
        try:
            async with asyncio.timeout(PATIENCE):
                for scope, outgoing in self._outgoing.items():
                    outgoing.forget()
                    await self._clean(scope, outgoing)
                await self._withdraw()
        except Exception as error:  # noqa: BLE001 - whatever it is, the replica leaves
            logger.info("other replicas erase what taps left in the store: %s", error)


class _Place:
    """The other replicas, as one scope sees them."""

    def __init__(self, relay: Relay, live: Live) -> None:
        self._relay, self._live = relay, live

    def looked(self) -> None:
        """Hear that those who look on here changed."""
        self._relay.looked(self._live)

    def decided(self, record: Mapping[str, Any], who: Mapping[str, Any]) -> None:
        """Pass a decision on."""
        self._relay.outgoing(self._live.scope).add(record, who, time.monotonic())

    def lost(self, count: int) -> None:
        """Count decisions that a client here did not send."""
        self._relay.outgoing(self._live.scope).skip(count)


async def erase(store: Store, scope: Scope, *, of: str = "") -> None:
    """Erase decisions that wait in a scope for the taps of other replicas: those of one replica, or all of them.

    One that is written anew meanwhile is of a replica that lives, and erases it itself when it hears of the reason.
    Raises ``StoreUnavailable``.
    """
    for record in await store.records(scope, batches.KIND):
        if of in ("", record.name.partition(".")[0]):
            with suppress(RevisionConflict):
                await store.delete_record(scope, record)


async def _put(store: Store, scope: Scope, record: Record) -> Record:
    """Write a record that nobody else writes, whatever revision of it is there."""
    try:
        return await store.put_record(scope, record)
    except RevisionConflict:
        return await store.put_record(scope, replace(record, revision=await _revision(store, scope, record)))


async def _delete(store: Store, scope: Scope, record: Record) -> None:
    """Delete a record, whatever revision of it is there."""
    try:
        await store.delete_record(scope, record)
    except RevisionConflict:
        await store.delete_record(scope, replace(record, revision=await _revision(store, scope, record)))


async def _revision(store: Store, scope: Scope, record: Record) -> int:
    found = await store.records(scope, record.kind)
    return next((each.revision for each in found if each.name == record.name), 0)


def _oldest(outgoing: Outgoing) -> int:
    return min(outgoing.slots, key=lambda number: outgoing.slots[number].at, default=0)
