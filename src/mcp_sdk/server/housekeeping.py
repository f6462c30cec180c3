"""Erases what models no longer keep: one replica does it for all, in every scope with a model that has a retention."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from mcp_sdk.context import MESH, Scope
from mcp_sdk.exceptions import MeshError, RevisionConflict
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import Record
from mcp_sdk.server.access.callers import Caller
from mcp_sdk.server.auditor import Auditor
from mcp_sdk.server.hub import Hub
from mcp_sdk.server.leases import Lease
from mcp_sdk.server.shelf import Shelf
from mcp_sdk.snapshot import canonical

__all__ = ["RETAINING", "housekeep", "remember", "retain"]

logger = logging.getLogger("mcp_sdk.server")
RETAINING = "retaining"
"""The kind of the records, in ``MESH``, of the scopes in which a model has a retention."""
HOUSEKEEPER = Caller("housekeeping", key="replica")


async def housekeep(hub: Hub, interval: float) -> None:
    """Go on until cancelled, every ``interval`` seconds; what cannot be done now is done the next time."""
    lease = Lease(hub.store, "housekeeping", secrets.token_hex(8), ttl=max(3 * interval, 30.0))
    auditor = Auditor(hub.store)
    while True:
        await asyncio.sleep(interval * (0.9 + secrets.randbelow(200) / 1000))
        try:
            if await lease.take():
                await retain(hub, lease, auditor)
        except MeshError as error:
            logger.info("housekeeping waits for the store: %s", error)
        except Exception:  # it is done again
            logger.exception("housekeeping failed")


async def remember(shelf: Shelf, scope: Scope, models: Iterable[BusinessModel]) -> None:
    """Have a scope looked after by whichever replica does that, where a model of it has a retention."""
    if all(model.retention is None for model in models):
        return
    record = Record(RETAINING, canonical(list(scope)).decode(), {"scope": list(scope)})
    if record.name not in {each.name for each in await shelf.records(MESH, RETAINING)}:
        try:
            await shelf.put(MESH, record)
        except RevisionConflict:
            return  # another replica was first


async def retain(hub: Hub, lease: Lease, auditor: Auditor) -> None:
    """Erase entities of models with ``retention`` that have not changed for as long, while the lease is held."""
    recorded = [Scope(*record.content["scope"]) for record in await hub.store.records(MESH, RETAINING)]
    for scope in dict.fromkeys([*recorded, *(live.scope for live in hub.scopes)]):
        for model in await hub.store.models(scope):
            if model.retention is not None and lease.held:
                await _erase(hub, auditor, scope, model.name, model.retention)


async def _erase(hub: Hub, auditor: Auditor, scope: Scope, model: str, retention: float) -> None:
    before = datetime.now(UTC) - timedelta(seconds=retention)
    erased = await hub.store.retain(scope, model, before)
    if erased:
        logger.info("%d of %s in %s were kept long enough, and are erased", erased, model, scope)
        said = {"erased": erased, "unchanged_since": before.isoformat()}
        await auditor.note(HOUSEKEEPER, "retention.erase", scope=scope, target=model, after=said)
