"""Erases what models no longer keep: one replica does it for all, and for every scope that it knows."""

from __future__ import annotations

import asyncio
import logging
import secrets
from datetime import UTC, datetime, timedelta

from mcp_sdk.exceptions import MeshError
from mcp_sdk.server.hub import Hub
from mcp_sdk.server.leases import Lease

__all__ = ["housekeep", "retain"]

logger = logging.getLogger("mcp_sdk.server")


async def housekeep(hub: Hub, interval: float) -> None:
    """Go on until cancelled, every ``interval`` seconds; what cannot be done now is done the next time."""
    lease = Lease(hub.store, "housekeeping", secrets.token_hex(8), ttl=max(3 * interval, 30.0))
    while True:
        await asyncio.sleep(interval * (0.9 + secrets.randbelow(200) / 1000))
        try:
            if await lease.take():
                await retain(hub, lease)
        except MeshError as error:
            logger.info("housekeeping waits for the store: %s", error)
        except Exception:  # it is done again
            logger.exception("housekeeping failed")


async def retain(hub: Hub, lease: Lease) -> None:
    """Erase entities of models with ``retention`` that have not changed for as long, while the lease is held."""
    for live in hub.scopes:
        for model in await hub.store.models(live.scope):
            if model.retention is not None and lease.held:
                before = datetime.now(UTC) - timedelta(seconds=model.retention)
                erased = await hub.store.retain(live.scope, model.name, before)
                if erased:
                    logger.info("%d of %s in %s were kept long enough, and are erased", erased, model.name, live.scope)
