"""``/v1/rollouts``: a policy change that goes to a share of decisions before it goes to all."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response
from pydantic import BaseModel, Field

from mcp_sdk.exceptions import ProtocolError
from mcp_sdk.rollout import LONGEST, MOST, MOST_STAGES, Limits, Plan, Stage
from mcp_sdk.server import bodies, publishing, rolling
from mcp_sdk.server.access.callers import Permission
from mcp_sdk.server.desk import Asker, At, Here
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.routes.policies import Waiting

__all__ = ["router"]

router = bodies.router("/v1/rollouts", tags=["rollouts"])


class StageWanted(BaseModel):
    """A share of decisions for at least so many seconds."""

    share: float = Field(ge=0, le=1, description="of the decisions; 0 evaluates all and enforces none (shadow)")
    seconds: float = Field(ge=0, le=LONGEST)


class LimitsWanted(BaseModel):
    """What stops a rollout, once ``minimum`` decisions of its stage were counted."""

    refusals: float = Field(default=Limits().refusals, ge=0, le=1, description="how much more may be refused, of all")
    errors: float = Field(default=Limits().errors, ge=0, le=1, description="how much more calls may fail, of all")
    minimum: int = Field(default=Limits().minimum, ge=1, le=MOST)


class Wanted(BaseModel):
    """Policy files, by name, that are to replace the set of the scope, stage by stage."""

    sources: dict[str, str]
    replaces: int = Field(ge=0, description="the revision that these files are to replace; 0 for the first")
    stages: list[StageWanted] = Field(min_length=1, max_length=MOST_STAGES, description="each of a greater share")
    limits: LimitsWanted = LimitsWanted()


class Rolling(BaseModel):
    """A rollout; ``counts`` are those of its stage so far, ``waits_for`` is what it goes on after."""

    rollout: dict[str, Any] | None
    counts: dict[str, int] = Field(default_factory=dict)
    waits_for: str = ""


class Reason(BaseModel):
    """Why a rollout is stopped."""

    reason: str = Field(min_length=3, max_length=500)


_NONE: dict[int | str, dict[str, Any]] = {404: {"description": "no rollout runs"}}


@router.post(
    "",
    status_code=201,
    responses={
        202: {"model": Waiting, "description": "somebody else has to approve it"},
        409: {"description": "another rollout runs, or somebody published first"},
    },
)
async def begin(desk: Here, caller: Asker, scope: At, wanted: Wanted, response: Response) -> Rolling | Waiting:
    """Compile policy files and begin their rollout with the first stage."""
    plan = _plan(wanted)
    checked = await publishing.checked(desk, caller, scope, wanted.sources, wanted.replaces)
    kinds = await publishing.waiting(desk, scope, checked)
    if not kinds:
        return Rolling(rollout=(await rolling.begin(desk, caller, scope, checked, plan)).to_dict())
    response.status_code = 202
    return Waiting.of(await publishing.propose(desk, caller, scope, checked, kinds, plan.to_dict()), scope)


def _plan(wanted: Wanted) -> Plan:
    try:
        stages = tuple(Stage(each.share, each.seconds) for each in wanted.stages)
        return Plan(stages, Limits(**wanted.limits.model_dump()))
    except ProtocolError as error:
        raise Fault(422, "not-a-plan", str(error)) from error


@router.get("")
async def get(desk: Here, caller: Asker, scope: At) -> Rolling:
    """Give the scope's last rollout, running or not, and what was counted of its stage."""
    caller.require(Permission.READ, scope)
    return Rolling(**await rolling.shown(desk, scope))


@router.post("/advance", responses=_NONE)
async def advance(desk: Here, caller: Asker, scope: At) -> Rolling:
    """Go on to the next stage now; after the last one the policy set is in force for all.

    A rollout that somebody else has to approve, for a kind was protected meanwhile, is ``held`` where it is.
    """
    await rolling.require_reach(desk, caller, scope)
    return Rolling(rollout=(await rolling.advance(desk, caller, scope)).to_dict())


@router.post("/stop", responses=_NONE)
async def stop(desk: Here, caller: Asker, scope: At, why: Reason) -> Rolling:
    """Stop the rollout; what was in force before it decides all at once again."""
    await rolling.require_reach(desk, caller, scope)
    return Rolling(rollout=(await rolling.stop(desk, caller, scope, why.reason)).to_dict())
