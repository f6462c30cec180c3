"""Contexts, the decision and the caller as dependencies, and an operation's permit as a requirement."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from mcp_sdk import Decision, ModelContext, Principal, current
from mcp_sdk.middleware import acontext, decision
from mcp_sdk.permits import requires_permit

__all__ = ["CurrentDecision", "CurrentPrincipal", "context", "requires"]


def context(model: str | type) -> Any:
    """Make a dependency that gives the context of a model.

    ``OrderContext = Annotated[ModelContext | None, context("order")]``, where ``model`` is a name or a declared class.
    It is what the request is about: what its caller's baggage brought, or the entity that a path parameter names,
    looked up where no policy did so. None where there is none, or it comes late.
    """

    async def held() -> ModelContext | None:
        return await acontext(model)

    return Depends(held)


async def _decision(connection: HTTPConnection) -> Decision | None:
    return decision(connection)


async def _principal() -> Principal:
    return current.principal()


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
