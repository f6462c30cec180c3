"""Statements of the SQLite store about its log: watching, history, and erasing for good."""

# ruff: noqa: S608 - only constants are put into statements; values are always parameters

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcp_sdk.context import EntityRef, Scope
from mcp_sdk.ports import Applied, Change, Cursor, Receipt
from mcp_sdk.stores._sqlite_file import transaction
from mcp_sdk.stores._sqlite_rows import LOG_COLUMNS, applied_from_row
from mcp_sdk.stores._sqlite_worker import Session

__all__ = [
    "after",
    "forget",
    "history",
    "newest",
    "notice",
    "older",
    "position",
    "retain",
    "retain_orphans",
    "shred",
    "trim",
    "untrimmed",
]

PAGE = 500
DAY = 86_400.0
Version = tuple[int, int] | None
"""A connection, and its ``data_version``, which means nothing to another one."""

_OF_ENTITY = "scope = ? AND model = ? AND entity_id = ? AND event_id IS NOT NULL"
_ORPHANS = """
SELECT seq FROM log WHERE event_id IS NOT NULL AND scope = ? AND model = ? AND at < ? AND NOT EXISTS (
  SELECT 1 FROM entities e WHERE e.scope = log.scope AND e.model = log.model AND e.entity_id = log.entity_id)
"""


def notice(
    session: Session, number: int, kind: str, now: float, about: tuple[str | None, str | None] = (None, None)
) -> None:
    """Tell watchers of something that is no transition; inside a transaction.

    ``about`` is the entity that was forgotten, or the kind of the record that was written.
    """
    model, entity_id = about
    session.db.execute(
        "INSERT INTO log (at, scope, kind, model, entity_id) VALUES (?, ?, ?, ?, ?)",
        (now, number, kind, model, entity_id),
    )


def newest(session: Session) -> int:
    """Give the number of the newest entry there ever was."""
    row = session.db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchone()
    return int(row[0]) if row else 0


def position(identity: str, cursor: Cursor) -> int:
    """Give the number that a position stands for; -1 for one of another file, and for what is none."""
    origin, _, text = cursor.rpartition(":")
    return int(text) if origin == identity and text.isdecimal() else -1


def after(session: Session, identity: str, cursor: Cursor, version: Version) -> tuple[Version, list[Change]]:
    """Give the changes after a position, a page at most, and the version of the data that they are from.

    ``version`` is what the last call gave: when the file has not changed since, nothing is read. None always reads.
    """
    current = (session.number, session.db.execute("PRAGMA data_version").fetchone()[0])
    if current == version:
        return version, []
    session.db.execute("BEGIN")
    try:
        changes = _after(session, identity, cursor)
    finally:
        session.db.execute("COMMIT")
    return (None if changes else current), changes


def _after(session: Session, identity: str, cursor: Cursor) -> list[Change]:
    found, last = position(identity, cursor), newest(session)
    if found < 0 or not _trimmed(session) <= found <= last:
        return [Change("resync", Cursor(f"{identity}:{last}"))]
    rows = session.db.execute(
        f"SELECT namespace, environment, seq, kind, {LOG_COLUMNS} FROM log JOIN scopes USING (scope) "
        "WHERE seq > ? ORDER BY seq LIMIT ?",
        (found, PAGE),
    )
    return [_change(identity, row) for row in rows]


def _change(identity: str, row: Sequence[Any]) -> Change:
    namespace, environment, sequence, kind, *columns = row
    scope, cursor = Scope(namespace, environment), Cursor(f"{identity}:{sequence}")
    if kind == "transition":
        return Change(kind, cursor, scope, applied_from_row(scope, columns))
    if kind == "records":
        return Change(kind, cursor, scope, record=columns[0])
    return Change(kind, cursor, scope, ref=EntityRef(*columns[:2]) if kind == "forgotten" else None)


def history(session: Session, scope: Scope, ref: EntityRef, limit: int) -> tuple[Applied, ...]:
    """Give the last transitions of an entity, oldest first."""
    rows = session.db.execute(
        f"SELECT {LOG_COLUMNS} FROM log WHERE {_OF_ENTITY} ORDER BY seq DESC LIMIT ?",
        (session.find(scope), *ref, limit),
    ).fetchall()
    return tuple(applied_from_row(scope, row) for row in reversed(rows))


def forget(session: Session, scope: Scope, ref: EntityRef, now: float) -> Receipt:
    """Erase an entity and its transitions."""
    number = session.scope(scope)
    with transaction(session.db):
        _trim(session, now)
        return _erase(session, number, ref, now)


def older(session: Session, scope: Scope, model: str, limit: float) -> list[EntityRef]:
    """Give the entities whose last change is older than ``limit``, in seconds since the epoch."""
    rows = session.db.execute(
        "SELECT model, entity_id FROM entities WHERE scope = ? AND model = ? AND changed_at < ?",
        (session.find(scope), model, limit),
    )
    return [EntityRef(*row) for row in rows]


def retain(session: Session, scope: Scope, refs: Sequence[EntityRef], limit: float, now: float) -> int:
    """Erase those of some entities that are still older than ``limit``; tell how many."""
    number, erased = session.scope(scope), 0
    with transaction(session.db):
        _trim(session, now)
        for ref in refs:
            key = (number, *ref)
            row = session.db.execute(
                "SELECT changed_at FROM entities WHERE scope = ? AND model = ? AND entity_id = ?", key
            ).fetchone()
            if row and row[0] < limit:
                erased += _erase(session, number, ref, now).contexts
    return erased


def retain_orphans(session: Session, scope: Scope, model: str, limit: float, now: float) -> None:
    """Erase old entries of the log that belong to no entity: aborted calls, refused changes."""
    number = session.scope(scope)
    with transaction(session.db):
        _remember(session, f"seq IN ({_ORPHANS})", (number, model, limit), now)
        session.db.execute(f"DELETE FROM log WHERE seq IN ({_ORPHANS})", (number, model, limit))


def shred(session: Session) -> None:
    """Empty the write-ahead log, where copies of erased pages stand, as far as readers let it."""
    session.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def untrimmed(session: Session, now: float) -> bool:
    """Tell whether ``trim`` has anything to do."""
    old = "SELECT 1 FROM log WHERE event_id IS NULL AND at < ? UNION ALL SELECT 1 FROM erased WHERE at < ? LIMIT 1"
    return session.db.execute(old, (now - DAY, now - DAY)).fetchone() is not None


def trim(session: Session, now: float) -> None:
    """Drop notices and remembered event ids that are older than a day."""
    with transaction(session.db):
        _trim(session, now)


def _trim(session: Session, now: float) -> None:
    session.db.execute("DELETE FROM erased WHERE at < ?", (now - DAY,))
    (last,) = session.db.execute("SELECT max(seq) FROM log WHERE event_id IS NULL AND at < ?", (now - DAY,)).fetchone()
    if last is not None:
        session.db.execute("UPDATE meta SET value = max(CAST(value AS INTEGER), ?) WHERE name = 'trimmed'", (last,))
        session.db.execute("DELETE FROM log WHERE event_id IS NULL AND at < ?", (now - DAY,))


def _trimmed(session: Session) -> int:
    return int(session.db.execute("SELECT value FROM meta WHERE name = 'trimmed'").fetchone()[0])


def _erase(session: Session, number: int, ref: EntityRef, now: float) -> Receipt:
    key = (number, *ref)
    _remember(session, _OF_ENTITY, key, now)
    gone = session.db.execute(f"DELETE FROM log WHERE {_OF_ENTITY}", key).rowcount
    held = session.db.execute("DELETE FROM entities WHERE scope = ? AND model = ? AND entity_id = ?", key).rowcount
    if gone or held:
        notice(session, number, "forgotten", now, ref)
    return Receipt(ref, held, gone)


def _remember(session: Session, where: str, values: tuple[Any, ...], now: float) -> None:
    # A publisher may send what it got no answer for once more: it must not bring back what was erased.
    session.db.execute(
        "INSERT OR REPLACE INTO erased (event_id, scope, status, revision, at) "
        f"SELECT event_id, scope, status, revision, at FROM log WHERE {where} AND at > ?",
        (*values, now - DAY),
    )
