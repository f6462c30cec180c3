"""The contexts that a request is about."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from mcp_sdk import EntityRef, ModelContext, current
from mcp_sdk.enforcement import Fetch, adrive, drive

__all__ = ["acontext", "context"]

Found = Mapping[EntityRef, ModelContext]


def context(model: str | type) -> ModelContext | None:
    """Give the context of a model, by its name or a declared class, that the request is about.

    It is what the caller's baggage brought, or the entity that the URL names, looked up where no policy did so. None
    where there is none, or it comes late.
    """
    work = current.record()
    return drive(work.mesh, _find(work, model)) if work is not None else None


async def acontext(model: str | type) -> ModelContext | None:
    """Give the same in an asynchronous view."""
    work = current.record()
    return await adrive(work.mesh, _find(work, model)) if work is not None else None


def _find(work: current.Record, model: str | type) -> Generator[Fetch, Found, ModelContext | None]:
    declared = None if isinstance(model, str) else work.mesh.models.of_type(model)
    name = model if isinstance(model, str) else declared.name if declared is not None else ""
    held, ref = work.contexts.get(name), work.references.get(name)
    if held is None and ref is not None:
        found = yield Fetch((ref,))
        held = found.get(ref)
        if held is not None:
            work.put(held)
    return held
