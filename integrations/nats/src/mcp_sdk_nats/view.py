"""What the log says, up to one of its sequences: the contexts of all entities, and everything else but audit texts.

A pure fold over messages, the same in every handle. It never reads a clock; each message brings its moment.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mcp_sdk.context import ModelContext, Scope
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import AppendStatus, Record, SigningKey
from mcp_sdk.services import Endpoint
from mcp_sdk.stores.ledger import EntityKey, event_key
from mcp_sdk_nats.events import Events
from mcp_sdk_nats.messages import Batch, Message, Note, key_of

__all__ = ["Kind", "Lease", "Line", "Shelf", "View"]

_APPLIED = AppendStatus.APPLIED


class Line(NamedTuple):
    """An entity: its context, None where it was only spoken of; the sequence of its last row; when it changed.

    What was only spoken of changed when that began.
    """

    context: ModelContext | None
    last: int
    changed: float


@dataclass(slots=True)
class Lease:
    """An endpoint that was announced; ``number`` is the sequence of that, ``until`` the end as far as known."""

    endpoint: Endpoint
    ttl: float
    until: float
    number: int


@dataclass(slots=True)
class Shelf:
    """Everything of one scope that is not an entity. Policies are the sequences of the messages that hold them."""

    models: dict[str, BusinessModel] = field(default_factory=dict)
    policies: array[int] = field(default_factory=lambda: array("Q"))
    leases: dict[tuple[str, str], Lease] = field(default_factory=dict)
    keys: dict[str, SigningKey] = field(default_factory=dict)
    records: dict[tuple[str, str], Record] = field(default_factory=dict)


class Kind:
    """The entities of one model in one scope. Their order is made when a list asks for it."""

    __slots__ = ("_order", "_stale", "lines")

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self._order: list[str] = []
        self._stale = False

    def put(self, entity_id: str, line: Line) -> None:
        """Write an entity."""
        self._stale = self._stale or entity_id not in self.lines
        self.lines[entity_id] = line

    def drop(self, entity_id: str) -> None:
        """Take an entity away."""
        if self.lines.pop(entity_id, None) is not None:
            self._stale = True

    def after(self, entity_id: str, prefix: str) -> Iterator[ModelContext]:
        """Give the contexts whose id begins with ``prefix`` and comes after one, by id in the order of code points."""
        if self._stale:
            self._order, self._stale = sorted(self.lines), False
        start = max(bisect_right(self._order, entity_id), bisect_left(self._order, prefix))
        for index in range(start, len(self._order)):
            name = self._order[index]
            if not name.startswith(prefix):
                return
            context = self.lines[name].context
            if context is not None:
                yield context


class View:
    """The fold. ``sequence`` is that of the last message in it, ``at`` its moment.

    ``erasing`` holds the notes of what is to be erased and is not yet known to be, ``notices`` all of them that stand
    in the log, ``trimmed`` the last one that was erased itself. ``audits`` are the sequences of the audit's entries.
    """

    def __init__(self, identity: str = "") -> None:
        self.identity = identity
        self.sequence = self.trimmed = 0
        self.at = 0.0
        self.kinds: dict[tuple[str, str, str], Kind] = {}
        self.events = Events()
        self.shelves: dict[Scope, Shelf] = {}
        self.audits: array[int] = array("Q")
        self.erasing: dict[int, Note] = {}
        self.notices: dict[int, float] = {}

    def line(self, key: EntityKey) -> Line | None:
        """Give what is known of an entity."""
        kind = self.kinds.get(key[:3])
        return None if kind is None else kind.lines.get(key[3])

    def contexts(self, keys: set[EntityKey]) -> dict[EntityKey, ModelContext]:
        """Give the contexts of those entities that exist."""
        found = {key: line.context for key in keys if (line := self.line(key)) is not None}
        return {key: context for key, context in found.items() if context is not None}

    def kind(self, scope: Scope, model: str) -> Kind:
        """Give the entities of a model."""
        return self.kinds.setdefault((*scope, model), Kind())

    def shelf(self, scope: Scope) -> Shelf:
        """Give what else is in a scope."""
        return self.shelves.setdefault(scope, Shelf())

    def apply(self, sequence: int, message: Message | None) -> None:
        """Take the next message in; None is one that was erased whole. What is in already is skipped."""
        if sequence <= self.sequence:
            return
        if isinstance(message, Batch):
            self._batch(sequence, message)
        elif message is not None:
            _NOTES[message.kind](self, sequence, message)
        self.sequence = sequence
        if message is not None:
            self.at = max(self.at, message.at)

    def _batch(self, sequence: int, batch: Batch) -> None:
        entries = [entry for entry in batch.entries if entry is not None]
        for entry in entries:
            key, applied = key_of(entry), entry.applied
            kind = self.kinds.get(key[:3])
            if kind is None:
                kind = self.kinds[key[:3]] = Kind()
            line = kind.lines.get(key[3])
            if line is not None and line.last > sequence:
                continue  # a checkpoint was written while the log went on, and has it
            if applied.status is _APPLIED:
                kind.put(key[3], Line(applied.context, sequence, batch.at))
            elif line is None:
                kind.put(key[3], Line(None, sequence, batch.at))
            else:
                kind.put(key[3], line._replace(last=sequence))
        self.events.add(
            batch.at, ((event_key(e.applied.transition), e.applied.status, e.applied.context.revision) for e in entries)
        )

    def _models(self, _: int, note: Note) -> None:
        declared = {name: BusinessModel.from_dict(plain) for name, plain in note.content["models"].items()}
        self.shelf(note.scope).models.update(declared)

    def _policies(self, sequence: int, note: Note) -> None:
        self.shelf(note.scope).policies.append(sequence)

    def _keys(self, _: int, note: Note) -> None:
        keys, kid = self.shelf(note.scope).keys, note.content["kid"]
        keys.pop(kid, None)
        keys[kid] = SigningKey(kid, bytes.fromhex(note.content["secret"]))

    def _records(self, _: int, note: Note) -> None:
        records, told = self.shelf(note.scope).records, note.content
        key = (told["kind"], told["name"])
        if told["revision"]:
            records[key] = Record(*key, told["content"], told["revision"])
        else:
            records.pop(key, None)

    def _services(self, sequence: int, note: Note) -> None:
        leases, told = self.shelf(note.scope).leases, note.content
        for service, url in told.get("gone", ()):
            leases.pop((service, url), None)
        if "endpoint" in told:
            endpoint = Endpoint.from_dict(told["endpoint"])
            leases[endpoint.service, endpoint.url] = Lease(endpoint, told["ttl"], note.at + told["ttl"], sequence)

    def _audit(self, sequence: int, _: Note) -> None:
        self.audits.append(sequence)

    def _forgotten(self, sequence: int, note: Note) -> None:
        for model, entity_id, _, until, _, events in note.content["entities"]:
            self._seen(note, events)
            kind = self.kind(note.scope, model)
            line = kind.lines.get(entity_id)
            if line is not None and line.last <= until:
                kind.drop(entity_id)
        self.erasing[sequence] = note
        self.notices[sequence] = note.at

    def _seen(self, note: Note, events: Sequence[tuple[str, str, int]]) -> None:
        # Who reads the log only after the rows were erased learns from the note which events not to take again.
        keys = (((*note.scope, event_id), AppendStatus(status), revision) for event_id, status, revision in events)
        self.events.add(note.at, [each for each in keys if each[0] not in self.events])

    def _erased(self, _: int, note: Note) -> None:
        for sequence in note.content["notes"]:
            self.erasing.pop(sequence, None)

    def _trimmed(self, _: int, note: Note) -> None:
        self.trimmed = max(self.trimmed, note.content["until"])
        self.notices = {sequence: at for sequence, at in self.notices.items() if sequence > self.trimmed}


_NOTES: Mapping[str, Callable[[View, int, Note], None]] = {
    "models": View._models,  # noqa: SLF001 - the fold's own table
    "policies": View._policies,  # noqa: SLF001
    "keys": View._keys,  # noqa: SLF001
    "records": View._records,  # noqa: SLF001
    "services": View._services,  # noqa: SLF001
    "audit": View._audit,  # noqa: SLF001
    "forgotten": View._forgotten,  # noqa: SLF001
    "erased": View._erased,  # noqa: SLF001
    "trimmed": View._trimmed,  # noqa: SLF001
}
