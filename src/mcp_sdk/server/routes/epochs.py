"""``/v1/epoch``: opened by an operator after a restore from a backup, so that clients accept an older revision."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from mcp_sdk.context import MESH
from mcp_sdk.ports import Record
from mcp_sdk.server import bodies
from mcp_sdk.server.access.callers import Permission
from mcp_sdk.server.desk import Asker, Here
from mcp_sdk.server.live import EPOCH, epoch_of

__all__ = ["router"]

router = bodies.router("/v1/epoch", tags=["epoch"])


class Opening(BaseModel):
    """The epoch that is to be left, as the caller saw it, and why."""

    leaves: int = Field(ge=1)
    reason: str = Field(min_length=3, max_length=500)


@router.get("")
async def get_epoch(desk: Here, caller: Asker) -> dict[str, Any]:
    """Give the epoch that the mesh is in."""
    caller.require(Permission.READ)
    return {"epoch": await epoch_of(desk.store)}


@router.post("", status_code=201, responses={409: {"description": "another epoch is open"}})
async def open_epoch(desk: Here, caller: Asker, opening: Opening) -> dict[str, Any]:
    """Open the next epoch: every client then accepts what is in force here, older than what it has or not."""
    caller.require(Permission.ADMIN)
    said = {
        "epoch": opening.leaves + 1,
        "by": caller.name,
        "reason": opening.reason,
        "at": datetime.now(UTC).isoformat(),
    }
    async with desk.auditor.change(caller, "epoch.open", before={"epoch": opening.leaves}) as change:
        await desk.store.put_record(MESH, Record(EPOCH, "current", said, opening.leaves - 1))
        change.after = said
    for live in desk.hub.scopes:
        await live.learn_policies()
    return said
