"""Statements of the SQLite store about entities."""

# ruff: noqa: S608 - only constants are put into statements; values are always parameters

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeAlias

from mcp_sdk.context import EntityRef, ModelContext, Scope, Transition
from mcp_sdk.ports import AppendResult, AppendStatus, Applied
from mcp_sdk.stores._sqlite_file import transaction
from mcp_sdk.stores._sqlite_rows import (
    ENTITY_COLUMNS,
    PUT_ENTITY,
    PUT_LOG,
    Packer,
    context_from_row,
    entity_row,
    log_row,
)
from mcp_sdk.stores._sqlite_worker import Session
from mcp_sdk.stores.ledger import EntityKey, EventKey, Ledger

__all__ = ["Wanted", "Written", "append", "get", "listing", "successor"]

Numbers: TypeAlias = dict[tuple[str, str], int]
_SIZES = (1, 16, 256)
_EVENTS = """
SELECT event_id, scope, status, revision FROM log WHERE event_id IN ({0})
UNION ALL SELECT event_id, scope, status, revision FROM erased WHERE event_id IN ({0})
"""


class Wanted(NamedTuple):
    """Narrows a list: the state, what the id begins with and comes after, and how many at most."""

    state: str | None
    prefix: str
    limit: int
    after: str


class Written(NamedTuple):
    """What a transaction answers, and wrote: ``entries`` follow the number ``before``; ``size`` is in characters."""

    results: tuple[AppendResult, ...]
    entries: Sequence[Applied]
    before: int
    size: int


def append(session: Session, transitions: Sequence[Transition], now: float) -> Written:
    """Settle transitions in one transaction."""
    scopes = {(t.namespace, t.environment) for t in transitions}
    numbers = {scope: session.scope(Scope(*scope)) for scope in scopes}
    pack = Packer()
    with transaction(session.db):
        ledger = Ledger(_contexts(session, numbers, transitions), _seen(session, numbers, transitions))
        results = ledger.settle(transitions)
        moved = ledger.moved.items()
        session.db.executemany(PUT_ENTITY, [entity_row(numbers[key[:2]], after, now, pack) for key, after in moved])
        session.db.executemany(PUT_LOG, [_log_row(numbers, entry, now, pack) for entry in ledger.entries])
        (last,) = session.db.execute("SELECT last_insert_rowid()").fetchone()
    return Written(results, ledger.entries, last - len(ledger.entries), pack.size)


def _log_row(numbers: Numbers, entry: Applied, now: float, pack: Packer) -> tuple[Any, ...]:
    transition = entry.transition
    return log_row(numbers[transition.namespace, transition.environment], entry, now, pack)


def get(session: Session, scope: Scope, refs: Sequence[EntityRef]) -> dict[EntityRef, ModelContext]:
    """Look entities up, those of one model in one statement."""
    number = session.find(scope)
    found = {}
    for model, group in groupby(sorted(set(refs)), key=lambda ref: ref.model):
        for row in _entities(session, number, model, [ref.entity_id for ref in group]):
            context = context_from_row(row)
            found[context.ref] = context
    return found


def listing(session: Session, scope: Scope, model: str, wanted: Wanted) -> tuple[ModelContext, ...]:
    """Give the entities of a model that are wanted, by id."""
    state, prefix, limit, after = wanted
    conditions, values = ["scope = ?", "model = ?", "entity_id > ?"], [session.find(scope), model, after]
    if state is not None:
        conditions, values = [*conditions, "state = ?"], [*values, state]
    if prefix:
        conditions, values = [*conditions, "entity_id >= ?"], [*values, prefix]
    if prefix and (end := successor(prefix)):
        conditions, values = [*conditions, "entity_id < ?"], [*values, end]
    rows = session.db.execute(
        f"SELECT {ENTITY_COLUMNS} FROM entities WHERE {' AND '.join(conditions)} ORDER BY entity_id LIMIT ?",
        [*values, limit],
    )
    return tuple(map(context_from_row, rows))


def successor(prefix: str) -> str:
    """Give the least text that is greater than every text with this prefix; empty when there is none."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return ""
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if following == 0xD800 else following)


def _contexts(session: Session, numbers: Numbers, transitions: Sequence[Transition]) -> dict[EntityKey, ModelContext]:
    wanted: dict[tuple[str, str, str], set[str]] = {}
    for t in transitions:
        wanted.setdefault((t.namespace, t.environment, t.model), set()).add(t.entity_id)
    found: dict[EntityKey, ModelContext] = {}
    for kind, ids in wanted.items():
        for row in _entities(session, numbers[kind[:2]], kind[2], list(ids)):
            found[(*kind, row[1])] = context_from_row(row)
    return found


def _seen(session: Session, numbers: Numbers, transitions: Sequence[Transition]) -> dict[EventKey, AppendResult]:
    scopes = {number: scope for scope, number in numbers.items()}
    seen: dict[EventKey, AppendResult] = {}
    for ids in _chunks([transition.event_id for transition in transitions]):
        marks = ",".join("?" * len(ids))
        for event_id, number, status, revision in session.db.execute(_EVENTS.format(marks), ids * 2):
            if number in scopes:
                seen[(*scopes[number], event_id)] = AppendResult(AppendStatus(status), revision)
    return seen


def _entities(session: Session, number: int, model: str, ids: Sequence[str]) -> Iterator[Any]:
    for chunk in _chunks(ids):
        marks = ",".join("?" * len(chunk))
        sql = f"SELECT {ENTITY_COLUMNS} FROM entities WHERE scope = ? AND model = ? AND entity_id IN ({marks})"
        yield from session.db.execute(sql, [number, model, *chunk])


def _chunks(values: Sequence[str]) -> Iterator[list[str]]:
    # Few sizes, filled up by repetition, so that few statements have to be prepared.
    for start in range(0, len(values), _SIZES[-1]):
        chunk = list(values[start : start + _SIZES[-1]])
        size = next(size for size in _SIZES if size >= len(chunk))
        yield chunk + chunk[-1:] * (size - len(chunk))
