"""``/v1/contexts``: what is known of entities, and what happened to them."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from mcp_sdk.context import EntityRef
from mcp_sdk.server import bodies, pages
from mcp_sdk.server.access.callers import Permission
from mcp_sdk.server.desk import Asker, At, Here
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.relays.relay import erase

__all__ = ["router"]

router = bodies.router("/v1/contexts", tags=["contexts"])
Model = Annotated[str, Path(max_length=100, description="a business model's name")]


class ContextPage(BaseModel):
    """Part of a listing, by id; ``after`` continues it, and is empty at the end.

    It may have fewer entities than were asked for: it ends before it has more than 8 MiB.
    """

    contexts: list[dict[str, Any]]
    after: str = Field(description="give it as 'after' to go on; empty at the end")


class History(BaseModel):
    """The last transitions of an entity, oldest first, as many as are no more than 8 MiB; one at least."""

    transitions: list[dict[str, Any]]
    cut: bool = Field(description="whether older ones, which were asked for, are left out for their size")


@router.get("/{model}", response_model=ContextPage)
async def list_contexts(  # noqa: PLR0913, PLR0917 - query parameters
    desk: Here,
    caller: Asker,
    scope: At,
    model: Model,
    state: Annotated[str | None, Query(max_length=200)] = None,
    prefix: Annotated[str, Query(max_length=4096)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str, Query(max_length=4096)] = "",
) -> Response:
    """List entities of a model by state and id prefix."""
    caller.require(Permission.READ, scope)
    async with pages.turn(desk.reading):
        wanted = pages.Wanted(state, prefix, limit, after)
        page, following = await pages.listing(desk.store, scope, model, wanted)
        return page.answer("contexts", after=following)


@router.get("/{model}/history", response_model=History, responses={404: {"description": "unknown entity"}})
async def get_history(
    desk: Here,
    caller: Asker,
    scope: At,
    model: Model,
    entity: Annotated[str, Query(alias="id", max_length=4096, description="the entity's id")],
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Give the last transitions of an entity, the late and aborted ones included."""
    caller.require(Permission.READ, scope)
    async with pages.turn(desk.reading):
        page, cut = await pages.history(desk.store, scope, EntityRef(model, entity), limit)
        return page.answer("transitions", cut=cut)


@router.get("/{model}/entity", responses={404: {"description": "unknown entity"}})
async def get_context(
    desk: Here,
    caller: Asker,
    scope: At,
    model: Model,
    entity: Annotated[str, Query(alias="id", max_length=4096, description="the entity's id")],
) -> dict[str, Any]:
    """Give what is known of one entity."""
    caller.require(Permission.READ, scope)
    ref = EntityRef(model, entity)
    found = (await desk.store.get(scope, [ref])).get(ref)
    if found is None:
        raise Fault(404, "unknown-entity", f"no {model} {entity!r:.120} is known in {scope.namespace}")
    return found.to_dict()


class Erased(BaseModel):
    """What was erased of an entity: counts of contexts and transitions; ``by`` is who asked for it."""

    contexts: int
    transitions: int
    by: str


@router.delete("/{model}/entity")
async def forget(
    desk: Here,
    caller: Asker,
    scope: At,
    model: Model,
    entity: Annotated[str, Query(alias="id", max_length=4096, description="the entity's id")],
) -> Erased:
    """Erase an entity from contexts and transitions; clients that hold it are told to drop it."""
    caller.require(Permission.OPERATE, scope)
    named = f"{model} sha256:{hashlib.sha256(entity.encode(errors='replace')).hexdigest()}"  # the log keeps no id
    async with desk.auditor.change(caller, "context.forget", scope=scope, target=named) as change:
        receipt = await desk.store.forget(scope, EntityRef(model, entity))
        await erase(desk.store, scope)
        change.after = {"contexts": receipt.contexts, "transitions": receipt.transitions}
    return Erased(contexts=receipt.contexts, transitions=receipt.transitions, by=caller.name)
