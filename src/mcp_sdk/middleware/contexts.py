"""The contexts that a request is about, for views: what its caller brought, else looked up."""

from __future__ import annotations

from mcp_sdk import current
from mcp_sdk.context import ModelContext
from mcp_sdk.enforcement import Fetch, Steps, adrive, drive

__all__ = ["acontext", "context"]


def context(model: str | type) -> ModelContext | None:
    """Give the context of a model, by its name or a declared class, that the request is about.

    It is what the caller's baggage brought, or the entity that the path names, looked up where no policy did so. None
    where there is none, or it comes late, and outside any request.
    """
    work = current.record()
    return drive(work.mesh, _find(work, model)) if work is not None and work.mesh is not None else None


async def acontext(model: str | type) -> ModelContext | None:
    """Give the same on a loop, without blocking it."""
    work = current.record()
    return await adrive(work.mesh, _find(work, model)) if work is not None and work.mesh is not None else None


def _find(work: current.Record, model: str | type) -> Steps[ModelContext | None]:
    name = model if isinstance(model, str) else getattr(work.mesh.models.of_type(model), "name", "")
    held, ref = work.contexts.get(name), work.references.get(name)
    if held is None and ref is not None:
        held = (yield Fetch((ref,))).get(ref)
        if held is not None:
            work.put(held)
    return held
