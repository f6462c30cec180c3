"""``/v1/policies``: the policy set of a scope, its revisions, and what is in force."""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from mcp_sdk.context import Scope
from mcp_sdk.models import BusinessModel
from mcp_sdk.protocol.plain import each, plain_revision
from mcp_sdk.server import bodies, publishing
from mcp_sdk.server.access.callers import Permission
from mcp_sdk.server.commands import command
from mcp_sdk.server.desk import Asker, At, Here
from mcp_sdk.server.faults import Fault

__all__ = ["router"]

router = bodies.router("/v1", tags=["policies"])


class PolicySet(BaseModel):
    """Policy files, by name. They replace the whole set of the scope."""

    sources: dict[str, str]
    replaces: int = Field(ge=0, description="the revision that these files are to replace; 0 for the first")
    models: list[dict[str, Any]] = Field(default=[], max_length=1000, description="declared with them, before them")
    dry_run: bool = Field(default=False, description="check everything, and change nothing")


class Revision(BaseModel):
    """One revision of the policy set."""

    revision: int
    author: str
    created_at: str
    sources: dict[str, str]


class Waiting(BaseModel):
    """What waits for a second approver until ``expires_at``, in seconds since the epoch."""

    change: str
    detail: str
    expires_at: float

    @classmethod
    def of(cls, change: publishing.Pending, scope: Scope) -> Self:
        """Say that a change waits, and who may do what about it."""
        kinds, verb = ", ".join(change.content["kinds"]), command(f"mcpctl approve {change.id}", scope)
        if change.lifts:
            detail = f"another admin has to approve that {kinds} needs no second person here: {verb}"
        else:
            detail = f"{kinds} needs a second approver here. Somebody else does it with: {verb}"
        return cls(change=change.id, detail=detail, expires_at=change.content["expires_at"])


class Revisions(BaseModel):
    """Revisions, newest first."""

    revisions: list[Revision]


@router.post(
    "/policies",
    responses={
        202: {"model": Waiting, "description": "somebody else has to approve it"},
        409: {"description": "somebody else published first"},
    },
)
async def apply(desk: Here, caller: Asker, scope: At, policies: PolicySet, response: Response) -> Revision | Waiting:
    """Compile policy files and put them in force, all or nothing."""
    models = each(BusinessModel.from_dict, policies.models)
    wanted = await publishing.checked(desk, caller, scope, policies.sources, policies.replaces, models)
    if policies.dry_run:
        return Revision(**plain_revision(wanted))
    kinds = await publishing.waiting(desk, scope, wanted)
    if not kinds:
        return Revision(**plain_revision(await publishing.publish(desk, caller, scope, wanted)))
    response.status_code = 202
    return Waiting.of(await publishing.propose(desk, caller, scope, wanted, kinds), scope)


@router.get("/policies")
async def list_revisions(
    desk: Here, caller: Asker, scope: At, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> Revisions:
    """Give the revisions of the policy set, newest first."""
    caller.require(Permission.READ, scope)
    found = await desk.store.policy_history(scope, limit=limit)
    return Revisions(revisions=[Revision(**plain_revision(one)) for one in found])


@router.get("/policies/{revision}", responses={404: {"description": "no such revision"}})
async def get_revision(
    desk: Here, caller: Asker, scope: At, revision: Annotated[int, Path(ge=0, le=2**53, description="0: the newest")]
) -> Revision:
    """Give one revision of the policy set."""
    caller.require(Permission.READ, scope)
    found = await desk.store.policies(scope, revision or None)
    if found is None:
        raise Fault(404, "unknown-revision", f"there is no revision {revision} in {scope.namespace}")
    return Revision(**plain_revision(found))


@router.get("/manifest", tags=["snapshots"])
async def get_manifest(desk: Here, caller: Asker, scope: At) -> dict[str, Any]:
    """Give the signed manifest of what is in force."""
    caller.require(Permission.READ, scope)
    envelope = (await desk.known(scope)).envelope
    if envelope is None:
        raise Fault(503, "not-yet", "nothing is in force yet")
    return envelope.to_dict()


@router.get("/parts/{digest}", tags=["snapshots"], responses={404: {"description": "in force no longer, or not yet"}})
async def get_part(
    desk: Here, caller: Asker, scope: At, digest: Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
) -> Response:
    """Give a part of the snapshot by its SHA-256: bytes that never change."""
    caller.require(Permission.READ, scope)
    live = await desk.hub.scope(scope)
    part = live.part(digest) or await desk.newer_part(live, digest)
    if part is None:
        raise Fault(404, "unknown-part", f"the part {digest[:12]}… is in force no longer; read the manifest again")
    return Response(part.content, media_type="application/json", headers={"cache-control": "private, immutable"})
