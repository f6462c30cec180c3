"""Statements of the SQLite store about what replicas of a control plane share: records, and the audit log."""

from __future__ import annotations

import json

from mcp_sdk.context import MESH, Scope
from mcp_sdk.exceptions import RevisionConflict
from mcp_sdk.ports import Record
from mcp_sdk.snapshot import canonical
from mcp_sdk.stores._sqlite_file import transaction
from mcp_sdk.stores._sqlite_log import notice
from mcp_sdk.stores._sqlite_worker import Session

__all__ = ["append_audit", "audit", "delete_record", "put_record", "records"]


def put_record(session: Session, scope: Scope, record: Record, now: float) -> Record:
    """Write the revision after ``record.revision``; raises ``RevisionConflict``."""
    number, text = session.scope(scope), canonical(dict(record.content)).decode()
    stored = Record(record.kind, record.name, json.loads(text), record.revision + 1)
    with transaction(session.db):
        _compare(session, number, record)
        row = (number, record.kind, record.name, text, stored.revision)
        session.db.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)", row)
        notice(session, number, "records", now, (record.kind, None))
    return stored


def delete_record(session: Session, scope: Scope, record: Record, now: float) -> None:
    """Delete a record, if it is there; raises ``RevisionConflict``."""
    number = session.scope(scope)
    with transaction(session.db):
        if _revision(session, number, record):
            _compare(session, number, record)
            key = (number, record.kind, record.name)
            session.db.execute("DELETE FROM records WHERE scope = ? AND kind = ? AND name = ?", key)
            notice(session, number, "records", now, (record.kind, None))


def records(session: Session, scope: Scope, kind: str) -> tuple[Record, ...]:
    """Give the records of a kind, by name."""
    rows = session.db.execute(
        "SELECT name, content, revision FROM records WHERE scope = ? AND kind = ? ORDER BY name",
        (session.find(scope), kind),
    )
    return tuple(Record(kind, name, json.loads(content), revision) for name, content, revision in rows)


def append_audit(session: Session, number: int, entry: str, now: float) -> None:
    """Add the entry of a number; raises ``RevisionConflict`` when it is not the next."""
    scope = session.scope(MESH)
    with transaction(session.db):
        (last,) = session.db.execute("SELECT ifnull(max(number), 0) FROM audit").fetchone()
        if number != last + 1:
            raise RevisionConflict("audit", expected=number - 1, actual=last)
        session.db.execute("INSERT INTO audit VALUES (?, ?)", (number, entry))
        notice(session, scope, "audit", now)


def audit(session: Session, after: int, limit: int) -> tuple[str, ...]:
    """Give the entries after a number, in order."""
    rows = session.db.execute(
        "SELECT entry FROM audit WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
    ).fetchall()
    return tuple(entry for (entry,) in rows)


def _compare(session: Session, number: int, record: Record) -> None:
    current = _revision(session, number, record)
    if record.revision != current:
        raise RevisionConflict(f"{record.kind} {record.name!r}", expected=record.revision, actual=current)


def _revision(session: Session, number: int, record: Record) -> int:
    key = (number, record.kind, record.name)
    row = session.db.execute("SELECT revision FROM records WHERE scope = ? AND kind = ? AND name = ?", key).fetchone()
    return int(row[0]) if row else 0
