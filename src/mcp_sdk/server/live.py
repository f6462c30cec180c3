"""What one replica knows of one scope: the policies in force, compiled and signed, and who listens.

Everything here follows from the store and can be learned anew; nothing is kept that another replica would miss.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from mcp_sdk.context import MESH, EntityRef, Scope
from mcp_sdk.control.decider import Decider
from mcp_sdk.control.trial import Tally
from mcp_sdk.exceptions import MeshError, RevisionConflict, StoreUnavailable
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import Change, Record, SigningKey, Store
from mcp_sdk.protocol.frames import frame
from mcp_sdk.protocol.manifests import Envelope, Manifest, PartRef, Signer, digest
from mcp_sdk.protocol.plain import plain_change
from mcp_sdk.rollout import Candidate, Rollout
from mcp_sdk.server.taps import Taps
from mcp_sdk.server.trials import programs_of, rollout_of
from mcp_sdk.snapshot import Override, Snapshot, canonical

__all__ = ["Listening", "Live", "Part", "epoch_of", "signer_of"]

logger = logging.getLogger("mcp_sdk.server")
EPOCH, OVERRIDE, SIGNER = "epoch", "override", "signer"
"""Kinds of records."""
INLINE = 65_536
"""Bytes of a part that is sent along with the manifest: another request would cost more."""


class Listening(Protocol):
    """A stream, as the scope sees it; ``signs`` tells whether its client may have the signing keys of baggage."""

    signs: bool

    def push(self, text: str) -> None:
        """Send a frame, soon."""

    def replace(self, slot: str, text: str) -> None:
        """Send a frame, soon, in the place of an earlier one of that slot that was not sent yet."""

    def bye(self, after: float) -> None:
        """Say that the server goes, and in how many seconds to come back."""


@dataclass(frozen=True)
class Part:
    """A part of the snapshot as it is sent."""

    digest: str
    content: bytes


async def epoch_of(store: Store) -> int:
    """Give the epoch that the mesh is in."""
    return max((int(record.content["epoch"]) for record in await store.records(MESH, EPOCH)), default=1)


async def signer_of(store: Store) -> Signer:
    """Give the signer of the mesh, made and stored by the first replica that asks."""
    while not (found := await store.records(MESH, SIGNER)):
        content = {"seed": base64.b64encode(Signer().seed).decode()}
        try:
            await store.put_record(MESH, Record(SIGNER, "snapshot", content))
        except RevisionConflict:
            continue
    return Signer(base64.b64decode(found[0].content["seed"]))


class Live:
    """One scope on one replica."""

    def __init__(self, scope: Scope, store: Store, signer: Signer, mesh: str) -> None:
        self.scope = scope
        self.decider: Decider = Decider()
        self.envelope: Envelope | None = None
        self.streams: set[Listening] = set()
        self.thin: set[Listening] = set()
        self.holders: dict[EntityRef, set[Listening]] = defaultdict(set)
        self.listeners: dict[str, set[Listening]] = defaultdict(set)
        self._store, self._signer, self._mesh = store, signer, mesh
        self._parts: dict[str, Part] = {}
        self._said: Mapping[str, Any] = {}
        self._services = self._keys = self._manifest = self._signed = ""
        self._candidate: Candidate | None = None
        self._refusal, self._refused = "", 0.0
        self._learning = asyncio.Lock()
        self.rollout: Rollout | None = None
        self.tally: Tally = Tally()
        self.taps: Taps = Taps(lambda text: self._broadcast("tap", text))
        self._sources: tuple[object, ...] = ()
        self._overrides: Mapping[str, Override] = {}

    # Learning

    async def learn(self) -> None:
        """Learn everything anew."""
        await self.learn_policies()
        await self.learn_services()
        await self.learn_keys()

    async def learn_policies(self) -> None:
        """Put the newest policies, models and overrides in force.

        What cannot be loaded changes nothing for a while (see ``unusable``); overrides hold beside what is in force.
        """
        async with self._learning:
            try:
                await self._learn_policies()
            except StoreUnavailable:
                raise
            except MeshError as error:
                self._refusal, self._refused = str(error), self._refused or time.monotonic()
                logger.error("policies of %s cannot be loaded; what was in force stays: %s", self.scope, error)  # noqa: TRY400
                if self.envelope is not None:
                    await self._sign(self.decider.snapshot, self._candidate)
            else:
                self._refusal, self._refused = "", 0.0

    def unusable(self, patience: float) -> str:
        """Tell why nothing may be decided by what is in force here; empty where it may.

        Where the newest policies cannot be loaded, those before them hold for ``patience`` seconds; where there were
        none, nothing does: an empty set would permit everything.
        """
        if not self._refusal or (self.envelope is not None and time.monotonic() - self._refused <= patience):
            return ""
        return f"the newest policies of {'/'.join(self.scope)} cannot be loaded here: {self._refusal}"

    async def _learn_policies(self) -> None:
        stored = await self._store.policies(self.scope)
        models = {model.name: model for model in await self._store.models(self.scope)}
        epoch, revision = await epoch_of(self._store), 0 if stored is None else stored.revision
        snapshot = Snapshot(epoch, revision, models, {} if stored is None else stored.programs)
        if self.decider.newer(snapshot):
            engine = await asyncio.to_thread(self.decider.build, snapshot)
            self.decider.install(snapshot, engine)
        if snapshot.order < self.decider.snapshot.order:
            raise MeshError(
                f"the store holds revision {snapshot.order} and {self.decider.snapshot.order} was in force: it was set "
                "back. If it was restored from a backup, an operator says so with: mcpctl epoch open"
            )
        self._candidate, programs = await self._learn_rollout(snapshot)
        self._parts = await asyncio.to_thread(self._written, snapshot, programs)
        await self._sign(snapshot, self._candidate)

    async def _learn_rollout(self, snapshot: Snapshot) -> tuple[Candidate | None, Mapping[str, Any] | None]:
        """Give the candidate that is rolled out beside what is in force, if there is one that follows it."""
        decider, rollout = self.decider, await rollout_of(self._store, self.scope)
        self.rollout, programs = rollout, None
        if rollout is not None and rollout.running and rollout.base == snapshot.revision:
            programs = await programs_of(self._store, self.scope, rollout.id)
        if rollout is None or programs is None:
            decider.trial = None
            return None, None
        try:
            decider.trial = await asyncio.to_thread(decider.try_out, rollout.candidate, programs)
        except MeshError as error:
            decider.trial = None
            logger.error("the candidate of the rollout %s cannot be loaded here: %s", rollout.id, error)  # noqa: TRY400
        return rollout.candidate, programs

    def _written(self, snapshot: Snapshot, candidate: Mapping[str, Any] | None) -> dict[str, Part]:
        """Give the parts as bytes; those of which nothing changed are taken over."""
        sources = (snapshot.order, tuple(map(id, snapshot.models.values())))
        models = {name: model.to_dict() for name, model in snapshot.models.items()}
        parts = {"models": _part(canonical(models))}
        kept = self._parts.get("policies") if self._sources[:1] == sources[:1] else None
        parts["policies"] = kept or _part(canonical(dict(snapshot.programs)))
        if candidate is not None:
            parts["candidate"] = _part(canonical(dict(candidate)))
        self._sources = sources
        return parts

    async def _sign(self, snapshot: Snapshot, candidate: Candidate | None) -> None:
        self._overrides = _running(await self._store.records(self.scope, OVERRIDE))
        said = Manifest(
            self.scope,
            snapshot.epoch,
            snapshot.revision,
            {name: PartRef(part.digest, len(part.content)) for name, part in self._parts.items()},
            mesh=self._mesh,
            overrides=self._overrides,
            candidate=candidate,
        ).to_dict()
        if said != self._said:
            self._said = said
            self.envelope = self._signer.sign(said | {"issued_at": datetime.now(UTC).isoformat()})
            small = {name: part.content.decode() for name, part in self._parts.items() if len(part.content) <= INLINE}
            self._manifest, self._signed = self._frame(self.envelope, small), self._frame(self.envelope, {})
            self._broadcast("manifest", self._manifest)

    def _frame(self, envelope: Envelope, parts: Mapping[str, str]) -> str:
        return frame("manifest", envelope=envelope.to_dict(), key=self._signer.public.hex(), parts=parts)

    async def learn_services(self) -> None:
        """Learn the endpoints; tell streams where they changed. Leases end without an event, so this is done often."""
        endpoints = await self._store.endpoints(self.scope)
        text = frame("services", endpoints=[endpoint.to_dict() for endpoint in endpoints])
        if text != self._services:
            self._services = text
            self._broadcast("services", text)

    async def learn_keys(self) -> None:
        """Learn the signing keys of baggage, making the first."""
        keys = await self._store.keys(self.scope)
        if not keys:
            await self._store.put_key(self.scope, SigningKey(secrets.token_hex(4), secrets.token_bytes(32)))
            keys = await self._store.keys(self.scope)
        plain = [{"kid": key.kid, "secret": base64.b64encode(key.secret).decode()} for key in keys]
        text = frame("keys", keys=plain)
        if text != self._keys:
            self._keys = text
            self._broadcast("keys", text)

    # Answering

    @property
    def models(self) -> Mapping[str, BusinessModel]:
        """The declared models."""
        return self.decider.snapshot.models

    def observes(self, service: str) -> bool:
        """Tell whether a service carries no refusal out, for an operator broke the glass and it is not over yet."""
        override = self._overrides.get(service)
        return override is not None and override.mode == "observe" and override.until > datetime.now(UTC)

    def part(self, wanted: str) -> Part | None:
        """Give the part of a digest, if it is in force."""
        return next((part for part in self._parts.values() if part.digest == wanted), None)

    def greet(self, stream: Listening, *, thin: bool = False) -> None:
        """Tell a new stream all that is known; a thin one no policies, for it decides by none, but overrides."""
        if thin:
            self.thin.add(stream)
        self.streams.add(stream)
        known = {"keys": self._keys, "services": self._services, "manifest": self._signed if thin else self._manifest}
        for slot, text in (known | {"tap": self.taps.frame}).items():
            if text and (slot != "keys" or stream.signs):
                stream.replace(slot, text)

    def leave(self, stream: Listening) -> None:
        """Tell a stream nothing more; what it holds and listens to it drops itself."""
        self.streams.discard(stream)
        self.thin.discard(stream)

    def hold(self, stream: Listening, ref: EntityRef) -> None:
        """Have a stream told of every change of an entity."""
        self.holders[ref].add(stream)

    def drop(self, stream: Listening, ref: EntityRef) -> None:
        """Tell it no longer."""
        _drop(self.holders, ref, stream)

    def listen(self, stream: Listening, model: str) -> None:
        """Have a stream told of every transition of a model."""
        self.listeners[model].add(stream)

    def unlisten(self, stream: Listening, model: str) -> None:
        """Tell it no longer."""
        _drop(self.listeners, model, stream)

    def hear(self, change: Change) -> None:
        """Tell a change to the streams that want it; it is written once, however many they are."""
        if self.taps.open:
            self.taps.moved(change)
        wanted = self._wanting(change)
        if wanted:
            text = frame("change", **plain_change(change))
            for stream in wanted:
                stream.push(text)

    def resync(self, cursor: str) -> None:
        """Tell every stream that changes were missed."""
        for stream in self.streams:
            stream.push(frame("resync", cursor=cursor))
        self.taps.missed(cursor)

    def _wanting(self, change: Change) -> set[Listening]:
        if not self.holders and not self.listeners:
            return _NOBODY
        if change.applied is not None:
            ref = change.applied.context.ref
            return self.holders.get(ref, _NOBODY) | self.listeners.get(ref.model, _NOBODY)
        if change.ref is not None:
            return self.holders.get(change.ref, _NOBODY) | self.listeners.get(change.ref.model, _NOBODY)
        return _NOBODY

    def _broadcast(self, slot: str, text: str) -> None:
        for stream in self.streams:
            if slot != "keys" or stream.signs:
                stream.replace(slot, self._signed if slot == "manifest" and stream in self.thin else text)


def _running(records: Iterable[Record]) -> dict[str, Override]:
    """Give the overrides that are not over yet."""
    found = {record.name: Override.from_dict(record.content) for record in records}
    return {service: override for service, override in found.items() if override.until > datetime.now(UTC)}


_NOBODY: set[Listening] = set()


def _part(content: bytes) -> Part:
    return Part(digest(content), content)


def _drop(book: dict[Any, set[Listening]], key: Any, stream: Listening) -> None:
    held = book.get(key)
    if held is not None:
        held.discard(stream)
        if not held:
            del book[key]
