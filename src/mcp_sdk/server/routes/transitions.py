"""``/v1/transitions``: services say what happened to their entities."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from mcp_sdk.context import Transition
from mcp_sdk.protocol.plain import each, plain_result
from mcp_sdk.server.callers import Permission
from mcp_sdk.server.desk import Asker, Here
from mcp_sdk.server.faults import Fault

__all__ = ["router"]

router = APIRouter(prefix="/v1/transitions", tags=["transitions"])


class Batch(BaseModel):
    """Transitions, in order. Those of one ``batch_id`` are applied all or none."""

    transitions: list[dict[str, Any]]


class Outcome(BaseModel):
    """What became of a transition: ``revision`` is the entity's revision after it."""

    status: str = Field(description="applied, duplicate, late or logged")
    revision: int
    since: float | None = Field(description="seconds that the entity spent in the state it left")


class Outcomes(BaseModel):
    """One outcome a transition, in order."""

    results: list[Outcome]


@router.post("", responses={422: {"description": "a transition that cannot be read, or too many of them"}})
async def publish(desk: Here, caller: Asker, batch: Batch) -> Outcomes:
    """Store transitions durably; an event id that came before changes nothing, so a batch may be sent again."""
    if len(batch.transitions) > desk.settings.batch:
        raise Fault(422, "batch-too-large", f"{len(batch.transitions)} transitions; send {desk.settings.batch} at most")
    transitions = each(Transition.from_dict, batch.transitions)
    for scope in {transition.scope for transition in transitions}:
        caller.require(Permission.PUBLISH, scope, caller.service)
    results = await desk.store.append(transitions)
    return Outcomes(results=[Outcome(**plain_result(result)) for result in results])
