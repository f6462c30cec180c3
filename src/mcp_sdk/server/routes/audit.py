"""``/v1/audit``: who did what."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from fastapi.responses import Response
from pydantic import BaseModel, Field
from pydantic_core import to_json

from mcp_sdk.audit import Entry
from mcp_sdk.context import MESH, Scope
from mcp_sdk.server import bodies, pages
from mcp_sdk.server.access.callers import Caller, Permission
from mcp_sdk.server.auditor import Auditor
from mcp_sdk.server.desk import Asker, Here

__all__ = ["router"]

router = bodies.router("/v1/audit", tags=["audit"])


class AuditPage(BaseModel):
    """Part of the log; an entry that cannot be read is ``{"unreadable": text}``.

    ``whole`` says that nothing was left out, so that the chain can be checked.
    """

    entries: list[dict[str, Any]]
    after: int = Field(description="give it as 'after' to go on")
    end: bool = Field(description="whether this was the last page")
    whole: bool
    head: dict[str, Any] = Field(description="number and digest of the last entry")


@router.get("", response_model=AuditPage)
async def list_audit(
    desk: Here,
    caller: Asker,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Give entries after a number, in order; of a caller that is held to a namespace only those of it.

    A page ends before it has more than 8 MiB.
    """
    caller.require_some(Permission.AUDIT)
    head = await desk.auditor.head()
    async with pages.turn(desk.reading):
        page, last = await _read(desk.auditor, caller, after, limit)
        return page.answer(
            "entries",
            after=last,
            end=last >= head.number,
            whole=caller.may(Permission.AUDIT, MESH),
            head={"number": head.number, "digest": head.digest},
        )


async def _read(auditor: Auditor, caller: Caller, after: int, limit: int) -> tuple[pages.Page, int]:
    """Give what a caller may see of ``limit`` entries, as many as a page holds, and the number of the last."""
    page, last, left = pages.Page(), after, limit
    while step := page.step(left):
        found = await auditor.entries(after=last, limit=step)
        for entry in found:
            if caller.may(Permission.AUDIT, _scope(entry)) and not page.add(to_json(_plain(entry))):
                return page, last
            last = _number(entry, last + 1)
        left -= len(found)
        if len(found) < step:
            break
    return page, last


def _number(entry: Entry | str, due: int) -> int:
    """Give the number of an entry; of one that cannot be read the one that is due."""
    return due if isinstance(entry, str) else entry.number


def _scope(entry: Entry | str) -> Scope:
    return MESH if isinstance(entry, str) else entry.scope


def _plain(entry: Entry | str) -> dict[str, Any]:
    return {"unreadable": entry} if isinstance(entry, str) else entry.to_dict()
