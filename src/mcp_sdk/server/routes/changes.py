"""``/v1/changes`` and ``/v1/protections``: policy changes that wait for a second approver."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, Field

from mcp_sdk.context import Scope
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import Record
from mcp_sdk.protocol.plain import each, plain_revision
from mcp_sdk.rollout import Plan
from mcp_sdk.server import bodies, publishing, rolling
from mcp_sdk.server.access.callers import Caller, Permission
from mcp_sdk.server.desk import Asker, At, Desk, Here
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.routes.policies import Waiting

__all__ = ["router"]

router = bodies.router("/v1", tags=["changes"])
Change = Annotated[str, Path(pattern="^c-[0-9a-f]{10}$")]
Kind = Literal["TrafficPolicy", "AccessPolicy", "QosPolicy", "RateLimitPolicy"]


class Changes(BaseModel):
    """Changes that wait."""

    changes: list[dict[str, Any]]


class Protections(BaseModel):
    """Kinds of policy that two people change together."""

    kinds: list[str] = Field(max_length=100)


@router.get("/changes")
async def list_changes(desk: Here, caller: Asker, scope: At) -> Changes:
    """Give the changes that wait for an approval."""
    caller.require(Permission.READ, scope)
    found = [
        publishing.Pending(one.name, one.content, one) for one in await desk.store.records(scope, publishing.CHANGE)
    ]
    return Changes(changes=[one.shown() for one in found if not one.expired])


@router.post("/changes/{change}/approve", responses={404: {"description": "no such change"}})
async def approve(desk: Here, caller: Asker, scope: At, change: Change) -> dict[str, Any]:
    """Put a change in force that somebody else made, or begin its rollout, or have one that is held go on.

    The answer then holds ``rollout``.

    The answer to a lifted protection holds ``lifted``.
    """
    caller.require(Permission.READ, scope)
    found = await publishing.pending(desk, scope, change)
    publishing.require_another(caller, found)
    if found.lifts:
        return await _lift(desk, caller, scope, found)
    if found.rollout:
        return {"rollout": (await rolling.approve(desk, caller, scope, found)).to_dict()}
    content = found.content
    models = each(BusinessModel.from_dict, content.get("models", ()))
    checked = await publishing.checked(desk, caller, scope, content["sources"], content["replaces"], models)
    wanted = replace(checked, author=f"{content['author']}, approved by {caller.name}")
    if "plan" in content:
        begun = await rolling.begin(desk, caller, scope, wanted, Plan.from_dict(content["plan"]), approved=caller.name)
        said = {"rollout": begun.to_dict()}
    else:
        said = plain_revision(await publishing.publish(desk, caller, scope, wanted))
    await publishing.dismiss(desk, scope, found)
    return said


async def _lift(desk: Desk, caller: Caller, scope: Scope, lift: publishing.Pending) -> dict[str, Any]:
    caller.require(Permission.ADMIN, scope)
    held = await _protection(desk, scope, lift.lifts)
    before = {**held.content, "asked_by": lift.content["author"]}
    async with desk.auditor.change(caller, "policies.unprotect", scope=scope, target=lift.lifts, before=before):
        await desk.shelf.delete(scope, held)
    await publishing.dismiss(desk, scope, lift)
    return {"lifted": lift.lifts}


async def _protection(desk: Desk, scope: Scope, kind: str) -> Record:
    found = await desk.shelf.record(scope, publishing.PROTECTION, kind)
    if found is None:
        raise Fault(404, "not-protected", f"{kind} is not protected in {scope.namespace}/{scope.environment}")
    return found


@router.delete("/changes/{change}", status_code=204, responses={404: {"description": "no such change"}})
async def reject(desk: Here, caller: Asker, scope: At, change: Change) -> None:
    """Take a change away, as its author or another who may apply; a rollout that is held is stopped by it."""
    caller.require(Permission.APPLY, scope)
    found = await publishing.pending(desk, scope, change)
    async with desk.auditor.change(caller, "policies.reject", scope=scope, target=change):
        if found.rollout:
            await rolling.reject(desk, caller, scope, found)
        await publishing.dismiss(desk, scope, found)


@router.get("/protections")
async def list_protections(desk: Here, caller: Asker, scope: At) -> Protections:
    """Give the kinds of policy that need a second approver."""
    caller.require(Permission.READ, scope)
    return Protections(kinds=[one.name for one in await desk.store.records(scope, publishing.PROTECTION)])


@router.put("/protections/{kind}", status_code=204)
async def protect(desk: Here, caller: Asker, scope: At, kind: Kind) -> None:
    """Have changes of a kind of policy need a second approver."""
    caller.require(Permission.ADMIN, scope)
    if await desk.shelf.record(scope, publishing.PROTECTION, kind) is None:
        async with desk.auditor.change(caller, "policies.protect", scope=scope, target=kind) as change:
            await desk.shelf.put(scope, Record(publishing.PROTECTION, kind, {"approvers": 1}))
            change.after = {"approvers": 1}


@router.delete("/protections/{kind}", status_code=202, responses={404: {"description": "not protected"}})
async def lift(desk: Here, caller: Asker, scope: At, kind: Kind) -> Waiting:
    """Have changes of a kind need no second approver any more, once somebody else approved that."""
    caller.require(Permission.ADMIN, scope)
    await _protection(desk, scope, kind)
    return Waiting.of(await publishing.propose_lift(desk, caller, scope, kind), scope)
