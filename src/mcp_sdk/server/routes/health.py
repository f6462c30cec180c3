"""``/healthz`` and ``/readyz``: whether the process lives, and whether to send it work."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from mcp_sdk.server.desk import Here
from mcp_sdk.server.faults import Fault

__all__ = ["router"]

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, Any]:
    """Tell that the process lives."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "the store has not been heard for too long"}})
async def readyz(desk: Here) -> dict[str, Any]:
    """Tell that this replica hears its store."""
    if not desk.hub.fresh:
        raise Fault(503, "stale", f"the store has not been heard for {desk.hub.silence:.0f} s")
    return {"status": "ready", "silence": round(desk.hub.silence, 3)}
