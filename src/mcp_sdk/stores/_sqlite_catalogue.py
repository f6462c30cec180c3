"""Statements of the SQLite store about models, policies, endpoints and keys."""

# ruff: noqa: S608 - only constants are put into statements; values are always parameters

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mcp_sdk.context import Scope
from mcp_sdk.exceptions import RevisionConflict
from mcp_sdk.merging import unmoved
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import SigningKey
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import PolicyRevision, canonical
from mcp_sdk.stores._sqlite_file import transaction
from mcp_sdk.stores._sqlite_log import notice
from mcp_sdk.stores._sqlite_worker import Session

__all__ = [
    "deregister",
    "endpoints",
    "keys",
    "models",
    "policies",
    "policy_history",
    "put_key",
    "put_models",
    "put_policies",
    "register",
]


def put_models(
    session: Session,
    scope: Scope,
    declared: Sequence[BusinessModel],
    held: Sequence[BusinessModel] | None,
    now: float,
) -> bool:
    """Declare models; watchers hear of it when one of them is new or changed. See ``Store.put_models``."""
    number = session.scope(scope)
    fresh = {model.name: canonical(model.to_dict()).decode() for model in declared}
    if not _changed(session, number, fresh):  # the usual start of a service: nothing waits for another's writing
        return True
    with transaction(session.db):
        changed = _changed(session, number, fresh)
        if not unmoved([name for _, name, _ in changed], {model.name: model for model in models(session, scope)}, held):
            return False
        session.db.executemany("INSERT OR REPLACE INTO models VALUES (?, ?, ?)", changed)
        if changed:
            notice(session, number, "models", now)
    return True


def _changed(session: Session, number: int, fresh: Mapping[str, str]) -> list[tuple[int, str, str]]:
    stored = dict(session.db.execute("SELECT name, declaration FROM models WHERE scope = ?", (number,)))
    return [(number, name, text) for name, text in fresh.items() if stored.get(name) != text]


def models(session: Session, scope: Scope) -> tuple[BusinessModel, ...]:
    """Give the declared models, by name."""
    rows = session.db.execute("SELECT declaration FROM models WHERE scope = ? ORDER BY name", (session.find(scope),))
    return tuple(BusinessModel.from_dict(json.loads(text)) for (text,) in rows)


def put_policies(session: Session, scope: Scope, policies: PolicyRevision, now: float) -> PolicyRevision:
    """Store the revision after ``policies.revision``; raises ``RevisionConflict``."""
    number = session.scope(scope)
    created = policies.created_at or datetime.fromtimestamp(now, UTC).isoformat()
    stored = replace(policies, revision=policies.revision + 1, created_at=created)
    with transaction(session.db):
        (actual,) = session.db.execute(
            "SELECT ifnull(max(revision), 0) FROM policies WHERE scope = ?", (number,)
        ).fetchone()
        if actual != policies.revision:
            raise RevisionConflict("policies", expected=policies.revision, actual=actual)
        texts = (canonical(dict(stored.programs)).decode(), canonical(dict(stored.sources)).decode())
        row = (number, stored.revision, *texts, stored.author, stored.created_at)
        session.db.execute("INSERT INTO policies VALUES (?, ?, ?, ?, ?, ?)", row)
        notice(session, number, "policies", now)
    return stored


def policies(session: Session, scope: Scope, revision: int | None) -> PolicyRevision | None:
    """Give one revision, or the newest."""
    which, values = ("", ()) if revision is None else ("AND revision = ?", (revision,))
    row = session.db.execute(
        f"SELECT revision, programs, sources, author, created_at FROM policies WHERE scope = ? {which} "
        "ORDER BY revision DESC LIMIT 1",
        (session.find(scope), *values),
    ).fetchone()
    return None if row is None else _revision(row)


def policy_history(session: Session, scope: Scope, limit: int) -> tuple[PolicyRevision, ...]:
    """Give the revisions, newest first, without programs."""
    rows = session.db.execute(
        "SELECT revision, '{}', sources, author, created_at FROM policies WHERE scope = ? "
        "ORDER BY revision DESC LIMIT ?",
        (session.find(scope), limit),
    )
    return tuple(map(_revision, rows))


def _revision(row: Sequence[Any]) -> PolicyRevision:
    revision, programs, sources, author, created_at = row
    return PolicyRevision(revision, json.loads(programs), json.loads(sources), author, created_at)


def register(session: Session, scope: Scope, endpoint: Endpoint, ttl: float, now: float) -> None:
    """Announce an endpoint or renew its lease; watchers hear of it when it is new, changed or back."""
    number, text = session.scope(scope), canonical(endpoint.to_dict()).decode()
    key = (number, endpoint.service, endpoint.url)
    with transaction(session.db):
        session.db.execute("DELETE FROM leases WHERE until <= ?", (now,))
        row = session.db.execute(
            "SELECT endpoint FROM leases WHERE scope = ? AND service = ? AND url = ?", key
        ).fetchone()
        session.db.execute(
            "INSERT INTO leases (scope, service, url, endpoint, until) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (scope, service, url) DO UPDATE SET endpoint = excluded.endpoint, until = excluded.until",
            (*key, text, now + ttl),
        )
        if row is None or row[0] != text:
            notice(session, number, "services", now)


def deregister(session: Session, scope: Scope, endpoint: Endpoint, now: float) -> None:
    """Take an endpoint away."""
    number = session.scope(scope)
    with transaction(session.db):
        key = (number, endpoint.service, endpoint.url)
        if session.db.execute("DELETE FROM leases WHERE scope = ? AND service = ? AND url = ?", key).rowcount:
            notice(session, number, "services", now)


def endpoints(session: Session, scope: Scope, now: float) -> tuple[Endpoint, ...]:
    """Give the endpoints whose lease runs, in order of registration."""
    rows = session.db.execute(
        "SELECT endpoint FROM leases WHERE scope = ? AND until > ? ORDER BY number", (session.find(scope), now)
    )
    return tuple(Endpoint.from_dict(json.loads(text)) for (text,) in rows)


def put_key(session: Session, scope: Scope, key: SigningKey, now: float) -> None:
    """Add a key as the newest."""
    number = session.scope(scope)
    with transaction(session.db):
        session.db.execute(
            "INSERT OR REPLACE INTO keys (scope, kid, secret) VALUES (?, ?, ?)", (number, key.kid, key.secret)
        )
        notice(session, number, "keys", now)


def keys(session: Session, scope: Scope) -> tuple[SigningKey, ...]:
    """Give the keys, newest first."""
    rows = session.db.execute(
        "SELECT kid, secret FROM keys WHERE scope = ? ORDER BY number DESC", (session.find(scope),)
    )
    return tuple(SigningKey(kid, secret) for kid, secret in rows)
