r"""Texts, columns and rows: contexts and log entries, to and fro.

A text of PostgreSQL holds every character of Unicode but NUL. So NUL is written U+0001 U+0002, and U+0001 itself
U+0001 U+0003: nothing is lost, ``encode(a) < encode(b)`` exactly when ``a < b``, and a prefix stays a prefix, so lists
by code point are what they are elsewhere. A pair U+0001 U+0001 then never stands in a text, and separates the values of
a column that is sent as one parameter (``string_to_array``); U+0001 U+0004 is NULL.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from mcp_sdk.context import ModelContext, Outcome, Scope, Transition, Trust, plain_value, value_from_plain
from mcp_sdk.models import Value
from mcp_sdk.ports import AppendStatus, Applied

__all__ = [
    "ENTITY_COLUMNS",
    "ENTITY_TYPES",
    "LOG_COLUMNS",
    "LOG_TYPES",
    "Packer",
    "applied_from_row",
    "columns",
    "context_from_row",
    "decode",
    "encode",
    "entity_row",
    "log_row",
    "unnested",
]

ENTITY_COLUMNS = "model, entity_id, state, attributes, revision, observed_at, source, entered_at"
ENTITY_TYPES = ("integer", "text", "text", "text", "text", "bigint", "text", "text", "text")
LOG_COLUMNS = (
    "model, entity_id, event_id, status, revision, from_state, to_state, attributes, outcome, base_revision, batch_id, "
    "observed_at, source, operation, cause, duration, trace_id, context"
)
LOG_TYPES = (
    *("integer", "text", "text", "text", "text", "bigint", "text", "text", "text", "text", "bigint", "text"),
    *("text", "text", "text", "text", "double precision", "text", "text"),
)
_ESCAPES = {0: "\x01\x02", 1: "\x01\x03"}
_SEPARATOR, _NULL = "\x01\x01", "\x01\x04"


def encode(text: str) -> str:
    """Write a text without NUL."""
    return text if "\x00" not in text and "\x01" not in text else text.translate(_ESCAPES)


def decode(text: str) -> str:
    """Read what ``encode`` wrote."""
    return text.replace("\x01\x02", "\x00").replace("\x01\x03", "\x01") if "\x01" in text else text


def unnested(types: Sequence[str]) -> str:
    """Give the SQL that makes rows of as many ``column`` parameters, numbered from 1 in a last column.

    The last row is NULL throughout: join or compare, and it falls out.
    """
    one = r"string_to_array(%s, E'\x01\x01', E'\x01\x04')"
    return f"unnest({', '.join(one if kind == 'text' else f'{one}::{kind}[]' for kind in types)}) WITH ORDINALITY"


def columns(rows: Iterable[Sequence[Any]]) -> list[str]:
    """Give one parameter a column for ``unnested``; texts, numbers and None. There must be a row."""
    return [_column(values) for values in zip(*rows, strict=True)]


def _column(values: Sequence[Any]) -> str:
    # Most columns are texts without None and without anything to escape: one join, and one count that tells so.
    try:
        text = _SEPARATOR.join(values)
    except TypeError:
        return _SEPARATOR.join([*map(_cell, values), _NULL])
    if text.count("\x01") == 2 * (len(values) - 1) and "\x00" not in text:
        return f"{text}{_SEPARATOR}{_NULL}"
    return _SEPARATOR.join([*map(encode, values), _NULL])


def _cell(value: Any) -> str:
    if value is None:
        return _NULL
    return encode(value) if isinstance(value, str) else repr(value)


def _plain(value: object) -> object:
    return plain_value(value) if isinstance(value, datetime) else str(value)


_encode: Callable[[object], str] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_plain).encode


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


def entity_row(scope: int, context: ModelContext, pack: Packer) -> tuple[Any, ...]:
    """Give scope and ``ENTITY_COLUMNS``."""
    return (scope, *_context_row(context, pack))


def _context_row(context: ModelContext, pack: Packer) -> tuple[Any, ...]:
    observed = pack.moment(context.observed_at) if context.observed_at else None
    entered = pack.moment(context.entered_at) if context.entered_at else None
    packed = pack.attributes(context.attributes)
    facts = (context.model, context.entity_id, context.state, packed, context.revision)
    return (*facts, observed, context.source, entered)


def context_from_row(row: Sequence[Any]) -> ModelContext:
    """Read ``ENTITY_COLUMNS``."""
    return _context(_decoded(row))


def _context(row: Sequence[Any]) -> ModelContext:
    model, entity_id, state, attributes, revision, observed, source, entered = row
    seen, came = (datetime.fromisoformat(text) if text else None for text in (observed, entered))
    known = _unpacked(attributes)
    return ModelContext(model, entity_id, state, known, revision, False, seen, source, Trust.STORE, came)


def log_row(scope: int, entry: Applied, pack: Packer) -> tuple[Any, ...]:
    """Give scope and ``LOG_COLUMNS``; the context after it only where the transition does not say it all."""
    t, after = entry.transition, entry.context
    told = (
        entry.status is AppendStatus.APPLIED
        and t.to_state is not None
        and len(after.attributes) == len(t.attributes)
        and after.entered_at == t.observed_at
    )
    return (
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
    values = _decoded(row)
    model, entity_id, event_id, status, revision, start, end, attributes, outcome, base, batch, observed, *rest = values
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
    return Applied(transition, AppendStatus(status), _context(told if context is None else json.loads(context)))


def _decoded(row: Sequence[Any]) -> Sequence[Any]:
    return [decode(value) if isinstance(value, str) else value for value in row]
