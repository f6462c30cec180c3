"""Statements about models, policies, endpoints, keys, records and the audit log.

All that writes here locks ``head`` first: it is rare, and then nothing comes in between. It never locks an entity.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mcp_sdk.context import MESH, Scope
from mcp_sdk.exceptions import RevisionConflict
from mcp_sdk.merging import unmoved
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import Record, SigningKey
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import PolicyRevision, canonical
from mcp_sdk_postgres.connections import transaction
from mcp_sdk_postgres.rows import decode, encode
from mcp_sdk_postgres.session import Session

__all__ = [
    "append_audit",
    "audit",
    "delete_record",
    "deregister",
    "endpoints",
    "keys",
    "models",
    "policies",
    "policy_history",
    "put_key",
    "put_models",
    "put_policies",
    "put_record",
    "records",
    "register",
]

_PUT_MODEL = """
INSERT INTO {0}.models VALUES (%s, %s, %s) ON CONFLICT (scope, name) DO UPDATE SET declaration = excluded.declaration
"""
_RENEW = """
UPDATE {0}.leases SET until = clock_timestamp() + make_interval(secs => %s)
WHERE scope = %s AND service = %s AND url = %s AND endpoint = %s AND until > clock_timestamp()
"""
_LEASE = """
INSERT INTO {0}.leases (until, scope, service, url, endpoint)
VALUES (clock_timestamp() + make_interval(secs => %s), %s, %s, %s, %s)
ON CONFLICT (scope, service, url) DO UPDATE SET endpoint = excluded.endpoint, until = excluded.until
"""
_OF_RECORD = "scope = %s AND kind = %s AND name = %s"
_PUT_RECORD = """
INSERT INTO {0}.records VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (scope, kind, name) DO UPDATE SET content = excluded.content, revision = excluded.revision
"""


@asynccontextmanager
async def _alone(session: Session) -> AsyncIterator[datetime]:
    """Be the only writer during the block; gives the server's time."""
    async with transaction(session.connection):
        cursor = await session.execute("SELECT clock_timestamp() FROM {0}.head FOR UPDATE")
        (now,) = await cursor.fetchone() or (datetime.now(UTC),)
        yield now


async def put_models(
    session: Session, scope: Scope, declared: Sequence[BusinessModel], held: Sequence[BusinessModel] | None
) -> bool:
    """Declare models; watchers hear of it when one of them is new or changed. See ``Store.put_models``."""
    number = await session.scope(scope)
    fresh = {encode(model.name): canonical(model.to_dict()).decode() for model in declared}
    if not await _changed(session, number, fresh):  # the usual start of a service
        return True
    async with _alone(session):
        changed = await _changed(session, number, fresh)
        known = {model.name: model for model in await models(session, scope)}
        if not unmoved([decode(name) for _, name, _ in changed], known, held):
            return False
        for row in changed:
            await session.execute(_PUT_MODEL, row)
        if changed:
            await session.notice(number, "models")
    return True


async def _changed(session: Session, number: int, fresh: Mapping[str, str]) -> list[tuple[int, str, str]]:
    cursor = await session.execute("SELECT name, declaration FROM {0}.models WHERE scope = %s", (number,))
    stored = dict(await cursor.fetchall())
    return [(number, name, text) for name, text in fresh.items() if stored.get(name) != text]


async def models(session: Session, scope: Scope) -> tuple[BusinessModel, ...]:
    """Give the declared models, by name."""
    values = (await session.find(scope),)
    cursor = await session.execute("SELECT declaration FROM {0}.models WHERE scope = %s ORDER BY name", values)
    return tuple(BusinessModel.from_dict(json.loads(text)) for (text,) in await cursor.fetchall())


async def put_policies(session: Session, scope: Scope, policies: PolicyRevision) -> PolicyRevision:
    """Store the revision after ``policies.revision``; raises ``RevisionConflict``."""
    number = await session.scope(scope)
    async with _alone(session) as now:
        cursor = await session.execute("SELECT max(revision) FROM {0}.policies WHERE scope = %s", (number,))
        (last,) = await cursor.fetchone() or (0,)
        actual = last or 0
        if actual != policies.revision:
            raise RevisionConflict("policies", expected=policies.revision, actual=actual)
        created = policies.created_at or now.astimezone(UTC).isoformat()
        stored = replace(policies, revision=policies.revision + 1, created_at=created)
        texts = (canonical(dict(stored.programs)).decode(), canonical(dict(stored.sources)).decode())
        row = (number, stored.revision, *texts, encode(stored.author), encode(stored.created_at))
        await session.execute("INSERT INTO {0}.policies VALUES (%s, %s, %s, %s, %s, %s)", row)
        await session.notice(number, "policies")
    return stored


async def policies(session: Session, scope: Scope, revision: int | None) -> PolicyRevision | None:
    """Give one revision, or the newest."""
    which, values = ("", ()) if revision is None else ("AND revision = %s", (revision,))
    cursor = await session.execute(
        f"SELECT revision, programs, sources, author, created_at FROM {{0}}.policies WHERE scope = %s {which} "
        "ORDER BY revision DESC LIMIT 1",
        (await session.find(scope), *values),
    )
    row = await cursor.fetchone()
    return None if row is None else _revision(row)


async def policy_history(session: Session, scope: Scope, limit: int) -> tuple[PolicyRevision, ...]:
    """Give the revisions, newest first, without programs."""
    cursor = await session.execute(
        "SELECT revision, '{{}}', sources, author, created_at FROM {0}.policies WHERE scope = %s "
        "ORDER BY revision DESC LIMIT %s",
        (await session.find(scope), limit),
    )
    return tuple(map(_revision, await cursor.fetchall()))


def _revision(row: Sequence[Any]) -> PolicyRevision:
    revision, programs, sources, author, created_at = row
    return PolicyRevision(revision, json.loads(programs), json.loads(sources), decode(author), decode(created_at))


async def register(session: Session, scope: Scope, endpoint: Endpoint, ttl: float) -> None:
    """Announce an endpoint or renew its lease; watchers hear of it when it is new, changed or back."""
    number, text = await session.scope(scope), canonical(endpoint.to_dict()).decode()
    row = (ttl, number, encode(endpoint.service), encode(endpoint.url), text)
    if (await session.execute(_RENEW, row)).rowcount:
        return
    async with _alone(session):
        await session.execute("DELETE FROM {0}.leases WHERE until <= clock_timestamp()")
        await session.execute(_LEASE, row)
        await session.notice(number, "services")


async def deregister(session: Session, scope: Scope, endpoint: Endpoint) -> None:
    """Take an endpoint away."""
    number = await session.scope(scope)
    key = (number, encode(endpoint.service), encode(endpoint.url))
    async with _alone(session):
        gone = await session.execute("DELETE FROM {0}.leases WHERE scope = %s AND service = %s AND url = %s", key)
        if gone.rowcount:
            await session.notice(number, "services")


async def endpoints(session: Session, scope: Scope) -> tuple[Endpoint, ...]:
    """Give the endpoints whose lease runs by the server's clock, in order of registration."""
    cursor = await session.execute(
        "SELECT endpoint FROM {0}.leases WHERE scope = %s AND until > clock_timestamp() ORDER BY number",
        (await session.find(scope),),
    )
    return tuple(Endpoint.from_dict(json.loads(text)) for (text,) in await cursor.fetchall())


async def put_key(session: Session, scope: Scope, key: SigningKey) -> None:
    """Add a key as the newest."""
    number, kid = await session.scope(scope), encode(key.kid)
    async with _alone(session):
        await session.execute("DELETE FROM {0}.keys WHERE scope = %s AND kid = %s", (number, kid))
        await session.execute(
            "INSERT INTO {0}.keys (scope, kid, secret) VALUES (%s, %s, %s)", (number, kid, key.secret)
        )
        await session.notice(number, "keys")


async def keys(session: Session, scope: Scope) -> tuple[SigningKey, ...]:
    """Give the keys, newest first."""
    cursor = await session.execute(
        "SELECT kid, secret FROM {0}.keys WHERE scope = %s ORDER BY number DESC", (await session.find(scope),)
    )
    return tuple(SigningKey(decode(kid), bytes(secret)) for kid, secret in await cursor.fetchall())


async def put_record(session: Session, scope: Scope, record: Record) -> Record:
    """Write the revision after ``record.revision``; raises ``RevisionConflict``."""
    number, text = await session.scope(scope), canonical(dict(record.content)).decode()
    stored = Record(record.kind, record.name, json.loads(text), record.revision + 1)
    async with _alone(session):
        await _compare(session, number, record)
        key = (number, encode(record.kind), encode(record.name))
        await session.execute(_PUT_RECORD, (*key, text, stored.revision))
        await session.notice(number, "records", (key[1], None))
    return stored


async def delete_record(session: Session, scope: Scope, record: Record) -> None:
    """Delete a record, if it is there; raises ``RevisionConflict``."""
    number = await session.scope(scope)
    async with _alone(session):
        if await _stored_revision(session, number, record):
            await _compare(session, number, record)
            key = (number, encode(record.kind), encode(record.name))
            await session.execute(f"DELETE FROM {{0}}.records WHERE {_OF_RECORD}", key)
            await session.notice(number, "records", (key[1], None))


async def records(session: Session, scope: Scope, kind: str) -> tuple[Record, ...]:
    """Give the records of a kind, by name."""
    cursor = await session.execute(
        "SELECT name, content, revision FROM {0}.records WHERE scope = %s AND kind = %s ORDER BY name",
        (await session.find(scope), encode(kind)),
    )
    rows = await cursor.fetchall()
    return tuple(Record(kind, decode(name), json.loads(content), revision) for name, content, revision in rows)


async def _compare(session: Session, number: int, record: Record) -> None:
    current = await _stored_revision(session, number, record)
    if record.revision != current:
        raise RevisionConflict(f"{record.kind} {record.name!r}", expected=record.revision, actual=current)


async def _stored_revision(session: Session, number: int, record: Record) -> int:
    key = (number, encode(record.kind), encode(record.name))
    row = await (await session.execute(f"SELECT revision FROM {{0}}.records WHERE {_OF_RECORD}", key)).fetchone()
    return int(row[0]) if row else 0


async def append_audit(session: Session, number: int, entry: str) -> None:
    """Add the entry of a number; raises ``RevisionConflict`` when it is not the next."""
    scope = await session.scope(MESH)
    async with _alone(session):
        (last,) = await (await session.execute("SELECT max(number) FROM {0}.audit")).fetchone() or (0,)
        if number != (last or 0) + 1:
            raise RevisionConflict("audit", expected=number - 1, actual=last or 0)
        await session.execute("INSERT INTO {0}.audit VALUES (%s, %s)", (number, encode(entry)))
        await session.notice(scope, "audit")


async def audit(session: Session, after: int, limit: int) -> tuple[str, ...]:
    """Give the entries after a number, in order."""
    cursor = await session.execute(
        "SELECT entry FROM {0}.audit WHERE number > %s ORDER BY number LIMIT %s", (after, limit)
    )
    return tuple(decode(entry) for (entry,) in await cursor.fetchall())
