"""Drafts of everything that is no transition: models, policies, endpoints, keys, records, the audit log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mcp_sdk.context import MESH, Scope
from mcp_sdk.exceptions import RevisionConflict
from mcp_sdk.merging import unmoved
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import Record, SigningKey
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk_nats.messages import Note
from mcp_sdk_nats.replica import Draft
from mcp_sdk_nats.view import View

__all__ = ["announced", "declared", "deregistered", "entered", "keyed", "recorded", "revised", "unrecorded"]


def declared(
    view: View, now: float, scope: Scope, models: Sequence[BusinessModel], held: Sequence[BusinessModel] | None
) -> Draft[bool]:
    """Declare the models that are new or changed, unless one of them is no longer as ``held``."""
    known = view.shelf(scope).models
    fresh = {model.name: replace(model, python_type=None) for model in models}
    changed = {name: model.to_dict() for name, model in fresh.items() if known.get(name) != model}
    if not unmoved(changed, known, held):
        return Draft(None, result=False)
    return Draft(Note(now, "models", scope, {"models": changed}) if changed else None, result=True)


def revised(
    view: View, now: float, scope: Scope, policies: PolicyRevision, where: Mapping[str, Any]
) -> Draft[PolicyRevision]:
    """Store the next revision, whose body is ``where``; raises ``RevisionConflict``."""
    actual = len(view.shelf(scope).policies)
    if policies.revision != actual:
        raise RevisionConflict("policies", expected=policies.revision, actual=actual)
    created = policies.created_at or datetime.fromtimestamp(now, UTC).isoformat()
    stored = replace(policies, revision=actual + 1, created_at=created)
    facts = {"revision": stored.revision, "author": stored.author, "created_at": created, "texts": where}
    return Draft(Note(now, "policies", scope, facts), stored)


def announced(view: View, now: float, scope: Scope, lease: tuple[Endpoint, float], gone: Any) -> Draft[int]:
    """Announce an endpoint that is new, changed or back; gives the lease's number, 0 where it was announced now."""
    endpoint, ttl = lease
    before = view.shelf(scope).leases.get((endpoint.service, endpoint.url))
    if before is not None and before.until > now and (before.endpoint, before.ttl) == (endpoint, ttl):
        return Draft(None, before.number)
    facts = {"endpoint": endpoint.to_dict(), "ttl": ttl, "gone": gone}
    return Draft(Note(now, "services", scope, facts), 0)


def deregistered(view: View, now: float, scope: Scope, endpoint: Endpoint) -> Draft[None]:
    """Take an endpoint away that is there."""
    key = (endpoint.service, endpoint.url)
    there = key in view.shelf(scope).leases
    return Draft(Note(now, "services", scope, {"gone": [key]}) if there else None, None)


def keyed(now: float, scope: Scope, key: SigningKey) -> Draft[None]:
    """Add a key as the newest."""
    return Draft(Note(now, "keys", scope, {"kid": key.kid, "secret": key.secret.hex()}), None)


def recorded(view: View, now: float, scope: Scope, record: Record) -> Draft[Record]:
    """Write a record; raises ``RevisionConflict``."""
    _compare(view, scope, record)
    stored = replace(record, revision=record.revision + 1)
    return Draft(_record(now, scope, stored, stored.revision), stored)


def unrecorded(view: View, now: float, scope: Scope, record: Record) -> Draft[None]:
    """Delete a record that is there; raises ``RevisionConflict``."""
    if (record.kind, record.name) not in view.shelf(scope).records:
        return Draft(None, None)
    _compare(view, scope, record)
    return Draft(_record(now, scope, Record(record.kind, record.name), 0), None)


def _record(now: float, scope: Scope, record: Record, revision: int) -> Note:
    facts = {"kind": record.kind, "name": record.name, "content": dict(record.content), "revision": revision}
    return Note(now, "records", scope, facts)


def _compare(view: View, scope: Scope, record: Record) -> None:
    known = view.shelf(scope).records.get((record.kind, record.name))
    current = known.revision if known else 0
    if record.revision != current:
        raise RevisionConflict(f"{record.kind} {record.name!r}", expected=record.revision, actual=current)


def entered(view: View, now: float, number: int, entry: str) -> Draft[None]:
    """Add an entry to the audit log; raises ``RevisionConflict``."""
    last = len(view.audits)
    if number != last + 1:
        raise RevisionConflict("audit", expected=number - 1, actual=last)
    return Draft(Note(now, "audit", MESH, {"number": number, "entry": entry}), None)
