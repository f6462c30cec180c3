"""``/v1/owners``: which services may assert a model."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, Field

from mcp_sdk.server import bodies, owners
from mcp_sdk.server.access.callers import Permission
from mcp_sdk.server.desk import Asker, At, Here

__all__ = ["router"]

router = bodies.router("/v1/owners", tags=["registry"])
Service = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]


class Owners(BaseModel):
    """Services that own each model; ``*`` is all."""

    owners: dict[str, list[str]]


class Services(BaseModel):
    """The services that are to own a model."""

    services: list[Service] = Field(min_length=1, max_length=1000)


@router.get("")
async def list_owners(desk: Here, caller: Asker, scope: At) -> Owners:
    """Give the owners of each model that has some."""
    caller.require(Permission.READ, scope)
    found = await owners.owners_of(desk.shelf, scope)
    return Owners(owners={model: list(services) for model, services in found.items()})


@router.put("/{model}")
async def own(
    desk: Here, caller: Asker, scope: At, model: Annotated[str, Path(max_length=100)], wanted: Services
) -> Services:
    """Say which services own a model, from now on."""
    caller.require(Permission.OPERATE, scope)
    return Services(services=list(await owners.set_owners(desk, scope, caller, model, wanted.services)))
