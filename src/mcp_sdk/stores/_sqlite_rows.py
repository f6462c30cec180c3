"""Rows of the SQLite store: contexts and log entries, to and fro."""

# ruff: noqa: S608 - only constants are put into statements; values are always parameters

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from mcp_sdk.context import ModelContext, Outcome, Scope, Transition, Trust, plain_value, value_from_plain
from mcp_sdk.models import Value
from mcp_sdk.ports import AppendStatus, Applied

__all__ = [
    "ENTITY_COLUMNS",
    "LOG_COLUMNS",
    "PUT_ENTITY",
    "PUT_LOG",
    "Packer",
    "applied_from_row",
    "context_from_row",
    "entity_row",
    "log_row",
]

ENTITY_COLUMNS = "model, entity_id, state, attributes, revision, observed_at, source, entered_at"
PUT_ENTITY = f"INSERT OR REPLACE INTO entities (scope, {ENTITY_COLUMNS}, changed_at) VALUES (?{', ?' * 9})"
LOG_COLUMNS = (
    "model, entity_id, event_id, status, revision, from_state, to_state, attributes, outcome, base_revision, batch_id, "
    "observed_at, source, operation, cause, duration, trace_id, context"
)
PUT_LOG = f"INSERT INTO log (at, scope, kind, {LOG_COLUMNS}) VALUES (?, ?, 'transition'{', ?' * 18})"


def _plain(value: object) -> object:
    return plain_value(value) if isinstance(value, datetime) else str(value)


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_plain).encode


class Packer:
    """Turns attributes and moments into text, the same object once: an entity and its log entry share them.

    Lives for one call, in which the objects that it has seen live too.
    """

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}

    def attributes(self, attributes: Mapping[str, Value]) -> str:
        """Give attributes as JSON."""
        if not attributes:
            return "{}"
        text = self._texts.get(id(attributes))
        if text is None:
            text = self._texts[id(attributes)] = _encode(dict(attributes))
        return text

    @property
    def size(self) -> int:
        """How long the texts are together, in characters."""
        return sum(map(len, self._texts.values()))

    def moment(self, moment: datetime) -> str:
        """Give a moment in ISO 8601."""
        text = self._texts.get(id(moment))
        if text is None:
            text = self._texts[id(moment)] = moment.isoformat()
        return text


def _unpacked(text: str) -> dict[str, Value]:
    if text == "{}":
        return {}
    return {name: value_from_plain(value) for name, value in json.loads(text).items()}


def entity_row(scope: int, context: ModelContext, now: float, pack: Packer) -> tuple[Any, ...]:
    """Give the parameters of ``PUT_ENTITY``."""
    return (scope, *_context_row(context, pack), now)


def _context_row(context: ModelContext, pack: Packer) -> tuple[Any, ...]:
    observed = pack.moment(context.observed_at) if context.observed_at else None
    entered = pack.moment(context.entered_at) if context.entered_at else None
    packed = pack.attributes(context.attributes)
    facts = (context.model, context.entity_id, context.state, packed, context.revision)
    return (*facts, observed, context.source, entered)


def context_from_row(row: Sequence[Any]) -> ModelContext:
    """Read ``ENTITY_COLUMNS``."""
    model, entity_id, state, attributes, revision, observed, source, entered = row
    seen, came = (datetime.fromisoformat(text) if text else None for text in (observed, entered))
    known = _unpacked(attributes)
    return ModelContext(model, entity_id, state, known, revision, False, seen, source, Trust.STORE, came)


def log_row(scope: int, entry: Applied, now: float, pack: Packer) -> tuple[Any, ...]:
    """Give the parameters of ``PUT_LOG``; the context after it only where the transition does not say it all."""
    t, after = entry.transition, entry.context
    told = (
        entry.status is AppendStatus.APPLIED
        and t.to_state is not None
        and len(after.attributes) == len(t.attributes)
        and after.entered_at == t.observed_at
    )
    return (
        now,
        scope,
        t.model,
        t.entity_id,
        t.event_id,
        entry.status.value,
        after.revision,
        t.from_state,
        t.to_state,
        pack.attributes(t.attributes),
        t.outcome.value,
        t.base_revision,
        t.batch_id,
        pack.moment(t.observed_at),
        t.source,
        t.operation,
        t.cause,
        t.duration,
        t.trace_id,
        None if told else _encode(_context_row(after, pack)),
    )


def applied_from_row(scope: Scope, row: Sequence[Any]) -> Applied:
    """Read ``LOG_COLUMNS``."""
    model, entity_id, event_id, status, revision, start, end, attributes, outcome, base, batch, observed, *rest = row
    source, operation, cause, duration, trace_id, context = rest
    transition = Transition(
        model=model,
        entity_id=entity_id,
        to_state=end,
        event_id=event_id,
        from_state=start,
        attributes=_unpacked(attributes),
        outcome=Outcome(outcome),
        base_revision=base,
        batch_id=batch,
        namespace=scope.namespace,
        environment=scope.environment,
        observed_at=datetime.fromisoformat(observed),
        source=source,
        operation=operation,
        cause=cause,
        duration=duration,
        trace_id=trace_id,
    )
    told = (model, entity_id, end, attributes, revision, observed, source, observed)
    return Applied(transition, AppendStatus(status), context_from_row(told if context is None else json.loads(context)))
