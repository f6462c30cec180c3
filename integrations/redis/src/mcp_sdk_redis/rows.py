"""What the store holds, to and fro: transitions, contexts, lines of the log. All of it is JSON.

An attribute's value is JSON text inside the JSON, which the scripts in the server carry and never read: a number of Lua
is a double, and would round 64-bit integers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from mcp_sdk.context import EntityRef, ModelContext, Outcome, Scope, Transition, Trust, plain_value, value_from_plain
from mcp_sdk.models import Value
from mcp_sdk.ports import AppendResult, AppendStatus, Applied
from mcp_sdk_redis.keys import head, parted

__all__ = ["applied", "context", "forgotten", "pack", "results", "written"]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_STATUS = {
    "a": AppendStatus.APPLIED,
    "d": AppendStatus.DUPLICATE,
    "l": AppendStatus.LATE,
    "g": AppendStatus.LOGGED,
}


def pack(transitions: Sequence[Transition]) -> tuple[list[str], list[list[str]], list[bytes]]:
    """Give the heads that transitions speak of, each with its scope as ``append.lua`` wants them, and the rows."""
    heads: dict[str, list[str]] = {}
    rows = []
    for transition in transitions:
        before = head(transition.scope, transition.model)
        if before not in heads:
            heads[before] = [before, before[: before.index("/", before.index("/") + 1) + 1]]
        rows.append(_encode(_row(before, transition)).encode())
    return list(heads), list(heads.values()), rows


def _row(before: str, t: Transition) -> list[Any]:
    return [
        before,
        t.entity_id,
        t.event_id,
        t.to_state,
        t.outcome is Outcome.COMMITTED,
        t.base_revision,
        t.batch_id,
        t.observed_at.isoformat(),
        t.source,
        {name: _text(value) for name, value in t.attributes.items()} if t.attributes else {},
        t.from_state,
        t.operation,
        t.cause,
        repr(t.duration),
        t.trace_id,
    ]


def _text(value: Value) -> str:
    return repr(value) if type(value) is int else _encode(plain_value(value))


def results(transitions: Sequence[Transition], answer: bytes) -> tuple[AppendResult, ...]:
    """Read the answer of ``append.lua``: a line each."""
    return tuple(
        _result(transition, line) for transition, line in zip(transitions, answer.decode().split("\n"), strict=True)
    )


def _result(transition: Transition, line: str) -> AppendResult:
    told, _, entered = line.partition(" ")
    since = (transition.observed_at - datetime.fromisoformat(entered)).total_seconds() if entered else None
    return AppendResult(_STATUS[told[0]], int(told[1:]), since)


def forgotten(text: bytes) -> tuple[Scope, EntityRef]:
    """Read the name of what was forgotten."""
    before, entity_id = json.loads(text)
    namespace, environment, model, _ = parted(before)
    return Scope(namespace, environment), EntityRef(model, entity_id)


def context(named: EntityRef, text: str | bytes) -> ModelContext:
    """Read the context of an entity."""
    return _context(named, json.loads(text))


def written(t: Transition, told: str, entered: str, text: bytes) -> Applied:
    """Give an entry of the log that ``append.lua`` tells of; without a text the context is as the transition says."""
    if text:
        return Applied(t, _STATUS[told[0]], _context(t.ref, json.loads(text)))
    seen, came, revision = t.observed_at, datetime.fromisoformat(entered), int(told[1:])
    after = ModelContext(
        t.model, t.entity_id, t.to_state, t.attributes, revision, False, seen, t.source, Trust.STORE, came
    )
    return Applied(t, _STATUS[told[0]], after)


def _context(named: EntityRef, row: Sequence[Any] | None) -> ModelContext:
    if row is None:
        return ModelContext(*named, trust=Trust.STORE)
    state, revision, observed, source, entered, attributes = row
    seen, came = (datetime.fromisoformat(text) if text else None for text in (observed, entered))
    return ModelContext(*named, state, _values(attributes), int(revision), False, seen, source, Trust.STORE, came)


def _values(attributes: Mapping[str, str]) -> dict[str, Value]:
    return {name: value_from_plain(json.loads(text)) for name, text in attributes.items()}


def applied(line: bytes) -> Applied:
    """Read a line of the log."""
    _, status, after, row = json.loads(line)
    transition = _transition(row)
    return Applied(transition, _STATUS[status], _context(transition.ref, after))


def _transition(row: Sequence[Any]) -> Transition:
    before, entity_id, event_id, to_state, committed, base, batch, observed, source, attributes, *rest = row
    from_state, operation, cause, duration, trace_id = rest
    namespace, environment, model, _ = parted(before)
    return Transition(
        model=model,
        entity_id=entity_id,
        to_state=to_state,
        event_id=event_id,
        from_state=from_state,
        attributes=_values(attributes),
        outcome=Outcome.COMMITTED if committed else Outcome.ABORTED,
        base_revision=base,
        batch_id=batch,
        namespace=namespace,
        environment=environment,
        observed_at=datetime.fromisoformat(observed),
        source=source,
        operation=operation,
        cause=cause,
        duration=float(duration),
        trace_id=trace_id,
    )
