"""What stands in a message of the log: transitions and what became of them, or a note of anything else.

Bodies are JSON in ASCII, so that every text comes back as it went. A row holds the context after it only where the
transition does not say it all. Beside its facts stands the sequence of the message that held the entity's row before:
the rows of an entity are a chain, which is walked for its history and when it is forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from mcp_sdk.context import (
    EntityRef,
    ModelContext,
    Outcome,
    Scope,
    Transition,
    Trust,
    plain_value,
    value_from_plain,
)
from mcp_sdk.models import Value
from mcp_sdk.ports import AppendStatus, Applied, Change, Cursor
from mcp_sdk.stores.ledger import EntityKey, entity_key

__all__ = [
    "NOTE",
    "TRANSITIONS",
    "Batch",
    "Entry",
    "Message",
    "Note",
    "changes",
    "encode",
    "key_of",
    "pack",
    "pack_context",
]
__all__ += ["unpack", "unpack_context"]

TRANSITIONS, NOTE = "t", "n"
TOLD_KINDS = {"models", "policies", "services", "keys", "records", "audit"}
_APPLIED = AppendStatus.APPLIED


@dataclass(frozen=True, slots=True)
class Entry:
    """A transition with its outcome; ``before`` is the sequence that held the entity's row before, or 0."""

    applied: Applied
    before: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The transitions of one message; what was erased of it is None, so that places stay."""

    at: float
    entries: list[Entry | None]


@dataclass(frozen=True, slots=True)
class Note:
    """Anything else: ``kind`` says what, ``content`` is plain JSON."""

    at: float
    kind: str
    scope: Scope
    content: Mapping[str, Any] = field(default_factory=dict)


Message: TypeAlias = Batch | Note


def _default(value: object) -> object:
    return plain_value(value) if isinstance(value, datetime) else str(value)


encode = json.JSONEncoder(separators=(",", ":"), default=_default, check_circular=False).encode


def pack(message: Message) -> bytes:
    """Give a message's body."""
    if isinstance(message, Note):
        return encode({"at": message.at, "do": message.kind, "in": message.scope, **message.content}).encode()
    rows = [None if entry is None else _row(entry) for entry in message.entries]
    return encode({"at": message.at, "rows": rows}).encode()


def unpack(kind: str, body: bytes) -> Message:
    """Read what ``pack`` wrote."""
    plain = json.loads(body)
    if kind == NOTE:
        return Note(plain.pop("at"), plain.pop("do"), Scope(*plain.pop("in")), plain)
    return Batch(plain["at"], [None if row is None else _entry(row) for row in plain["rows"]])


def _row(entry: Entry) -> list[Any]:
    t, after = entry.applied.transition, entry.applied.context
    attributes: Any = t.attributes
    observed = t.observed_at.isoformat()
    told = (
        entry.applied.status is _APPLIED
        and t.to_state is not None
        and len(after.attributes) == len(attributes)
        and after.entered_at == t.observed_at
    )
    return [
        t.model,
        t.entity_id,
        t.event_id,
        entry.applied.status.value,
        after.revision,
        t.from_state,
        t.to_state,
        attributes if type(attributes) is dict else dict(attributes),
        t.outcome.value,
        t.base_revision,
        t.batch_id,
        t.namespace,
        t.environment,
        observed,
        t.source,
        t.operation,
        t.cause,
        t.duration,
        t.trace_id,
        entry.before,
        None if told else pack_context(after),
    ]


def _entry(row: Sequence[Any]) -> Entry:
    model, entity_id, event_id, status, revision, start, end, known, outcome, base, batch, *rest = row
    namespace, environment, observed, source, operation, cause, duration, trace_id, before, context = rest
    attributes, seen = _values(known), datetime.fromisoformat(observed)
    transition = Transition(
        model,
        entity_id,
        end,
        event_id,
        start,
        attributes,
        Outcome(outcome),
        base,
        batch,
        namespace,
        environment,
        seen,
        source,
        operation,
        cause,
        duration,
        trace_id,
    )
    after = (
        ModelContext(model, entity_id, end, attributes, revision, False, seen, source, Trust.STORE, seen)
        if context is None
        else unpack_context(model, entity_id, context)
    )
    return Entry(Applied(transition, AppendStatus(status), after), before)


def pack_context(context: ModelContext) -> list[Any]:
    """Give a context as plain JSON, but for its model and id."""
    observed = context.observed_at.isoformat() if context.observed_at else None
    entered = context.entered_at.isoformat() if context.entered_at else None
    return [context.state, dict(context.attributes), context.revision, observed, context.source, entered]


def unpack_context(model: str, entity_id: str, plain: Sequence[Any]) -> ModelContext:
    """Read what ``pack_context`` wrote."""
    state, known, revision, observed, source, entered = plain
    seen, came = (datetime.fromisoformat(text) if text else None for text in (observed, entered))
    return ModelContext(model, entity_id, state, _values(known), revision, False, seen, source, Trust.STORE, came)


def _values(plain: dict[str, Any]) -> dict[str, Value]:
    for name, value in plain.items():
        if type(value) is dict or type(value) is list:
            plain[name] = value_from_plain(value)
    return plain


def changes(identity: str, sequence: int, message: Message) -> Iterator[Change]:
    """Give what a watcher hears of a message; each cursor is the position after it."""
    for place, (kind, scope, facts) in enumerate(_told(message), 1):
        if kind:
            yield Change(kind, Cursor(f"{identity}:{sequence}.{place}"), scope, **facts)


def _told(message: Message) -> Iterator[tuple[str, Scope, dict[str, Any]]]:
    if isinstance(message, Batch):
        for entry in message.entries:
            if entry is None:
                yield "", Scope(), {}
            else:
                yield "transition", entry.applied.transition.scope, {"applied": entry.applied}
    elif message.kind == "forgotten":
        for model, entity_id, told, *_ in message.content["entities"]:
            yield "forgotten" if told else "", message.scope, {"ref": EntityRef(model, entity_id)}
    elif message.kind == "records":
        yield "records", message.scope, {"record": message.content["kind"]}
    elif message.kind in TOLD_KINDS:
        yield message.kind, message.scope, {}


def key_of(entry: Entry) -> EntityKey:
    """Give the key of the entity that an entry is about."""
    return entity_key(entry.applied.transition)
