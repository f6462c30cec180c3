"""``/v1/about`` and ``/v1/probe``: what ``mcpctl check`` asks a server about itself."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version

from pydantic import BaseModel, Field

from mcp_sdk.control.session import probed
from mcp_sdk.exceptions import StoreError
from mcp_sdk.protocol.frames import PROTOCOL
from mcp_sdk.server import bodies
from mcp_sdk.server.access.callers import Permission
from mcp_sdk.server.desk import Asker, Here
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.live import signer_of

__all__ = ["router"]

router = bodies.router("/v1", tags=["health"])


class About(BaseModel):
    """Who a server is, and whom it takes the caller for."""

    version: str
    protocol: list[int] = Field(description="the versions of the stream's protocol that it speaks")
    time: datetime
    mesh: str
    key: str = Field(description="the public key of its snapshots, as hex")
    caller: str
    roles: list[str]


class Probed(BaseModel):
    """How writing a record to the store and removing it went; ``written`` is in seconds."""

    version: str
    protocol: list[int]
    time: datetime
    key: str
    written: float


@router.get("/about")
async def about(desk: Here, caller: Asker) -> About:
    """Tell version, protocol, clock and key of this server, and the caller's name and roles."""
    return About(
        version=version("mcp-sdk"),
        protocol=[PROTOCOL],
        time=datetime.now(UTC),
        mesh=desk.settings.mesh,
        key=(await signer_of(desk.store)).public.hex(),
        caller=caller.name,
        roles=sorted({grant.role for grant in caller.grants}),
    )


@router.post("/probe")
async def probe(desk: Here, caller: Asker) -> Probed:
    """Write a record to the store and take it away again; where that fails, an operator is told what the store said.

    It is of no scope: whoever operates somewhere may.
    """
    caller.require_some(Permission.OPERATE)
    try:
        written = await probed(desk.store)
        key = (await signer_of(desk.store)).public.hex()
    except StoreError as error:
        raise Fault(503, "store-unavailable", str(error.__cause__ or error), headers=(("retry-after", "1"),)) from error
    return Probed(version=version("mcp-sdk"), protocol=[PROTOCOL], time=datetime.now(UTC), key=key, written=written)
