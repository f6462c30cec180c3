"""``/healthz``, ``/readyz`` and ``/metrics``: whether the process lives, whether to send it work, what it counted."""

from __future__ import annotations

from typing import Any

from fastapi.responses import PlainTextResponse, Response

from mcp_sdk.server import bodies
from mcp_sdk.server.access.callers import Permission
from mcp_sdk.server.desk import Asker, Here
from mcp_sdk.server.faults import Fault

__all__ = ["router"]

router = bodies.router(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, Any]:
    """Tell that the process lives."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(desk: Here) -> dict[str, Any]:
    """Tell that this replica hears its store, can load policies of it, and is not about to stop.

    ``not_loaded`` says of which scopes it cannot: of others it goes on deciding.
    """
    if desk.exits.leaving():
        raise Fault(503, "leaving", "this replica is about to stop")
    if desk.hub.stale:
        raise Fault(503, "stale", desk.hub.stale)
    whys = [live.unusable(desk.settings.staleness) for live in desk.hub.scopes]
    if whys and all(whys):
        raise Fault(503, "not-loaded", whys[0])
    return {"status": "ready", "silence": round(desk.hub.silence, 3), "not_loaded": list(filter(None, whys))}


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(desk: Here, caller: Asker) -> Response:
    """Give the metrics of this replica, as Prometheus reads them. It needs a role in every namespace."""
    caller.require(Permission.READ)
    return Response(desk.metrics.text(), headers={"content-type": desk.metrics.content_type})
