"""Statements about the log: watching, history, and erasing for good."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from mcp_sdk.context import EntityRef, Scope
from mcp_sdk.ports import Applied, Change, Cursor, Receipt
from mcp_sdk_postgres.connections import transaction
from mcp_sdk_postgres.rows import LOG_COLUMNS, applied_from_row, decode, encode
from mcp_sdk_postgres.session import Session

__all__ = [
    "after",
    "drop_empty",
    "forget",
    "history",
    "newest",
    "older",
    "position",
    "retain",
    "retain_orphans",
    "trim",
]

PAGE = 500
_LAST = 2**63 - 1
WINDOW = 500
BATCH = 100
"""Entities that one transaction erases; each holds the head of the log meanwhile."""

_OF_ENTITY = "scope = %s AND model = %s AND entity_id = %s"
_AFTER = f"""
SELECT s.namespace, s.environment, l.seq, l.kind, {LOG_COLUMNS} FROM {{0}}.log l JOIN {{0}}.scopes s USING (scope)
WHERE l.seq > %s AND l.seq <= %s ORDER BY l.seq LIMIT {PAGE}
"""
_HEAD = "SELECT identity, seq, trimmed FROM {0}.head"
_HISTORY = f"""
SELECT {LOG_COLUMNS} FROM {{0}}.log WHERE {_OF_ENTITY} AND event_id IS NOT NULL ORDER BY seq DESC LIMIT %s
"""
_REMEMBER = """
INSERT INTO {{0}}.erased (event_id, scope, status, revision, at)
SELECT event_id, scope, status, revision, at FROM {{0}}.log
WHERE {where} AND event_id IS NOT NULL AND at > clock_timestamp() - interval '24 hours'
ON CONFLICT (event_id, scope) DO NOTHING
"""
_OLDER = """
SELECT model, entity_id FROM {0}.entities
WHERE scope = %s AND model = %s AND entity_id > %s AND changed_at < %s ORDER BY entity_id LIMIT %s
"""
_STILL_OLD = f"SELECT 1 FROM {{0}}.entities WHERE {_OF_ENTITY} AND changed_at < %s FOR UPDATE"
_ORPHANS = """
SELECT seq FROM {0}.log l WHERE scope = %s AND model = %s AND status <> 'applied' AND at < %s AND NOT EXISTS (
  SELECT 1 FROM {0}.entities e WHERE e.scope = l.scope AND e.model = l.model AND e.entity_id = l.entity_id)
ORDER BY seq LIMIT %s
"""
_TRIM = (
    "DELETE FROM {0}.erased WHERE at < clock_timestamp() - interval '24 hours'",
    """
    WITH gone AS (DELETE FROM {0}.log WHERE event_id IS NULL AND at < clock_timestamp() - interval '24 hours'
      RETURNING seq)
    UPDATE {0}.head SET trimmed = greatest(trimmed, (SELECT max(seq) FROM gone)) WHERE EXISTS (SELECT 1 FROM gone)
    """,
)
_OLD_PARTITIONS = "SELECT first FROM {0}.partitions, {0}.head WHERE last <= floor ORDER BY first"


async def newest(session: Session) -> int:
    """Give the number of the newest entry there ever was."""
    (number,) = await (await session.execute("SELECT seq FROM {0}.head")).fetchone() or (0,)
    return int(number)


def position(cursor: Cursor) -> tuple[str, int]:
    """Give the identity of the schema that a cursor is of, and its number; -1 where there is none."""
    origin, _, text = cursor.rpartition(":")
    return origin, int(text) if text.isdecimal() and len(text) < 19 else -1


async def after(session: Session, cursor: Cursor, upto: int = _LAST) -> list[Change]:
    """Give the changes after a position, up to the number ``upto`` and a page at most, or ``resync``.

    The entries are read before the row that tells what was trimmed: what that row does not know of was still there.
    """
    origin, number = position(cursor)
    async with session.connection.pipeline():
        rows = await session.execute(_AFTER, (number, upto))
        head = await session.execute(_HEAD)
        found = await rows.fetchall()
        identity, last, trimmed = await head.fetchone() or ("", 0, 0)
    if origin != identity or not trimmed <= number <= last:
        return [Change("resync", Cursor(f"{identity}:{last}"))]
    return [_change(identity, row) for row in found]


def _change(identity: str, row: Sequence[Any]) -> Change:
    namespace, environment, sequence, kind, *columns = row
    scope, cursor = Scope(decode(namespace), decode(environment)), Cursor(f"{identity}:{sequence}")
    if kind == "transition":
        return Change(kind, cursor, scope, applied_from_row(scope, columns))
    if kind == "records":
        return Change(kind, cursor, scope, record=decode(columns[0]))
    return Change(kind, cursor, scope, ref=EntityRef(*map(decode, columns[:2])) if kind == "forgotten" else None)


async def history(session: Session, scope: Scope, ref: EntityRef, limit: int) -> tuple[Applied, ...]:
    """Give the last transitions of an entity, oldest first."""
    cursor = await session.execute(_HISTORY, (await session.find(scope), *map(encode, ref), limit))
    return tuple(applied_from_row(scope, row) for row in reversed(await cursor.fetchall()))


async def forget(session: Session, scope: Scope, ref: EntityRef) -> Receipt:
    """Erase an entity and its transitions."""
    key = (await session.scope(scope), *map(encode, ref))
    async with transaction(session.connection):
        await session.execute(f"SELECT 1 FROM {{0}}.entities WHERE {_OF_ENTITY} FOR UPDATE", key)
        return await _erase(session, key, ref)


async def older(session: Session, scope: Scope, model: str, limit: datetime, start: str) -> list[EntityRef]:
    """Give entities, by id from after ``start``, whose last change is older than ``limit``; a few."""
    values = (await session.find(scope), encode(model), encode(start), limit, WINDOW)
    cursor = await session.execute(_OLDER, values)
    return [EntityRef(*map(decode, row)) for row in await cursor.fetchall()]


async def retain(session: Session, scope: Scope, refs: Sequence[EntityRef], limit: datetime) -> int:
    """Erase those of some entities, given by id, that are still older than ``limit``; tell how many."""
    number, erased = await session.scope(scope), 0
    keys = [(ref, (number, *map(encode, ref))) for ref in refs]
    async with transaction(session.connection):
        old = [
            (ref, key)
            for ref, key in keys
            if await (await session.execute(_STILL_OLD, (*key, limit))).fetchone() is not None
        ]
        for ref, key in old:
            erased += (await _erase(session, key, ref)).contexts
    return erased


async def retain_orphans(session: Session, scope: Scope, model: str, limit: datetime) -> int:
    """Erase old entries of the log that belong to no entity (aborted calls, refused changes), a few; tell how many."""
    number = await session.scope(scope)
    async with transaction(session.connection):
        cursor = await session.execute(_ORPHANS, (number, encode(model), limit, WINDOW))
        orphans = [sequence for (sequence,) in await cursor.fetchall()]
        if orphans:
            await session.execute(_REMEMBER.format(where="seq = ANY (%s)"), (orphans,))
            await session.execute("DELETE FROM {0}.log WHERE seq = ANY (%s)", (orphans,))
    return len(orphans)


async def trim(session: Session) -> None:
    """Drop notices and remembered event ids that are older than a day."""
    async with transaction(session.connection):
        for statement in _TRIM:
            await session.execute(statement)


async def drop_empty(session: Session) -> None:
    """Drop the partitions, older than the day of duplicates, of which nothing is left.

    It needs the log for itself for a moment, and gives up at once where others use it: the next sweep tries again.
    """
    for (first,) in await (await session.execute(_OLD_PARTITIONS)).fetchall():
        table = f"{{0}}.log_{first}"
        if await (await session.execute(f"SELECT 1 FROM {table} LIMIT 1")).fetchone() is None:
            async with transaction(session.connection):
                await session.execute("SET LOCAL lock_timeout = '200ms'")
                await session.execute(f"DROP TABLE {table}")
                await session.execute("DELETE FROM {0}.partitions WHERE first = %s", (first,))


async def _erase(session: Session, key: tuple[Any, ...], ref: EntityRef) -> Receipt:
    # A publisher may send what it got no answer for once more: it must not bring back what was erased.
    await session.execute(_REMEMBER.format(where=_OF_ENTITY), key)
    gone = await session.execute(f"DELETE FROM {{0}}.log WHERE {_OF_ENTITY} AND event_id IS NOT NULL", key)
    held = await session.execute(f"DELETE FROM {{0}}.entities WHERE {_OF_ENTITY}", key)
    if gone.rowcount or held.rowcount:
        await session.notice(key[0], "forgotten", key[1:])
    return Receipt(ref, held.rowcount, gone.rowcount)
