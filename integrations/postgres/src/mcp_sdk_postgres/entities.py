"""Statements about entities: appending, looking up, listing.

How the order of commits becomes the order of the log. Whoever appends locks its entities first, in one order of all,
reads, and settles; only then it claims numbers from the one row of ``head``, whose lock it holds until its commit is
seen by everybody. So numbers have no gaps, and when a watcher sees number n it sees all below: nothing is ever written
behind its back. (A PostgreSQL sequence gives numbers that commit in any order; reading only below the oldest running
transaction would be exact too, but every long transaction of the whole cluster would then hold all watchers up.)

The lock is held for one insert and one flush to disk. A handle puts the calls that wait meanwhile into one
transaction.

What no lock covers is seen by ``claim``: the same event id in another transaction that is not yet to be seen when this
one looks for it. It raises when one came in between, as a unique index does for an entity that two create, and the
transaction is done again on what is there now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from psycopg import AsyncCursor

from mcp_sdk.context import EntityRef, ModelContext, Scope, Transition
from mcp_sdk.ports import AppendResult, AppendStatus, Applied
from mcp_sdk.stores.ledger import EntityKey, EventKey, Ledger
from mcp_sdk_postgres.connections import pipelined
from mcp_sdk_postgres.rows import (
    ENTITY_COLUMNS,
    ENTITY_TYPES,
    LOG_COLUMNS,
    LOG_TYPES,
    Packer,
    columns,
    context_from_row,
    decode,
    encode,
    entity_row,
    log_row,
    unnested,
)
from mcp_sdk_postgres.session import Session

__all__ = ["Wanted", "Written", "append", "get", "listing", "successor"]

Numbers: TypeAlias = Mapping[tuple[str, str], int]
Claimed: TypeAlias = AsyncCursor[tuple[Any, ...]]
_OF_E = ", ".join(f"e.{name}" for name in ENTITY_COLUMNS.split(", "))
_KEYS = f"{unnested(('integer', 'text', 'text'))} AS k (scope, model, entity_id, n)"
_SAME = "e.scope = k.scope AND e.model = k.model AND e.entity_id = k.entity_id"
_FOUND = f"SELECT e.scope, {_OF_E} FROM {_KEYS} JOIN {{0}}.entities e ON {_SAME}"
_LOCKED = f"{_FOUND} ORDER BY e.scope, e.model, e.entity_id FOR UPDATE OF e"
_EVENTS = f"{unnested(('integer', 'text'))} AS k (scope, event_id, n)"
_SEEN = f"""
WITH k AS MATERIALIZED (SELECT scope, event_id FROM {_EVENTS})
SELECT k.scope, k.event_id, l.status, l.revision FROM k CROSS JOIN LATERAL (
  SELECT status, revision FROM {{0}}.log WHERE event_id = k.event_id AND scope = k.scope
    AND seq + 0 > (SELECT floor FROM {{0}}.head) LIMIT 1) l
UNION ALL SELECT k.scope, k.event_id, x.status, x.revision FROM k JOIN {{0}}.erased x ON x.event_id = k.event_id
  AND x.scope = k.scope
"""
_NEWEST = "SELECT seq FROM {0}.head"
_ROWS = f"{unnested(ENTITY_TYPES)} AS k (scope, {ENTITY_COLUMNS}, n)"
_CREATE = f"""
INSERT INTO {{0}}.entities (scope, {ENTITY_COLUMNS}, changed_at)
SELECT scope, {ENTITY_COLUMNS}, clock_timestamp() FROM {_ROWS} WHERE scope IS NOT NULL
"""
_CHANGE = f"""
UPDATE {{0}}.entities e SET state = k.state, attributes = k.attributes, revision = k.revision,
  observed_at = k.observed_at, source = k.source, entered_at = k.entered_at, changed_at = clock_timestamp()
FROM {_ROWS} WHERE {_SAME}
"""
_CLAIM = r"""
SELECT {0}.claim(%s, string_to_array(%s, E'\x01\x01', E'\x01\x04'), %s, %s, %s), (SELECT identity FROM {0}.head)
"""
_LOG = f"""
INSERT INTO {{0}}.log (seq, at, scope, kind, {LOG_COLUMNS})
SELECT (SELECT seq FROM {{0}}.head) - %s + n, clock_timestamp(), scope, 'transition', {LOG_COLUMNS}
FROM {unnested(LOG_TYPES)} AS k (scope, {LOG_COLUMNS}, n) WHERE scope IS NOT NULL
"""


class Wanted(NamedTuple):
    """Narrows a list: the state, what the id begins with and comes after, and how many at most."""

    state: str | None
    prefix: str
    limit: int
    after: str


class _Read(NamedTuple):
    """What a transaction stands on; ``newest`` is the log's number before it looked."""

    newest: int
    contexts: dict[EntityKey, ModelContext]
    seen: dict[EventKey, AppendResult]


class Written(NamedTuple):
    """What a transaction answers to each of its calls, and wrote: ``entries`` follow a position.

    ``before`` is that, as the identity of the schema and a number; ``size`` is what they take, in characters.
    """

    results: list[tuple[AppendResult, ...]]
    entries: Sequence[Applied] = ()
    before: tuple[str, int] = ("", 0)
    size: int = 0


async def append(session: Session, calls: Sequence[Sequence[Transition]]) -> Written:
    """Settle several calls in one transaction, each as if it were alone; raises ``Conflict`` for doing it again."""
    transitions = [transition for call in calls for transition in call]
    numbers = {s: await session.scope(Scope(*s)) for s in {(t.namespace, t.environment) for t in transitions}}
    async with pipelined(session.connection):
        read = await _read(session, numbers, transitions)
        ledger = Ledger(read.contexts, read.seen)
        results = [ledger.settle(call) for call in calls]
        if not ledger.entries:
            return Written(results)
        claimed, size = await _write(session, numbers, read, ledger)
    before, identity = await claimed.fetchone() or (0, "")
    return Written(results, ledger.entries, (identity, before), size)


async def _read(session: Session, numbers: Numbers, transitions: Sequence[Transition]) -> _Read:
    entities = {(numbers[t.namespace, t.environment], t.model, t.entity_id) for t in transitions}
    events = {(numbers[t.namespace, t.environment], t.event_id) for t in transitions}
    newest = await session.execute(_NEWEST)
    locked = await session.execute(_LOCKED, columns(entities))
    seen = await session.execute(_SEEN, columns(events))
    scopes = {number: scope for scope, number in numbers.items()}
    (before,) = await newest.fetchone() or (0,)
    contexts = {}
    for number, *row in await locked.fetchall():
        context = context_from_row(row)
        contexts[(*scopes[number], *context.ref)] = context
    results = {
        (*scopes[number], decode(event_id)): AppendResult(AppendStatus(status), revision)
        for number, event_id, status, revision in await seen.fetchall()
    }
    return _Read(before, contexts, results)


async def _write(session: Session, numbers: Numbers, read: _Read, ledger: Ledger) -> tuple[Claimed, int]:
    """Write what was settled; give what will tell the position before it, and how much it is."""
    pack = Packer()
    rows = {key: entity_row(numbers[key[:2]], after, pack) for key, after in ledger.moved.items()}
    for statement, kept in (
        (_CREATE, sorted(row for key, row in rows.items() if key not in read.contexts)),
        (_CHANGE, [row for key, row in rows.items() if key in read.contexts]),
    ):
        if kept:
            await session.execute(statement, columns(kept))
    entries = [
        log_row(numbers[entry.transition.namespace, entry.transition.environment], entry, pack)
        for entry in ledger.entries
    ]
    logged, count = columns(entries), len(entries)
    fresh = logged[3]
    claim = (read.newest, fresh, count, session.partition, session.address.channel)
    claimed = await session.execute(_CLAIM, claim)
    await session.execute(_LOG, (count, *logged))
    return claimed, sum(map(len, logged))


async def get(session: Session, scope: Scope, refs: Sequence[EntityRef]) -> dict[EntityRef, ModelContext]:
    """Look entities up in one statement."""
    number = await session.find(scope)
    if not refs or number < 0:
        return {}
    cursor = await session.execute(_FOUND, columns({(number, *ref) for ref in refs}))
    contexts = [context_from_row(row[1:]) for row in await cursor.fetchall()]
    return {context.ref: context for context in contexts}


async def listing(session: Session, scope: Scope, model: str, wanted: Wanted) -> tuple[ModelContext, ...]:
    """Give the entities of a model that are wanted, by id; an index gives exactly those, in their order."""
    state, prefix, limit, after = wanted
    conditions = ["scope = %s", "model = %s", "entity_id > %s"]
    values: list[Any] = [await session.find(scope), encode(model), encode(after)]
    if state is not None:
        conditions, values = [*conditions, "state = %s"], [*values, encode(state)]
    if prefix:
        conditions, values = [*conditions, "entity_id >= %s"], [*values, encode(prefix)]
    if prefix and (end := successor(encode(prefix))):
        conditions, values = [*conditions, "entity_id < %s"], [*values, end]
    cursor = await session.execute(
        f"SELECT {ENTITY_COLUMNS} FROM {{0}}.entities WHERE {' AND '.join(conditions)} ORDER BY entity_id LIMIT %s",
        [*values, limit],
    )
    return tuple(map(context_from_row, await cursor.fetchall()))


def successor(prefix: str) -> str:
    """Give the least text that is greater than every text with this prefix; empty when there is none."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return ""
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if following == 0xD800 else following)
