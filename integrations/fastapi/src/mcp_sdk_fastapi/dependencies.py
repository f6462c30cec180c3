"""Contexts, the decision and the caller as dependencies, and an operation's permit as a requirement."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from mcp_sdk import Decision, EntityRef, ModelContext, Principal, current
from mcp_sdk.decisions import ANONYMOUS
from mcp_sdk.enforcement import Fetch, adrive
from mcp_sdk.middleware import decision
from mcp_sdk.permits import requires_permit

__all__ = ["CurrentDecision", "CurrentPrincipal", "context", "requires"]

Found = Mapping[EntityRef, ModelContext]


def context(model: str | type) -> Any:
    """Make a dependency that gives the context of a model.

    ``OrderContext = Annotated[ModelContext | None, context("order")]``, where ``model`` is a name or a declared class.
    It is what the request is about: what its caller's baggage brought, or the entity that a path parameter names,
    looked up where no policy did so. None where there is none, or it comes late.
    """

    async def held() -> ModelContext | None:
        work = current.record()
        if work is None or work.mesh is None:
            return None
        declared = model if isinstance(model, str) else work.mesh.models.of_type(model)
        name = declared if declared is None or isinstance(declared, str) else declared.name
        return await _context(work, name) if name is not None else None

    return Depends(held)


async def _context(work: current.Record, name: str) -> ModelContext | None:
    held, ref = work.contexts.get(name), work.references.get(name)
    if held is None and ref is not None:
        held = await adrive(work.mesh, _look_up(ref))
        if held is not None:
            work.put(held)
    return held


def _look_up(ref: EntityRef) -> Generator[Fetch, Found, ModelContext | None]:
    found = yield Fetch((ref,))
    return found.get(ref)


async def _decision(connection: HTTPConnection) -> Decision | None:
    return decision(connection)


async def _principal() -> Principal:
    work = current.record()
    return work.call.principal if work is not None else ANONYMOUS


CurrentDecision = Annotated[Decision | None, Depends(_decision)]
"""The decision that let the request through, with its reasons and advice; None where the mesh is off."""

CurrentPrincipal = Annotated[Principal, Depends(_principal)]
"""Who calls, as the middleware's reader found out; ``ANONYMOUS`` for nobody."""


def requires(operation: str) -> Any:
    """Let a route run where AccessPolicies permit an operation: ``dependencies=[requires("orders.refund")]``.

    Decided where the dependency stands, so one above it may ``identify`` the caller first. A refusal is ``Refused``.
    """

    @requires_permit(operation)
    async def permitted() -> None:
        """Be permitted: the decorator decides."""

    return Depends(permitted)
