"""``/v1/models`` and ``/v1/services``: what services declare of themselves."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from mcp_sdk.models import BusinessModel
from mcp_sdk.protocol.plain import each
from mcp_sdk.server import bodies, declaring
from mcp_sdk.server.access.callers import Permission
from mcp_sdk.server.desk import Asker, At, Here
from mcp_sdk.services import Endpoint

__all__ = ["router"]

router = bodies.router("/v1", tags=["registry"])


class Models(BaseModel):
    """Declared business models."""

    models: Annotated[list[dict[str, Any]], Field(max_length=bodies.ITEMS)]


Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f]*$")]
Address = Annotated[str, Field(min_length=1, max_length=2048, pattern=r"^[^\x00-\x20]+$")]


class Announced(BaseModel):
    """An endpoint. Every client of the scope is told of it, so nothing may be here that one of them cannot read."""

    model_config = ConfigDict(strict=True)
    service: Annotated[Text, Field(min_length=1)]
    url: Address
    instance: Text = ""
    version: Text = ""
    labels: Annotated[dict[Text, Text], Field(max_length=100)] = {}
    weight: Annotated[int, Field(ge=0, le=1_000_000)] = 1
    zone: Text = ""
    load: Annotated[float, Field(ge=0, le=1e9)] = 0.0


class Lease(BaseModel):
    """An endpoint, and the seconds for which it is announced."""

    endpoint: Announced
    ttl: float = Field(default=15.0, gt=0, le=3600)


class Endpoints(BaseModel):
    """Endpoints that are alive, in order of registration."""

    endpoints: list[dict[str, Any]]


@router.get("/models")
async def list_models(desk: Here, caller: Asker, scope: At) -> Models:
    """Give the declared models, by name."""
    caller.require(Permission.READ, scope)
    return Models(models=[model.to_dict() for model in await desk.store.models(scope)])


@router.post("/models", status_code=204)
async def declare_models(
    desk: Here, caller: Asker, scope: At, declared: Models, *, replace: Annotated[bool, Query()] = False
) -> None:
    """Declare models: merged with what other versions declared, or refused with the difference; 204 says merged.

    A service that does not own a model may declare no more of it than its owner. With ``replace``, which operators may
    say, a declaration takes the place of the one that is held.
    """
    caller.require(Permission.OPERATE if replace else Permission.DECLARE, scope, caller.service)
    models = each(BusinessModel.from_dict, declared.models)
    live = await desk.known(scope)
    if await (declaring.replace if replace else declaring.declare)(desk, caller, scope, models):
        await live.learn_policies()


@router.get("/services")
async def list_services(
    desk: Here, caller: Asker, scope: At, service: Annotated[str, Query(max_length=200)] = ""
) -> Endpoints:
    """Give the endpoints that are alive, of one service or of all."""
    caller.require(Permission.READ, scope)
    found = await desk.store.endpoints(scope)
    return Endpoints(endpoints=[one.to_dict() for one in found if service in ("", one.service)])


@router.post("/services", status_code=204)
async def register(desk: Here, caller: Asker, scope: At, lease: Lease) -> None:
    """Announce an endpoint, or renew its lease; where a scope or a service has too many of them, a new one is a 503."""
    endpoint = Endpoint(**lease.endpoint.model_dump())
    caller.require(Permission.PUBLISH, scope, endpoint.service)
    caller.require_speaks(endpoint.service)  # else its traffic would come here
    await desk.endpoints.register(scope, endpoint, ttl=lease.ttl)


@router.delete("/services", status_code=204)
async def deregister(desk: Here, caller: Asker, scope: At, service: str, url: str) -> None:
    """Take an endpoint away."""
    caller.require(Permission.PUBLISH, scope, service)
    caller.require_speaks(service)
    await desk.endpoints.deregister(scope, Endpoint(service, url))
