"""What the request at hand is about: proxies to the decision and the caller, and a look-up of contexts."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from werkzeug.local import LocalProxy

from mcp_sdk import Decision, EntityRef, ModelContext, Principal, current
from mcp_sdk.decisions import ANONYMOUS
from mcp_sdk.enforcement import Fetch, drive

__all__ = ["context", "current_decision", "current_principal"]

Found = Mapping[EntityRef, ModelContext]


def context(model: str | type) -> ModelContext | None:
    """Give the context of a model, by its name or a declared class, that the request is about.

    It is what the caller's baggage brought, or the entity that the URL names, looked up where no policy did so. None
    where there is none, or it comes late.
    """
    work = current.record()
    if work is None or work.mesh is None:
        return None
    declared = None if isinstance(model, str) else work.mesh.models.of_type(model)
    name = model if isinstance(model, str) else declared.name if declared is not None else ""
    held, ref = work.contexts.get(name), work.references.get(name)
    if held is None and ref is not None:
        held = drive(work.mesh, _look_up(ref))
        if held is not None:
            work.put(held)
    return held


def _look_up(ref: EntityRef) -> Generator[Fetch, Found, ModelContext | None]:
    found = yield Fetch((ref,))
    return found.get(ref)


def _decision() -> Decision | None:
    work = current.record()
    return work.call.decision if work is not None else None


def _principal() -> Principal:
    work = current.record()
    return work.call.principal if work is not None else ANONYMOUS


current_decision: Decision = LocalProxy(_decision)  # type: ignore[assignment]
"""The decision that let the request through, with its reasons and advice; false where the mesh is off."""

current_principal: Principal = LocalProxy(_principal)  # type: ignore[assignment]
"""Who calls, as the reader found out; ``ANONYMOUS`` for nobody."""
