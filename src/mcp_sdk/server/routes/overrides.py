"""``/v1/overrides``: services that are to refuse nothing for a while (break-glass)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from mcp_sdk.context import Scope
from mcp_sdk.glass import LONGEST
from mcp_sdk.ports import Record
from mcp_sdk.server import bodies
from mcp_sdk.server.access.callers import Permission
from mcp_sdk.server.commands import command
from mcp_sdk.server.desk import Asker, At, Desk, Here
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.live import OVERRIDE
from mcp_sdk.snapshot import Override

__all__ = ["router"]

router = bodies.router("/v1/overrides", tags=["overrides"])
Name = Annotated[str, Query(min_length=1, max_length=200, description="the service")]


class Wanted(BaseModel):
    """For how many seconds a service is to observe only, and why."""

    service: str = Field(min_length=1, max_length=200)
    ttl: float = Field(gt=0, le=LONGEST, description="seconds, a day at most")
    reason: str = Field(min_length=3, max_length=500)


class Overrides(BaseModel):
    """What is overridden, by service."""

    overrides: dict[str, dict[str, Any]]


@router.post("", status_code=201)
async def break_glass(desk: Here, caller: Asker, scope: At, wanted: Wanted) -> dict[str, Any]:
    """Put a service into observe, from the next second on and until the time is over."""
    caller.require(Permission.OPERATE, scope, wanted.service)
    until = datetime.now(UTC) + timedelta(seconds=wanted.ttl)
    said = Override("observe", until, wanted.reason).to_dict() | {"by": caller.name}
    current = await _held(desk, scope, wanted.service)
    async with desk.auditor.change(
        caller, "override.set", scope=scope, target=wanted.service, before=dict(current.content) if current else None
    ) as change:
        await desk.store.put_record(scope, Record(OVERRIDE, wanted.service, said, current.revision if current else 0))
        change.after = said
    await (await desk.hub.scope(scope)).learn_policies()
    return said


@router.delete("", status_code=204, responses={404: {"description": "no override of that service"}})
async def end_override(desk: Here, caller: Asker, scope: At, service: Name) -> None:
    """Have a service enforce again, at once."""
    caller.require(Permission.OPERATE, scope, service)
    current = await _held(desk, scope, service)
    if current is None:
        see = command("mcpctl break-glass --list", scope)
        where = f"{scope.namespace}/{scope.environment}"
        raise Fault(404, "no-override", f"no glass is broken for {service!r:.200} in {where}. See where it is: {see}")
    before = dict(current.content)
    async with desk.auditor.change(caller, "override.end", scope=scope, target=service, before=before):
        await desk.store.delete_record(scope, current)
    await (await desk.hub.scope(scope)).learn_policies()


@router.get("")
async def list_overrides(desk: Here, caller: Asker, scope: At) -> Overrides:
    """Give what is overridden, also what is over."""
    caller.require(Permission.READ, scope)
    return Overrides(overrides={each.name: dict(each.content) for each in await desk.store.records(scope, OVERRIDE)})


async def _held(desk: Desk, scope: Scope, service: str) -> Record | None:
    return next((each for each in await desk.store.records(scope, OVERRIDE) if each.name == service), None)
